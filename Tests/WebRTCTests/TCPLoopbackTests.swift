// SPDX-License-Identifier: Apache-2.0
import Glibc
import ICE
import SDP
import Synchronization
import Testing
import WebRTC
import Wire

/// Two endpoints on loopback that tell each other of TCP alone.
struct StreamPair {
    let offerer: RTCEndpoint
    let answerer: RTCEndpoint
    let first: PeerConnection
    let second: PeerConnection

    init(_ types: (ICEAgent.TCPCandidates, ICEAgent.TCPCandidates), recoversLosses: Bool = true) throws {
        var configuration = RTCEndpoint.Configuration(addresses: [.loopbackV4])
        configuration.tcpCandidates = types.0
        offerer = try RTCEndpoint(configuration: configuration)
        configuration.tcpCandidates = types.1
        answerer = try RTCEndpoint(configuration: configuration)
        var settings = PeerConnection.Configuration()
        settings.recoversLosses = recoversLosses
        first = PeerConnection(endpoint: offerer, configuration: settings)
        second = PeerConnection(endpoint: answerer, configuration: settings)
    }

    /// A description without its candidates for UDP.
    func streamed(_ description: SessionDescription) -> SessionDescription {
        var description = description
        description.candidates.removeAll { ICECandidate(sdp: $0)?.transport != .tcp }
        return description
    }

    /// Exchanges descriptions, the first time or again.
    func negotiate() async throws {
        let answer = try await second.accept(offer: streamed(try await first.createOffer()))
        try first.accept(answer: streamed(answer))
    }

