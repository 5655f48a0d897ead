// SPDX-License-Identifier: Apache-2.0
import DTLS
import Testing

@Suite struct CipherTests {
    @Test(
        "each cipher is agreed on when it is the only one, with certificates of ECDSA and RSA",
        arguments: [
            (DTLSCipher.aes128GCM, "AES_128_GCM_SHA256"), (.aes256GCM, "AES_256_GCM_SHA384"),
            (.chaCha20Poly1305, "CHACHA20_POLY1305_SHA256"),
        ])
    func single(cipher: DTLSCipher, name: String) throws {
        for (certificate, kind) in [(Certificates.server, "ECDSA"), (try DTLSCertificate.generate(.rsa2048), "RSA")] {
            for side in [Pair.Side.client, .server] {
                var pair = try makePair(server: certificate) { if $0 == side { $1.ciphers = [cipher] } }
                pair.start()
                pair.run { $0.isConnected }
                let suites = (pair.client.cipherSuite, pair.server.cipherSuite)
                #expect(suites == ("TLS_ECDHE_\(kind)_WITH_\(name)", "TLS_ECDHE_\(kind)_WITH_\(name)"))
                try pair.client.send(bytes(1).span.bytes)
                #expect(pair.log.allSatisfy { $0.bytes.count <= 1200 })
                pair.drain()
                #expect(try #require(pair.log.last).bytes.count <= 1 + DTLSTransport.recordOverhead)
                pair.run()
                #expect(pair.received[1] == [[1]])
            }
        }
    }

    @Test("the server's order counts")
    func order() throws {
        var pair = try makePair { side, configuration in
            configuration.ciphers = side == .server ? [.chaCha20Poly1305, .aes128GCM] : DTLSCipher.allCases
        }
        pair.start()
        pair.run { $0.isConnected }
        let suite = pair.client.cipherSuite
        #expect(suite == "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256")
    }

    @Test("without a cipher in common both sides fail, and no session begins without any")
    func none() throws {
        var pair = try makePair { $1.ciphers = $0 == .server ? [.aes128GCM] : [.aes256GCM] }
        pair.start()
        pair.run()
        #expect(pair.events[0] == [.failed(.peerAlert(40))])
        guard case .failed(.handshakeFailed) = pair.events[1].first else {
            Issue.record("\(pair.events[1])")
            return
        }
        #expect(throws: DTLSError.noCipher) { _ = try makePair { $1.ciphers = [] } }
    }

    @Test("a ClientHello offers nothing but ECDHE with authenticated encryption")
    func offer() throws {
        var pair = try makePair { _, _ in }
        pair.start()
        // Record and handshake headers, version, random, an empty session id and an empty cookie, then the suites.
        let hello = try #require(pair.log.first?.bytes)
        let start = 13 + 12 + 2 + 32 + 1 + 1
        let count = Int(hello[start]) << 8 | Int(hello[start + 1])
        let suites = stride(from: start + 2, to: start + 2 + count, by: 2).map {
            UInt16(hello[$0]) << 8 | UInt16(hello[$0 + 1])
        }
        // RFC 5289 §3.2, RFC 7905 §2; the last is no suite but says that renegotiation is safe (RFC 5746 §3.3).
        #expect(suites == [0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0x00FF])
    }

    @Test("each SRTP profile is agreed on when it is the only one", arguments: SRTPProtectionProfile.allCases)
    func srtp(profile: SRTPProtectionProfile) throws {
        for side in [Pair.Side.client, .server] {
            var pair = try makePair { if $0 == side { $1.srtpProfiles = [profile] } }
            pair.start()
            pair.run { $0.isConnected }
            let profiles = (pair.client.srtpProfile, pair.server.srtpProfile)
            #expect(profiles == (profile, profile))
            let material = (pair.client.srtpKeyingMaterial, pair.server.srtpKeyingMaterial)
            #expect(material.0 == material.1)
            // RFC 5764 §4.1.2, RFC 7714 §14.2.
            #expect(material.0?.count == [0x0001: 60, 0x0007: 56, 0x0008: 88][profile.rawValue])
        }
    }

    @Test("without a common SRTP profile, or any, the session works and has no keys for SRTP")
    func noSRTP() throws {
        for lists in [([SRTPProtectionProfile.aeadAES128GCM], [.aeadAES256GCM]), ([], SRTPProtectionProfile.allCases)] {
            for isSwapped in [false, true] {
                var pair = try makePair { side, configuration in
                    configuration.srtpProfiles = (side == .client) == isSwapped ? lists.0 : lists.1
                }
                pair.start()
                pair.run { $0.isConnected }
                let facts = (pair.isConnected, pair.client.srtpProfile, pair.server.srtpKeyingMaterial)
                #expect(facts.0)
                #expect(facts.1 == nil)
                #expect(facts.2 == nil)
            }
        }
    }
}
