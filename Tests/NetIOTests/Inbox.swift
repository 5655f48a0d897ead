// SPDX-License-Identifier: Apache-2.0
import NetIO
import Synchronization
import Wire

/// What a socket received, as the tests look at it.
final class Inbox: Sendable {
    struct Packet: Hashable, Sendable {
        let bytes: [UInt8]
        let source: SocketAddress
        let destination: SocketAddress
    }

    private let packets = Mutex<[Packet]>([])
    private let signal: AsyncStream<Void>
    private let arrived: AsyncStream<Void>.Continuation

    init() {
        (signal, arrived) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    func receive(_ train: borrowing PacketTrain) {
        for index in 0..<train.count {
            let bytes = train[index].withUnsafeBytes { Array($0) }
            let packet = Packet(bytes: bytes, source: train.source, destination: train.destination)
            packets.withLock { $0.append(packet) }
        }
        arrived.yield()
    }

    /// Waits until so many packets are there; the test's time limit bounds the wait.
    func wait(for count: Int) async -> [Packet] {
        for await _ in signal {
            let packets = packets.withLock { $0 }
            if packets.count >= count { return packets }
        }
        return packets.withLock { $0 }
    }

    var all: [Packet] { packets.withLock { $0 } }
}

/// A loop for the length of a test.
func withLoop<Result>(_ body: (EventLoop) async throws -> Result) async throws -> Result {
    let loop = try EventLoop(name: "test")
    defer { loop.stop() }
    return try await body(loop)
}

func packets(ofSizes sizes: [Int], seed: UInt64 = 1) -> [[UInt8]] {
    var entropy = Entropy(seed: seed)
    return sizes.map { entropy.bytes($0) }
}

func buffer(_ packets: [[UInt8]]) -> PacketBuffer {
    var buffer = PacketBuffer()
    for packet in packets { buffer.append(packet.span.bytes) }
    return buffer
}
