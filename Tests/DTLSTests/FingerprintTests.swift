// SPDX-License-Identifier: Apache-2.0
import DTLS
import Testing
import Wire

@Suite struct FingerprintTests {
    static let wrong = DTLSFingerprint(algorithm: "sha-256", bytes: [UInt8](repeating: 7, count: 32))

    @Test("a client names the fingerprint it found instead of the promised one, tells the server, and no data moves")
    func clientRefuses() throws {
        var pair = try pair(client: [Self.wrong], server: [Certificates.client.fingerprint])
        pair.start()
        pair.run()
        let error = DTLSError.fingerprintMismatch(expected: [Self.wrong], actual: Certificates.server.fingerprint)
        #expect(pair.events[0] == [.failed(error)])
        #expect(pair.events[1] == [.failed(.peerAlert(42))])
        #expect(throws: DTLSError.notConnected) { try pair.client.send(bytes(1).span.bytes) }
        #expect(throws: DTLSError.notConnected) { try pair.server.send(bytes(1).span.bytes) }
        #expect("\(error)".contains(Certificates.server.fingerprint.description))
    }

    @Test("a server does the same")
    func serverRefuses() throws {
        var pair = try pair(client: [Certificates.server.fingerprint], server: [Self.wrong])
        pair.start()
        pair.run()
        #expect(
            pair.events[1] == [
                .failed(.fingerprintMismatch(expected: [Self.wrong], actual: Certificates.client.fingerprint))
            ])
        #expect(pair.events[0] == [.failed(.peerAlert(42))])
        #expect(pair.received == [[], []])
    }

    @Test("while the fingerprint is unknown nothing is sent or delivered; what came is delivered when it matches")
    func lateFingerprint() throws {
        var pair = try pair(client: [Certificates.server.fingerprint], server: nil)
        pair.start()
        pair.run { $0.client.state == .connected }
        let state = pair.server.state
        #expect(state == .unverified)
        #expect(pair.events[1] == [])
        #expect(throws: DTLSError.notConnected) { try pair.server.send(bytes(1).span.bytes) }
        try pair.client.send(bytes(1, 2).span.bytes)
        try pair.client.send(bytes(3).span.bytes)
        pair.run()
        #expect(pair.received[1] == [])

        pair.setServerFingerprints([Certificates.client.fingerprint])
        #expect(pair.events[1] == [.connected(peerCertificateDER: Certificates.client.der)])
        #expect(pair.received[1] == [[1, 2], [3]])
        try pair.server.send(bytes(4).span.bytes)
        pair.run()
        #expect(pair.received[0] == [[4]])
    }

    @Test("a late fingerprint that does not match ends the session, and what waited is never delivered")
    func lateWrongFingerprint() throws {
        var pair = try pair(client: [Certificates.server.fingerprint], server: nil)
        pair.start()
        pair.run { $0.client.state == .connected }
        try pair.client.send(bytes(1, 2).span.bytes)
        pair.run()
        pair.setServerFingerprints([Self.wrong])
        pair.run()
        #expect(
            pair.events[1] == [
                .failed(.fingerprintMismatch(expected: [Self.wrong], actual: Certificates.client.fingerprint))
            ])
        #expect(pair.received[1] == [])
        #expect(pair.events[0].last == .closed)
        // A second list changes nothing.
        pair.setServerFingerprints([Certificates.client.fingerprint])
        let state = pair.server.state
        #expect(state != .connected)
        #expect(pair.received[1] == [])
    }

    @Test("a fingerprint that comes during the handshake is checked in it")
    func fingerprintDuringHandshake() throws {
        var pair = try pair(client: [Certificates.server.fingerprint], server: nil)
        pair.start()
        pair.setServerFingerprints([Self.wrong])
        pair.run()
        #expect(pair.events[0] == [.failed(.peerAlert(42))])
    }

    @Test("what waits for the fingerprint is bounded")
    func heldDataIsBounded() throws {
        var pair = try pair(client: [Certificates.server.fingerprint], server: nil)
        pair.start()
        pair.run { $0.client.state == .connected }
        for _ in 0..<200 { try pair.client.send([UInt8](repeating: 1, count: 1000).span.bytes) }
        pair.run()
        pair.setServerFingerprints([Certificates.client.fingerprint])
        #expect(pair.received[1].count == 65)
        let dropped = pair.server.statistics.unverifiedRecordsDropped
        #expect(dropped == 135)
    }

    @Test("of several fingerprints the strongest known hash counts, and one match of that hash is enough")
    func strongestCounts() throws {
        let server = try FingerprintTests.all(of: Certificates.server.der)
        let wrong512 = DTLSFingerprint(algorithm: "sha-512", bytes: [UInt8](repeating: 7, count: 64))
        let broken = DTLSFingerprint(algorithm: "md5", bytes: [UInt8](repeating: 7, count: 16))
        #expect(try connects(server))
        #expect(try connects([server[0], server[1]]))
        #expect(try connects([broken, Self.wrong, server[0]]))
        #expect(try connects([Self.wrong, server[2]]))
        #expect(try !connects([server[0], server[1], wrong512]))
        #expect(try !connects([Self.wrong]))
        for list in [[broken], []] {
            #expect(throws: DTLSError.noUsableFingerprint) { try connects(list) }
        }
    }

    @Test("fingerprints are read in either case and written in capitals")
    func text() {
        let fingerprint = DTLSFingerprint(algorithm: "SHA-256", bytes: [0x0A, 0xFF, 0x00])
        #expect(fingerprint.description == "sha-256 0A:FF:00")
        #expect(DTLSFingerprint(sdp: "sha-256 0a:Ff:00") == fingerprint)
        for text in [
            "", "sha-256", "sha-256 ", "sha-256 0A:F", "sha-256 0A:GG", "sha-256 0AFF", "sha-256 +1:22", "a b c",
        ] {
            #expect(DTLSFingerprint(sdp: text) == nil, "\(text)")
        }
    }

    private func connects(_ fingerprints: [DTLSFingerprint]) throws -> Bool {
        var pair = try pair(client: fingerprints, server: [Certificates.client.fingerprint])
        pair.start()
        pair.run { $0.isConnected }
        return pair.isConnected
    }

    /// SHA-256, SHA-384 and SHA-512 of a certificate, by the peer: what a mismatch reports is the true hash.
    private static func all(of der: [UInt8]) throws -> [DTLSFingerprint] {
        try [("sha-256", 32), ("sha-384", 48), ("sha-512", 64)].map { name, count in
            var pair = try makePairWith(
                client: [DTLSFingerprint(algorithm: name, bytes: [UInt8](repeating: 0, count: count))],
                server: [Certificates.client.fingerprint])
            pair.start()
            pair.run()
            guard case .failed(.fingerprintMismatch(_, let actual)) = pair.events[0].first else {
                throw DTLSError.noUsableFingerprint
            }
            #expect(actual.bytes.count == count)
            return actual
        }
    }

    private func pair(client: [DTLSFingerprint]?, server: [DTLSFingerprint]?) throws -> Pair {
        try makePairWith(client: client, server: server)
    }
}
