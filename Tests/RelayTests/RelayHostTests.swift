// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@testable import Relay

@Suite("The server as a machine of a simulated network")
struct RelayHostTests {
    private static func drain(_ host: inout RelayHost) -> (
        datagrams: [Datagram], written: [[UInt8]], deadline: Timestamp?
    ) {
        var datagrams: [Datagram] = []
        var written: [[UInt8]] = []
        while true {
            switch host.nextOutput() {
            case .transmit(let datagram): datagrams.append(datagram)
            case .event(.write(_, let bytes)): written.append(bytes)
            case .wait(let deadline): return (datagrams, written, deadline)
            }
        }
    }

    @Test("a client on datagrams and one on a stream reach a peer, and their allocations end")
    func exchange() throws {
        var host = RelayHost(configuration: RelayBench.configuration(), entropy: Entropy(seed: 1))
        var now = Timestamp.zero
        for transport in [RelayClient.Transport.udp, .tcp] {
            let client = RelayBench.client(1, transport)
            func ask(_ message: STUNMessage, _ nonce: [UInt8]?, _ host: inout RelayHost) throws -> STUNMessage {
                var message = message
                var integrity: STUNIntegrity?
                if let nonce {
                    message.append(.username, "alice")
                    message.append(.realm, RelayBench.realm)
                    message.attributes.append(STUNAttribute(.nonce, nonce))
                    integrity = STUNIntegrity(key: RelayBench.alice.key(realm: RelayBench.realm))
                }
                let bytes = message.encoded(integrity: integrity)
                if transport == .udp {
                    host.receive(bytes.span.bytes, from: client.address, to: client.server, now: now)
                } else {
                    for start in stride(from: 0, to: bytes.count, by: 9) {
                        let part = Array(bytes[start..<min(start + 9, bytes.count)])
                        let isSound = host.receive(part.span.bytes, onStreamOf: client, now: now)
                        #expect(isSound)
                    }
                }
                let out = Self.drain(&host)
                let answer = try #require(transport == .udp ? out.datagrams.first?.payload : out.written.first)
                return try STUNMessage(decoding: answer.span.bytes)
            }
            let udp = STUNAttribute(.requestedTransport, [17, 0, 0, 0])
            func request(_ method: STUNMessage.Method, _ number: UInt32) -> STUNMessage {
                STUNMessage(.request, method, transactionID: STUNTransactionID(high: number, low: 1), attributes: [udp])
            }
            let nonce = try #require(try ask(request(.allocate, 1), nil, &host).first(.nonce))
            let relayed = try #require(try ask(request(.allocate, 2), nonce, &host).relayed.first)
            var permission = request(.createPermission, 3)
            permission.append(xorAddress: peerA, as: .xorPeerAddress)
            #expect(try ask(permission, nonce, &host).messageClass == .success)
            host.receive([1, 2, 3].span.bytes, from: peerA, to: relayed, now: now)
            let out = Self.drain(&host)
            #expect((transport == .udp ? out.datagrams.count : out.written.count) == 1)
            #expect(out.deadline == now + .seconds(600))
        }
        let isSound = host.receive(
            ([255, 0, 0, 0] as [UInt8]).span.bytes, onStreamOf: RelayBench.client(9, .tcp), now: now)
        #expect(!isSound)
        host.streamClosed(RelayBench.client(1, .tcp), now: now)
        #expect(host.metrics.allocations == 1)
        now += .seconds(600)
        host.handleTimeout(now: now)
        #expect(host.metrics.allocations == 0)
        #expect(Self.drain(&host).deadline == nil)
    }
}
