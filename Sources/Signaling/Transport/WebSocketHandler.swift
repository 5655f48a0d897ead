// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOWebSocket

/// The end of a WebSocket's pipeline: whole messages in, text out, pings answered (RFC 6455 §5.5).
final class WebSocketHandler: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    /// What the owner of the socket wants to hear; called on the channel's event loop.
    struct Callbacks {
        /// A whole message. Text and binary are one: some clients send JSON in binary frames.
        var message: (ByteBuffer) -> Void
        /// A control frame came in.
        var alive: () -> Void
        /// The socket is gone, with the error if that was the reason. Comes once.
        var closed: ((any Error)?) -> Void
    }

    /// Which end of the socket this is. Clients mask what they send (RFC 6455 §5.3).
    enum Side {
        case client, server
    }

    private let side: Side
    private let callbacks: Callbacks
    private var failure: (any Error)?
    private var isClosed = false

    init(side: Side, callbacks: Callbacks) {
        self.side = side
        self.callbacks = callbacks
    }

    /// Puts the handlers behind an upgrade into place. Call on the event loop.
    static func install(on channel: any Channel, side: Side, messageLimit: Int, callbacks: Callbacks) throws {
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(
            NIOWebSocketFrameAggregator(
                minNonFinalFragmentSize: 0, maxAccumulatedFrameCount: 256, maxAccumulatedFrameSize: messageLimit))
        try pipeline.addHandler(WebSocketHandler(side: side, callbacks: callbacks))
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = Self.unwrapInboundIn(data)
        switch frame.opcode {
        case .text, .binary: callbacks.message(frame.unmaskedData)
        case .ping:
            callbacks.alive()
            // A peer that pings and does not read must not fill our memory.
            guard context.channel.isWritable else { return }
            write(.pong, frame.unmaskedData, to: context.channel)
        case .pong: callbacks.alive()
        case .connectionClose:
            // RFC 6455 §5.5.1: the status code is echoed.
            var data = frame.unmaskedData
            write(.connectionClose, data.readSlice(length: min(2, data.readableBytes)) ?? ByteBuffer(), to: context.channel)
            context.close(promise: nil)
        default: context.close(promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        failure = failure ?? error
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        finish()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) { finish() }

    private func finish() {
        guard !isClosed else { return }
        isClosed = true
        callbacks.closed(failure)
    }

    private func write(_ opcode: WebSocketOpcode, _ data: ByteBuffer, to channel: any Channel) {
        channel.writeAndFlush(Self.frame(opcode, data, side: side), promise: nil)
    }

    // MARK: - Sending

    /// aquatic takes no frame above 16 KiB; longer messages are sent in parts (RFC 6455 §5.4).
    static let frameLimit = 16_000

    private static func frame(_ opcode: WebSocketOpcode, _ data: ByteBuffer, side: Side, fin: Bool = true) -> WebSocketFrame {
        WebSocketFrame(fin: fin, opcode: opcode, maskKey: side == .client ? .random() : nil, data: data)
    }

    /// Sends a text message. Call on the event loop.
    static func send(_ text: String, side: Side, on channel: any Channel) {
        var rest = channel.allocator.buffer(string: text)
        var opcode = WebSocketOpcode.text
        repeat {
            let part = rest.readSlice(length: min(rest.readableBytes, frameLimit)) ?? ByteBuffer()
            channel.write(frame(opcode, part, side: side, fin: rest.readableBytes == 0), promise: nil)
            opcode = .continuation
        } while rest.readableBytes > 0
        channel.flush()
    }

    /// Sends a ping. Call on the event loop.
    static func ping(side: Side, on channel: any Channel) {
        channel.writeAndFlush(frame(.ping, ByteBuffer(), side: side), promise: nil)
    }

    /// Says that the socket closes and closes it: when that is written, or after a second at the latest. Call on the
    /// event loop.
    static func close(_ code: WebSocketErrorCode, side: Side, on channel: any Channel) {
        var data = ByteBuffer()
        data.write(webSocketErrorCode: code)
        channel.writeAndFlush(frame(.connectionClose, data, side: side)).whenComplete { _ in channel.close(promise: nil) }
        channel.eventLoop.scheduleTask(in: .seconds(1)) { channel.close(promise: nil) }
    }
}

@available(*, unavailable)
extension WebSocketHandler: Sendable {}
