// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@testable import Relay

@Suite("Permissions, channels and data (RFC 8656 §9 to §12)")
struct RelayDataTests {
    /// A caller with an IPv4 allocation, and its relayed address.
    private func allocated(
        _ client: RelayClient = RelayBench.client(), _ bench: RelayBench = RelayBench()
    ) throws -> (RelayCaller, SocketAddress) {
        let caller = RelayCaller(bench, client)
        return (caller, try #require(caller.allocate { $0.append(.lifetime, UInt32(3600)) }))
    }

    private func data(_ sent: RelayBench.Sent?) -> (peer: SocketAddress?, data: [UInt8]?) {
        guard let sent, let message = try? STUNMessage(decoding: sent.bytes.span.bytes), message.method == .data,
            message.messageClass == .indication
        else { return (nil, nil) }
        return (message.addresses(.xorPeerAddress).first, message.first(.data))
    }

    // MARK: - Permissions

    // TURN-10.2-01, -03, TURN-12.2-01, -02, -06, TURN-18.1-01.
    @Test("requests that lack a part, or name what cannot be, are refused")
    func refusals() throws {
        let (caller, _) = try allocated()
        #expect(caller.permit()?.code == 400)
        #expect(caller.ask(.createPermission) { $0.append(.xorPeerAddress, UInt16(1)) }?.code == 400)
        #expect(caller.permit(peerA, peerV6)?.code == 443)
        #expect(caller.bench.core.metrics.permissions == 0)
        #expect(caller.ask(.channelBind) { $0.append(.channelNumber, UInt32(0x4000 << 16)) }?.code == 400)
        #expect(caller.ask(.channelBind) { $0.append(xorAddress: peerA, as: .xorPeerAddress) }?.code == 400)
        for number in [0x0000, 0x3FFF, 0x5000, 0x7FFF, 0xFFFF] as [UInt16] {
            #expect(caller.bind(number, to: peerA)?.code == 400)
        }
        #expect(caller.bind(0x4000, to: peerV6)?.code == 443)
        #expect(caller.bind(0x4000, to: SocketAddress(ip: peerA.ip, port: 0))?.code == 400)
        #expect(caller.bench.core.metrics.channels == 0)
        let reserved = caller.ask(.channelBind) { message in
            message.append(.channelNumber, UInt32(0x4FFF << 16 | 0xABCD))
            message.append(xorAddress: peerA, as: .xorPeerAddress)
        }
        #expect(reserved?.messageClass == .success)
    }

    // TURN-9-01, -02, -03, -04, TURN-10.2-02, TURN-11.3-01.
    @Test("peers with a permission are heard, whatever their port, for five minutes")
    func permissions() throws {
        let bench = RelayBench()
        let (caller, relayed) = try allocated(RelayBench.client(), bench)
        let (_, other) = try allocated(RelayBench.client(1), bench)
        #expect(bench.sendFromPeer([1], from: peerA, to: relayed).isEmpty)
        #expect(caller.permit(peerA, peerB)?.messageClass == .success)
        for peer in [peerA, peerB, SocketAddress(ip: peerA.ip, port: 1)] {
            let sent = bench.sendFromPeer([1, 2, 3], from: peer, to: relayed)
            #expect(sent.count == 1 && sent.first?.route == .client(caller.client))
            let (from, payload) = data(sent.first)
            #expect(from == peer && payload == [1, 2, 3])
            #expect(bench.sendFromPeer([1], from: peer, to: other).isEmpty)
        }
        bench.pass(.seconds(299))
        #expect(bench.sendFromPeer([1], from: peerA, to: relayed).count == 1)
        caller.permit(peerB)
        bench.pass(.seconds(1))
        #expect(bench.sendFromPeer([1], from: peerA, to: relayed).isEmpty)
        #expect(bench.sendFromPeer([1], from: peerB, to: relayed).count == 1)
    }

    // MARK: - Send indications

    // TURN-11.2-01 to -05, TURN-14-01, TURN-6-04.
    @Test("a Send indication becomes a datagram, unless anything is wrong with it")
    func send() throws {
        let (caller, relayed) = try allocated()
        let socket = try #require(caller.bench.sockets[relayed])
        #expect(caller.indicate([1], to: peerA).isEmpty)
        caller.permit(peerA)
        for payload in [[], [1], [1, 2, 3], [UInt8](repeating: 9, count: 1201)] as [[UInt8]] {
            for dontFragment in [false, true] {
                let sent = caller.indicate(payload, to: peerA, dontFragment: dontFragment)
                #expect(
                    sent == [
                        .init(
                            route: .relayed(socket), destination: peerA, dontFragment: dontFragment, bytes: payload)
                    ])
            }
        }
        #expect(caller.indicate(nil, to: peerA).isEmpty)
        #expect(caller.indicate([1], to: nil).isEmpty)
        #expect(caller.indicate([1], to: peerB).isEmpty)
        #expect(caller.indicate([1], to: peerV6).isEmpty)
        #expect(caller.indicate([1], to: SocketAddress(ip: peerA.ip, port: 0)).isEmpty)
        var unknown = STUNMessage(.indication, .send, transactionID: caller.newID())
        unknown.append(xorAddress: peerA, as: .xorPeerAddress)
        unknown.attributes.append(STUNAttribute(.data, [1]))
        #expect(caller.bench.send(unknown.encoded(fingerprint: true), from: caller.client).count == 1)
        unknown.append(.init(rawValue: 0x7FF0))
        #expect(caller.bench.send(unknown.encoded(fingerprint: false), from: caller.client).isEmpty)
        // It refreshes nothing.
        for _ in 0..<30 {
            caller.bench.pass(.seconds(10))
            caller.indicate([1], to: peerA)
        }
        #expect(caller.bench.sendFromPeer([1], from: peerA, to: relayed).isEmpty)
        for _ in 0..<330 {
            caller.bench.pass(.seconds(10))
            caller.indicate([1], to: peerA)
        }
        #expect(caller.bench.core.metrics.allocations == 0)
    }

