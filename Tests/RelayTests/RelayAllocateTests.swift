// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@testable import Relay

@Suite("Allocations (RFC 8656 §6 to §8)")
struct RelayAllocateTests {
    /// What an Allocate request holds, and the code of the answer.
    struct Refusal: CustomTestStringConvertible, Sendable {
        let clause: String
        let code: Int
        let attributes: [STUNAttribute]
        var testDescription: String { "\(clause): \(code)" }

        init(_ clause: String, _ code: Int, _ attributes: (STUNAttribute.Kind, [UInt8])...) {
            self.clause = clause
            self.code = code
            self.attributes = attributes.map { STUNAttribute($0.0, $0.1) }
        }
    }

    private static let udp: (STUNAttribute.Kind, [UInt8]) = (.requestedTransport, [17, 0, 0, 0])
    private static let token: (STUNAttribute.Kind, [UInt8]) = (.reservationToken, [1, 2, 3, 4, 5, 6, 7, 8])
    private static let v6: (STUNAttribute.Kind, [UInt8]) = (.requestedAddressFamily, [2, 0, 0, 0])
    private static let both: (STUNAttribute.Kind, [UInt8]) = (.additionalAddressFamily, [2, 0, 0, 0])

    @Test(
        "a request that makes no sense, or asks for too much, is refused with its code",
        arguments: [
            Refusal("TURN-7.2-03", 400), Refusal("TURN-7.2-03", 400, (.requestedTransport, [17, 0])),
            Refusal("TURN-7.2-03", 400, (.requestedTransport, [17, 0, 0, 0, 0, 0, 0, 0])),
            Refusal("TURN-7.2-04", 442, (.requestedTransport, [99, 0, 0, 0])),
            Refusal("TURN-7.2-04", 442, (.requestedTransport, [6, 0, 0, 0])),
            Refusal("TURN-7.2-06", 400, udp, token, (.evenPort, [0])), Refusal("TURN-7.2-06", 400, udp, token, v6),
            Refusal("TURN-7.2-06", 400, udp, token, both), Refusal("TURN-7.2-07", 508, udp, token),
            Refusal("TURN-7.2-07", 400, udp, (.reservationToken, [1])), Refusal("TURN-7.2-08", 400, udp, v6, both),
            Refusal("TURN-7.2-09", 440, udp, (.requestedAddressFamily, [3, 0, 0, 0])),
            Refusal("TURN-7.2-09", 400, udp, (.requestedAddressFamily, [2])),
            Refusal("TURN-7.2-11", 400, udp, both, (.evenPort, [0x80])),
            Refusal("TURN-7.2-12", 400, udp, (.additionalAddressFamily, [1, 0, 0, 0])),
            Refusal("TURN-7.2-12", 400, udp, (.additionalAddressFamily, [3, 0, 0, 0])),
            Refusal("TURN-7.2-14", 400, udp, (.evenPort, [])), Refusal("TURN-7.2-20", 400, udp, (.lifetime, [1])),
            Refusal("STUN-6.3.1-01", 420, udp, (.init(rawValue: 0x7FF0), [])),
        ])
    func refusals(refusal: Refusal) {
        let caller = RelayCaller(RelayBench())
        let answer = caller.ask(.allocate) { $0.attributes += refusal.attributes }
        #expect(answer?.code == refusal.code)
        #expect(caller.bench.core.metrics.allocations == 0 && caller.bench.sockets.isEmpty)
    }

