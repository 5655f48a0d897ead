// SPDX-License-Identifier: Apache-2.0
import DTLS
import Testing
import Wire

@Suite struct HandshakeTests {
    @Test("two sides connect in two round trips, see each other's certificate and exchange data")
    func connects() throws {
        var pair = try makePair()
        pair.start()
        pair.run { $0.isConnected }
        let (clientState, serverState, now) = (pair.client.state, pair.server.state, pair.now)
        #expect(clientState == .connected)
        #expect(serverState == .connected)
        #expect(now == Timestamp.zero + .milliseconds(40))
        #expect(pair.events[0] == [.connected(peerCertificateDER: Certificates.server.der)])
        #expect(pair.events[1] == [.connected(peerCertificateDER: Certificates.client.der)])
        try pair.client.send(([1, 2, 3] as [UInt8]).span.bytes)
        try pair.server.send(([4, 5] as [UInt8]).span.bytes)
        pair.run()
        #expect(pair.received == [[[4, 5]], [[1, 2, 3]]])
        let facts = (pair.client.cipherSuite, pair.client.version, pair.client.srtpProfile, pair.server.cipherSuite)
        #expect(facts.0 == "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")
        #expect(facts.1 == "DTLSv1.2")
        #expect(facts.2 == "SRTP_AEAD_AES_128_GCM")
        #expect(facts.3 == facts.0)
    }
}
