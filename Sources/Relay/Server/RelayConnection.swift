// SPDX-License-Identifier: Apache-2.0
internal import DTLS
internal import NetIO
internal import Wire

/// A client's stream: bytes in, messages out, and back. It belongs to its shard's thread.
final class RelayConnection {
    let client: RelayClient
    /// Whether a message came since this was last set to false.
    var hasHeard = false
    private let stream: TCPConnection
    private var tls: TLSSession?
    private let limit: Int
    /// The highest byte that ChannelData may begin with.
    private let lastChannelByte: UInt8
    /// The start of a message whose end has not come yet: less than one message.
    private var rest: [UInt8] = []
    private var plaintext: [UInt8] = []

    /// Where the most bytes may wait to be written; `nil` where no TLS session can be made.
    init?(_ stream: TCPConnection, _ client: RelayClient, _ context: TLSContext?, limit: Int, lastChannelByte: UInt8) {
        self.lastChannelByte = lastChannelByte
        self.stream = stream
        self.client = client
        self.limit = limit
        if let context {
            do throws(TLSError) {
                tls = try TLSSession(context)
            } catch {
                return nil
            }
        }
    }

    func close() {
        tls?.close()
        sendOutgoing()
        stream.close()
    }

    /// Takes bytes of the stream and passes each whole message on; false where they make no sense, which ends the stream.
    func receive(_ bytes: RawSpan, _ body: (RawSpan) -> Void) -> Bool {
        guard tls != nil else { return takeMessages(bytes, body) }
        tls?.receive(bytes, plaintext: &plaintext)
        sendOutgoing()
        var decrypted: [UInt8] = []
        swap(&decrypted, &plaintext)
        let isSound = decrypted.isEmpty || takeMessages(decrypted.span.bytes, body)
        decrypted.removeAll(keepingCapacity: decrypted.capacity <= 64 << 10)
        plaintext = decrypted
        switch tls?.state {
        case .handshaking, .connected: return isSound
        default: return false
        }
    }

    /// Writes messages, all or none: false where too much waits already because the client does not read.
    func send(_ messages: borrowing PacketBuffer) -> Bool {
        guard stream.bufferedBytes + messages.byteCount <= limit else { return false }
        if tls == nil {
            messages.withUnsafeBytes { stream.send($0.bytes) }
        } else {
            // A record each: some clients read one at a time and look for one message in it.
            for index in 0..<messages.count { tls?.send(messages[index]) }
            sendOutgoing()
        }
        return true
    }

    private func sendOutgoing() {
        guard let outgoing = tls?.takeOutgoing(), !outgoing.isEmpty else { return }
        stream.send(outgoing.span.bytes)
    }

    private func takeMessages(_ bytes: RawSpan, _ body: (RawSpan) -> Void) -> Bool {
        hasHeard = true
        guard !rest.isEmpty else {
            guard let used = messages(in: bytes, body) else { return false }
            rest.append(contentsOf: [UInt8](copying: bytes.extracting(used..<bytes.byteCount)))
            return true
        }
        var joined: [UInt8] = []
        swap(&joined, &rest)
        bytes.withUnsafeBytes { joined.append(contentsOf: $0) }
        guard let used = messages(in: joined.span.bytes, body) else { return false }
        joined.removeFirst(used)
        rest = joined
        return true
    }

    /// Passes whole messages on; how many bytes they took, `nil` where something else stands among them.
    private func messages(in bytes: RawSpan, _ body: (RawSpan) -> Void) -> Int? {
        var offset = 0
        while true {
            switch StreamFraming.frame(bytes, at: offset, lastChannelByte: lastChannelByte) {
            case .message(let length):
                guard offset + length <= bytes.byteCount else { return offset }
                body(bytes.extracting(offset..<offset + length))
                offset += length
            case .incomplete:
                return offset
            case .invalid:
                return nil
            }
        }
    }
}