    // TURN-7.2-10, -17, -22, TURN-6-03, TURN-18.1-01, TURN-5-12.
    @Test(
        "an allocation is an IPv4 address on each transport", arguments: RelayClient.Transport.allCases, [false, true])
    func allocation(transport: RelayClient.Transport, v6: Bool) throws {
        let caller = RelayCaller(RelayBench(), RelayBench.client(5, transport, v6: v6))
        let answer = try #require(
            caller.ask(.allocate) { $0.attributes.append(STUNAttribute(.requestedTransport, [17, 9, 9, 9])) })
        #expect(answer.messageClass == .success && answer.lifetime == 600)
        #expect(answer.xorMappedAddress == caller.client.address)
        let relayed = try #require(answer.relayed.first)
        #expect(answer.relayed.count == 1 && relayed.ip == RelayBench.relayedV4 && relayed.port >= 49152)
        #expect(caller.bench.sockets[relayed] != nil)
        #expect(answer.first(.reservationToken) == nil)
    }

    // TURN-7.2-13.
    @Test("both families are allocated, or it is said why one is not")
    func dual() throws {
        let caller = RelayCaller(RelayBench())
        let attribute = STUNAttribute(.additionalAddressFamily, [2, 0, 0, 0])
        func ask(_ caller: RelayCaller) -> STUNMessage? {
            caller.ask(.allocate) { message in
                message.attributes += [STUNAttribute(.requestedTransport, [17, 0, 0, 0]), attribute]
            }
        }
        let answer = try #require(ask(caller))
        #expect(answer.relayed.map(\.ip) == [RelayBench.relayedV4, RelayBench.relayedV6])
        #expect(answer.first(.addressErrorCode) == nil)

        let full = RelayCaller(RelayBench())
        full.bench.refuses = { $0.ip.family == .v6 }
        let half = try #require(ask(full))
        #expect(half.relayed.map(\.ip) == [RelayBench.relayedV4])
        #expect(half.first(.addressErrorCode).map { Array($0.prefix(4)) } == [2, 0, 5, 8])

        var configuration = RelayBench.configuration()
        configuration.relayedV6 = nil
        let old = RelayCaller(RelayBench(configuration))
        let lone = try #require(ask(old))
        #expect(lone.relayed.count == 1 && lone.first(.addressErrorCode).map { Array($0.prefix(4)) } == [2, 0, 4, 40])
        #expect(old.allocate { $0.append(.requestedAddressFamily, UInt32(2 << 24)) } == nil)

        let none = RelayCaller(RelayBench())
        none.bench.refuses = { _ in true }
        #expect(ask(none)?.code == 508)
        #expect(none.bench.core.metrics.allocations == 0)
    }

    // TURN-7.2-09 with no family named, TURN-7.2-10.
    @Test("a server without IPv4 allocates IPv6 to who asks for it alone")
    func onlyV6() {
        var configuration = RelayBench.configuration()
        configuration.relayedV4 = nil
        let caller = RelayCaller(RelayBench(configuration))
        let udp = STUNAttribute(.requestedTransport, [17, 0, 0, 0])
        #expect(caller.ask(.allocate) { $0.attributes.append(udp) }?.code == 440)
        #expect(caller.allocate { $0.append(.requestedAddressFamily, UInt32(2 << 24)) }?.ip == RelayBench.relayedV6)
    }

    // TURN-7.2-14, -15, -16, -19.
    @Test("even ports are even, and the next one can be kept for half a minute")
    func evenPorts() throws {
        let bench = RelayBench()
        var ports: [UInt16] = []
        for number in 0..<20 {
            let caller = RelayCaller(bench, RelayBench.client(number))
            let relayed = try #require(caller.allocate { $0.attributes.append(STUNAttribute(.evenPort, [0])) })
            #expect(relayed.port % 2 == 0)
            ports.append(relayed.port)
        }
        let steps = Set(zip(ports, ports.dropFirst()).map { Int($1) - Int($0) })
        #expect(steps.count > 15)
        for (number, wait) in [29, 32].enumerated() {
            let caller = RelayCaller(bench, RelayBench.client(100 + number))
            let answer = try #require(
                caller.ask(.allocate) { message in
                    message.attributes += [
                        STUNAttribute(.requestedTransport, [17, 0, 0, 0]), STUNAttribute(.evenPort, [0x80]),
                    ]
                })
            let first = try #require(answer.relayed.first)
            let token = try #require(answer.first(.reservationToken))
            #expect(first.port % 2 == 0 && token.count == 8)
            bench.pass(.seconds(wait))
            let other = RelayCaller(bench, RelayBench.client(200 + number), RelayBench.bob)
            let second = other.allocate { $0.attributes.append(STUNAttribute(.reservationToken, token)) }
            #expect(second == (wait < 30 ? SocketAddress(ip: first.ip, port: first.port + 1) : nil))
            // A token is good once.
            let third = RelayCaller(bench, RelayBench.client(300 + number))
            #expect(third.allocate { $0.attributes.append(STUNAttribute(.reservationToken, token)) } == nil)
        }
    }

    // TURN-7.2-05.
    @Test("DONT-FRAGMENT is understood")
    func dontFragment() {
        let caller = RelayCaller(RelayBench())
        #expect(caller.allocate { $0.append(.dontFragment) } != nil)
    }

    // TURN-7.2-20, -21, TURN-8.2-02.
    @Test(
        "a lifetime is never below the default nor above the maximum",
        arguments: [(nil, 600), (1, 600), (600, 600), (1200, 1200), (3600, 3600), (.max, 3600)] as [(UInt32?, UInt32)])
    func lifetimes(wanted: UInt32?, granted: UInt32) {
        let caller = RelayCaller(RelayBench())
        func fill(_ message: inout STUNMessage) {
            if let wanted { message.append(.lifetime, wanted) }
        }
        let answer = caller.ask(.allocate) { message in
            message.attributes.append(STUNAttribute(.requestedTransport, [17, 0, 0, 0]))
            fill(&message)
        }
        #expect(answer?.lifetime == granted)
        #expect(caller.ask(.refresh, fill)?.lifetime == granted)
        caller.bench.pass(.seconds(Int(granted) - 1))
        #expect(caller.bench.core.metrics.allocations == 1)
        caller.bench.pass(.seconds(1))
        #expect(caller.bench.core.metrics.allocations == 0 && caller.bench.sockets.isEmpty)
        #expect(caller.bench.core.metrics.allocationsExpired == 1)
    }

    // TURN-7.2-02, TURN-5-13, STUN-6.3.1-02.
    @Test("the same request twice is one allocation, another request on its 5-tuple is refused")
    func idempotence() throws {
        let caller = RelayCaller(RelayBench())
        caller.meet()
        let message = STUNMessage(
            .request, .allocate, transactionID: caller.newID(),
            attributes: [STUNAttribute(.requestedTransport, [17, 0, 0, 0])])
        let bytes = caller.signed(message)
        let first = try #require(caller.answer(to: bytes))
        caller.bench.pass(.seconds(30))
        let second = try #require(caller.answer(to: bytes))
        #expect(first.relayed == second.relayed && first.relayed.count == 1 && second.lifetime == 570)
        #expect(caller.ask(.allocate) { $0.attributes = message.attributes }?.code == 437)
        #expect(caller.bench.sockets.count == 1)
    }

    @Test("a request that is repeated while its socket is being made is answered once")
    func repeatedWhilePending() throws {
        let caller = RelayCaller(RelayBench())
        caller.meet()
        caller.bench.holdsSockets = true
        let message = STUNMessage(
            .request, .allocate, transactionID: caller.newID(),
            attributes: [STUNAttribute(.requestedTransport, [17, 0, 0, 0])])
        let bytes = caller.signed(message)
        #expect(caller.bench.send(bytes, from: caller.client).isEmpty)
        #expect(caller.bench.send(bytes, from: caller.client).isEmpty)
        #expect(caller.ask(.allocate) { $0.attributes = message.attributes }?.code == 437)
        #expect(caller.bench.answerSockets().count == 1)
        #expect(caller.bench.sockets.count == 1 && caller.bench.core.metrics.allocations == 1)
    }

    @Test("a stream that ends while its socket is being made leaves nothing behind")
    func endWhilePending() {
        let caller = RelayCaller(RelayBench(), RelayBench.client(1, .tcp))
        caller.meet()
        caller.bench.holdsSockets = true
        caller.allocate { $0.attributes.append(STUNAttribute(.evenPort, [0x80])) }
        caller.bench.core.streamClosed(caller.client)
        #expect(caller.bench.answerSockets().isEmpty)
        #expect(caller.bench.sockets.isEmpty && caller.bench.core.metrics.allocations == 0)
        #expect(caller.bench.core.ledger.freePorts(at: RelayBench.relayedV4) == 16_384)
    }

    @Test("ports that others hold are passed over, and given up after some")
    func takenPorts() throws {
        let caller = RelayCaller(RelayBench())
        var refused: Set<UInt16> = []
        caller.bench.refuses = { address in
            guard refused.count < 10 else { return false }
            refused.insert(address.port)
            return true
        }
        let relayed = try #require(caller.allocate())
        #expect(refused.count == 10 && !refused.contains(relayed.port))
        var configuration = RelayBench.configuration()
        configuration.ports = 50_000...50_003
        let bench = RelayBench(configuration)
        let callers = (0..<5).map { RelayCaller(bench, RelayBench.client($0)) }
        let all = callers.map { $0.allocate()?.port }
        #expect(Set(all.prefix(4)) == [50_000, 50_001, 50_002, 50_003] && all[4] == nil)
        #expect(callers[1].ask(.refresh) { $0.append(.lifetime, UInt32(0)) }?.lifetime == 0)
        #expect(callers[4].allocate()?.port == all[1])
    }

    // TURN-5-14.
    @Test("users, addresses and the server have no more allocations than they may")
    func quotas() {
        var configuration = RelayBench.configuration()
        configuration.limits.allocationsPerUser = 3
        configuration.limits.allocationsPerAddress = 5
        configuration.limits.allocations = 7
        let bench = RelayBench(configuration)
        let udp = STUNAttribute(.requestedTransport, [17, 0, 0, 0])
        func ask(_ number: Int, _ user: LongTermCredentials) -> Int? {
            RelayCaller(bench, RelayBench.client(number), user).ask(.allocate) { $0.attributes.append(udp) }?.code
        }
        #expect((0..<4).map { ask($0, RelayBench.alice) } == [nil, nil, nil, 486])
        // Two more of this address, then no more of it …
        #expect((10..<13).map { ask($0, RelayBench.bob) } == [nil, nil, 486])
        // … but one from another.
        #expect([50_000, 50_001].map { ask($0, RelayBench.bob) } == [nil, 486])
        bench.pass(.seconds(600))
        #expect(bench.core.metrics.allocations == 0)
        #expect((0..<4).map { ask($0, RelayBench.alice) } == [nil, nil, nil, 486])
    }

    // TURN-8.2-01, TURN-8.1-01.
    @Test("one family of two can be let go without the other")
    func partialRefresh() throws {
        let caller = RelayCaller(RelayBench())
        #expect(caller.allocate { $0.append(.additionalAddressFamily, UInt32(2 << 24)) } != nil)
        caller.permit(peerA, peerV6)
        caller.bind(0x4000, to: peerA)
        caller.bind(0x4001, to: peerV6)
        let end = caller.ask(.refresh) { message in
            message.append(.lifetime, UInt32(0))
            message.append(.requestedAddressFamily, UInt32(2 << 24))
        }
        #expect(end?.lifetime == 0)
        #expect(caller.bench.sockets.keys.map(\.ip) == [RelayBench.relayedV4])
        #expect(caller.bench.send(channelData(0x4000, [1]), from: caller.client).count == 1)
        #expect(caller.bench.send(channelData(0x4001, [1]), from: caller.client).isEmpty)
        for value in [2, 3] as [UInt32] {
            let answer = caller.ask(.refresh) { $0.append(.requestedAddressFamily, value << 24) }
            #expect(answer?.code == 443)
        }
        #expect(caller.ask(.refresh) { $0.append(.requestedAddressFamily, UInt32(1 << 24)) }?.lifetime == 600)
        #expect(caller.permit(peerV6)?.code == 443)
    }

    // TURN-8.2-02.
    @Test("an allocation that is let go is gone")
    func end() {
        let caller = RelayCaller(RelayBench())
        #expect(caller.allocate() != nil)
        #expect(caller.ask(.refresh) { $0.append(.lifetime, UInt32(0)) }?.lifetime == 0)
        #expect(caller.bench.sockets.isEmpty)
        #expect(caller.ask(.refresh)?.code == 437)
        #expect(caller.allocate() != nil)
    }

    @Test("an address outside stands for the one inside where a NAT translates")
    func external() throws {
        var configuration = RelayBench.configuration()
        configuration.relayedV4 = .init(.v4(0x0A00_0001), external: .v4(0x0101_0101))
        let caller = RelayCaller(RelayBench(configuration))
        let relayed = try #require(caller.allocate())
        #expect(relayed.ip == .v4(0x0101_0101))
        #expect(caller.bench.sockets[SocketAddress(ip: .v4(0x0A00_0001), port: relayed.port)] != nil)
    }
}
