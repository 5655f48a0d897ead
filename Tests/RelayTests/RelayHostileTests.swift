// SPDX-License-Identifier: Apache-2.0
import ICE
import TestSupport
import Testing
import Wire

@testable import Relay

@Suite("Clients that mean no good", .timeLimit(.minutes(2)))
struct RelayHostileTests {
    private static let udp = STUNAttribute(.requestedTransport, [17, 0, 0, 0])

    @Test("a flood of strangers leaves nothing behind, and keeps who has an allocation from nothing")
    func flood() throws {
        let bench = RelayBench()
        let caller = RelayCaller(bench)
        #expect(caller.allocate() != nil)
        let request = STUNMessage(
            .request, .allocate, transactionID: STUNTransactionID(high: 1, low: 1), attributes: [Self.udp]
        ).encoded()
        let before = try residentBytes()
        var answers = 0
        for number in 0..<40_000 {
            // From one address, then from many.
            let client = number < 20_000 ? RelayBench.client(number) : RelayBench.client(number * 50_000)
            guard client != caller.client else { continue }
            answers += bench.send(request, from: client).count
        }
        let metrics = bench.core.metrics
        #expect(metrics.allocations == 1 && bench.sockets.count == 1)
        #expect(answers < 40_000 && metrics.dropped(.rate) + answers >= 39_999)
        #expect(try residentBytes() - before < 8 << 20)
        #expect(caller.ask(.refresh)?.messageClass == .success)
    }

