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
        try pair.client.send(bytes(1, 2, 3).span.bytes)
        try pair.server.send(bytes(4, 5).span.bytes)
        pair.run()
        #expect(pair.received == [[[4, 5]], [[1, 2, 3]]])
        let timeouts = (pair.client.nextTimeout, pair.server.nextTimeout)
        #expect(timeouts == (nil, nil))
    }

    @Test("AES-128-GCM, DTLS 1.2 and an SRTP profile are agreed on, and both sides derive the same keys")
    func negotiates() throws {
        var pair = try makePair()
        let before = (pair.client.cipherSuite, pair.client.exportKeyingMaterial(label: "x", count: 16))
        #expect(before.0 == nil)
        #expect(before.1 == nil)
        pair.start()
        pair.run { $0.isConnected }
        let facts = (pair.client.cipherSuite, pair.client.version, pair.client.srtpProfile, pair.server.cipherSuite)
        #expect(facts.0 == "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")
        #expect(facts.1 == "DTLSv1.2")
        #expect(facts.2 == .aeadAES128GCM)
        #expect(facts.3 == facts.0)
        let label = "EXTRACTOR-dtls_srtp"
        let keys = (
            pair.client.exportKeyingMaterial(label: label, count: 56),
            pair.server.exportKeyingMaterial(label: label, count: 56)
        )
        #expect(keys.0?.count == 56)
        #expect(keys.0 == keys.1)
    }

    @Test("no datagram of any flight exceeds the MTU", arguments: [256, 400, 576, 1200, 1472])
    func keepsToMTU(mtu: Int) throws {
        var pair = try makePair(mtu: mtu)
        pair.start()
        pair.run { $0.isConnected }
        let connected = pair.isConnected
        #expect(connected)
        #expect(pair.log.map(\.bytes.count).max() ?? 0 <= mtu)
        try pair.client.send([UInt8](repeating: 7, count: mtu - DTLSTransport.recordOverhead).span.bytes)
        pair.run()
        #expect(pair.log.last?.bytes.count == mtu)
    }

    @Test("an MTU that handshake messages cannot be cut to is refused")
    func refusesSmallMTU() {
        #expect(throws: DTLSError.mtuTooSmall(minimum: 256)) {
            _ = try DTLSTransport(
                role: .client, certificate: Certificates.client, expectedFingerprints: nil, mtu: 255)
        }
    }

    @Test("a handshake gets through loss, repetition and disorder", arguments: 1...60)
    func survivesBadLinks(seed: Int) throws {
        let link = Link(loss: 0.25, duplication: 0.2, latency: .milliseconds(20), jitter: .milliseconds(60))
        var pair = try makePair(
            link: link, seed: UInt64(seed), mtu: seed.isMultiple(of: 2) ? 300 : 1200, retransmission: .milliseconds(100)
        )
        pair.start()
        pair.run { $0.isConnected }
        let states = (pair.client.state, pair.server.state)
        #expect(states == (.connected, .connected), "seed \(seed)")
        // And data flows afterwards, whatever is still under way.
        pair.link = Link()
        pair.run(for: .seconds(5))
        try pair.client.send(bytes(1).span.bytes)
        try pair.server.send(bytes(2).span.bytes)
        pair.run(for: .seconds(5))
        #expect(pair.received == [[[2]], [[1]]], "seed \(seed)")
        #expect(pair.events.map(\.count) == [1, 1])
    }

    @Test("a ClientHello that never arrives is repeated once each interval, which doubles, and then given up")
    func repeatsOnVirtualTime() throws {
        var pair = try makePair(link: Link(loss: 1), retransmission: .milliseconds(100))
        var times: [Int64] = []
        pair.start()
        var sent = pair.log.count
        #expect(sent == 1)
        while let deadline = pair.client.nextTimeout, times.count < 100 {
            // A call too early does nothing.
            pair.now = Timestamp(nanoseconds: deadline.nanoseconds - 1)
            pair.client.handleTimeout(now: pair.now)
            pair.drain()
            #expect(pair.log.count == sent)
            pair.now = deadline
            pair.client.handleTimeout(now: deadline)
            pair.drain()
            if pair.log.count == sent { break }
            #expect(pair.log.count == sent + 1)
            sent = pair.log.count
            times.append(deadline.nanoseconds / 1_000_000)
        }
        // 100 ms, then twice as long each time up to 60 s; OpenSSL gives up after twelve repetitions.
        #expect(
            times == [
                100, 300, 700, 1500, 3100, 6300, 12700, 25500, 51100, 102_300, 162_300, 222_300,
            ])
        let state = pair.client.state
        #expect(state == .failed(.timedOut))
        #expect(pair.events[0] == [.failed(.timedOut)])
        let timeout = pair.client.nextTimeout
        #expect(timeout == nil)
        // Each repetition is a new record.
        let numbers = pair.log.map { Array($0.bytes[5..<11]) }
        #expect(Set(numbers).count == numbers.count)
    }

    @Test("the interval follows the round-trip time and is never under 50 ms")
    func intervalFromRoundTrip() {
        #expect(
            DTLSTransport.Configuration.retransmissionInterval(roundTripTime: .milliseconds(200)) == .milliseconds(300))
        #expect(
            DTLSTransport.Configuration.retransmissionInterval(roundTripTime: .microseconds(90)) == .milliseconds(50))
    }

    @Test("a round-trip time known from ICE replaces the configured interval")
    func startsWithRoundTrip() throws {
        var client = try DTLSTransport(role: .client, certificate: Certificates.client, expectedFingerprints: nil)
        client.start(now: .zero, roundTripTime: .milliseconds(100))
        let timeout = client.nextTimeout
        #expect(timeout == Timestamp.zero + .milliseconds(150))
    }

    @Test("a lost last flight is repeated when the client asks again")
    func lastFlightLost() throws {
        var pair = try makePair()
        pair.start()
        pair.run { $0.server.state == .connected }
        // The server's Finished is on its way; lose it.
        pair.dropInFlight()
        pair.run { $0.isConnected }
        let (connected, repeats) = (pair.isConnected, pair.client.statistics.retransmissions)
        #expect(connected)
        #expect(repeats == 1)
    }

    @Test("secrets go to those who ask, and only to them")
    func keyLog() throws {
        let lines = Lines()
        var configuration = DTLSTransport.Configuration()
        configuration.keyLog = { lines.append($0) }
        var pair = Pair(
            try DTLSTransport(
                role: .client, certificate: Certificates.client,
                expectedFingerprints: [Certificates.server.fingerprint], configuration: configuration),
            try DTLSTransport(
                role: .server, certificate: Certificates.server,
                expectedFingerprints: [Certificates.client.fingerprint]))
        pair.start()
        pair.run { $0.isConnected }
        #expect(lines.all.count == 1)
        #expect(lines.all.first?.hasPrefix("CLIENT_RANDOM ") == true)
    }
}
