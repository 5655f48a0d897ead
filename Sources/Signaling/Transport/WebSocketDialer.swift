// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import NIOWebSocket

/// Why a WebSocket could not be opened.
enum WebSocketDialError: Error, CustomStringConvertible {
    /// The server is there and speaks HTTP, but does not upgrade.
    case status(UInt)
    /// The server closed the connection before it answered.
    case closed
    /// The host's name has no address of the kind asked for.
    case unknownHost(String)

    var description: String {
        switch self {
        case .status(let code): "the server answered with HTTP status \(code) instead of opening a WebSocket"
        case .closed: "the server closed the connection before the WebSocket was open"
        case .unknownHost(let host): "the name \(host) has no address"
        }
    }
}

/// Opens WebSockets to one address: TCP, TLS for `wss`, and the upgrade (RFC 6455 §4.1).
struct WebSocketDialer: Sendable {
    let url: TrackerURL
    let tls: NIOSSLContext?

    /// The largest message that is taken.
    static let messageLimit = 1 << 20

    /// A dialer. Reads the trusted certificates for `wss`, which takes a while: not for an event loop.
    init(url: TrackerURL, trustRootsFile: String?) throws {
        self.url = url
        guard url.isSecure else {
            tls = nil
            return
        }
        var configuration = TLSConfiguration.makeClientConfiguration()
        if let trustRootsFile { configuration.trustRoots = .file(trustRootsFile) }
        // The upgrade is one of HTTP/1.1.
        configuration.applicationProtocols = ["http/1.1"]
        tls = try NIOSSLContext(configuration: configuration)
    }

    /// Opens a WebSocket; to be called on the event loop, on which `callbacks` are made and called once it is open. The
    /// future fails when that does not come to pass.
    func dial(
        on loop: any EventLoop, family: HostResolver.Family?, callbacks: @escaping @Sendable () -> WebSocketHandler.Callbacks
    ) -> EventLoopFuture<any Channel> {
        let upgraded = loop.makePromise(of: Void.self)
        let bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(.seconds(10))
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelOption(.maxMessagesPerRead, value: 4)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try prepare(channel, upgraded: upgraded, callbacks: callbacks)
                }
            }
        let connected: EventLoopFuture<any Channel>
        if let family {
            connected = HostResolver.resolve(url.host, port: url.port, on: loop).assumeIsolated().flatMap { addresses in
                guard let address = addresses[family] else {
                    return loop.makeFailedFuture(WebSocketDialError.unknownHost(url.host))
                }
                return bootstrap.connect(to: address)
            }.nonisolated()
        } else {
            connected = bootstrap.connect(host: url.host, port: Int(url.port))
        }
        connected.whenFailure { upgraded.fail($0) }
        return connected.flatMap { channel in
            channel.closeFuture.whenComplete { _ in upgraded.fail(WebSocketDialError.closed) }
            return upgraded.futureResult.map { channel }.flatMapErrorThrowing { error in
                channel.close(promise: nil)
                throw error
            }
        }
    }

    private func prepare(
        _ channel: any Channel, upgraded: EventLoopPromise<Void>,
        callbacks: @escaping @Sendable () -> WebSocketHandler.Callbacks
    ) throws {
        let pipeline = channel.pipeline.syncOperations
        if let tls {
            // An address cannot be a server name (RFC 6066 §3); the certificate is then checked against the address.
            let isAddress = (try? NIOCore.SocketAddress(ipAddress: url.host, port: 0)) != nil
            try pipeline.addHandler(NIOSSLClientHandler(context: tls, serverHostname: isAddress ? nil : url.host))
        }
        let request = UpgradeRequestHandler(url: url, upgraded: upgraded)
        let handler = NIOLoopBound(request, eventLoop: channel.eventLoop)
        let upgrader = NIOWebSocketClientUpgrader(maxFrameSize: Self.messageLimit) { channel, _ in
            channel.eventLoop.makeCompletedFuture {
                try WebSocketHandler.install(
                    on: channel, side: .client, messageLimit: Self.messageLimit, callbacks: callbacks())
            }
        }
        try pipeline.addHTTPClientHandlers(
            leftOverBytesStrategy: .forwardBytes,
            withClientUpgrade: (
                upgraders: [upgrader],
                completionHandler: { context in
                    // The handlers of the WebSocket stand behind this one, which has done its work.
                    context.pipeline.syncOperations.removeHandler(handler.value, promise: nil)
                    upgraded.succeed()
                }
            ))
        try pipeline.addHandler(request)
    }
}

/// Sends the request that asks for the upgrade, and hears of it when the server has other ideas.
private final class UpgradeRequestHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let url: TrackerURL
    private let upgraded: EventLoopPromise<Void>

    init(url: TrackerURL, upgraded: EventLoopPromise<Void>) {
        self.url = url
        self.upgraded = upgraded
    }

    func channelActive(context: ChannelHandlerContext) {
        let headers: HTTPHeaders = ["Host": url.hostHeader, "User-Agent": "dreamer"]
        let head = HTTPRequestHead(version: .http1_1, method: .GET, uri: url.target, headers: headers)
        context.write(Self.wrapOutboundOut(.head(head)), promise: nil)
        context.writeAndFlush(Self.wrapOutboundOut(.end(nil)), promise: nil)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // Parts come here only when the connection was not upgraded.
        if case .head(let head) = Self.unwrapInboundIn(data) {
            upgraded.fail(WebSocketDialError.status(head.status.code))
            context.close(promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        upgraded.fail(error)
        context.close(promise: nil)
    }
}
