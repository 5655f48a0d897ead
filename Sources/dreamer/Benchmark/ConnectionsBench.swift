// SPDX-License-Identifier: Apache-2.0
import Glibc
import NetIO
import SDP
import Synchronization
import WebRTC
import Wire

/// Holds many connections to a second process, and watches what they cost.
final class ConnectionsBench: Sendable {
    /// What both processes use at some moment.
    struct Usage {
        /// One process: what it has resident, its threads, its processor time since its start.
        struct Share {
            let bytes: Int
            let threads: Int
            let cpuSeconds: Double
        }

        let ours: Share
        let peer: Share
        let time: Double

        /// Processor time of both since an earlier moment.
        func cpuSeconds(since earlier: Usage) -> [Double] {
            [ours.cpuSeconds - earlier.ours.cpuSeconds, peer.cpuSeconds - earlier.peer.cpuSeconds]
        }
    }

    /// Handshakes under way at once.
    private static let handshakesAtOnce = 16
    /// How often the messages that are due are sent.
    private static let stepMicroseconds: UInt32 = 10_000

    private struct State {
        var connections: [PeerConnection] = []
        var channels: [DataChannel] = []
    }

    private let endpoints: [RTCEndpoint]
    private let state = Mutex(State())
    private let opened = Atomic(0)
    private let lost = Atomic(0)
    private let echoes = Atomic(0)
    /// Only the thread that runs the benchmark touches it.
    private nonisolated(unsafe) let peer: MeasuredProcess

    init(loops: Int) throws {
        ConnectionsPeer.raiseDescriptorLimit()
        peer = try MeasuredProcess(
            MeasuredProcess.ownProgram, ["bench", "connections", "--as-peer", "--loops", "\(loops)"])
        endpoints = try (0..<loops).map { _ in try RTCEndpoint(configuration: .init(addresses: [.loopbackV4])) }
    }

    /// Connections that are open and were not lost.
    var openCount: Int { opened.load(ordering: .relaxed) - lost.load(ordering: .relaxed) }
    /// Messages that came back.
    var echoCount: Int { echoes.load(ordering: .relaxed) }

    /// Opens so many more connections and waits until their channels are open; answers the seconds that it took.
    func open(_ count: Int) async throws -> Double {
        let begin = Clock.seconds
        let target = opened.load(ordering: .relaxed) + count
        for number in 0..<count {
            let place = state.withLock { $0.connections.count }
            try wait { self.opened.load(ordering: .relaxed) + Self.handshakesAtOnce > target - count + number }
            let connection = PeerConnection(endpoint: endpoints[place % endpoints.count])
            let channel = try connection.createDataChannel("bench")
            var handler = DataChannel.Handler()
            handler.onOpen = { [self] in opened.add(1, ordering: .relaxed) }
            handler.onMessage = { [self] _, _ in echoes.add(1, ordering: .relaxed) }
            handler.onClose = { [self] in lost.add(1, ordering: .relaxed) }
            channel.setHandler(handler)
            peer.send(try await connection.createOffer().json.serialized())
            let answer = try peer.json(within: 30)
            try connection.accept(answer: SessionDescription(json: answer))
            state.withLock { state in
                state.connections.append(connection)
                state.channels.append(channel)
            }
        }
        try wait { self.opened.load(ordering: .relaxed) >= target }
        return Clock.seconds - begin
    }

    private func wait(until isDone: () -> Bool) throws {
        let deadline = Clock.seconds + 60
        while !isDone() {
            guard Clock.seconds < deadline else { throw CommandFailure("a connection does not open") }
            usleep(200)
        }
    }

    /// What is used now.
    func usage() -> Usage {
        func share(_ process: String, _ cpuSeconds: Double) -> Usage.Share {
            Usage.Share(
                bytes: MeasuredProcess.status("VmRSS", of: process),
                threads: MeasuredProcess.status("Threads", of: process), cpuSeconds: cpuSeconds)
        }
        return Usage(
            ours: share("self", rusage.own.cpuSeconds), peer: share("\(peer.pid)", peer.cpuSeconds),
            time: Clock.seconds)
    }

    /// Sends 64 bytes on every connection so many times a second for a while, evenly spread; with a rate of 0 only waits.
    func talk(rate: Double, seconds: Double) {
        let begin = Clock.seconds
        let channels = state.withLock { $0.channels }
        var sent = 0
        while Clock.seconds - begin < seconds {
            let due = Int((Clock.seconds - begin) * rate * Double(channels.count))
            for (place, endpoint) in endpoints.enumerated() where due > sent {
                // Connection i belongs to loop i modulo the number of loops, and sends there.
                endpoint.loop.execute { [sent, loops = endpoints.count] in
                    for number in sent..<due where number % channels.count % loops == place {
                        channels[number % channels.count].trySend(binaryCount: ChannelPeer.pingBytes) { _ in }
                    }
                }
            }
            sent = max(sent, due)
            usleep(Self.stepMicroseconds)
        }
    }

    /// Sends bytes on each connection, one after the other, so that every one's buffers were used.
    func exercise(_ bytes: Int) throws {
        let channels = state.withLock { $0.channels }
        let message = [UInt8](repeating: 7, count: 65_536)
        for channel in channels {
            for _ in 0..<max(1, bytes / message.count) {
                channel.trySend(binaryCount: message.count) { room in
                    message.withUnsafeBytes { room.copyMemory(from: $0) }
                }
            }
            // A ping behind it comes back when all is there.
            let seen = echoCount
            channel.trySend(binaryCount: ChannelPeer.pingBytes) { _ in }
            try wait { self.echoCount > seen }
        }
    }

    /// Closes everything; answers the seconds that it took.
    func close() throws -> Double {
        let begin = Clock.seconds
        let connections = state.withLock { $0.connections }
        for connection in connections { connection.close() }
        try wait { connections.allSatisfy { $0.state == .closed || $0.state == .failed } }
        for endpoint in endpoints { endpoint.close() }
        return Clock.seconds - begin
    }
}
