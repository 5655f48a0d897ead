// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import Hashing
import Synchronization

/// A TCP server on 127.0.0.1 that does to each connection what a test says, on a thread a connection.
final class LoopbackServer: Sendable {
    /// A connection of someone.
    struct Connection: Sendable {
        let descriptor: Int32

        /// Everything up to an empty line, without it; `nil` when the other side closed before.
        func readHead() -> String? {
            var head: [UInt8] = []
            var byte: UInt8 = 0
            while !head.suffix(4).elementsEqual([13, 10, 13, 10]) {
                guard head.count < 65_536, recv(descriptor, &byte, 1, 0) == 1 else { return nil }
                head.append(byte)
            }
            return String(decoding: head.dropLast(4), as: UTF8.self)
        }

        /// Reads and forgets until the other side closes, or the server stops.
        func readToEnd() {
            var bytes = [UInt8](repeating: 0, count: 65_536)
            while recv(descriptor, &bytes, bytes.count, 0) > 0 {}
        }

        func write(_ bytes: some Sequence<UInt8>) {
            var rest = Array(bytes)[...]
            while !rest.isEmpty {
                let sent = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
                guard sent > 0 else { return }
                rest = rest.dropFirst(sent)
            }
        }

        func write(_ text: String) { write(text.utf8) }

        /// Does a WebSocket server's half of the handshake (RFC 6455 §4.2.2).
        func acceptWebSocket() -> Bool {
            let name = "sec-websocket-key:"
            let line = readHead()?.split(separator: "\r\n").first { $0.lowercased().hasPrefix(name) }
            guard let key = line?.dropFirst(name.count).drop(while: { $0 == " " }) else { return false }
            let digest = SHA1.hash(Array("\(key)258EAFA5-E914-47DA-95CA-C5AB0DC85B11".utf8))
            write(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    + "Sec-WebSocket-Accept: \(Data(digest).base64EncodedString())\r\n\r\n")
            return true
        }

        /// Sends a WebSocket text of less than 64 KiB in one frame.
        func writeWebSocket(_ text: String) {
            let count = text.utf8.count
            let length = count < 126 ? [UInt8(count)] : [126, UInt8(count >> 8), UInt8(count & 0xFF)]
            write([0x81] + length + Array(text.utf8))
        }
    }

    private struct State {
        var connections: Set<Int32> = []
        var isStopped = false
    }

    /// The port it listens on.
    let port: UInt16
    private let listener: Int32
    private let state = Mutex(State())

    /// A server that listens.
    init(_ serve: @escaping @Sendable (Connection) -> Void) throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, length) == 0 && listen(listener, 64) == 0 && getsockname(listener, $0, &length) == 0
            }
        }
        self.listener = listener
        port = UInt16(bigEndian: address.sin_port)
        guard isBound else { throw LineProcess.Failure(description: "no TCP port on 127.0.0.1") }
        Thread.detachNewThread { [self] in
            while true {
                let descriptor = accept(listener, nil, nil)
                guard descriptor >= 0 else {
                    if state.withLock({ $0.isStopped }) { break }
                    continue
                }
                // Programs that are started meanwhile must not keep it open.
                _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
                state.withLock { _ = $0.connections.insert(descriptor) }
                Thread.detachNewThread { [self] in
                    serve(Connection(descriptor: descriptor))
                    state.withLock { _ = $0.connections.remove(descriptor) }
                    close(descriptor)
                }
            }
            close(listener)
        }
    }

    /// Stops listening and ends all connections.
    func stop() {
        state.withLock { state in
            state.isStopped = true
            for descriptor in state.connections { shutdown(descriptor, Int32(SHUT_RDWR)) }
        }
        shutdown(listener, Int32(SHUT_RDWR))
    }

    /// Runs `body` with a server.
    static func with<Result>(
        _ serve: @escaping @Sendable (Connection) -> Void, _ body: (LoopbackServer) async throws -> Result
    ) async throws -> Result {
        let server = try LoopbackServer(serve)
        defer { server.stop() }
        return try await body(server)
    }

    /// A web server with the files of a folder, ranges included. `edit` changes what a file is sent as.
    static func files(
        of folder: String, edit: @escaping @Sendable (_ name: String, inout [UInt8]) -> Void = { _, _ in }
    ) -> @Sendable (Connection) -> Void {
        { connection in
            while let head = connection.readHead() {
                let name = String(head.split(separator: " ").dropFirst().first?.dropFirst() ?? "")
                guard !name.contains(".."), let data = try? Data(contentsOf: URL(filePath: "\(folder)/\(name)")) else {
                    connection.write("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                }
                var bytes = [UInt8](data)
                edit(name, &bytes)
                let line = head.split(separator: "\r\n").first { $0.lowercased().hasPrefix("range: bytes=") }
                let ends = (line?.dropFirst(13) ?? "").split(separator: "-", omittingEmptySubsequences: false)
                guard ends.count == 2, let first = Int(ends[0]), first < bytes.count else {
                    connection.write("HTTP/1.1 200 OK\r\nContent-Length: \(bytes.count)\r\n\r\n")
                    connection.write(bytes)
                    continue
                }
                let last = min(Int(ends[1]) ?? .max, bytes.count - 1)
                connection.write(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes \(first)-\(last)/\(bytes.count)\r\n"
                        + "Content-Length: \(last - first + 1)\r\n\r\n")
                connection.write(bytes[first...last])
            }
        }
    }
}
