// SPDX-License-Identifier: Apache-2.0
import Foundation
import NATLab
import RDRR
import Testing
import Wire

/// Why no networks can be made, said once.
private let obstacle: String? = {
    let obstacle =
        KernelNetwork.obstacle
        ?? (FileManager.default.isExecutableFile(atPath: "/usr/bin/nsenter")
            ? nil : "the program nsenter is missing (package util-linux)")
    if let obstacle { print("skipped: \(obstacle)") }
    return obstacle
}()

/// The model goes between two hosts behind NATs, each on a link of its own, while the network has trouble.
@Suite(
    "a network in trouble", .serialized, .wholeModel, .timeLimit(.minutes(4)),
    .enabled(if: obstacle == nil, "no networks of namespaces here"))
struct AdversityTests {
    private let model: WholeModel
    private let scratch: Scratch

    init() throws {
        model = try #require(WholeModel.current)
        scratch = try Scratch()
    }

    /// 100 Mbit/s and 10 ms each way, with a queue of 50 ms.
    private static func link(_ change: (inout LinkConditions) -> Void = { _ in }) -> LinkConditions {
        var conditions = LinkConditions(rate: 12_500_000, delay: .milliseconds(10), queueLimit: 625_000)
        change(&conditions)
        return conditions
    }

    /// A seeder behind one NAT, a fetcher behind another, a tracker and a STUN server on the public network.
    private struct Stage {
        let network: KernelNetwork
        let tracker: Tracker
        let relay: LineProcess
        let seeder: Seeder
        let fetcher: Fetcher
        static let sites = ["seeder", "fetcher"]

        init(
            _ packing: WholeModel.Packing, into folder: String, _ conditions: LinkConditions, _ profile: NATProfile
        ) async throws {
            network = try KernelNetwork(
                Self.sites.map {
                    .host(
                        $0, behind: [profile],
                        link: .init(up: conditions, down: conditions, seed: $0 == "seeder" ? 1 : 2))
                })
            let server = network.server
            let address = try #require(server.addresses.first)
            tracker = try await Tracker(at: server)
            relay = try LineProcess(
                Programs.dreamer, ["relay", "--listen", "\(address):3478", "--json"], in: server.namespace)
            _ = try await relay.json(where: ["event": "listening"])
            let options = ["--ice-server", "stun:\(address):3478"]
            seeder = try await Seeder(packing.folder, tracker, options, at: network.host("seeder"))
            fetcher = try await Fetcher(
                packing.magnet, into: folder, tracker, options + ["--stall-timeout", "120"], at: network.host("fetcher")
            )
        }

        /// Changes both links.
        func setConditions(_ conditions: LinkConditions) throws {
            for (index, site) in Self.sites.enumerated() {
                let name = network.boxes.first { $0.contains(site) } ?? network.boxes[index]
                try network.setConditions(ofLink: name, up: conditions, down: conditions)
            }
        }

        /// Waits for the end and checks the copy.
        func finish(_ packing: WholeModel.Packing, _ what: String) async throws {
            let done = try await fetcher.done(within: .seconds(200))
            print("\(what): \(done)")
            #expect(done.total == packing.size)
            try await packing.expectCopy(in: fetcher.folder)
        }
    }

    private static let restricted = NATProfile.standard(named: "port-restricted")

    @Test("5 % of the packets lost, reordered and doubled")
    func loss() async throws {
        let packing = model.usual
        let stage = try await Stage(
            packing, into: scratch("copy"),
            Self.link {
                $0.loss = .random(0.05)
                $0.reorder = 0.05
                $0.duplication = 0.05
            }, try #require(Self.restricted))
        try await stage.finish(packing, "5 % lost, reordered, doubled on each link")
    }

    @Test("20 seconds without any packet in the middle")
    func outage() async throws {
        let packing = model.usual
        let stage = try await Stage(packing, into: scratch("copy"), Self.link(), try #require(Self.restricted))
        let middle = try await stage.fetcher.reaches(0.3)
        #expect(middle.fraction < 0.95)
        try stage.setConditions(Self.link { $0.loss = .random(1) })
        try await Task.sleep(for: .seconds(20))
        try stage.setConditions(Self.link())
        try await stage.finish(packing, "20 s without packets at \(Int(middle.fraction * 100)) %")
    }

    @Test("a host that gets another address in the middle")
    func renumbering() async throws {
        let packing = model.usual
        let stage = try await Stage(packing, into: scratch("copy"), Self.link(), try #require(Self.restricted))
        let middle = try await stage.fetcher.reaches(0.3)
        #expect(middle.fraction < 0.95)
        let renumber = try LineProcess(
            "/bin/sh",
            [
                "-ec",
                """
                set -- $(ip -o route show default)
                old=$(ip -o -4 address show dev "$5" scope global | awk '{print $4}')
                new=$(echo "$old" | awk -F '[./]' '{print $1 "." $2 "." $3 "." ($4 + 50) % 250 + 2 "/" $5}')
                # A second address of a network goes with the first one.
                ip address del "$old" dev "$5"
                ip address add "$new" dev "$5"
                ip route replace default via "$3" dev "$5"
                """,
            ], in: stage.network.host("fetcher").namespace)
        try await renumber.expectExit()
        try await stage.finish(packing, "another address at \(Int(middle.fraction * 100)) %")
    }

    @Test("a NAT that forgets its mappings in the middle", arguments: ["seeder", "fetcher"])
    func rebinding(site: String) async throws {
        let packing = model.usual
        var profile = try #require(Self.restricted)
        profile.behavior.allocation = .random
        let stage = try await Stage(packing, into: scratch("copy"), Self.link(), profile)
        let middle = try await stage.fetcher.reaches(0.3)
        #expect(middle.fraction < 0.95)
        let box = try #require(stage.network.boxes.first { $0.contains(site) })
        try stage.network.rebind(box: box)
        try await stage.finish(packing, "the \(site)'s NAT forgets at \(Int(middle.fraction * 100)) %")
    }
}
