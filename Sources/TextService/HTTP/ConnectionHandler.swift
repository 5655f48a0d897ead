// SPDX-License-Identifier: Apache-2.0
internal import NIOCore
internal import NIOHTTP1

/// A connection of a server: one request after the other, each answered by a task of its own. What comes behind a
/// request that is being answered is not read (`HTTPServerPipelineHandler`).
final class ConnectionHandler: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    /// waiting ──head──▶ receiving ──end──▶ answering ──end of the answer──▶ waiting, or closing
    private enum State {
        case waiting
        case receiving(Exchange)
        /// `isComplete`: whether all of the request was received.
        case answering(isComplete: Bool)
        /// The answer was the last; what still comes is thrown away.
        case closing
    }

    private let hub: ConnectionHub
    private var context: ChannelHandlerContext?
    private var state: State = .waiting
    /// What came of the body. Not a part of the state, where each part of it would make a copy of what came before.
    private var body = ByteBuffer()
    private var task: Task<Void, Never>?
    /// Whether the connection ends with the answer.
    private var isLast = false
    private var reserved = 0
    /// Until when a request, or its body, must be there.
    private var patience: Scheduled<Void>?
    private var pendingWrites = 0
    private var stall: Scheduled<Void>?

    init(_ hub: ConnectionHub) { self.hub = hub }

    private var limits: ServerLimits { hub.configuration.limits }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        guard hub.add(self) else {
            context.close(promise: nil)
            return
        }
        wait(limits.idleTime) { $0.close() }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        gone()
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        gone()
        context.fireChannelInactive()
    }

    /// Nobody is there any more: what is being generated is not wanted.
    private func gone() {
        state = .closing
        patience?.cancel()
        stall?.cancel()
        task?.cancel()
        task = nil
        body = ByteBuffer()
        release()
        hub.remove(self)
    }

    /// No request is taken any more; what is being answered is ended.
    func stop() {
        isLast = true
        if case .answering = state, let task { task.cancel() } else { close() }
    }

    func close() { context?.close(promise: nil) }

    // MARK: Requests

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (Self.unwrapInboundIn(data), state) {
        case (.head(let head), .waiting): begin(head)
        case (.body(var part), .receiving(let exchange)):
            guard body.readableBytes + part.readableBytes <= limits.bodyBytes else {
                return refuse(exchange, .tooLarge(limits.bodyBytes))
            }
            guard hub.reserve(part.readableBytes) else {
                return refuse(exchange, .busy("Too much is being sent to this server: ask again later."))
            }
            reserved += part.readableBytes
            body.writeBuffer(&part)
        case (.end, .receiving(let exchange)):
            patience?.cancel()
            answer(exchange, isComplete: true)
        case (.end, .answering): state = .answering(isComplete: true)
        default: break
        }
    }

    private func begin(_ head: HTTPRequestHead) {
        guard let context else { return }
        // Older clients know the end of an answer of unknown length by that of the connection.
        isLast = !head.isKeepAlive || head.version != .http1_1 || hub.isStopping
        let exchange = Exchange(head, context.channel, hub.configuration.access)
        let size = head.headers.first(name: "content-length").flatMap { Int($0) } ?? 0
        let hasBody = size > 0 || head.headers.contains(name: "transfer-encoding")
        var refusal = exchange.refusal
        if size > limits.bodyBytes { refusal = refusal ?? .tooLarge(limits.bodyBytes) }
        if let refusal, hasBody { return refuse(exchange, refusal) }
        if head.headers[canonicalForm: "expect"].contains(where: { $0.lowercased() == "100-continue" }), hasBody {
            let go = HTTPResponseHead(version: head.version, status: .continue)
            context.writeAndFlush(Self.wrapOutboundOut(.head(go)), promise: nil)
        }
        state = .receiving(exchange)
        wait(limits.bodyTime) { $0.refuse(exchange, .tooSlow) }
    }

    /// Answers a request before all of it was received; the connection ends with that.
    private func refuse(_ exchange: Exchange, _ error: APIError) {
        patience?.cancel()
        body = ByteBuffer()
        release()
        isLast = true
        var exchange = exchange
        exchange.refusal = error
        answer(exchange, isComplete: false)
    }

    private func answer(_ exchange: Exchange, isComplete: Bool) {
        guard let context else { return }
        let body = body
        self.body = ByteBuffer()
        state = .answering(isComplete: isComplete)
        var exchange = exchange
        exchange.isLast = isLast
        let (service, loop) = (hub.service, context.eventLoop)
        let bound = NIOLoopBound(self, eventLoop: loop)
        task = Task { [exchange] in
            await service.answer(exchange, body) { loop.execute { bound.value.release() } }
        }
    }

    private func release() {
        hub.release(reserved)
        reserved = 0
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch (error as? HTTPParserError, state) {
        case (let error?, .waiting):
            isLast = true
            let overflow = error == .headerOverflow
            let refusal =
                overflow
                ? APIError(431, "The headers are more than is taken.", code: "headers_too_large")
                : APIError(400, "This is no request of HTTP/1.1.", code: "invalid_http")
            let head = HTTPRequestHead(version: .http1_1, method: .GET, uri: "/")
            var exchange = Exchange(head, context.channel, hub.configuration.access)
            exchange.refusal = refusal
            answer(exchange, isComplete: true)
        // The answer before it is still on its way.
        case (_?, .closing): break
        default: context.close(promise: nil)
        }
    }

    // MARK: Answers

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let promise = promise ?? context.eventLoop.makePromise(of: Void.self)
        let isEnd = if case .end = Self.unwrapOutboundIn(data) { true } else { false }
        if isEnd {
            // Before it is written, as what came behind the request is delivered meanwhile.
            task = nil
            release()
            state = isLast ? .closing : .waiting
            if !isLast { wait(limits.idleTime) { $0.close() } }
        }
        pendingWrites += 1
        if stall == nil { watchForStall(context) }
        promise.futureResult.assumeIsolated().whenComplete { result in
            self.pendingWrites -= 1
            self.stall?.cancel()
            self.stall = nil
            guard let context = self.context, case .success = result else { return }
            if self.pendingWrites > 0 { self.watchForStall(context) }
            if isEnd, case .closing = self.state { self.linger(context) }
        }
        context.write(data, promise: promise)
    }

    /// Whoever takes nothing for long is not served any more.
    private func watchForStall(_ context: ChannelHandlerContext) {
        stall = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(limits.stallTime)) { self.close() }
    }

    /// Ends our direction alone, for a moment: closing while the other still sends would have the system throw away
    /// what was not read yet, the answer with it (RFC 9112 §9.6).
    private func linger(_ context: ChannelHandlerContext) {
        context.close(mode: .output, promise: nil)
        wait(.seconds(2)) { $0.close() }
    }

    private func wait(_ time: Duration, then action: @escaping (ConnectionHandler) -> Void) {
        patience?.cancel()
        patience = context?.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(time)) { action(self) }
    }
}

@available(*, unavailable)
extension ConnectionHandler: Sendable {}

extension APIError {
    fileprivate static func tooLarge(_ limit: Int) -> APIError {
        APIError(413, "The body is more than is taken, \(limit) bytes.", code: "request_too_large")
    }

    fileprivate static let tooSlow = APIError(408, "The body did not come in time.", code: "request_timeout")
}