    // MARK: - Channels

    // TURN-12.2-03, -04, -05.
    @Test("a channel and a peer are bound to each other alone")
    func binding() throws {
        let (caller, relayed) = try allocated()
        #expect(caller.bind(0x4000, to: peerA)?.messageClass == .success)
        #expect(caller.bind(0x4000, to: peerB)?.code == 400)
        #expect(caller.bind(0x4000, to: SocketAddress(ip: peerA.ip, port: 1))?.code == 400)
        #expect(caller.bind(0x4001, to: peerA)?.code == 400)
        #expect(caller.bind(0x4000, to: peerA)?.messageClass == .success)
        #expect(caller.bind(0x4001, to: peerB)?.messageClass == .success)
        let sent = caller.bench.sendFromPeer([7], from: peerA, to: relayed)
        #expect(sent.first?.bytes == channelData(0x4000, [7]))
        // Once it lapsed either may be bound anew.
        caller.bench.pass(.seconds(601))
        #expect(caller.bind(0x4001, to: peerA)?.messageClass == .success)
        #expect(caller.bind(0x4000, to: peerB)?.messageClass == .success)
        #expect(caller.bench.sendFromPeer([7], from: peerA, to: relayed).first?.bytes == channelData(0x4001, [7]))
        #expect(caller.bench.core.metrics.channels == 2)
    }

