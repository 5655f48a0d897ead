// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOHTTP1
import Wire

/// Answers plain HTTP requests to a tracker: its counts on `/`, nothing elsewhere. Gone once the connection is a WebSocket.
final class TrackerStatusHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let hub: TrackerHub
    private var patience: Scheduled<Void>?
    private var head: HTTPRequestHead?

    init(hub: TrackerHub) {
        self.hub = hub
    }

    func handlerAdded(context: ChannelHandlerContext) {
        // Whoever connects and asks for nothing holds a socket for this long.
        patience = context.eventLoop.assumeIsolated().scheduleTask(in: .seconds(15)) { context.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        patience?.cancel()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch Self.unwrapInboundIn(data) {
        case .head(let head): self.head = head
        case .body: break
        case .end:
            guard let head else { return }
            self.head = nil
            answer(head, context: context)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private func answer(_ request: HTTPRequestHead, context: ChannelHandlerContext) {
        let path = request.uri.prefix { $0 != "?" }
        let status: HTTPResponseStatus
        var text = ""
        switch (request.method, path) {
        case (.GET, "/"), (.HEAD, "/"):
            status = .ok
            text = hub.statistics.json.serialized(indented: true) + "\n"
        case (.GET, _), (.HEAD, _):
            status = .notFound
            text = "{\"error\": \"this is a WebTorrent tracker: open a WebSocket\"}\n"
        default: status = .methodNotAllowed
        }
        let headers: HTTPHeaders = [
            "Content-Type": "application/json", "Content-Length": String(text.utf8.count), "Cache-Control": "no-store",
            "Connection": "close",
        ]
        let head = HTTPResponseHead(version: .http1_1, status: status, headers: headers)
        context.write(Self.wrapOutboundOut(.head(head)), promise: nil)
        if request.method != .HEAD {
            context.write(Self.wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: text)))), promise: nil)
        }
        let channel = context.channel
        context.writeAndFlush(Self.wrapOutboundOut(.end(nil))).whenComplete { _ in channel.close(promise: nil) }
    }
}

@available(*, unavailable)
extension TrackerStatusHandler: Sendable {}

extension TrackerStatistics {
    /// The counts by name.
    var json: JSON {
        [
            "connections": .integer(Int64(connections)), "swarms": .integer(Int64(swarms)), "peers": .integer(Int64(peers)),
            "seeders": .integer(Int64(seeders)), "announces": .integer(Int64(announces)), "offers": .integer(Int64(offers)),
            "answers": .integer(Int64(answers)), "refused": .integer(Int64(refused)),
        ]
    }
}
