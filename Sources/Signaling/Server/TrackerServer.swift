// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import NIOWebSocket
import Wire

/// A WebTorrent tracker over WebSocket, on any path; to a plain `GET /` it answers with its counts as JSON.
public final class TrackerServer: Sendable {
    /// How the tracker runs.
    public struct Configuration: Sendable {
        /// What it takes before it refuses.
        public var limits = TrackerLimits()
        /// PEM file of the certificate and its chain, for `wss`.
        public var certificateFile: String?
        /// PEM file of the certificate's key.
        public var keyFile: String?
        /// The defaults: `ws`, without TLS.
        public init() {}
    }

    /// Why a tracker does not start.
    public struct StartError: Error, Sendable, CustomStringConvertible {
        /// What went wrong, in words.
        public let description: String
    }

    /// The port that the tracker listens on.
    public let port: Int

    private let group: MultiThreadedEventLoopGroup
    private let listener: any Channel
    private let hub: NIOLoopBound<TrackerHub>

    private init(group: MultiThreadedEventLoopGroup, listener: any Channel, hub: NIOLoopBound<TrackerHub>) {
        self.group = group
        self.listener = listener
        self.hub = hub
        port = listener.localAddress?.port ?? 0
    }

    /// A tracker that listens; port 0 lets the system choose one.
    public static func start(
        host: String, port: Int, configuration: Configuration = Configuration()
    ) async throws -> TrackerServer {
        let tls = try makeTLS(configuration)
        // One loop is enough for tens of thousands of messages a second, and needs no locks.
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        do {
            let limits = configuration.limits
            let hub = try await loop.submit {
                NIOLoopBound(TrackerHub(limits: limits, loop: loop), eventLoop: loop)
            }.get()
            let listener = try await ServerBootstrap(group: group)
                .serverChannelOption(.backlog, value: 1024)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
                .childChannelOption(.maxMessagesPerRead, value: 4)
                .childChannelOption(.writeBufferWaterMark, value: .init(low: 256 << 10, high: 1 << 20))
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture { try prepare(channel, tls: tls, hub: hub) }
                }
                .bind(host: host, port: port).get()
            return TrackerServer(group: group, listener: listener, hub: hub)
        } catch {
            try? await group.shutdownGracefully()
            throw StartError(description: "cannot listen on \(host):\(port): \(error)")
        }
    }

    /// Counts of now and since the start.
    public func statistics() async -> TrackerStatistics {
        let hub = hub
        return (try? await listener.eventLoop.submit { hub.value.statistics }.get()) ?? TrackerStatistics()
    }

    /// Waits until the tracker is stopped.
    public func wait() async {
        try? await listener.closeFuture.get()
    }

    /// Closes all sockets and stops.
    public func stop() async {
        try? await listener.close().get()
        let hub = hub
        try? await listener.eventLoop.submit { hub.value.stop() }.get()
        try? await group.shutdownGracefully()
    }

    private static func makeTLS(_ configuration: Configuration) throws(StartError) -> NIOSSLContext? {
        switch (configuration.certificateFile, configuration.keyFile) {
        case (nil, nil): return nil
        case (let certificate?, let key?):
            do {
                let chain = try NIOSSLCertificate.fromPEMFile(certificate).map { NIOSSLCertificateSource.certificate($0) }
                let privateKey = try NIOSSLPrivateKey(file: key, format: .pem)
                var tls = TLSConfiguration.makeServerConfiguration(
                    certificateChain: chain, privateKey: .privateKey(privateKey))
                tls.applicationProtocols = ["http/1.1"]
                return try NIOSSLContext(configuration: tls)
            } catch {
                throw StartError(description: "cannot use the certificate \(certificate) with the key \(key): \(error)")
            }
        default: throw StartError(description: "a certificate and its key are needed together")
        }
    }

    private static func prepare(_ channel: any Channel, tls: NIOSSLContext?, hub: NIOLoopBound<TrackerHub>) throws {
        let pipeline = channel.pipeline.syncOperations
        if let tls { try pipeline.addHandler(NIOSSLServerHandler(context: tls)) }
        let limit = hub.value.messageLimit
        let upgrader = NIOWebSocketServerUpgrader(
            maxFrameSize: limit,
            shouldUpgrade: { channel, _ in
                channel.eventLoop.makeSucceededFuture(hub.value.hasRoom ? HTTPHeaders() : nil)
            },
            upgradePipelineHandler: { channel, _ in
                channel.eventLoop.makeCompletedFuture {
                    guard let callbacks = hub.value.accept(channel) else { return channel.close(promise: nil) }
                    try WebSocketHandler.install(on: channel, side: .server, messageLimit: limit, callbacks: callbacks)
                }
            })
        let status = NIOLoopBound(TrackerStatusHandler(hub: hub.value), eventLoop: channel.eventLoop)
        try pipeline.configureHTTPServerPipeline(
            withServerUpgrade: (
                upgraders: [upgrader],
                completionHandler: { context in
                    context.pipeline.syncOperations.removeHandler(status.value, promise: nil)
                }
            ))
        try pipeline.addHandler(status.value)
    }
}

