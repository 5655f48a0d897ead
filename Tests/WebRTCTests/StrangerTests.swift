// SPDX-License-Identifier: Apache-2.0
import DTLS
import SCTPTestSupport
import TestSupport
import Testing
import WebRTC
import Wire

/// What those may cause who can send from any address but know no password.
@Suite("Strangers", .serialized)
struct StrangerTests {
    /// A ClientHello as a client of ours sends it.
    private static func clientHello() throws -> [UInt8] {
        var client = try DTLSTransport(role: .client, certificate: .generate(), expectedFingerprints: nil)
        client.start(now: .zero)
        var buffer = PacketBuffer()
        client.takeOutgoing(into: &buffer)
        return [UInt8](copying: buffer[0])
    }

    @Test("forged ClientHellos make no DTLS session, are not kept, and hinder nobody, whatever their source is")
    func flood() throws {
        let hello = try Self.clientHello()
        var entropy = Entropy(seed: 1)
        var pair = try CorePair(seed: 11)
        _ = try pair.offerer.openChannel(label: "a", options: .init())
        let (offerer, answerer) = CorePair.addresses
        let now = pair.now
        func strangers(_ core: inout PeerCore, at own: SocketAddress, peer: SocketAddress, count: Int) {
            for number in 0..<count {
                // Now and then the address that the peer told, which is no proof.
                let source =
                    number.isMultiple(of: 10)
                    ? peer : SocketAddress(ip: .v4(UInt32.random(in: 1...UInt32.max, using: &entropy)), port: 4000)
                core.receive(hello.span.bytes, from: source, to: own, now: now)
            }
        }
        // Before any description, with our offer out, and with both descriptions there.
        strangers(&pair.offerer, at: offerer, peer: answerer, count: 1000)
        try pair.offerer.start(as: .offerer, localAddresses: [offerer], servers: [], now: pair.now)
        strangers(&pair.offerer, at: offerer, peer: answerer, count: 1000)
        try pair.answerer.start(as: .answerer, localAddresses: [answerer], servers: [], now: pair.now)
        try pair.answerer.setRemoteDescription(try pair.offerer.localDescription, now: pair.now)
        try pair.offerer.setRemoteDescription(try pair.answerer.localDescription, now: pair.now)
        let before = try residentBytes()
        strangers(&pair.offerer, at: offerer, peer: answerer, count: 100_000)
        strangers(&pair.answerer, at: answerer, peer: offerer, count: 100_000)
        let grown = try residentBytes() - before
        #expect(grown < 4 << 20, "\(grown)")
        let sessions = (pair.offerer.hasDTLS, pair.answerer.hasDTLS)
        #expect(sessions == (false, false))
        let dropped = (
            pair.offerer.statistics.transport.packetsDropped, pair.answerer.statistics.transport.packetsDropped
        )
        #expect(dropped == (102_000, 100_000))

        let isConnected = pair.run(for: .seconds(5)) { $0.areConnected }
        #expect(isConnected)
        // A session is there now, and strangers still do not reach it.
        strangers(&pair.offerer, at: offerer, peer: SocketAddress(ip: .v4(9), port: 9), count: 1000)
        let states = (pair.states.0, pair.offerer.statistics.transport.packetsDropped)
        #expect(states == (.connected, 103_000))
    }

    @Test("a handshake that outruns the answer waits for it, from where the peer has shown itself")
    func early() throws {
        var pair = try CorePair(seed: 12)
        pair.latency = .milliseconds(5)
        _ = try pair.offerer.openChannel(label: "a", options: .init())
        let (offerer, answerer) = CorePair.addresses
        try pair.offerer.start(as: .offerer, localAddresses: [offerer], servers: [], now: pair.now)
        try pair.answerer.start(as: .answerer, localAddresses: [answerer], servers: [], now: pair.now)
        try pair.answerer.setRemoteDescription(try pair.offerer.localDescription, now: pair.now)
        // The answerer checks, is answered, and sends its ClientHello; the offerer knows nothing of it yet.
        let isEarly = pair.run(for: .seconds(1)) { $0.answerer.hasDTLS }
        #expect(isEarly)
        _ = pair.run(for: .milliseconds(20)) { _ in false }
        let hasSession = pair.offerer.hasDTLS
        #expect(!hasSession)
        let start = pair.now
        try pair.offerer.setRemoteDescription(try pair.answerer.localDescription, now: pair.now)
        let isConnected = pair.run(for: .seconds(5)) { $0.areConnected }
        #expect(isConnected)
        // No flight had to be repeated: the rest of ICE, DTLS and SCTP, without a timer of 50 ms or more between them.
        let taken = pair.now - start
        #expect(taken <= .milliseconds(60), "\(taken)")
    }
}
