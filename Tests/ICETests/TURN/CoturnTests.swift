// SPDX-License-Identifier: Apache-2.0
import Foundation
import ICE
import Testing
import Wire

/// A client on real sockets of this host, for as long as a test needs it.
private final class LiveTURN {
    private var client: TURNClient
    private let descriptor: Int32
    private let peerDescriptor: Int32
    private let isStream: Bool
    private let start = ContinuousClock.now
    private var reader = TURNStreamReader()
    private(set) var events: [TURNClient.Event] = []
    private(set) var received: [[UInt8]] = []
    let peer: SocketAddress

    /// Binds, or connects to the server; `nil` while nobody listens there.
    init?(port: UInt16, transport: TURNServer.Transport) {
        isStream = transport.isStream
        descriptor = socket(AF_INET, isStream ? Int32(SOCK_STREAM.rawValue) : Int32(SOCK_DGRAM.rawValue), 0)
        peerDescriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        var any = Self.loopback(0)
        let server = SocketAddress(ip: .loopbackV4, port: port)
        client = TURNClient(
            server: TURNServer(
                address: server, transport: transport,
                credentials: LongTermCredentials(username: "user", password: "pass")), entropy: Entropy(seed: 3))
        guard Self.call(bind, peerDescriptor, &any) == 0 else { return nil }
        peer = SocketAddress(ip: .loopbackV4, port: Self.port(of: peerDescriptor))
        var there = Self.loopback(port)
        guard Self.call(connect, descriptor, &there) == 0 else {
            close(descriptor)
            close(peerDescriptor)
            return nil
        }
    }

    deinit {
        close(descriptor)
        close(peerDescriptor)
    }

    private static func loopback(_ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }

    private static func call(
        _ function: (Int32, UnsafePointer<sockaddr>?, socklen_t) -> Int32, _ descriptor: Int32,
        _ address: inout sockaddr_in
    ) -> Int32 {
        withUnsafeBytes(of: &address) {
            function(
                descriptor, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self),
                socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }

    static func port(of descriptor: Int32) -> UInt16 {
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        _ = withUnsafeMutableBytes(of: &address) {
            getsockname(descriptor, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), &length)
        }
        return UInt16(bigEndian: address.sin_port)
    }

    /// A port that nobody has at the moment.
    static func freePort() -> UInt16 {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        defer { close(descriptor) }
        var any = loopback(0)
        _ = call(bind, descriptor, &any)
        return port(of: descriptor)
    }

    private var now: Timestamp { Timestamp(nanoseconds: (ContinuousClock.now - start).nanoseconds) }
    var relayed: SocketAddress? { client.relayed.first }

    func begin() { client.start(now: now) }
    func permit() { client.permit(peer, now: now) }
    func bindChannel() { client.bind(peer, now: now) }
    func send(_ payload: [UInt8]) { client.send(payload, to: peer, now: now) }
    func release() { client.release(now: now) }

    /// Serves the sockets until something is true, or eight seconds are over.
    func run(until isDone: (LiveTURN) -> Bool) -> Bool {
        let end = now + .seconds(8)
        while now < end {
            drain()
            if isDone(self) { return true }
            var waiting = [pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)]
            if poll(&waiting, 1, 20) > 0 { receive() }
            client.handleTimeout(now: now)
        }
        return false
    }

    private func drain() {
        while true {
            switch client.nextOutput() {
            case .transmit(let bytes): _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
            case .event(let event):
                events.append(event)
                if case .connect = event { client.connected(now: now) }
            case .wait: return
            }
        }
    }

    private func receive() {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
        guard count > 0 else { return }
        let bytes = Array(buffer[..<count])
        guard isStream else { return take(bytes) }
        reader.append(bytes.span.bytes)
        while let range = reader.next() { take(Array(reader.buffer[range])) }
    }

    private func take(_ bytes: [UInt8]) {
        if case .data(let source, let range) = client.receive(bytes.span.bytes, now: now), source == peer {
            received.append(Array(bytes[range]))
        }
    }

    /// What the peer gets, which it sends back at once.
    func echo() -> [UInt8]? {
        var waiting = [pollfd(fd: peerDescriptor, events: Int16(POLLIN), revents: 0)]
        guard poll(&waiting, 1, 2000) > 0, let relayed else { return nil }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = recv(peerDescriptor, &buffer, buffer.count, 0)
        guard count > 0 else { return nil }
        var there = Self.loopback(relayed.port)
        let payload = Array(buffer[..<count])
        _ = withUnsafeBytes(of: &there) {
            sendto(
                peerDescriptor, payload, payload.count, 0,
                $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t(MemoryLayout<sockaddr_in>.size))
        }
        return payload
    }
}

@Suite("Against coturn, where it is installed", .serialized)
struct CoturnTests {
    static let program = "/usr/bin/turnserver"
    static let isInstalled = FileManager.default.isExecutableFile(atPath: program)

    @Test(
        "an allocation, permissions, a channel and its end, over datagrams and over a stream",
        .enabled(if: isInstalled, "there is no turnserver (Debian's coturn)"),
        arguments: [TURNServer.Transport.udp, .tcp])
    func exchange(transport: TURNServer.Transport) throws {
        let port = LiveTURN.freePort()
        let folder = FileManager.default.temporaryDirectory.appending(path: "coturn-\(port)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let server = Process()
        server.executableURL = URL(filePath: Self.program)
        server.arguments = [
            "-n", "-L", "127.0.0.1", "-E", "127.0.0.1", "-p", "\(port)", "-a", "-u", "user:pass", "-r", "example.org",
            "--allow-loopback-peers", "--no-tls", "--no-dtls", "--no-cli", "--log-file", "stdout",
            "--pidfile", folder.appending(path: "pid").path, "--userdb", folder.appending(path: "db").path,
        ]
        server.standardOutput = FileHandle.nullDevice
        server.standardError = FileHandle.nullDevice
        try server.run()
        defer {
            // It inherits the mask of the thread that started it, and dispatch's workers block SIGTERM.
            kill(server.processIdentifier, SIGKILL)
            // Not without end: Foundation may not hear of it where others wait for children as well.
            for _ in 0..<200 where server.isRunning { usleep(10_000) }
        }
        // Over a stream somebody has to listen first; over datagrams the first copy may be refused.
        let clock = ContinuousClock()
        let limit = clock.now + .seconds(8)
        var client: LiveTURN?
        while clock.now < limit {
            if let live = LiveTURN(port: port, transport: transport) {
                live.begin()
                client = live
                if live.run(until: { $0.relayed != nil || !$0.events.filter { $0 != .answered }.dropFirst().isEmpty }) {
                    break
                }
            }
            usleep(20_000)
        }
        let live = try #require(client)
        #expect(live.events.contains(.allocated))
        #expect(live.relayed?.ip == .loopbackV4)
        live.permit()
        #expect(live.run { $0.events.contains(.permitted(.loopbackV4)) })
        live.send([1, 2, 3])
        _ = live.run { _ in true }
        #expect(live.echo() == [1, 2, 3])
        #expect(live.run { $0.received == [[1, 2, 3]] })
        live.bindChannel()
        let peer = live.peer
        #expect(live.run { $0.events.contains(.bound(peer, channel: 0x4000)) })
        live.send([4, 5, 6, 7, 8])
        _ = live.run { _ in true }
        #expect(live.echo() == [4, 5, 6, 7, 8])
        #expect(live.run { $0.received.last == [4, 5, 6, 7, 8] })
        live.release()
        #expect(live.run { $0.events.last == .ended(nil) })
    }
}