    // TURN-12.1-01, TURN-12.5-01, -03, TURN-12.6-01, -02, -04, TURN-12-01.
    @Test("data goes through a channel both ways")
    func channelDataBothWays() throws {
        let (caller, relayed) = try allocated()
        caller.bind(0x4000, to: peerA)
        let bench = caller.bench
        let socket = try #require(bench.sockets[relayed])
        func toPeer(_ bytes: [UInt8]) -> [[UInt8]] {
            bench.send(bytes, from: caller.client).map { sent in
                #expect(sent.route == .relayed(socket) && sent.destination == peerA)
                return sent.bytes
            }
        }
        #expect(toPeer(channelData(0x4000, [1, 2, 3])) == [[1, 2, 3]])
        #expect(toPeer(channelData(0x4000, [])) == [[]])
        #expect(toPeer(channelData(0x4000, [1, 2, 3, 0, 0, 0], claimed: 3)) == [[1, 2, 3]])
        #expect(toPeer(channelData(0x4000, [1, 2, 3], claimed: 4)).isEmpty)
        for number in [0x4ABC, 0x5000, 0x7FFF] as [UInt16] { #expect(toPeer(channelData(number, [1])).isEmpty) }
        #expect(toPeer([0x40]).isEmpty && toPeer([0x40, 0, 0]).isEmpty)
        #expect(bench.sendFromPeer([5, 6], from: peerA, to: relayed).map(\.bytes) == [channelData(0x4000, [5, 6])])
        #expect(bench.sendFromPeer([], from: peerA, to: relayed).map(\.bytes) == [channelData(0x4000, [])])
        let elsewhere = SocketAddress(ip: peerA.ip, port: 9)
        #expect(data(bench.sendFromPeer([5], from: elsewhere, to: relayed).first).peer == elsewhere)
        #expect(bench.core.metrics.toPeers.packets == 3 && bench.core.metrics.toPeers.bytes == 6)
        #expect(bench.core.metrics.toClients.packets == 3 && bench.core.metrics.toClients.bytes == 3)
    }

    @Test("clients from before RFC 8656 can be served their channel numbers")
    func olderChannels() throws {
        var configuration = RelayBench.configuration()
        configuration.acceptsOlderChannels = true
        let (caller, relayed) = try allocated(RelayBench.client(), RelayBench(configuration))
        for number in [0x5000, 0x7FFF] as [UInt16] {
            let peer = SocketAddress(ip: peerA.ip, port: number)
            #expect(caller.bind(number, to: peer)?.messageClass == .success)
            #expect(caller.bench.send(channelData(number, [1, 2]), from: caller.client).map(\.bytes) == [[1, 2]])
            #expect(caller.bench.sendFromPeer([3], from: peer, to: relayed).map(\.bytes) == [channelData(number, [3])])
        }
        #expect(caller.bind(0x8000, to: peerB)?.code == 400)
        #expect(caller.bench.send(channelData(0x8000, [1]), from: caller.client).isEmpty)
    }

    @Test("trains of packets are relayed packet by packet and in order, channels and requests mixed")
    func trains() throws {
        let (caller, relayed) = try allocated()
        caller.bind(0x4000, to: peerA)
        caller.bind(0x4001, to: peerB)
        var train: [UInt8] = []
        for number in 0..<40 as Range<UInt8> {
            train += channelData(number % 5 == 0 ? 0x4001 : 0x4000, [number, 1, 2, 3])
        }
        train += channelData(0x4000, [40, 1])
        let sent = caller.bench.send(train, from: caller.client, segment: 8)
        let toA = sent.filter { $0.destination == peerA }.map { $0.bytes[0] }
        let toB = sent.filter { $0.destination == peerB }.map { $0.bytes[0] }
        #expect(toA == (0...40).filter { $0 % 5 != 0 || $0 == 40 } && toB == stride(from: 0, to: 40, by: 5).map { $0 })
        let back = caller.bench.sendFromPeer((0..<25).map { $0 }, from: peerA, to: relayed, segment: 10)
        #expect(
            back.map(\.bytes) == [
                channelData(0x4000, (0..<10).map { $0 }), channelData(0x4000, (10..<20).map { $0 }),
                channelData(0x4000, (20..<25).map { $0 }),
            ])
    }

    // TURN-12-02, TURN-12.6-03.
    @Test("data keeps neither a channel nor its permission alive")
    func channelLifetime() throws {
        let (caller, relayed) = try allocated()
        caller.bind(0x4000, to: peerA)
        func passes() -> (out: Bool, in: Bool) {
            (
                !caller.bench.send(channelData(0x4000, [1]), from: caller.client).isEmpty,
                !caller.bench.sendFromPeer([1], from: peerA, to: relayed).isEmpty
            )
        }
        for _ in 0..<29 {
            caller.bench.pass(.seconds(10))
            #expect(passes() == (true, true))
        }
        caller.bench.pass(.seconds(10))
        #expect(passes() == (true, false))
        caller.permit(peerA)
        caller.bench.pass(.seconds(295))
        #expect(passes() == (true, true))
        caller.permit(peerA)
        caller.bench.pass(.seconds(5))
        #expect(passes() == (false, true))
        // Unbound, the peer's data comes as an indication.
        #expect(data(caller.bench.sendFromPeer([1], from: peerA, to: relayed).first).data == [1])
    }

    // TURN-12.5-02.
    @Test("on streams ChannelData is padded, and the padding does not count", arguments: 1...7)
    func padding(count: Int) throws {
        let (caller, relayed) = try allocated(RelayBench.client(4, .tcp))
        caller.bind(0x4000, to: peerA)
        let payload = [UInt8](repeating: 7, count: count)
        let sent = caller.bench.sendFromPeer(payload, from: peerA, to: relayed)
        let padding = [UInt8](repeating: 0, count: -count & 3)
        #expect(sent.map(\.bytes) == [channelData(0x4000, payload) + padding])
        let out = caller.bench.send(channelData(0x4000, payload + padding, claimed: count), from: caller.client)
        #expect(out.map(\.bytes) == [payload])
    }