/// Drives a ``TrackerCore`` on an event loop, to which it and all its sockets are confined.
final class TrackerHub {
    private let loop: any EventLoop
    private var core: TrackerCore
    private var channels: [TrackerCore.ConnectionID: any Channel] = [:]
    private var lastID: TrackerCore.ConnectionID = 0
    private var timer: Scheduled<Void>?
    private var timerDeadline: Timestamp?

    init(limits: TrackerLimits, loop: any EventLoop) {
        self.loop = loop
        core = TrackerCore(limits: limits, entropy: .system())
    }

    var statistics: TrackerStatistics { core.statistics }
    var messageLimit: Int { core.limits.messageSize }
    var hasRoom: Bool { channels.count < core.limits.connections }

    /// Takes a socket in; `nil` when there is no room for it.
    func accept(_ channel: any Channel) -> WebSocketHandler.Callbacks? {
        lastID += 1
        let id = lastID
        guard core.open(id, now: .now()) else { return nil }
        channels[id] = channel
        drain()
        return WebSocketHandler.Callbacks(
            message: { message in
                message.withUnsafeReadableBytes {
                    self.core.receive(RawSpan(_unsafeBytes: $0), from: id, now: .now())
                }
                self.drain()
            },
            alive: { self.core.socketIsAlive(id, now: .now()) },
            closed: { _ in
                self.channels[id] = nil
                self.core.close(id)
                self.drain()
            })
    }

    func stop() {
        for channel in channels.values { WebSocketHandler.close(.goingAway, side: .server, on: channel) }
        timer?.cancel()
        timer = nil
    }

    private func drain() {
        while true {
            switch core.nextOutput() {
            case .send(let id, let text):
                guard let channel = channels[id] else { continue }
                if channel.isWritable {
                    WebSocketHandler.send(text, side: .server, on: channel)
                } else {
                    // A megabyte waits for it already: whoever does not read is not served.
                    channel.close(promise: nil)
                }
            case .ping(let id):
                if let channel = channels[id] { WebSocketHandler.ping(side: .server, on: channel) }
            case .close(let id):
                guard let channel = channels.removeValue(forKey: id) else { continue }
                WebSocketHandler.close(.policyViolation, side: .server, on: channel)
            case .wait(let deadline):
                arm(deadline)
                return
            }
        }
    }

    private func arm(_ deadline: Timestamp?) {
        guard deadline != timerDeadline else { return }
        timer?.cancel()
        timerDeadline = deadline
        timer = deadline.map { deadline in
            loop.assumeIsolated().scheduleTask(deadline: NIODeadline(deadline)) {
                self.timerDeadline = nil
                self.core.handleTimeout(now: .now())
                self.drain()
            }
        }
    }
}

@available(*, unavailable)
extension TrackerHub: Sendable {}