    @Test("who proves who it is may ask as often as it likes")
    func provenRate() {
        var configuration = RelayBench.configuration()
        configuration.limits.unprovenBurst = 5
        configuration.limits.unprovenPerSecond = 1
        configuration.limits.allocationsPerUser = 100
        let bench = RelayBench(configuration)
        let callers = (0..<4).map { RelayCaller(bench, RelayBench.client($0)) }
        for caller in callers { caller.meet() }
        for caller in callers { #expect(caller.allocate() != nil) }
        for caller in callers { #expect(caller.ask(.refresh)?.messageClass == .success) }
        #expect(callers[0].answer(to: STUNMessage(.request, transactionID: callers[0].newID()).encoded()) != nil)
    }

    @Test(
        "who has an allocation is no better source of a flood than another, and is not harmed by one",
        arguments: [STUNMessage.Method.binding, .allocate, .refresh, .createPermission, .channelBind])
    func floodInAName(method: STUNMessage.Method) {
        var configuration = RelayBench.configuration()
        configuration.limits.unprovenBurst = 20
        configuration.limits.unprovenPerSecond = 1
        let bench = RelayBench(configuration)
        let caller = RelayCaller(bench)
        #expect(caller.allocate() != nil)
        let bare = STUNMessage(.request, method, transactionID: caller.newID())
        // Without a proof, with a false one, and with one that is malformed.
        let liar = RelayCaller(bench, caller.client, LongTermCredentials(username: "alice", password: "guessed"))
        let requests = [bare.encoded(), liar.signed(bare), caller.signed(bare, nonce: Array("obMatJos2".utf8))]
        let answers = (0..<300).reduce(0) { $0 + bench.send(requests[$1 % 3], from: caller.client).count }
        #expect(answers <= 40)
        #expect(bench.core.metrics.dropped(.rate) + answers == 300 && bench.core.metrics.dropped(.rate) >= 260)
        #expect(caller.ask(.refresh)?.messageClass == .success)
    }

    @Test("a flood in a client's name does not keep a new nonce from it")
    func nonceInAFlood() {
        var configuration = RelayBench.configuration()
        configuration.limits.unprovenBurst = 20
        configuration.limits.unprovenPerSecond = 1
        configuration.nonceLifetime = .seconds(60)
        let bench = RelayBench(configuration)
        let caller = RelayCaller(bench)
        #expect(caller.allocate() != nil)
        bench.pass(.seconds(120))
        let bare = STUNMessage(.request, .refresh, transactionID: caller.newID()).encoded()
        for _ in 0..<300 { bench.send(bare, from: caller.client) }
        #expect(bench.send(bare, from: caller.client).isEmpty)
        #expect(caller.ask(.refresh)?.code == 438)
        // That is bounded as well: signed requests of long ago can be sent again by others.
        let old = caller.signed(STUNMessage(.request, .refresh, transactionID: caller.newID()))
        #expect((0..<300).map { _ in bench.send(old, from: caller.client).count }.reduce(0, +) < 25)
    }

    @Test("ports that are reserved again and again are not more than a quota")
    func reservations() throws {
        let bench = RelayBench()
        let free = bench.core.ledger.freePorts(at: RelayBench.relayedV4)
        let caller = RelayCaller(bench)
        var token: [UInt8]?
        for _ in 0..<500 {
            let answer = caller.ask(.allocate) { message in
                message.attributes.append(Self.udp)
                message.attributes.append(STUNAttribute(.evenPort, [0x80]))
            }
            token = try #require(answer?.first(.reservationToken))
            #expect(caller.ask(.refresh) { $0.append(.lifetime, UInt32(0)) }?.lifetime == 0)
        }
        #expect(bench.core.ledger.freePorts(at: RelayBench.relayedV4) == free)
        let late = caller.ask(.allocate) { message in
            message.attributes.append(Self.udp)
            message.attributes.append(STUNAttribute(.reservationToken, token ?? []))
        }
        #expect(late?.code == 508)
    }

    /// What goes over the wire for a payload over IPv4 and over IPv6.
    private static func onWire(_ count: Int, v6: Bool) -> Int { count + (v6 ? 48 : 28) }

    @Test("no answer to who proves nothing is more than three times its request", arguments: [false, true])
    func amplification(v6: Bool) {
        var configuration = RelayBench.configuration()
        if !v6 {
            configuration.discovery = .init(addresses: [.v4(0x0102_0304), .v4(0x0102_0305)], ports: [3478, 3479])
        }
        configuration.limits.unprovenBurst = 1_000_000
        let bench = RelayBench(configuration)
        let client = RelayBench.client(0, v6: v6)
        let id = STUNTransactionID(high: 1, low: 1)
        var requests: [STUNMessage] = []
        for method in [STUNMessage.Method.binding, .allocate, .refresh, .createPermission, .channelBind] {
            requests.append(STUNMessage(.request, method, transactionID: id))
            requests.append(STUNMessage(.request, method, transactionID: id, attributes: [Self.udp]))
            requests.append(
                STUNMessage(
                    .request, method, transactionID: id,
                    attributes: (0..<40).map { STUNAttribute(.init(rawValue: 0x7000 + $0), []) }))
            for length in [0, 1, 100, 1500] {
                requests.append(
                    STUNMessage(
                        .request, method, transactionID: id,
                        attributes: [STUNAttribute(.padding, [UInt8](repeating: 0, count: length))]))
            }
        }
        var answered = 0
        for request in requests {
            for fingerprint in [false, true] {
                let bytes = request.encoded(fingerprint: fingerprint)
                let sent = bench.send(bytes, from: client)
                #expect(sent.count <= 1)
                let answer = sent.reduce(0) { $0 + Self.onWire($1.bytes.count, v6: v6) }
                #expect(answer <= 3 * Self.onWire(bytes.count, v6: v6), "\(request.method) \(bytes.count) → \(answer)")
                answered += sent.count
            }
        }
        // Small ones are answered too, with less.
        #expect(answered == 2 * requests.count)
        let classic = bench.send([0, 1, 0, 0] + [UInt8](repeating: 1, count: 16), from: client)
        #expect(classic.allSatisfy { Self.onWire($0.bytes.count, v6: v6) <= 3 * Self.onWire(20, v6: v6) })
        let metrics = bench.core.metrics
        #expect(metrics.unprovenAnswerBytes <= 3 * metrics.unprovenRequestBytes)
    }

    @Test("a request that is replayed from elsewhere opens nothing there")
    func replay() {
        let bench = RelayBench()
        let caller = RelayCaller(bench)
        caller.meet()
        let request = caller.signed(
            STUNMessage(.request, .allocate, transactionID: caller.newID(), attributes: [Self.udp]))
        let thief = RelayCaller(bench, RelayBench.client(1))
        #expect(thief.answer(to: request)?.code == 438)
        #expect(caller.answer(to: request)?.messageClass == .success)
        #expect(bench.core.metrics.allocations == 1)
        // An hour later it opens nothing where it came from either.
        bench.pass(.seconds(3601))
        #expect(caller.answer(to: request)?.code == 438)
        #expect(bench.core.metrics.allocations == 0)
    }

    // TURN-10.2-04.
    @Test(
        "addresses that are not of the Internet are no peers",
        arguments: [
            "127.0.0.1", "127.255.0.1", "0.0.0.0", "0.1.2.3", "10.1.2.3", "172.16.0.1", "172.31.255.255",
            "192.168.1.1", "100.64.0.1", "169.254.169.254", "192.0.0.1", "192.0.2.1", "198.18.0.1", "203.0.113.5",
            "224.0.0.251", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:127.0.0.1",
            "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::1",
            "2002:a00:1::", "2001::1", "2001:db8::1", "fc00::1", "fd12::1", "fe80::1", "fec0::1", "ff02::1", "100::1",
        ])
    func deniedPeers(text: String) throws {
        let ip = try #require(IPAddress(text))
        let caller = RelayCaller(RelayBench())
        #expect(caller.allocate { $0.append(.additionalAddressFamily, UInt32(2 << 24)) } != nil)
        let peer = SocketAddress(ip: ip, port: 80)
        #expect(caller.permit(peer)?.code == 403)
        #expect(caller.permit(ip.family == .v4 ? peerA : peerV6, peer)?.code == 403)
        #expect(caller.bind(0x4000, to: peer)?.code == 403)
        #expect(caller.indicate([1], to: peer).isEmpty)
        #expect(caller.bench.core.metrics.permissions == 0)
        // A laboratory's server can be told to, but for its own host, which only its very address opens.
        let inner = RelayPeerPolicy.embeddedV4(ip) ?? ip
        let isOwn = [ip, inner].contains { $0.isLoopback || $0.isUnspecified }
        for allowed in [RelayPeerPolicy.everything.allowed, [try #require(IPRange(text))]] {
            var configuration = RelayBench.configuration()
            configuration.peers.allowed = allowed
            let lab = RelayCaller(RelayBench(configuration))
            #expect(lab.allocate { $0.append(.additionalAddressFamily, UInt32(2 << 24)) } != nil)
            #expect(lab.permit(peer)?.code == (isOwn && allowed.count == 2 ? 403 : nil))
        }
    }

    @Test(
        "a range that is let through does not open the server's own host",
        arguments: ["1.2.3.153", "::ffff:1.2.3.153", "64:ff9b::102:399", "2a01:203::99", "::ffff:1.2.3.4"])
    func ownHost(text: String) throws {
        let peer = SocketAddress(ip: try #require(IPAddress(text)), port: 22)
        func caller(_ allowed: [IPRange]) -> RelayCaller {
            var configuration = RelayBench.configuration()
            configuration.ownAddresses = ["1.2.3.153", "2a01:203::99"].compactMap { IPAddress($0) }
            configuration.peers.allowed = allowed
            let caller = RelayCaller(RelayBench(configuration))
            caller.allocate { $0.append(.additionalAddressFamily, UInt32(2 << 24)) }
            return caller
        }
        let ranges = ["1.2.3.0/24", "1.2.3.152/31", "2a01::/16", "2a01:203::98/127", "::/0", "0.0.0.0/0"]
        let open = caller(try ranges.map { try #require(IPRange($0)) })
        #expect(open.permit(peer)?.code == 403 && open.bind(0x4000, to: peer)?.code == 403)
        #expect(open.indicate([1], to: peer).isEmpty)
        // A neighbour of the same range may be reached.
        #expect(open.permit(SocketAddress(ip: .v4(0x0102_0377), port: 22))?.messageClass == .success)
        let named = caller([try #require(IPRange(text))])
        #expect(named.permit(peer)?.messageClass == .success && named.bind(0x4000, to: peer)?.messageClass == .success)
        #expect(named.indicate([1], to: peer).count == 1)
    }

    @Test("an address that the host gets later is no peer from then on")
    func laterAddress() {
        var configuration = RelayBench.configuration()
        configuration.peers = .everything
        let caller = RelayCaller(RelayBench(configuration))
        #expect(caller.allocate() != nil && caller.permit(peerB)?.messageClass == .success)
        caller.bench.core.ledger.setOwnAddresses([peerB.ip])
        #expect(caller.permit(peerB)?.code == 403 && caller.permit(peerA)?.messageClass == .success)
    }

    @Test(
        "addresses of the Internet are peers",
        arguments: [
            "8.8.8.8", "1.1.1.1", "100.128.0.1", "172.32.0.1", "11.0.0.1", "2a00::1", "64:ff9b::808:808",
            "2002:808:808::1",
        ])
    func allowedPeers(text: String) throws {
        #expect(RelayPeerPolicy().allows(try #require(IPAddress(text))))
    }

    @Test("ranges can be refused and let through by name")
    func namedRanges() throws {
        var policy = RelayPeerPolicy()
        policy.denied = [try #require(IPRange("8.8.0.0/16"))]
        policy.allowed = [try #require(IPRange("10.1.0.0/16")), try #require(IPRange("8.8.4.4"))]
        let judged = ["8.8.8.8", "64:ff9b::808:808", "8.8.4.4", "10.1.2.3", "10.2.0.1", "9.9.9.9"]
        #expect(
            judged.compactMap { IPAddress($0) }.map { policy.allows($0) } == [false, false, true, true, false, true])
        for text in ["8.8.8.8/33", "8.8.8.8/-1", "::/129", "x/8", "8.8.8.8/", ""] { #expect(IPRange(text) == nil) }
        #expect(IPRange("2001:db8::/127")?.contains(.v6(high: 0x2001_0DB8_0000_0000, low: 1)) == true)
        #expect(IPRange("2001:db8::/127")?.contains(.v6(high: 0x2001_0DB8_0000_0000, low: 2)) == false)
    }

    @Test("of the server's own ends only what it relays is a peer")
    func ownAddresses() throws {
        var configuration = RelayBench.configuration()
        configuration.ownAddresses = [.v4(0x0102_0399)]
        let bench = RelayBench(configuration)
        let (caller, other) = (RelayCaller(bench), RelayCaller(bench, RelayBench.client(1)))
        let relayed = try #require(other.allocate())
        let own = try #require(caller.allocate())
        #expect(caller.permit(SocketAddress(ip: .v4(0x0102_0399), port: 1))?.code == 403)
        #expect(caller.permit(relayed)?.messageClass == .success)
        #expect(caller.indicate([1], to: relayed).count == 1)
        #expect(caller.indicate([1], to: RelayBench.server).isEmpty)
        #expect(caller.indicate([1], to: SocketAddress(ip: relayed.ip, port: 22)).isEmpty)
        #expect(caller.bind(0x4000, to: RelayBench.server)?.code == 403)
        #expect(caller.bind(0x4000, to: relayed)?.messageClass == .success)
        // In the range, but nobody's.
        let nobodys = SocketAddress(ip: relayed.ip, port: relayed.port == 50_000 ? 50_001 : 50_000)
        #expect(caller.permit(nobodys)?.messageClass == .success, "the port of a permission does not count")
        #expect(caller.indicate([1], to: nobodys).isEmpty && caller.bind(0x4001, to: nobodys)?.code == 403)
        #expect(caller.bench.sendFromPeer([1], from: nobodys, to: own).isEmpty)
        #expect(caller.bench.sendFromPeer([1], from: relayed, to: own).count == 1)
        // With the allocation its port closes.
        #expect(bench.send(channelData(0x4000, [1]), from: caller.client).count == 1)
        #expect(other.ask(.refresh) { $0.append(.lifetime, UInt32(0)) }?.lifetime == 0)
        #expect(bench.send(channelData(0x4000, [1]), from: caller.client).isEmpty)
        #expect(caller.indicate([1], to: relayed).isEmpty && caller.bind(0x4000, to: relayed)?.code == 403)
        #expect(caller.bench.sendFromPeer([1], from: relayed, to: own).isEmpty)
        #expect(bench.core.metrics.dropped(.deniedPeer) == 7)
        configuration.allowsOwnRelayedPeers = false
        let strict = RelayCaller(RelayBench(configuration))
        #expect(strict.allocate() != nil && strict.permit(relayed)?.code == 403)
    }

    @Test("a port that is reserved, or not bound yet, is no peer")
    func takenPorts() throws {
        let bench = RelayBench()
        let (caller, other) = (RelayCaller(bench), RelayCaller(bench, RelayBench.client(1)))
        let relayed = try #require(caller.allocate { $0.attributes.append(STUNAttribute(.evenPort, [0x80])) })
        let reserved = SocketAddress(ip: relayed.ip, port: relayed.port + 1)
        #expect(caller.bind(0x4000, to: reserved)?.code == 403)
        other.meet()
        bench.holdsSockets = true
        other.allocate()
        for port in RelayBench.configuration().ports where port != relayed.port {
            #expect(!bench.core.ledger.isOpen(SocketAddress(ip: relayed.ip, port: port)))
        }
        let opened = bench.answerSockets().compactMap { try? STUNMessage(decoding: $0.bytes.span.bytes) }
        let second = try #require(opened.first?.relayed.first)
        #expect(caller.bind(0x4000, to: second)?.messageClass == .success)
    }

    @Test("whatever bytes come, the server stands, and grows by nothing", arguments: [1, 2, 3] as [UInt64])
    func mutated(seed: UInt64) throws {
        var configuration = RelayBench.configuration()
        configuration.discovery = .init(addresses: [.v4(0x0102_0304), .v4(0x0102_0305)], ports: [3478, 3479])
        configuration.limits.unprovenBurst = 1_000_000
        let bench = RelayBench(configuration, seed: seed)
        let caller = RelayCaller(bench)
        let relayed = try #require(caller.allocate { $0.append(.additionalAddressFamily, UInt32(2 << 24)) })
        caller.bind(0x4000, to: peerA)
        var send = STUNMessage(.indication, .send, transactionID: caller.newID())
        send.append(xorAddress: peerA, as: .xorPeerAddress)
        send.attributes.append(STUNAttribute(.data, [1, 2, 3]))
        var discovery = STUNMessage(.request, transactionID: caller.newID())
        discovery.append(.changeRequest, UInt32(6))
        discovery.append(.responsePort, UInt32(99 << 16))
        let bind = STUNMessage(
            .request, .channelBind, transactionID: caller.newID(),
            attributes: [STUNAttribute(.channelNumber, [0x40, 1, 0, 0])])
        let seeds = [
            send.encoded(), discovery.encoded(), caller.signed(bind), channelData(0x4000, [1, 2, 3, 4]),
            caller.signed(STUNMessage(.request, .allocate, transactionID: caller.newID(), attributes: [Self.udp])),
        ]
        var entropy = Entropy(seed: seed)
        for round in 0..<5000 {
            var bytes = seeds[round % seeds.count]
            for _ in 0..<Int.random(in: 1...4, using: &entropy) {
                switch Int.random(in: 0..<4, using: &entropy) {
                case 0:
                    bytes[Int.random(in: 0..<bytes.count, using: &entropy)] = UInt8.random(in: 0...255, using: &entropy)
                case 1: bytes = Array(bytes.prefix(Int.random(in: 1...bytes.count, using: &entropy)))
                case 2: bytes += entropy.bytes(Int.random(in: 1...8, using: &entropy))
                default: bytes[Int.random(in: 0..<min(bytes.count, 24), using: &entropy)] ^= 1
                }
            }
            bench.send(bytes, from: round % 2 == 0 ? caller.client : RelayBench.client(round))
            bench.sendFromPeer(bytes, from: peerA, to: relayed, segment: Int.random(in: 1...40, using: &entropy))
        }
        #expect(bench.core.metrics.allocations <= 2, "seed \(seed)")
        #expect(bench.sockets.count <= 4, "seed \(seed)")
        #expect(bench.core.metrics.permissions <= 256 && bench.core.metrics.channels <= 256, "seed \(seed)")
    }

    @Test("ten thousand allocations are held in little memory, and let go again")
    func manyAllocations() throws {
        var configuration = RelayBench.configuration()
        configuration.limits.allocationsPerUser = 20_000
        configuration.limits.allocationsPerAddress = 20_000
        configuration.limits.unprovenBurst = 1_000_000
        let bench = RelayBench(configuration)
        let before = try residentBytes()
        var callers: [RelayCaller] = []
        for number in 0..<10_000 {
            let caller = RelayCaller(bench, RelayBench.client(number))
            caller.algorithm = nil
            caller.integrity = .sha1
            try #require(caller.allocate() != nil)
            caller.bind(0x4000, to: peerA)
            callers.append(caller)
        }
        let used = try residentBytes() - before
        print("10,000 allocations with a channel each: \(used / 10_000) bytes each, callers included")
        #expect(used < 10_000 * 8192)
        #expect(bench.core.metrics.allocations == 10_000 && Set(bench.sockets.keys).count == 10_000)
        for caller in callers.prefix(100) {
            #expect(bench.send(channelData(0x4000, [1]), from: caller.client).count == 1)
        }
        bench.pass(.seconds(600))
        let metrics = bench.core.metrics
        #expect(metrics.allocations == 0 && metrics.allocationsExpired == 10_000 && bench.sockets.isEmpty)
        #expect(bench.core.ledger.freePorts(at: RelayBench.relayedV4) == 16_384)
    }

    @Test("the same seed and the same input give the same packets")
    func repeatable() {
        func run() -> [RelayBench.Sent] {
            let caller = RelayCaller(RelayBench(seed: 5))
            let relayed = caller.allocate() ?? .unspecified
            caller.permit(peerA)
            return caller.bench.sendFromPeer([1, 2, 3], from: peerA, to: relayed)
        }
        #expect(run() == run())
    }
}
