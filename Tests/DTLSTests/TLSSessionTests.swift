// SPDX-License-Identifier: Apache-2.0
import DTLS
import TestSupport
import Testing
import Wire

@Suite("TLS over a stream")
struct TLSSessionTests {
    private static let name = "turn.example"

    /// A server's context, and what a client must believe to believe it.
    private static func server(_ name: String = name) throws -> (TLSContext, TLSContext.Trust) {
        let certificate = try DTLSCertificate.generate(commonName: name)
        let context = try TLSContext.server(
            certificatesPEM: certificate.certificatePEM, privateKeyPEM: certificate.privateKeyPEM)
        return (context, .authorities(pem: certificate.certificatePEM))
    }

    /// Two sessions and what each has received; bytes travel in pieces of `piece`.
    private struct Pair: ~Copyable {
        var client: TLSSession
        var server: TLSSession
        var atClient: [UInt8] = []
        var atServer: [UInt8] = []
        var piece = Int.max

        init(_ client: consuming TLSSession, _ server: consuming TLSSession) {
            self.client = client
            self.server = server
        }

        mutating func run() {
            client.start()
            server.start()
            while true {
                let (there, back) = (client.takeOutgoing(), server.takeOutgoing())
                guard !there.isEmpty || !back.isEmpty else { return }
                for start in stride(from: 0, to: there.count, by: min(piece, max(there.count, 1))) {
                    let part = Array(there[start..<min(start + min(piece, there.count), there.count)])
                    server.receive(part.span.bytes, plaintext: &atServer)
                }
                for start in stride(from: 0, to: back.count, by: min(piece, max(back.count, 1))) {
                    let part = Array(back[start..<min(start + min(piece, back.count), back.count)])
                    client.receive(part.span.bytes, plaintext: &atClient)
                }
            }
        }
    }

    @Test("data goes both ways, also what was sent before the handshake, and both sides end", arguments: [1, 7, 1 << 20])
    func exchange(piece: Int) throws {
        let (context, trust) = try Self.server()
        var pair = Pair(
            try TLSSession(try .client(trust: trust), serverName: Self.name), try TLSSession(context))
        pair.piece = piece
        let early: [UInt8] = Array("early".utf8)
        pair.client.send(early.span.bytes)
        pair.run()
        let states = (pair.client.state, pair.server.state)
        #expect(states.0 == .connected && states.1 == .connected)
        let large = [UInt8]((0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 7) })
        pair.client.send(large.span.bytes)
        pair.server.send(large.span.bytes)
        pair.run()
        let received = (pair.atClient, pair.atServer)
        #expect(received.0 == large && received.1 == early + large)
        pair.client.close()
        pair.run()
        let ends = (pair.client.state, pair.server.state)
        #expect(ends.0 == .closed && ends.1 == .closed)
    }

    @Test("a certificate for another name, or signed by nobody known, is not believed")
    func trust() throws {
        let (context, trust) = try Self.server()
        let (_, other) = try Self.server()
        for (trust, name) in [(trust, "turn.example.org"), (trust, "192.0.2.1"), (other, Self.name), (.system, Self.name)] {
            var pair = Pair(try TLSSession(try .client(trust: trust), serverName: name), try TLSSession(context))
            pair.run()
            let states = (pair.client.state, pair.server.state)
            guard case .failed(.untrusted(let reason)) = states.0 else {
                Issue.record("\(name) led to \(states.0)")
                continue
            }
            #expect(!reason.isEmpty)
            // 48: unknown_ca, 42: bad_certificate (RFC 8446 §6.2).
            guard case .failed(.peerAlert) = states.1 else {
                Issue.record("the server is \(states.1)")
                continue
            }
        }
        var pair = Pair(try TLSSession(try .client(trust: .anyone)), try TLSSession(context))
        pair.run()
        let state = pair.client.state
        #expect(state == .connected)
    }

    @Test("bytes that are no TLS, or were changed on the way, end the session and nothing else", arguments: UInt64(1)...20)
    func garbage(seed: UInt64) throws {
        let (context, trust) = try Self.server()
        var entropy = Entropy(seed: seed)
        var server = try TLSSession(context)
        var plaintext: [UInt8] = []
        let noise = (0..<Int.random(in: 1...600, using: &entropy)).map { _ in UInt8.random(in: 0...255, using: &entropy) }
        server.receive(noise.span.bytes, plaintext: &plaintext)
        #expect(plaintext.isEmpty, "seed \(seed)")

        var pair = Pair(
            try TLSSession(try .client(trust: trust), serverName: Self.name), try TLSSession(context))
        pair.run()
        let message: [UInt8] = Array("whole".utf8)
        pair.client.send(message.span.bytes)
        var record = pair.client.takeOutgoing()
        record[Int.random(in: 5..<record.count, using: &entropy)] ^= 1 << UInt8.random(in: 0...7, using: &entropy)
        pair.server.receive(record.span.bytes, plaintext: &plaintext)
        let state = pair.server.state
        guard case .failed = state else {
            Issue.record("seed \(seed): the server is \(state)")
            return
        }
        #expect(plaintext.isEmpty, "seed \(seed)")
    }

    @Test("what is no PEM is refused with a reason")
    func badPEM() throws {
        let certificate = try DTLSCertificate.generate()
        let other = try DTLSCertificate.generate()
        #expect(throws: TLSError.self) { try TLSContext.server(certificatesPEM: "", privateKeyPEM: "") }
        #expect(throws: TLSError.self) {
            try TLSContext.server(certificatesPEM: certificate.certificatePEM, privateKeyPEM: "")
        }
        #expect(throws: TLSError.self) {
            try TLSContext.server(certificatesPEM: certificate.certificatePEM, privateKeyPEM: other.privateKeyPEM)
        }
        #expect(throws: TLSError.self) { try TLSContext.client(trust: .authorities(pem: "nothing")) }
    }
}
