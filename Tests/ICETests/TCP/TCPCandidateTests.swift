// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@Suite("Candidates for TCP")
struct TCPCandidateTests {
    @Test(
        "the tcptype of a candidate is read and written (RFC 6544 §4.5)",
        arguments: [
            ("candidate:1 1 TCP 1518280447 192.0.2.1 9 typ host tcptype active", ICECandidate.TCPType.active),
            ("candidate:1 1 tcp 1518214911 192.0.2.1 6000 typ host tcptype passive generation 0", .passive),
            ("candidate:1 1 tcp 1 192.0.2.1 9 typ srflx raddr 10.0.0.1 rport 9 tcptype ACTIVE", .active),
            ("candidate:1 1 tcp 1 192.0.2.1 6000 typ host tcptype so", nil),
            ("candidate:1 1 tcp 1 192.0.2.1 6000 typ host", nil),
            ("candidate:1 1 udp 1 192.0.2.1 6000 typ host tcptype passive", nil),
        ])
    func tcpType(line: String, type: ICECandidate.TCPType?) throws {
        let candidate = try #require(ICECandidate(sdp: line))
        #expect(candidate.tcpType == type)
        #expect(ICECandidate(sdp: candidate.description) == candidate)
    }

    private func agent(_ configure: (inout ICEAgent.Configuration) -> Void) -> ICEAgent {
        var configuration = ICEAgent.Configuration()
        configure(&configuration)
        var agent = ICEAgent(configuration: configuration, entropy: Entropy(seed: 1))
        for host in ["192.0.2.1", "192.0.2.7"] {
            agent.addLocalAddress(address("\(host):5000"), now: .zero)
            agent.addLocalListener(address("\(host):6000"), now: .zero)
        }
        agent.gather(now: .zero)
        return agent
    }

    @Test("each address has an active and a passive candidate, active ones preferred, all behind those of UDP (§4.2)")
    func priorities() {
        let agent = agent { $0.tcpCandidates = .both }
        let tcp = agent.localCandidates.filter { $0.transport == .tcp }
        #expect(
            tcp.map(\.description) == [
                "candidate:2 1 tcp \(90 << 24 | (6 << 13 | 8191) << 8 | 255) 192.0.2.1 9 typ host tcptype active",
                "candidate:2 1 tcp \(90 << 24 | (4 << 13 | 8191) << 8 | 255) 192.0.2.1 6000 typ host tcptype passive",
                "candidate:4 1 tcp \(90 << 24 | (6 << 13 | 8190) << 8 | 255) 192.0.2.7 9 typ host tcptype active",
                "candidate:4 1 tcp \(90 << 24 | (4 << 13 | 8190) << 8 | 255) 192.0.2.7 6000 typ host tcptype passive",
            ])
        #expect(Set(agent.localCandidates.map(\.priority)).count == 6)
        // A reflexive candidate of the worst address.
        #expect(tcp.allSatisfy { $0.priority < 100 << 24 })
    }

    @Test("there are as many as are asked for, and none where relays alone may be used")
    func options() {
        func types(_ configure: (inout ICEAgent.Configuration) -> Void) -> [ICECandidate.TCPType?] {
            agent(configure).localCandidates.map(\.tcpType)
        }
        #expect(types { _ in } == [nil, nil])
        #expect(types { $0.tcpCandidates = .active } == [nil, .active, nil, .active])
        #expect(types { $0.tcpCandidates = .both } == [nil, .active, .passive, nil, .active, .passive])
        #expect(
            types {
                $0.tcpCandidates = .both
                $0.transportPolicy = .relay
            } == [])
    }

    /// The transports and ports of the pairs that an agent makes of the peer's candidates.
    private func pairs(_ lines: [String], _ tcp: ICEAgent.TCPCandidates) throws -> [String] {
        let peer = ScriptedPeer { $0.tcpCandidates = tcp }
        peer.agent.addLocalListener(address("192.0.2.1:6000"), now: .zero)
        peer.start(candidates: try lines.map { try #require(ICECandidate(sdp: $0)) })
        return peer.pairs.map { "\($0.local.transport.rawValue) \($0.localAddress.port) \($0.remoteAddress.port)" }
    }

    @Test("active goes with passive, and nothing else (§6.2)")
    func pairing() throws {
        let all = [
            "candidate:1 1 udp 2130706431 192.0.2.2 1000 typ host",
            "candidate:2 1 tcp 9999 192.0.2.2 2000 typ host tcptype passive",
            "candidate:2 1 tcp 9998 192.0.2.2 9 typ host tcptype active",
            "candidate:2 1 tcp 9997 192.0.2.2 3000 typ host tcptype so",
            "candidate:2 1 tcp 9996 192.0.2.2 4000 typ host",
            // At the address of another transport's.
            "candidate:2 1 tcp 9995 192.0.2.2 1000 typ srflx raddr 0.0.0.0 rport 0 tcptype passive",
            "candidate:2 1 tcp 9994 127.0.0.1 2001 typ host tcptype passive",
            "candidate:2 1 tcp 9993 2001:db8::1 2001 typ host tcptype passive",
        ]
        #expect(try pairs(all, .none) == ["udp 5000 1000"])
        #expect(try pairs(all, .active) == ["udp 5000 1000", "tcp 9 2000", "tcp 9 1000"])
        #expect(try pairs(all, .both) == ["udp 5000 1000", "tcp 9 2000", "tcp 9 1000"])
    }
}

@Suite("Frames of RFC 4571")
struct FrameReaderTests {
    @Test("packets come out as they went in, however the stream is cut", arguments: 0..<20)
    func cuts(seed: UInt64) {
        var entropy = Entropy(seed: seed)
        let packets = (0..<30).map { _ in
            [UInt8](repeating: UInt8(truncatingIfNeeded: entropy.next()), count: Int(entropy.next() % 2000))
        }
        var stream = packets.flatMap(FrameReader.frame)[...]
        var reader = FrameReader()
        var found: [[UInt8]] = []
        while !stream.isEmpty {
            let count = Int(entropy.next() % (seed % 2 == 0 ? 3 : 900)) + 1
            Array(stream.prefix(count)).withSpan { reader.append($0) }
            stream = stream.dropFirst(count)
            while let range = reader.next() { found.append(Array(reader.buffer[range])) }
            #expect(reader.buffer.count <= 65_537 + count)
        }
        #expect(found == packets.filter { !$0.isEmpty }, "seed \(seed)")
    }

    @Test("null packets take no room, and the longest packet fits")
    func extremes() {
        var reader = FrameReader()
        for _ in 0..<10_000 {
            [UInt8](repeating: 0, count: 20).withSpan { reader.append($0) }
            #expect(reader.next() == nil)
        }
        #expect(reader.buffer.count <= 20)
        let longest = [UInt8](repeating: 7, count: 65_535)
        FrameReader.frame(longest).withSpan { reader.append($0) }
        #expect(reader.next().map { Array(reader.buffer[$0]) } == longest)
        #expect(FrameReader.frame([UInt8](repeating: 7, count: 65_536)).isEmpty)
    }

    @Test("packets of a buffer are framed as single ones are")
    func buffers() {
        var packets = PacketBuffer()
        var framed = PacketBuffer()
        for packet in [[1, 2, 3], [UInt8](repeating: 9, count: 300)] { packet.withSpan { packets.append($0) } }
        FrameReader.frame(packets, into: &framed)
        let bytes = framed.withUnsafeBytes { Array($0) }
        #expect(bytes == [0, 3, 1, 2, 3, 1, 44] + [UInt8](repeating: 9, count: 300))
        #expect(framed.count == 2)
    }
}
