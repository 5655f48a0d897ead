// SPDX-License-Identifier: Apache-2.0
import ICE
import NATLab
import Testing
import Wire

/// What NAT discovery sees of the laboratory's NATs, and the profile that comes of it.
struct NATProbingTests {
    @Test("discovery behind a standard profile gives back that profile", arguments: NATProfile.standard)
    func standard(_ profile: NATProfile) throws {
        let report = try #require(ProbedNetwork(profile, seed: 1).run())
        guard profile.kind != .udpBlocked else {
            #expect(report.kind == .unknown(.noAnswer))
            #expect(NATProfile.seen(by: report, name: profile.name) == nil)
            return
        }
        let (seen, assumptions) = try #require(NATProfile.seen(by: report, name: profile.name), "\(report)")
        #expect(assumptions == [], "\(report)")
        #expect(seen.name == profile.name)
        #expect(seen.kind == profile.kind)
        guard profile.kind != .open else {
            #expect(seen.behavior == profile.behavior)
            return
        }
        // Of boxes in a row what is stricter shows.
        let expected =
            profile.outer.isEmpty
            ? profile.behavior
            : NATBehavior(
                mapping: .endpointIndependent, filtering: .addressAndPortDependent, allocation: .random)
        if profile.kind == .nat {
            #expect(seen.behavior == expected, "\(report)")
        } else {
            #expect(seen.behavior.filtering == expected.filtering)
        }
        #expect(seen.preservesParity == profile.preservesParity)
        #expect(seen.hairpinning == (profile.outer.isEmpty ? profile.hairpinning : seen.hairpinning), "\(report)")
        #expect(seen.pooling == profile.pooling)
        // Who has been refused is not told inside.
        #expect(seen.filteredInbound == (profile.filteredInbound == .refused ? .dropped : profile.filteredInbound))
        #expect(try NATProfile(parsing: seen.json.serialized()) == seen)
        if profile.portBlock != nil { #expect(seen.ports.count <= 2048) }
    }

    @Test("lifetimes and steps come into the profile")
    func details() throws {
        var profile = NATProfile(
            "seq", mapping: .addressAndPortDependent, filtering: .addressAndPortDependent, allocation: .sequential)
        profile.portStep = 3
        profile.mappingLifetime = .seconds(45)
        profile.inboundRefreshes = true
        let report = try #require(ProbedNetwork(profile, seed: 2, lifetimeBudget: .seconds(900)).run())
        let (seen, assumptions) = try #require(NATProfile.seen(by: report, name: "seq"))
        #expect(assumptions == [])
        #expect(seen.portStep == 3)
        #expect((.seconds(40)...(.seconds(45))).contains(seen.mappingLifetime), "\(report)")
        #expect(seen.inboundRefreshes)
    }

    @Test("what a server could not show is assumed to be the worst, and named")
    func assumptions() throws {
        let network = ProbedNetwork(.fullCone, seed: 3)
        network.hasOtherAddress = false
        let report = try #require(network.run())
        let (seen, assumptions) = try #require(NATProfile.seen(by: report, name: "x"))
        #expect(seen.behavior.mapping == .addressAndPortDependent)
        #expect(seen.behavior.filtering == .addressAndPortDependent)
        #expect(assumptions.contains { $0.hasPrefix("mapping") } && assumptions.contains { $0.hasPrefix("filtering") })
    }
}

/// A discovery behind the boxes of a profile, and a server with two addresses.
private final class ProbedNetwork {
    var hasOtherAddress = true
    private var discovery: NATDiscovery
    private var boxes: [VirtualNAT]
    private var entropy: Entropy
    private var now = Timestamp.zero
    private var queue: [(time: Timestamp, order: Int, action: () -> Void)] = []
    private var order = 0
    private var deadline: Timestamp?
    private var report: NATReport?
    private let host: IPAddress
    private static let primary = SocketAddress(ip: .v4(0xC000_020A), port: 3478)
    private static let other = SocketAddress(ip: .v4(0xCB00_7114), port: 3479)

