// SPDX-License-Identifier: Apache-2.0
import DTLS
import TestSupport
import Testing

@Suite struct CertificateTests {
    private static func fixture(_ name: String) throws -> DTLSCertificate {
        try DTLSCertificate(pem: String(decoding: Fixtures.bytes("dtls/\(name).pem"), as: UTF8.self))
    }

    /// The hashes are what `openssl x509 -fingerprint` prints.
    @Test(
        "certificates of other programs are read, with the fingerprints that those print",
        arguments: [
            (
                "p256",
                [
                    "sha-256 81:26:41:26:94:16:C5:DE:5B:A7:85:0D:6E:28:F1:7B:85:F4:BB:B9:63:B4:E8:A6:54:7C:40:08:EC:40:41:BE"
                ]
            ),
            (
                "p384-sha384",
                [
                    "sha-256 38:22:1E:72:6D:BC:A0:82:10:C7:18:AB:68:93:E9:55:02:DA:0F:5C:20:56:AA:5B:E5:59:44:24:12:F4:8B:C8",
                    "sha-384 0B:FE:14:59:51:B1:D9:4F:C7:DC:62:23:29:54:3A:ED:0A:21:DF:6B:97:FD:17:8D:90:62:68:D3:43:C2:0C:"
                        + "61:49:84:ED:66:34:58:EC:45:7F:01:D7:C8:D7:0B:91:07",
                ]
            ),
            (
                "rsa2048-sha512",
                [
                    "sha-256 3F:91:CB:82:B4:B8:EA:4F:AE:3B:E4:7E:D0:6E:3C:C3:14:2E:19:9A:4F:18:0D:19:56:B9:D4:15:63:5D:2E:72",
                    "sha-512 EB:B5:79:70:E6:2D:A7:EC:AE:7E:11:C3:79:57:D9:2C:EC:2F:0A:E8:B9:B6:9D:95:3C:73:57:3C:CD:59:D7:"
                        + "5D:EE:43:27:31:12:07:AB:77:B9:BA:A3:60:52:08:D5:05:97:B6:EE:3E:41:DD:2F:D8:0C:9D:38:5D:C7:F9:E6:"
                        + "0D",
                ]
            ),
        ])
    func fixtures(name: String, fingerprints: [String]) throws {
        let certificate = try Self.fixture(name)
        #expect(certificate.fingerprints.map(\.description) == fingerprints)
        #expect(certificate.fingerprint == certificate.fingerprints.first)
        let copy = try DTLSCertificate(pem: certificate.pem)
        #expect(copy.fingerprints == certificate.fingerprints)
        #expect(copy.privateKeyPEM == certificate.privateKeyPEM)
    }

    @Test(
        "keys that no handshake of ours can use are refused, and nobody is asked for a pass phrase",
        arguments: ["rsa1024", "ed25519", "encrypted"])
    func refused(name: String) {
        #expect {
            _ = try Self.fixture(name)
        } throws: { error in
            if case .invalidPEM = error as? DTLSError { true } else { false }
        }
    }

    @Test("two sides connect with every kind of certificate, each with each")
    func kinds() throws {
        let all = [
            try DTLSCertificate.generate(), try DTLSCertificate.generate(.rsa2048), try Self.fixture("p256"),
            try Self.fixture("p384-sha384"), try Self.fixture("rsa2048-sha512"),
        ]
        for client in all {
            for server in all {
                var pair = try makePair(client: client, server: server) { _, _ in }
                pair.start()
                pair.run { $0.isConnected }
                #expect(pair.events[0] == [.connected(peerCertificateDER: server.der)])
                #expect(pair.events[1] == [.connected(peerCertificateDER: client.der)])
            }
        }
    }

    @Test("one certificate serves many sessions at the same time")
    func reuse() throws {
        var pairs: [(DTLSTransport.State, [UInt8]?)] = []
        var first = try makePair { _, _ in }
        first.start()
        first.run { $0.isConnected }
        for _ in 0..<20 {
            var pair = try makePair { _, _ in }
            pair.start()
            pair.run { $0.isConnected }
            pairs.append((pair.client.state, pair.client.exportKeyingMaterial(label: "x", count: 16)))
        }
        #expect(pairs.allSatisfy { $0.0 == .connected })
        #expect(Set(pairs.map(\.1)).count == pairs.count, "sessions of one certificate share no keys")
        try first.client.send(bytes(1).span.bytes)
        first.run()
        #expect(first.received[1] == [[1]])
    }
}
