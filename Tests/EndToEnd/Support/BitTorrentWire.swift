// SPDX-License-Identifier: Apache-2.0
import Hashing
import WebRTC
import Wire

/// Just enough of BitTorrent's peer protocol (BEP 3) over a data channel to fetch a piece: the bytes of the messages on the
/// channel, one after the other, are the stream that would run over TCP.
struct BitTorrentWire {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// A message after the handshake.
    struct Message {
        let id: UInt8
        let payload: [UInt8]
    }

    static let choke: UInt8 = 0
    static let unchoke: UInt8 = 1
    static let interested: UInt8 = 2
    static let bitfield: UInt8 = 5
    static let request: UInt8 = 6
    static let piece: UInt8 = 7

    private static let greeting = [19] + Array("BitTorrent protocol".utf8)
    private let channel: DataChannel
    private var messages: DataChannel.Messages.Iterator
    private var pending: [UInt8] = []

    init(_ channel: DataChannel) {
        self.channel = channel
        messages = channel.messages.makeAsyncIterator()
    }

    /// Sends the handshake and takes the peer's.
    mutating func shakeHands(infoHash: [UInt8], peerID: [UInt8]) async throws {
        try await channel.send(Self.greeting + [UInt8](repeating: 0, count: 8) + infoHash + peerID)
        let answer = try await take(68)
        guard Array(answer[..<20]) == Self.greeting, Array(answer[28..<48]) == infoHash else {
            throw Failure(description: "no BitTorrent handshake for this swarm: \(Hex.encode(answer))")
        }
    }

    /// Fetches a piece, block by block.
    mutating func fetch(piece: UInt32, count: Int) async throws -> [UInt8] {
        try await send(Self.interested, [])
        _ = try await next(Self.unchoke)
        let block = 16_384
        var bytes: [UInt8] = []
        for offset in stride(from: 0, to: count, by: block) {
            let place = Self.word(piece) + Self.word(UInt32(offset))
            try await send(Self.request, place + Self.word(UInt32(min(block, count - offset))))
            let answer = try await next(Self.piece).payload
            guard answer.starts(with: place) else { throw Failure(description: "a block of something else") }
            bytes += answer[8...]
        }
        return bytes
    }

    /// The next message of a kind; others are passed over.
    mutating func next(_ id: UInt8) async throws -> Message {
        while true {
            let length = try await take(4).reduce(0) { $0 << 8 | Int($1) }
            guard length > 0 else { continue }
            guard length <= 1 << 20 else { throw Failure(description: "a message of \(length) bytes") }
            let body = try await take(length)
            if body[0] == id { return Message(id: id, payload: Array(body[1...])) }
        }
    }

    private func send(_ id: UInt8, _ payload: [UInt8]) async throws {
        try await channel.send(Self.word(UInt32(payload.count + 1)) + [id] + payload)
    }

    private mutating func take(_ count: Int) async throws -> [UInt8] {
        while pending.count < count {
            guard case .binary(let bytes)? = try await messages.next() else {
                throw Failure(description: "the channel closed, or text came")
            }
            pending += bytes
        }
        defer { pending.removeFirst(count) }
        return Array(pending[..<count])
    }

    private static func word(_ value: UInt32) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
    }
}
