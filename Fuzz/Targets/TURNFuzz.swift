// SPDX-License-Identifier: Apache-2.0
import ICE
import Wire

/// Messages of a TURN server to a client that waits for an answer, and the same bytes as a stream.
enum TURNFuzz {
    private static let peer = SocketAddress(ip: .v4(0xC000_0202), port: 6000)

    /// A client that has asked for an allocation and a permission, and the identifier of its request.
    private static func client(_ transport: TURNServer.Transport) -> (TURNClient, STUNTransactionID) {
        let credentials = LongTermCredentials(username: "user", password: "pass")
        let address = SocketAddress(ip: .v4(0xC633_6401), port: 3478)
        var client = TURNClient(
            server: TURNServer(address: address, transport: transport, credentials: credentials, families: .both),
            entropy: Entropy(seed: 1))
        client.permit(peer, now: .zero)
        client.start(now: .zero)
        client.connected(now: .zero)
        var id = STUNTransactionID(high: 0, low: 0)
        drain(&client) { id = STUNMessage.transactionID(in: $0) ?? id }
        return (client, id)
    }

    private static func drain(_ client: inout TURNClient, _ body: (RawSpan) -> Void = { _ in }) {
        var count = 0
        while true {
            switch client.nextOutput() {
            case .transmit(let bytes): body(bytes.span.bytes)
            case .event: break
            case .wait: return
            }
            count += 1
            precondition(count < 1000, "a client that says too much")
        }
    }

    static func run(_ bytes: [UInt8]) {
        for transport in [TURNServer.Transport.udp, .tcp] {
            var (client, id) = client(transport)
            // As it is, as the answer to what the client asked, and to what it asks then.
            _ = client.receive(bytes.span.bytes, now: .zero)
            drain(&client) { id = STUNMessage.transactionID(in: $0) ?? id }
            for _ in 0..<2 {
                guard var message = try? STUNMessage(decoding: bytes.span.bytes) else { break }
                message.transactionID = id
                _ = client.receive(message.encoded().span.bytes, now: .zero)
                drain(&client) { id = STUNMessage.transactionID(in: $0) ?? id }
            }
            client.bind(peer, now: .zero)
            if case .data(_, let range) = client.receive(bytes.span.bytes, now: .zero) {
                precondition(range.upperBound <= bytes.count, "data behind the message")
            }
            client.send(Array(bytes.prefix(1200)), to: peer, now: .zero)
            drain(&client)
            for _ in 0..<20 {
                guard let deadline = client.nextDeadline else { break }
                client.handleTimeout(now: deadline)
                drain(&client)
            }
        }
        var reader = TURNStreamReader()
        for start in stride(from: 0, to: bytes.count, by: 7) {
            reader.append(Array(bytes[start..<min(start + 7, bytes.count)]).span.bytes)
            while let range = reader.next() {
                precondition(range.upperBound <= reader.buffer.count, "a message behind the stream")
            }
            precondition(reader.buffer.count < 66_000, "a stream that is kept")
        }
    }

    static var seeds: [[UInt8]] {
        let id = STUNTransactionID(high: 1, low: 2)
        var challenge = STUNMessage(.error, .allocate, transactionID: id)
        challenge.append(STUNErrorCode.unauthenticated)
        challenge.append(.realm, "example.org")
        challenge.append(.nonce, "obMatJos2wAAAnonce")
        challenge.append(.passwordAlgorithms, UInt64(0x0001_0000_0002_0000))
        var success = STUNMessage(.success, .allocate, transactionID: id)
        success.append(xorAddress: peer, as: .xorRelayedAddress)
        success.append(xorAddress: peer)
        success.append(.lifetime, UInt32(600))
        var data = STUNMessage(.indication, .data, transactionID: id)
        data.append(xorAddress: peer, as: .xorPeerAddress)
        data.append(.data, "data")
        return [challenge.encoded(), success.encoded(), data.encoded(), [0x40, 0, 0, 3, 1, 2, 3, 0]]
    }
}
