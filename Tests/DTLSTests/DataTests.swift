// SPDX-License-Identifier: Apache-2.0
import DTLS
import Testing
import Wire

@Suite struct DataTests {
    @Test("a thousand records of all sizes arrive whole and in order, both ways")
    func manyRecords() throws {
        var pair = try makePair()
        pair.start()
        pair.run { $0.isConnected }
        var entropy = Entropy(seed: 5)
        var sent: [[[UInt8]]] = [[], []]
        let longest = pair.client.maximumPlaintextLength
        for round in 0..<1000 {
            let count = round < 20 ? round + 1 : Int.random(in: 1...longest, using: &entropy)
            let message = entropy.bytes(count)
            sent[1].append(message)
            try pair.client.send(message.span.bytes)
            sent[0].append(Array(message.reversed()))
            try pair.server.send(Array(message.reversed()).span.bytes)
        }
        pair.run()
        #expect(pair.received[0] == sent[0])
        #expect(pair.received[1] == sent[1])
    }

    @Test("a record is 37 bytes longer than its plaintext")
    func overhead() throws {
        var pair = try makePair()
        pair.start()
        pair.run { $0.isConnected }
        try pair.client.send([UInt8](repeating: 0, count: 1163).span.bytes)
        pair.drain()
        #expect(pair.log.last?.bytes.count == 1163 + DTLSTransport.recordOverhead)
    }

    @Test("data is refused before and after the session, when empty silently, and when too long by name")
    func refusals() throws {
        var pair = try makePair()
        #expect(throws: DTLSError.notConnected) { try pair.client.send(bytes(1).span.bytes) }
        pair.start()
        #expect(throws: DTLSError.notConnected) { try pair.client.send(bytes(1).span.bytes) }
        pair.run { $0.isConnected }
        let sent = pair.log.count
        try pair.client.send([UInt8]().span.bytes)
        pair.drain()
        #expect(pair.log.count == sent)
        let limit = pair.client.maximumPlaintextLength
        try pair.client.send([UInt8](repeating: 0, count: limit).span.bytes)
        #expect(throws: DTLSError.plaintextTooLong(limit: limit)) {
            try pair.client.send([UInt8](repeating: 0, count: limit + 1).span.bytes)
        }
        pair.client.close()
        pair.client.close()
        #expect(throws: DTLSError.notConnected) { try pair.client.send(bytes(1).span.bytes) }
    }

    @Test("closing tells the peer, which answers; both are then closed", arguments: [Pair.Side.client, .server])
    func closes(side: Pair.Side) throws {
        var pair = try makePair()
        pair.start()
        pair.run { $0.isConnected }
        if side == .client { pair.client.close() } else { pair.server.close() }
        pair.run()
        let states = (pair.client.state, pair.server.state)
        #expect(states == (.closed, .closed))
        #expect(pair.events[1 - side.rawValue].last == .closed)
        #expect(pair.events[side.rawValue].count == 1)
    }

    @Test(
        "a session at rest, without record buffers, still answers what comes late",
        arguments: [Pair.Side.client, .server])
    func rest(side: Pair.Side) throws {
        var pair = try makePair()
        pair.start()
        pair.run { $0.isConnected }
        // A record each way: from here on OpenSSL does not write.
        try pair.client.send(bytes(0).span.bytes)
        pair.run(for: .seconds(1))
        try pair.server.send(bytes(0).span.bytes)
        pair.run(for: .seconds(1))

        // The whole handshake once more, and protected records of every kind that nobody sent.
        for (side, bytes) in pair.log { pair.deliver(bytes, to: side) }
        for type in 20...22 as ClosedRange<UInt8> {
            let forged = [type, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 1, type, 0, 40] + [UInt8](repeating: type, count: 40)
            pair.deliver(forged, to: .client)
            pair.deliver(forged, to: .server)
        }
        pair.run(for: .seconds(5))
        let isConnected = pair.isConnected
        #expect(isConnected)
        try pair.client.send(bytes(1, 2).span.bytes)
        try pair.server.send(bytes(3).span.bytes)
        pair.run(for: .seconds(1))
        let received = pair.received.map(\.last)
        #expect(received == [bytes(3), bytes(1, 2)])
        if side == .client { pair.client.close() } else { pair.server.close() }
        pair.run(for: .seconds(1))
        let states = (pair.client.state, pair.server.state)
        #expect(states == (.closed, .closed))
    }

    @Test("a session can be closed at any time before it is connected")
    func closesEarly() throws {
        var pair = try makePair()
        pair.client.close()
        pair.start()
        pair.run()
        let (state, timeout) = (pair.client.state, pair.client.nextTimeout)
        #expect(state == .closed)
        #expect(timeout == nil)
        #expect(pair.log.isEmpty)

        var second = try makePair()
        second.start()
        second.client.close()
        second.run(for: .seconds(1))
        let states = (second.client.state, second.server.state)
        #expect(states.0 == .closed)
        #expect(states.1 == .handshaking)
    }

    @Test("certificates differ, survive PEM, and are refused with the wrong key")
    func pem() throws {
        let first = try DTLSCertificate.generate()
        let second = try DTLSCertificate.generate(commonName: "test", days: 1)
        #expect(first.fingerprint != second.fingerprint)
        let copy = try DTLSCertificate(certificatePEM: first.certificatePEM, privateKeyPEM: first.privateKeyPEM)
        #expect(copy.der == first.der)
        #expect(copy.fingerprint == first.fingerprint)
        #expect(throws: DTLSError.self) {
            try DTLSCertificate(certificatePEM: first.certificatePEM, privateKeyPEM: second.privateKeyPEM)
        }
        #expect(throws: DTLSError.self) { try DTLSCertificate(certificatePEM: "", privateKeyPEM: "") }
        #expect(throws: DTLSError.self) {
            try DTLSCertificate(certificatePEM: first.certificatePEM, privateKeyPEM: "-----BEGIN PRIVATE KEY-----\n")
        }
    }
}
