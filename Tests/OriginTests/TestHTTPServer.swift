// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A web server on loopback that answers as a test tells it to, badly if need be.
final class TestHTTPServer: Sendable {
    /// One answer.
    struct Reply: Sendable {
        var status = HTTPResponseStatus.ok
        var headers: HTTPHeaders = [:]
        var body: [UInt8] = []
        /// The connection is dropped after so many bytes of the body.
        var dropAfter: Int?
        /// Nothing is ever sent.
        var isSilent = false
        /// The length is not said: the body ends with its last chunk.
        var isChunked = false
    }

    /// Makes the answer to a request; `number` counts the requests from 0.
    typealias Answer = @Sendable (_ request: HTTPRequestHead, _ number: Int) -> Reply

    let channel: any Channel
    private let log = Mutex<[HTTPRequestHead]>([])

    /// The requests so far.
    var requests: [HTTPRequestHead] { log.withLock { $0 } }
    /// The server's root, without a slash at the end.
    var base: String { "http://127.0.0.1:\(channel.localAddress?.port ?? 0)" }

    private init(channel: any Channel) {
        self.channel = channel
    }

    static func with<Result: Sendable>(
        answer: @escaping Answer, _ body: (TestHTTPServer) async throws -> Result
    ) async throws -> Result {
        let box = Mutex<TestHTTPServer?>(nil)
        let shared = Shared(answer: answer)
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Handler(shared: shared))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let server = TestHTTPServer(channel: channel)
        box.withLock { $0 = server }
        shared.server.withLock { $0 = server }
        do {
            let result = try await body(server)
            try await channel.close().get()
            return result
        } catch {
            try? await channel.close().get()
            throw error
        }
    }

    private final class Shared: Sendable {
        let answer: Answer
        let server = Mutex<TestHTTPServer?>(nil)

        init(answer: @escaping Answer) { self.answer = answer }

        func reply(to head: HTTPRequestHead) -> Reply {
            let number = server.withLock { server in
                server?.log.withLock { log in
                    log.append(head)
                    return log.count - 1
                }
            }
            return answer(head, number ?? 0)
        }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        let shared: Shared

        init(shared: Shared) { self.shared = shared }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .head(let request) = Self.unwrapInboundIn(data) else { return }
            let reply = shared.reply(to: request)
            guard !reply.isSilent else { return }
            var headers = reply.headers
            if !reply.isChunked, !headers.contains(name: "content-length") {
                headers.add(name: "Content-Length", value: String(reply.body.count))
            }
            let head = HTTPResponseHead(version: .http1_1, status: reply.status, headers: headers)
            context.write(Self.wrapOutboundOut(.head(head)), promise: nil)
            let body = reply.body.prefix(reply.dropAfter ?? reply.body.count)
            for start in stride(from: 0, to: body.count, by: 16_384) {
                let part = ByteBuffer(bytes: body[start..<min(start + 16_384, body.count)])
                context.write(Self.wrapOutboundOut(.body(.byteBuffer(part))), promise: nil)
            }
            let channel = context.channel
            if reply.dropAfter != nil {
                context.writeAndFlush(Self.wrapOutboundOut(.body(.byteBuffer(ByteBuffer())))).whenComplete { _ in
                    channel.close(promise: nil)
                }
            } else {
                context.writeAndFlush(Self.wrapOutboundOut(.end(nil)), promise: nil)
            }
        }
    }
}

extension TestHTTPServer.Reply {
    /// What a good server answers to a request for `file`, ranges included.
    static func file(_ file: [UInt8], _ request: HTTPRequestHead) -> Self {
        guard let range = requestedRange(request) else { return Self(body: file) }
        guard range.lowerBound < file.count else {
            return Self(status: .rangeNotSatisfiable, headers: ["Content-Range": "bytes */\(file.count)"])
        }
        let clamped = range.clamped(to: 0..<file.count)
        return Self(
            status: .partialContent,
            headers: ["Content-Range": "bytes \(clamped.lowerBound)-\(clamped.upperBound - 1)/\(file.count)"],
            body: Array(file[clamped]))
    }

    static func requestedRange(_ request: HTTPRequestHead) -> Range<Int>? {
        guard let text = request.headers.first(name: "range"), text.hasPrefix("bytes=") else { return nil }
        let bounds = text.dropFirst(6).split(separator: "-")
        guard bounds.count == 2, let first = Int(bounds[0]), let last = Int(bounds[1]), first <= last else { return nil }
        return first..<last + 1
    }
}
