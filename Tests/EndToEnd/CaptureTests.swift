// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing
import Wire

/// What a session writes down, as others read it.
@Suite("captures and traces of a session", .serialized, .wholeModel, .timeLimit(.minutes(2)))
struct CaptureTests {
    private static let tshark = "/usr/bin/tshark"

    @Test("another program reads the capture, and decrypts it with the secrets in it; the trace tells the path")
    func capture() async throws {
        let packing = try #require(WholeModel.current).usual
        let scratch = try Scratch()
        let tracker = try await Tracker()
        let seeder = try await Seeder(packing.folder, tracker)
        let (pcap, trace, keys) = (scratch("session.pcapng"), scratch("trace.jsonl"), scratch("keys.log"))
        let fetcher = try await Fetcher(
            packing.magnet, into: scratch("copy"), tracker, ["--pcap", pcap, "--trace", trace, "--key-log", keys])
        _ = try await fetcher.done()
        _ = try await seeder.stop()

        let events = try String(contentsOfFile: trace, encoding: .utf8).split(separator: "\n")
            .map { try JSON(parsing: Array($0.utf8)) }
        #expect(events.allSatisfy { $0["time"]?.number != nil })
        #expect(events.contains { $0["event"] == "ice" && $0["decision"]?.string?.contains("local candidate") == true })
        #expect(try String(contentsOfFile: keys, encoding: .utf8).hasPrefix("CLIENT_RANDOM "))
        let attributes = try FileManager.default.attributesOfItem(atPath: pcap)
        #expect(try #require(attributes[.size] as? Int) > packing.size)
        #expect(attributes[.posixPermissions] as? Int == 0o600, "secrets are nobody else's")

        guard FileManager.default.isExecutableFile(atPath: Self.tshark) else {
            try Test.cancel("tshark is not installed, so that nobody else reads the capture: apt-get install tshark")
        }
        let heuristics = ["--enable-heuristic", "dtls_udp", "--enable-heuristic", "stun_udp"]
        let protocols = try await lines(heuristics + ["-r", pcap, "-T", "fields", "-e", "frame.protocols"])
        let stun = protocols.count { $0.contains("stun") }
        let dtls = protocols.count { $0.contains("dtls") }
        print("tshark: \(protocols.count) frames, \(stun) of STUN, \(dtls) of DTLS")
        #expect(stun >= 4 && dtls > packing.size / 1200 && stun + dtls == protocols.count)
        // The Finished messages are encrypted (RFC 5246 §7.4.9): without the secrets their type cannot be told.
        let handshake = try await lines(
            heuristics + ["-r", pcap, "-c", "400", "-Y", "dtls.handshake", "-T", "fields", "-e", "dtls.handshake.type"])
        #expect(handshake.contains { $0.split(separator: ",").contains("20") }, "\(handshake)")
    }

    private func lines(_ arguments: [String]) async throws -> [Substring] {
        let process = try LineProcess(Self.tshark, arguments)
        try await process.expectExit(within: .seconds(60))
        try await process.waitForOutputEnd()
        return process.output.split(separator: "\n")
    }
}
