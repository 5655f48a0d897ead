// SPDX-License-Identifier: Apache-2.0
import DTLS
import ICE
import NetIO
import Synchronization
import Wire

/// Datagrams as they come, for a test that waits for them.
final class PacketQueue: Sendable {
    private let packets: AsyncStream<[UInt8]>
    private let arrived: AsyncStream<[UInt8]>.Continuation

    init() {
        (packets, arrived) = AsyncStream.makeStream()
    }

    func take(_ train: borrowing PacketTrain) {
        for index in 0..<train.count { arrived.yield([UInt8](copying: train[index])) }
    }

    /// The next one of a kind; what comes before it is dropped.
    func first(_ suits: (([UInt8]) -> Bool)) async -> [UInt8]? {
        for await packet in packets where suits(packet) { return packet }
        return nil
    }
}

/// Where datagrams come from.
final class SourceQueue: Sendable {
    private let sources: AsyncStream<SocketAddress>
    private let arrived: AsyncStream<SocketAddress>.Continuation

    init() {
        (sources, arrived) = AsyncStream.makeStream()
    }

    func take(_ train: borrowing PacketTrain) { arrived.yield(train.source) }

    func next() async -> SocketAddress? {
        for await source in sources { return source }
        return nil
    }
}

/// The client's end of a stream, encrypted where there is a context.
final class StreamClient: Sendable {
    let stream: TCPConnection
    private struct State: ~Copyable {
        var tls: TLSSession?
        var received: [UInt8] = []
    }
    private let state: Mutex<State>
    private let changes: AsyncStream<Bool>
    private let changed: AsyncStream<Bool>.Continuation

    init(_ loop: EventLoop, _ address: SocketAddress, _ context: TLSContext?, name: String) throws {
        stream = try TCPConnection(to: address, on: loop)
        if let context {
            var session = try TLSSession(context, serverName: name)
            session.start()
            state = Mutex(State(tls: consume session))
        } else {
            state = Mutex(State(tls: nil))
        }
        (changes, changed) = AsyncStream.makeStream()
        state.withLock { flush(&$0) }
        try stream.start(
            onReceive: { [self] bytes in
                state.withLock { state in
                    if state.tls == nil {
                        state.received += [UInt8](copying: bytes)
                    } else {
                        state.tls?.receive(bytes, plaintext: &state.received)
                        flush(&state)
                    }
                }
                changed.yield(false)
            },
            onEvent: { [self] event in
                if case .closed = event { changed.yield(true) }
            })
    }

    func send(_ bytes: [UInt8]) {
        state.withLock { state in
            if state.tls == nil {
                stream.send(bytes.span.bytes)
            } else {
                state.tls?.send(bytes.span.bytes)
                flush(&state)
            }
        }
    }

    /// Under the lock, so that records stay in order: the test and the loop both write.
    private func flush(_ state: inout State) {
        let outgoing = state.tls?.takeOutgoing() ?? []
        stream.send(outgoing.span.bytes)
    }

    /// So many bytes of the stream.
    func nextBytes(count: Int) async -> [UInt8]? {
        while true {
            let bytes: [UInt8]? = state.withLock { state in
                guard state.received.count >= count else { return nil }
                let bytes = Array(state.received.prefix(count))
                state.received.removeFirst(count)
                return bytes
            }
            if let bytes { return bytes }
            var isOpen = false
            for await isClosed in changes {
                isOpen = !isClosed
                break
            }
            guard isOpen else { return nil }
        }
    }

    /// The next STUN message.
    func next() async -> STUNMessage? {
        guard let header = await nextBytes(count: 20) else { return nil }
        let length = Int(header[2]) << 8 | Int(header[3])
        guard let rest = await nextBytes(count: length) else { return nil }
        return try? STUNMessage(decoding: (header + rest).span.bytes)
    }

    /// Waits for the end.
    func closed() async {
        for await isClosed in changes where isClosed { return }
    }
}
