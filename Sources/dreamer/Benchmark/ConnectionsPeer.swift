// SPDX-License-Identifier: Apache-2.0
import Glibc
import NetIO
import SDP
import WebRTC
import Wire

/// The process that holds the other ends of many connections: takes an offer a line, answers it, and sends back what
/// comes over the channels.
enum ConnectionsPeer {
    /// Serves until the input ends.
    static func run(loops: Int) async throws {
        raiseDescriptorLimit()
        let endpoints = try (0..<loops).map { _ in try RTCEndpoint(configuration: .init(addresses: [.loopbackV4])) }
        var connections: [PeerConnection] = []
        while let line = readLine() {
            let offer = try SessionDescription(json: JSON(parsing: line))
            let connection = PeerConnection(endpoint: endpoints[connections.count % loops])
            connection.setHandler { event in
                guard case .channel(let channel) = event else { return }
                var handler = DataChannel.Handler()
                handler.onMessage = { [weak channel] _, bytes in
                    // Bulk is only taken; a long message ends it, and a short one tells so.
                    guard bytes.byteCount <= ChannelPeer.pingBytes else { return }
                    channel?.trySend(binaryCount: bytes.byteCount) { room in
                        bytes.withUnsafeBytes { room.copyMemory(from: $0) }
                    }
                }
                channel.setHandler(handler)
            }
            connections.append(connection)
            Terminal.output(try await connection.accept(offer: offer).json.serialized())
        }
        for connection in connections { connection.close() }
        for endpoint in endpoints { endpoint.close() }
    }

    /// A connection from a socket that has one already takes a socket of its own, so a thousand between two processes
    /// need as many descriptors.
    static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}
