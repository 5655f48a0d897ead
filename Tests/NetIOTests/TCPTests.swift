// SPDX-License-Identifier: Apache-2.0
import Glibc
import NetIO
import Synchronization
import Testing
import Wire

@Suite("TCP", .timeLimit(.minutes(1)))
struct TCPTests {
    private static let loopback = SocketAddress(ip: .v4(0x7F00_0001), port: 0)

    /// What came of a connection.
    private final class Record: Sendable {
        private struct State {
            var bytes: [UInt8] = []
            var events: [TCPConnection.Event] = []
            var connection: TCPConnection?
        }
        private let state = Mutex(State())

        func keep(_ connection: TCPConnection) { state.withLock { $0.connection = connection } }
        func note(_ event: TCPConnection.Event) { state.withLock { $0.events.append(event) } }
        func note(_ bytes: RawSpan) { bytes.withUnsafeBytes { bytes in state.withLock { $0.bytes += bytes } } }
        var connection: TCPConnection? { state.withLock { $0.connection } }
        var bytes: [UInt8] { state.withLock { $0.bytes } }
        var isConnected: Bool {
            state.withLock { $0.events.contains { if case .connected = $0 { true } else { false } } }
        }
        /// The error of the end, told once.
        var end: NetIOError?? {
            state.withLock { state in
                for event in state.events { if case .closed(let error) = event { return .some(error) } }
                return nil
            }
        }
    }

    private func eventually(_ condition: () -> Bool) async {
        while !condition(), !Task.isCancelled { await Task.yield() }
    }

    @Test("bytes arrive in order both ways, the end is told to both, and large sends wait for the kernel")
    func exchange() async throws {
        let loop = try EventLoop()
        defer { loop.stop() }
        let server = Record()
        let listener = try TCPListener(bind: Self.loopback, on: loop, limit: 64 << 20) { connection in
            server.keep(connection)
            try? connection.start(
                onReceive: { bytes in
                    server.note(bytes)
                    connection.send(bytes)
                }, onEvent: { server.note($0) })
        }
        let client = Record()
        let connection = try TCPConnection(to: listener.localAddress, on: loop, limit: 64 << 20)
        let bytes = (0..<8_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        connection.send(bytes.span.bytes)
        try connection.start(onReceive: { client.note($0) }, onEvent: { client.note($0) })
        await eventually { client.bytes.count == bytes.count }
        #expect(client.isConnected)
        #expect(client.bytes == bytes && server.bytes == bytes)
        #expect(server.connection?.remoteAddress == connection.localAddress)
        #expect(connection.bufferedBytes == 0)
        connection.close()
        connection.close()
        await eventually { client.end != nil && server.end != nil }
        #expect(client.end == .some(nil) && server.end == .some(nil))
        listener.close()
    }

    @Test("one that is finished delivers what waits, takes nothing more, and ends")
    func finish() async throws {
        let loop = try EventLoop()
        defer { loop.stop() }
        let server = Record()
        let listener = try TCPListener(bind: Self.loopback, on: loop) { connection in
            server.keep(connection)
            try? connection.start(onReceive: { server.note($0) }, onEvent: { server.note($0) })
        }
        let client = Record()
        let connection = try TCPConnection(to: listener.localAddress, on: loop, limit: 64 << 20)
        try connection.start(onReceive: { _ in }, onEvent: { client.note($0) })
        await eventually { client.isConnected }
        let bytes = (0..<16_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        connection.send(bytes.span.bytes)
        connection.finish()
        connection.finish()
        connection.send([1, 2, 3].span.bytes)
        await eventually { client.end != nil && server.end != nil }
        #expect(server.bytes == bytes && client.end == .some(nil))
        listener.close()
    }

    @Test("a port where nobody listens is told as an error")
    func refused() async throws {
        let loop = try EventLoop()
        defer { loop.stop() }
        let gone = try TCPListener(bind: Self.loopback, on: loop) { _ in }
        let address = gone.localAddress
        gone.close()
        let drained = Record()
        // The listener's descriptor is closed on the loop, before what comes after.
        loop.execute { drained.note([1].span.bytes) }
        await eventually { !drained.bytes.isEmpty }
        let record = Record()
        let connection = try TCPConnection(to: address, on: loop)
        try connection.start(onReceive: { _ in }, onEvent: { record.note($0) })
        await eventually { record.end != nil }
        #expect(record.end??.code == 111)  // ECONNREFUSED
        #expect(!record.isConnected)
    }

    @Test("a peer that does not read ends the connection at the bound, and memory with it")
    func bound() async throws {
        let loop = try EventLoop()
        defer { loop.stop() }
        let kept = Record()
        // Never started: nobody reads.
        let listener = try TCPListener(bind: Self.loopback, on: loop) { kept.keep($0) }
        let record = Record()
        let connection = try TCPConnection(to: listener.localAddress, on: loop, limit: 1 << 20)
        try connection.start(onReceive: { _ in }, onEvent: { record.note($0) })
        await eventually { record.isConnected && kept.connection != nil }
        let piece = [UInt8](repeating: 7, count: 1 << 18)
        for _ in 0..<200 where record.end == nil {
            connection.send(piece.span.bytes)
            #expect(connection.bufferedBytes <= 1 << 20)
        }
        await eventually { record.end != nil }
        #expect(record.end??.code == 105)  // ENOBUFS
        listener.close()
    }

    // In a process of its own, whose descriptors are its own to use up.
    @Test("a listener in a process without descriptors waits for one, and costs next to nothing meanwhile")
    func noDescriptors() async {
        await #expect(processExitsWith: .success) {
            let loop = try EventLoop()
            let taken = Mutex<[TCPConnection]>([])
            let listener = try TCPListener(bind: SocketAddress(ip: .loopbackV4, port: 0), on: loop) { connection in
                taken.withLock { $0.append(connection) }
            }
            // The lowest that is free becomes the last that there is, and the client's.
            let last = dup(0)
            close(last)
            var limit = rlimit()
            let resource = __rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue))
            precondition(getrlimit(resource, &limit) == 0)
            let before = limit.rlim_cur
            limit.rlim_cur = UInt(last) + 1
            precondition(setrlimit(resource, &limit) == 0)
            let client = try TCPConnection(to: listener.localAddress, on: loop)
            try client.start(onReceive: { _ in }, onEvent: { _ in })
            precondition(dup(0) < 0, "there are descriptors left")
            let begin = clock()
            await withCheckedContinuation { waiting in
                loop.schedule(at: loop.now + .milliseconds(500)) { waiting.resume() }
            }
            precondition(taken.withLock { $0.isEmpty }, "a connection was taken without a descriptor")
            precondition(Double(clock() - begin) / 1e6 < 0.25, "the loop spins")
            limit.rlim_cur = before
            precondition(setrlimit(resource, &limit) == 0)
            while taken.withLock({ $0.isEmpty }) { await Task.yield() }
            listener.close()
        }
    }
}
