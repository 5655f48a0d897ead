// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@testable import Relay

@Suite("Binding requests")
struct RelayBindingTests {
    private func binding(
        _ bench: RelayBench, _ client: RelayClient, _ fill: (inout STUNMessage) -> Void = { _ in }
    ) -> (sent: RelayBench.Sent, message: STUNMessage)? {
        var request = STUNMessage(.request, transactionID: STUNTransactionID(high: 7, low: 8))
        fill(&request)
        guard let sent = bench.send(request.encoded(fingerprint: false), from: client).first,
            let message = try? STUNMessage(decoding: sent.bytes.span.bytes)
        else { return nil }
        #expect(message.transactionID == request.transactionID)  // STUN-5-03
        return (sent, message)
    }

    // STUN-6.3.1.1-01, -05, STUN-12-01, -02, -03, STUN-14.2-01, NATDISC-6.1-01, NATDISC-6-01.
    @Test("the own address comes back without credentials", arguments: RelayClient.Transport.allCases, [false, true])
    func ownAddress(transport: RelayClient.Transport, v6: Bool) throws {
        let client = RelayBench.client(3, transport, v6: v6)
        let (sent, message) = try #require(binding(RelayBench(), client))
        #expect(message.messageClass == .success && message.method == .binding)
        #expect(message.xorMappedAddress == client.address && message.mappedAddress == client.address)
        #expect(sent.route == .client(client) && sent.destination == client.address)
        #expect(message.first(.software) != nil)  // STUN-6.3.1.1-04
        #expect(message.first(.otherAddress) == nil && message.first(.responseOrigin) == nil)
    }

    // STUN-6.3.1-01, STUN-6.3.1.1-02, STUN-14.13-01, NATDISC-6-02.
    @Test("what must be understood and is not is listed", arguments: [[0x7FF0], [0x7FF0, 0x7FF1], [0x0003], [0x0026]])
    func unknown(kinds: [UInt16]) throws {
        let answer = try #require(
            binding(RelayBench(), RelayBench.client()) { message in
                for kind in kinds + kinds { message.append(.init(rawValue: kind), UInt32(0)) }
            })
        #expect(answer.message.code == 420)
        #expect(answer.message.first(.unknownAttributes) == kinds.flatMap { [UInt8($0 >> 8), UInt8($0 & 255)] })
    }

    @Test("optional attributes of no meaning do not matter")
    func optional() {
        let answer = binding(RelayBench(), RelayBench.client()) { $0.append(.init(rawValue: 0xFFEE), UInt32(1)) }
        #expect(answer?.message.messageClass == .success)
    }

    // STUN-12-04, TURN-5-10.
    @Test("a request from before RFC 5389 is answered, one for an allocation is not")
    func classic() throws {
        let bench = RelayBench()
        let client = RelayBench.client()
        let tail = [UInt8](1...16)
        let sent = bench.send([0, 1, 0, 0] + tail, from: client)
        #expect(sent.count == 1)
        let expected: [UInt8] = [1, 1, 0, 12] + tail + [0, 1, 0, 8, 0, 1, 0x27, 0x10, 5, 5, 5, 5]
        #expect(sent.first?.bytes == expected)
        #expect(bench.send([0, 3, 0, 0] + tail, from: client).isEmpty)
    }

    @Test("what is no request for a server gets no answer")
    func silence() {
        let bench = RelayBench()
        let client = RelayBench.client()
        let id = STUNTransactionID(high: 1, low: 2)
        let messages = [
            STUNMessage(.indication, transactionID: id), STUNMessage(.success, transactionID: id),
            STUNMessage(.error, transactionID: id), STUNMessage(.request, .init(rawValue: 0x23), transactionID: id),
            STUNMessage(.indication, .allocate, transactionID: id), STUNMessage(.indication, .data, transactionID: id),
        ]
        for message in messages { #expect(bench.send(message.encoded(), from: client).isEmpty) }
        #expect(bench.core.metrics.dropped(.unexpected) == messages.count)
        var wrong = STUNMessage(.request, transactionID: id).encoded()
        wrong[wrong.count - 1] ^= 1
        #expect(bench.send(wrong, from: client).isEmpty)
        for first in [0x10, 0x14, 0x50, 0x80, 0xC0] as [UInt8] {
            #expect(bench.send([first] + [UInt8](repeating: 0, count: 30), from: client).isEmpty)
        }
    }

    // MARK: - RFC 5780

    private static let ends = (0..<4).map {
        SocketAddress(ip: .v4($0 < 2 ? 0x0102_0304 : 0x0102_0305), port: $0 % 2 == 0 ? 3478 : 3479)
    }

    private func discovering() -> RelayBench {
        var configuration = RelayBench.configuration()
        configuration.discovery = .init(addresses: [.v4(0x0102_0304), .v4(0x0102_0305)], ports: [3478, 3479])
        return RelayBench(configuration)
    }

    // NATDISC-6.1-02 to -07, STUN-6.3.1.2-01.
    @Test("answers come from the end that was asked for", arguments: 0..<4, [nil, 0, 2, 4, 6] as [UInt32?])
    func origin(end: Int, flags: UInt32?) throws {
        var client = RelayBench.client()
        client.server = Self.ends[end]
        let (sent, message) = try #require(
            binding(discovering(), client) { message in
                if let flags { message.append(.changeRequest, flags) }
            })
        let bits = Int(flags ?? 0)
        let origin = Self.ends[end ^ (bits & 4 != 0 ? 2 : 0) ^ (bits & 2 != 0 ? 1 : 0)]
        var from = client
        from.server = origin
        #expect(sent.route == .client(from) && sent.destination == client.address)
        #expect(message.first(.responseOrigin) == PeerAddress.plain(origin))
        #expect(message.first(.otherAddress) == PeerAddress.plain(Self.ends[end ^ 3]))
        #expect(message.mappedAddress == client.address)
    }

    // NATDISC-7.5-01, NATDISC-6.1-08, -09.
    @Test("the answer goes to another port, or is padded, but never both")
    func responsePortAndPadding() throws {
        let bench = discovering()
        let client = RelayBench.client()
        let other = try #require(binding(bench, client) { $0.append(.responsePort, UInt32(4711) << 16) })
        #expect(other.sent.destination == SocketAddress(ip: client.address.ip, port: 4711))
        let padding = STUNAttribute(.padding, [UInt8](repeating: 65, count: 1500))
        let padded = try #require(binding(bench, client) { $0.attributes.append(padding) })
        #expect(padded.message.first(.padding)?.count == 1500)
        let both = try #require(
            binding(bench, client) { message in
                message.attributes.append(padding)
                message.append(.responsePort, UInt32(4711) << 16)
            })
        #expect(both.message.code == 400 && both.sent.destination == client.address)
    }

    @Test("a stream cannot be answered from elsewhere")
    func stream() {
        let answer = binding(discovering(), RelayBench.client(1, .tcp)) { $0.append(.changeRequest, UInt32(6)) }
        #expect(answer?.message.code == 420)
    }
}