    @Test("a client's stream takes its allocation with it")
    func streamClosed() throws {
        let (caller, _) = try allocated(RelayBench.client(4, .tcp))
        caller.bench.core.streamClosed(caller.client)
        #expect(caller.bench.core.metrics.allocations == 0)
        #expect(caller.ask(.refresh)?.code == 437)
    }

    // MARK: - ICMP

    // TURN-11.5-01.
    @Test("ICMP errors are told to the client where the peer has a permission")
    func icmp() throws {
        let (caller, relayed) = try allocated()
        func report(_ type: UInt8, _ code: UInt8, _ information: UInt32 = 0, _ peer: SocketAddress = peerA) -> [UInt8]?
        {
            let sent = caller.bench.reportError(
                type: type, code: code, information: information, about: peer, at: relayed)
            guard let bytes = sent.first?.bytes, let message = try? STUNMessage(decoding: bytes.span.bytes) else {
                return nil
            }
            #expect(message.method == .data && message.addresses(.xorPeerAddress) == [peer])
            return message.first(.icmp)
        }
        #expect(report(3, 3) == nil)
        caller.bind(0x4000, to: peerA)
        // Seven bits of type, nine of code.
        #expect(report(3, 3, 77) == [0, 0, 6, 3, 0, 0, 0, 0])
        #expect(report(3, 4, 1400) == [0, 0, 6, 4, 0, 0, 5, 0x78])
        #expect(report(11, 0) == [0, 0, 22, 0, 0, 0, 0, 0])
        #expect(report(5, 0) == nil)
        #expect(report(3, 3, 0, peerB) == nil)
        #expect(caller.bench.core.metrics.icmpErrors == 3)
    }

    // MARK: - Bounds

    @Test("permissions and channels of an allocation are bounded; lapsed ones make room")
    func bounds() throws {
        var configuration = RelayBench.configuration()
        configuration.limits.permissions = 8
        configuration.limits.channels = 4
        let (caller, _) = try allocated(RelayBench.client(), RelayBench(configuration))
        func peer(_ number: UInt32) -> SocketAddress { SocketAddress(ip: .v4(0x0808_0800 + number), port: 1) }
        let codes = (0..<6 as Range<UInt16>).map { caller.bind(0x4000 + $0, to: peer(UInt32($0)))?.code }
        #expect(codes == [nil, nil, nil, nil, 508, 508])
        for number in 4..<8 as Range<UInt32> { #expect(caller.permit(peer(number))?.code == nil) }
        #expect(caller.permit(peer(9))?.code == 508)
        #expect(caller.permit(peer(0), peer(1))?.code == nil)
        caller.bench.pass(.seconds(300))
        #expect(caller.permit(peer(9))?.code == nil)
        #expect(caller.bind(0x4010, to: peer(9))?.code == 508)
        caller.bench.pass(.seconds(300))
        #expect(caller.bind(0x4010, to: peer(9))?.code == nil)
        #expect(caller.bench.core.metrics.channels == 1)
    }

    @Test("a user relays no more than the bandwidth it has", arguments: [true, false])
    func bandwidth(perUser: Bool) throws {
        var configuration = RelayBench.configuration()
        if perUser {
            configuration.limits.bytesPerSecondPerUser = 400_000
        } else {
            configuration.limits.bytesPerSecondPerAddress = 400_000
        }
        let bench = RelayBench(configuration)
        let (first, _) = try allocated(RelayBench.client(), bench)
        let (second, relayed) = try allocated(RelayBench.client(1), bench)
        first.bind(0x4000, to: peerA)
        second.bind(0x4000, to: peerA)
        let payload = [UInt8](repeating: 0, count: 1000)
        var passed = 0
        for _ in 0..<2000 {
            bench.pass(.milliseconds(1))
            passed += bench.send(channelData(0x4000, payload), from: first.client).count
            passed += bench.sendFromPeer(payload, from: peerA, to: relayed).count
        }
        // A quarter of a second's worth at once, then two seconds of 400 packets.
        #expect((880...920).contains(passed))
        #expect(bench.core.metrics.dropped(.bandwidth) == 4000 - passed)
    }
}
