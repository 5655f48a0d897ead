// SPDX-License-Identifier: Apache-2.0
import Glibc
import SDP
import Synchronization
import WebRTC
import Wire

/// The end of a path that answers: counts what comes, sends small messages back and notes what they took.
final class ChannelPathReceiver: Sendable {
    /// Messages up to here are small ones: a time, and nothing else.
    static let controlMessageSize = 16
    /// The label of the channel for small messages.
    static let controlLabel = "control"

    private let endpoint: RTCEndpoint
    private let received = Atomic<Int>(0)
    private let delays = Mutex<[Double]>([])

    init(address: IPAddress) throws {
        endpoint = try RTCEndpoint(configuration: .init(addresses: [address]))
    }

    func run() async throws {
        var connections: [PeerConnection] = []
        for await line in StandardInput.lines {
            if PathCommand(line: line) == .count {
                tell()
                continue
            }
            guard let offer = (try? JSON(parsing: line))?["offer"] else { continue }
            let connection = PeerConnection(endpoint: endpoint)
            connection.setHandler { [self] event in
                if case .channel(let channel) = event { take(channel) }
            }
            connections.append(connection)
            let answer = try await connection.accept(offer: SessionDescription(json: offer))
            let message: JSON = ["event": "answer", "answer": answer.json]
            Terminal.output(message.serialized())
        }
        for connection in connections { connection.close() }
    }

    private func take(_ channel: DataChannel) {
        var handler = DataChannel.Handler()
        if channel.label == Self.controlLabel {
            handler.onMessage = { [weak channel, self] _, bytes in
                guard let sent = Self.time(in: bytes) else { return }
                let delay = Double(SharedClock.nanoseconds - sent) * 1e-9
                delays.withLock { $0.append(delay) }
                channel?.trySend(binaryCount: bytes.byteCount) { room in
                    bytes.withUnsafeBytes { room.copyMemory(from: $0) }
                }
            }
        } else {
            handler.onMessage = { [self] _, bytes in received.add(bytes.byteCount, ordering: .relaxed) }
        }
        channel.setHandler(handler)
    }

    private func tell() {
        let report: JSON = [
            "event": "count", "bytes": .integer(Int64(received.load(ordering: .relaxed))),
            "time": .number(Double(SharedClock.nanoseconds) * 1e-9),
            "delays": .array(delays.withLock { $0 }.map { .number($0) }),
        ]
        Terminal.output(report.serialized())
    }

    /// When a small message was sent; `nil` for what is none.
    static func time(in bytes: RawSpan) -> Int64? {
        guard bytes.byteCount == controlMessageSize else { return nil }
        return bytes.withUnsafeBytes { $0.loadUnaligned(as: Int64.self) }
    }
}