    /// Connects; answers the channel at both of its ends.
    func connect() async throws -> (DataChannel, DataChannel) {
        let (incoming, arrived) = AsyncStream<DataChannel>.makeStream()
        second.setHandler { event in
            if case .channel(let channel) = event { arrived.yield(channel) }
        }
        let channel = try first.createDataChannel("test")
        try await negotiate()
        try await channel.opened()
        var iterator = incoming.makeAsyncIterator()
        return (channel, try #require(await iterator.next()))
    }

    /// Sends a mebibyte each way at the same time and looks at what arrives.
    func exchange(_ channel: DataChannel, _ other: DataChannel) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (sender, receiver, seed) in [(channel, other, 3), (other, channel, 7)] {
                let messages = (0..<16).map { index in
                    (0..<65_536).map { UInt8(truncatingIfNeeded: $0 &* seed &+ index) }
                }
                group.addTask { for message in messages { try await sender.send(message) } }
                group.addTask {
                    var arriving = receiver.messages.makeAsyncIterator()
                    for message in messages {
                        let arrived = try await arriving.next()
                        #expect(arrived == .binary(message))
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    /// What the selected pair of a side is made of.
    func selected(
        _ connection: PeerConnection
    ) throws -> (local: StatsReport.Candidate, remote: StatsReport.Candidate) {
        let stats = connection.getStats()
        let pair = try #require(stats.candidatePairs.first { $0.id == stats.transport.selectedCandidatePairId })
        return (
            try #require(stats.localCandidates.first { $0.id == pair.localCandidateId }),
            try #require(stats.remoteCandidates.first { $0.id == pair.remoteCandidateId })
        )
    }

    func close() async {
        first.close()
        await first.closed()
        await second.closed()
        offerer.close()
        answerer.close()
    }
}

@Suite("Peer connections over TCP", .serialized)
struct TCPLoopbackTests {
    @Test(
        "a mebibyte goes each way, whoever connects",
        arguments: [
            (ICEAgent.TCPCandidates.active, ICEAgent.TCPCandidates.both), (.both, .active), (.both, .both),
        ],
        [true, false])
    func data(_ types: (ICEAgent.TCPCandidates, ICEAgent.TCPCandidates), recoversLosses: Bool) async throws {
        let pair = try StreamPair(types, recoversLosses: recoversLosses)
        let (channel, other) = try await pair.connect()
        try await pair.exchange(channel, other)
        for connection in [pair.first, pair.second] {
            let (local, remote) = try pair.selected(connection)
            #expect(local.protocol == "tcp" && remote.protocol == "tcp")
            #expect(Set([local.tcpType, remote.tcpType]) == ["active", "passive"])
        }
        if types.1 == .active { #expect(try pair.selected(pair.first).local.tcpType == "passive") }
        await pair.close()
    }

    @Test("a restart moves the connection to another stream while data flows")
    func restart() async throws {
        let pair = try StreamPair((.both, .active))
        let (channel, other) = try await pair.connect()
        try await pair.exchange(channel, other)
        let before = try pair.selected(pair.second).local.usernameFragment
        pair.first.restartICE()
        try await pair.negotiate()
        try await pair.exchange(channel, other)
        while try pair.selected(pair.second).local.usernameFragment == before {
            try await Task.sleep(for: .milliseconds(20))
        }
        try await pair.exchange(channel, other)
        #expect(try pair.selected(pair.second).local.protocol == "tcp")
        await pair.close()
    }

    @Test("without the option no candidate is for TCP, and with it none where relays alone may be used")
    func off() async throws {
        var configuration = RTCEndpoint.Configuration(addresses: [.loopbackV4])
        let plain = try RTCEndpoint(configuration: configuration)
        configuration.tcpCandidates = .both
        let endpoint = try RTCEndpoint(configuration: configuration)
        var settings = PeerConnection.Configuration()
        settings.iceTransportPolicy = .relay
        let hidden = PeerConnection(endpoint: endpoint, configuration: settings)
        #expect(try await hidden.createOffer().candidates.isEmpty)
        let connection = PeerConnection(endpoint: plain)
        let candidates = try await connection.createOffer().candidates
        #expect(!candidates.isEmpty && candidates.allSatisfy { ICECandidate(sdp: $0)?.transport == .udp })
        hidden.close()
        connection.close()
        plain.close()
        endpoint.close()
    }

    /// Connects to a passive candidate; the descriptor.
    private func stranger(at address: SocketAddress) -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = address.port.bigEndian
        name.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let result = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        #expect(result == 0)
        var patience = timeval(tv_sec: 5, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        return descriptor
    }

    @Test("strangers that say something else are shown out, and a crowd of them keeps no peer away")
    func strangers() async throws {
        let pair = try StreamPair((.both, .active))
        let offer = try await pair.first.createOffer()
        let candidates = offer.candidates.compactMap { ICECandidate(sdp: $0) }
        let passive = try #require(candidates.first { $0.tcpType == .passive })
        let door = try #require(passive.address)
        let noise: [[UInt8]] = [
            [0, 4, 1, 2, 3, 4], [0xFF, 0xFF], [0, 3, 22, 254, 253], Array("GET / HTTP/1.1\r\n\r\n".utf8),
        ]
        for bytes in noise {
            let descriptor = stranger(at: door)
            #expect(Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
            var byte: UInt8 = 0
            // The end, or a reset: not the patience.
            let count = recv(descriptor, &byte, 1, 0)
            #expect(count == 0 || errno == ECONNRESET)
            close(descriptor)
        }
        let crowd = (0..<300).map { _ in stranger(at: door) }
        let (incoming, arrived) = AsyncStream<DataChannel>.makeStream()
        pair.second.setHandler { event in
            if case .channel(let channel) = event { arrived.yield(channel) }
        }
        let channel = try pair.first.createDataChannel("test")
        // The channel is part of what was offered: descriptions of data channels are all alike.
        try pair.first.accept(answer: pair.streamed(try await pair.second.accept(offer: pair.streamed(offer))))
        try await channel.opened()
        var iterator = incoming.makeAsyncIterator()
        try await pair.exchange(channel, try #require(await iterator.next()))
        for descriptor in crowd { close(descriptor) }
        await pair.close()
    }
}
