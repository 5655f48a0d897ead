// SPDX-License-Identifier: Apache-2.0
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// A server that speaks OpenAI's interface over HTTP/1.1 for one model.
public final class TextServer: Sendable {
    /// How a server runs.
    public struct Configuration: Sendable {
        /// Who may ask.
        public var access: AccessPolicy
        /// What is taken before it is refused.
        public var limits = ServerLimits()

        /// The defaults, for whoever may ask.
        public init(access: AccessPolicy) { self.access = access }
    }

    /// The port that the server listens on.
    public let port: Int

    private let group: MultiThreadedEventLoopGroup
    private let listener: any Channel
    private let hub: NIOLoopBound<ConnectionHub>

    private init(group: MultiThreadedEventLoopGroup, listener: any Channel, hub: NIOLoopBound<ConnectionHub>) {
        self.group = group
        self.listener = listener
        self.hub = hub
        port = listener.localAddress?.port ?? 0
    }

    /// A server that listens; port 0 lets the system choose one.
    public static func start(
        _ model: ServedModel, host: String, port: Int, configuration: Configuration
    ) async throws -> TextServer {
        // One loop writes far more tokens than any model makes, and needs no locks.
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        do {
            let hub = try await loop.submit {
                NIOLoopBound(ConnectionHub(model, configuration, loop), eventLoop: loop)
            }.get()
            let listener = try await ServerBootstrap(group: group)
                .serverChannelOption(.backlog, value: 128)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
                .childChannelOption(.maxMessagesPerRead, value: 4)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture { try prepare(channel, hub.value) }
                }
                .bind(host: host, port: port).get()
            return TextServer(group: group, listener: listener, hub: hub)
        } catch {
            try? await group.shutdownGracefully()
            throw StartError("cannot listen on \(host):\(port): \(error)")
        }
    }

    /// How many connections there are.
    public func connections() async -> Int {
        let hub = hub
        return (try? await listener.eventLoop.submit { hub.value.count }.get()) ?? 0
    }

    /// Takes nothing more, ends the texts that are being generated with an error, and closes all connections.
    public func stop() async {
        try? await listener.close().get()
        let hub = hub
        try? await listener.eventLoop.flatSubmit { hub.value.stop() }.get()
        try? await group.shutdownGracefully()
    }

    private static func prepare(_ channel: any Channel, _ hub: ConnectionHub) throws {
        let limits = hub.configuration.limits
        var decoder = NIOHTTPDecoderLimitConfiguration()
        decoder.maxHeaderFieldSize = min(decoder.maxHeaderFieldSize, limits.headerBytes)
        decoder.maxHeaderListSize = limits.headerBytes
        decoder.maxHeaderFieldCount = 100
        let pipeline = channel.pipeline.syncOperations
        try pipeline.configureHTTPServerPipeline(
            withPipeliningAssistance: true, withErrorHandling: false,
            withEncoderConfiguration: HTTPResponseEncoder.Configuration(), withDecoderLimitConfiguration: decoder)
        try pipeline.addHandler(ConnectionHandler(hub))
    }
}

/// The connections of a server, all on one event loop.
final class ConnectionHub {
    let configuration: TextServer.Configuration
    let service: RequestService
    private let loop: any EventLoop
    private var handlers: [ObjectIdentifier: ConnectionHandler] = [:]
    private var bodyBytes = 0
    private var drained: EventLoopPromise<Void>?

    init(_ model: ServedModel, _ configuration: TextServer.Configuration, _ loop: any EventLoop) {
        self.configuration = configuration
        self.loop = loop
        service = RequestService(model: model)
    }

    var count: Int { handlers.count }
    var isStopping: Bool { drained != nil }

    /// Takes a connection in; false where there is no room for it.
    func add(_ handler: ConnectionHandler) -> Bool {
        guard !isStopping, handlers.count < configuration.limits.connections else { return false }
        handlers[ObjectIdentifier(handler)] = handler
        return true
    }

    func remove(_ handler: ConnectionHandler) {
        handlers[ObjectIdentifier(handler)] = nil
        if handlers.isEmpty { drained?.succeed() }
    }

    /// Takes room for a part of a body; false where there is none.
    func reserve(_ bytes: Int) -> Bool {
        guard bodyBytes + bytes <= configuration.limits.bodyBytesTogether else { return false }
        bodyBytes += bytes
        return true
    }

    func release(_ bytes: Int) { bodyBytes -= bytes }

    /// Done when all connections are closed.
    func stop() -> EventLoopFuture<Void> {
        if let drained { return drained.futureResult }
        let promise = loop.makePromise(of: Void.self)
        drained = promise
        for handler in handlers.values { handler.stop() }
        if handlers.isEmpty { promise.succeed() }
        let late = loop.assumeIsolated().scheduleTask(in: TimeAmount(configuration.limits.stopTime)) {
            for handler in self.handlers.values { handler.close() }
        }
        promise.futureResult.assumeIsolated().whenComplete { _ in late.cancel() }
        return promise.futureResult
    }
}

@available(*, unavailable)
extension ConnectionHub: Sendable {}