    init(_ profile: NATProfile, seed: UInt64, lifetimeBudget: Duration? = nil) {
        entropy = Entropy(seed: seed)
        host = profile.translates ? .v4(0x0A00_0002) : .v4(0xC633_6463)
        boxes = []
        for (place, box) in ([profile] + profile.outer).enumerated() {
            // The outermost has public addresses.
            let first: UInt32 = place == profile.outer.count ? 0xC633_6401 : 0x6440_0001
            boxes.append(
                VirtualNAT(
                    box, externalAddresses: (0..<UInt32(box.addressCount)).map { .v4(first + $0) },
                    entropy: entropy.split()))
        }
        var configuration = NATDiscovery.Configuration()
        configuration.lifetimeBudget = lifetimeBudget
        discovery = NATDiscovery(
            server: Self.primary, configuration: configuration, entropy: entropy.split(), now: .zero)
    }

    func run() -> NATReport? {
        drain()
        while report == nil, let time = [queue.first?.time, deadline].compactMap({ $0 }).min() {
            now = time
            if let next = queue.first, next.time <= now {
                queue.removeFirst().action()
            } else {
                discovery.handleTimeout(now: now)
            }
            drain()
        }
        return report
    }

    private func drain() {
        while true {
            switch discovery.nextOutput() {
            case .transmit(let datagram): outward(datagram.payload, datagram.source, datagram.destination, box: 0)
            case .event(.openSocket(let socket)):
                let port = UInt16.random(in: 32_768...60_999, using: &entropy)
                discovery.socketOpened(socket, at: SocketAddress(ip: host, port: port), now: now)
            case .event(.finished(let report)): self.report = report
            case .event: break
            case .wait(let until):
                deadline = until
                return
            }
        }
    }

    private func later(_ action: @escaping () -> Void) {
        order += 1
        queue.append((now + .milliseconds(10), order, action))
    }

    private func outward(_ payload: [UInt8], _ source: SocketAddress, _ destination: SocketAddress, box: Int) {
        guard box < boxes.count else { return later { [unowned self] in serve(payload, source, destination) } }
        switch boxes[box].outbound(from: source, to: destination, now: now) {
        case .forwarded(let source, let destination): outward(payload, source, destination, box: box + 1)
        case .hairpinned(let source, let destination): inward(payload, source, destination, box: box - 1)
        case .dropped, .refused: break
        }
    }

    private func inward(_ payload: [UInt8], _ source: SocketAddress, _ destination: SocketAddress, box: Int) {
        guard box >= 0 else {
            return later { [unowned self] in
                discovery.receive(payload.span.bytes, from: source, to: destination, now: now)
            }
        }
        if case .forwarded(let source, let inside) = boxes[box].inbound(from: source, to: destination, now: now) {
            inward(payload, source, inside, box: box - 1)
        }
    }

    /// RFC 5780 §6.1.
    private func serve(_ payload: [UInt8], _ source: SocketAddress, _ destination: SocketAddress) {
        guard let request = try? STUNMessage(decoding: payload.span.bytes), request.messageClass == .request,
            [Self.primary.ip, Self.other.ip].contains(destination.ip),
            [Self.primary.port, Self.other.port].contains(destination.port)
        else { return }
        let changed = SocketAddress(
            ip: destination.ip == Self.primary.ip ? Self.other.ip : Self.primary.ip,
            port: destination.port == Self.primary.port ? Self.other.port : Self.primary.port)
        var (origin, target) = (destination, source)
        if let flags = request.first(.changeRequest)?.last {
            if flags & 4 != 0 { origin.ip = changed.ip }
            if flags & 2 != 0 { origin.port = changed.port }
        }
        if let port = request.first(.responsePort), port.count == 4 {
            target.port = UInt16(port[0]) << 8 | UInt16(port[1])
        }
        var answer = STUNMessage(.success, transactionID: request.transactionID)
        answer.append(xorAddress: source)
        if hasOtherAddress {
            answer.attributes.append(
                STUNAttribute(
                    .otherAddress, [0, 1, UInt8(changed.port >> 8), UInt8(changed.port & 255)] + changed.ip.bytes))
        }
        let bytes = answer.encoded()
        later { [unowned self] in inward(bytes, origin, target, box: boxes.count - 1) }
    }
}
