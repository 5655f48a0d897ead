// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket
import Synchronization

@testable import Signaling

/// A server on loopback that a client takes for a tracker, and that does not behave.
final class FakeTracker: Sendable {
    /// What it does with those who connect.
    enum Behaviour: Sendable {
        /// Says nothing, whatever comes.
        case silent
        /// Closes at once.
        case closes
        /// Sends these bytes to whoever connects.
        case bytes([UInt8])
        /// Speaks WebSocket; `answer` is called for each message, and once with `nil` when the socket opens.
        case webSocket(answer: @Sendable (_ channel: any Channel, _ message: String?) -> Void)
    }

    private let listener: any Channel
    private let accepted = Mutex<[any Channel]>([])

    var url: TrackerURL {
        get throws {
            guard let url = TrackerURL("ws://127.0.0.1:\(listener.localAddress?.port ?? 0)/x") else {
                throw ChannelError.eof
            }
            return url
        }
    }

    /// How many sockets were accepted so far.
    var connections: Int { accepted.withLock { $0.count } }

    private init(listener: any Channel) { self.listener = listener }

    static func with(_ behaviour: Behaviour, _ body: (FakeTracker) async throws -> Void) async throws {
        let count = Counter()
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                count.add(channel)
                return channel.eventLoop.makeCompletedFuture { try prepare(channel, behaviour) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let tracker = FakeTracker(listener: listener)
        count.tracker.withLock { $0 = tracker }
        defer {
            listener.close(promise: nil)
            for channel in tracker.accepted.withLock({ $0 }) { channel.close(promise: nil) }
        }
        try await body(tracker)
    }

    private final class Counter: Sendable {
        let tracker = Mutex<FakeTracker?>(nil)
        func add(_ channel: any Channel) {
            tracker.withLock { $0 }?.accepted.withLock { $0.append(channel) }
        }
    }

    private static func prepare(_ channel: any Channel, _ behaviour: Behaviour) throws {
        let pipeline = channel.pipeline.syncOperations
        switch behaviour {
        case .silent: break
        case .closes: try pipeline.addHandler(Greeter(bytes: []))
        case .bytes(let bytes): try pipeline.addHandler(Greeter(bytes: bytes))
        case .webSocket(let answer):
            let upgrader = NIOWebSocketServerUpgrader(
                maxFrameSize: 1 << 20,
                shouldUpgrade: { channel, _ in channel.eventLoop.makeSucceededFuture(HTTPHeaders()) },
                upgradePipelineHandler: { channel, _ in
                    channel.eventLoop.makeCompletedFuture {
                        try WebSocketHandler.install(
                            on: channel, side: .server, messageLimit: 1 << 20,
                            callbacks: WebSocketHandler.Callbacks(
                                message: { answer(channel, String(buffer: $0)) }, alive: {}, closed: { _ in }))
                        answer(channel, nil)
                    }
                })
            try pipeline.configureHTTPServerPipeline(withServerUpgrade: ([upgrader], { _ in }))
        }
    }

    /// Sends bytes as soon as somebody connects; closes where there are none.
    private final class Greeter: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        let bytes: [UInt8]

        init(bytes: [UInt8]) { self.bytes = bytes }

        func channelActive(context: ChannelHandlerContext) {
            guard !bytes.isEmpty else { return context.close(promise: nil) }
            context.writeAndFlush(NIOAny(ByteBuffer(bytes: bytes)), promise: nil)
        }
    }
}
