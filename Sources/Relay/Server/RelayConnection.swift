// SPDX-License-Identifier: Apache-2.0
internal import DTLS
internal import ICE
internal import NetIO
internal import Wire

/// A client's stream: bytes in, messages out, and back. It belongs to its shard's thread.
final class RelayConnection {
    let client: RelayClient
    /// When it came, or brought something that a server answers.
    var lastHeard: Timestamp
    private let stream: TCPConnection
    private var tls: TLSSession?
    private let limit: Int
    private var reader: TURNStreamReader
    private var plaintext: [UInt8] = []

    /// Where the most bytes may wait to be written; `nil` where no TLS session can be made.
    init?(
        _ stream: TCPConnection, _ client: RelayClient, _ context: TLSContext?, limit: Int,
        channelBytes: ClosedRange<UInt8>, now: Timestamp
    ) {
        lastHeard = now
        reader = TURNStreamReader(channelBytes: channelBytes)
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

    /// Takes bytes of the stream and passes each whole message on; false where they make no sense, which ends the
    /// stream.
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
        var reader = TURNStreamReader()
        swap(&reader, &self.reader)
        reader.append(bytes)
        while let range = reader.next() { body(reader.buffer.span.bytes.extracting(range)) }
        let isSound = !reader.isBroken
        swap(&reader, &self.reader)
        return isSound
    }
}
