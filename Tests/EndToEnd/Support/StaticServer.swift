// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import Synchronization

/// A small web server on loopback with the files of a folder, one thread a connection.
final class StaticServer: Sendable {
    private struct State {
        var connections: Set<Int32> = []
        var requests: [String] = []
        var bytesSent = 0
        var isStopped = false
    }

    private let folder: String
    private let honorsRanges: Bool
    private let listener: Int32
    private let state = Mutex(State())

    /// The folder's address.
    let base: String
    /// The paths that were asked for.
    var requests: [String] { state.withLock { $0.requests } }
    /// Bytes of files that were sent.
    var bytesSent: Int { state.withLock { $0.bytesSent } }

    /// Serves `folder`. With `honorsRanges` false every answer is the whole file, as some servers do.
    init(_ folder: String, honorsRanges: Bool = true) throws {
        self.folder = folder
        self.honorsRanges = honorsRanges
        // `sendfile` cannot be told to spare us the signal of a client that went away.
        signal(SIGPIPE, SIG_IGN)
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        self.listener = listener
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isListening = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, length) == 0 && listen(listener, 16) == 0 && getsockname(listener, $0, &length) == 0
            }
        }
        guard isListening else { throw LineProcess.Failure(description: "no web server on loopback: errno \(errno)") }
        base = "http://127.0.0.1:\(UInt16(bigEndian: address.sin_port))"
        Thread.detachNewThread { self.accept() }
    }

    /// Drops all connections and takes no more.
    func stop() {
        let connections = state.withLock { state in
            state.isStopped = true
            return state.connections
        }
        shutdown(listener, Int32(SHUT_RDWR))
        for connection in connections { shutdown(connection, Int32(SHUT_RDWR)) }
    }

    private func accept() {
        while true {
            let connection = Glibc.accept(listener, nil, nil)
            guard connection >= 0 else { break }
            _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
            let isWelcome = state.withLock { state in
                if !state.isStopped { state.connections.insert(connection) }
                return !state.isStopped
            }
            guard isWelcome else {
                close(connection)
                break
            }
            Thread.detachNewThread {
                self.serve(connection)
                self.state.withLock { _ = $0.connections.remove(connection) }
                close(connection)
            }
        }
        close(listener)
    }

    private func serve(_ connection: Int32) {
        var received: [UInt8] = []
        var room = [UInt8](repeating: 0, count: 4096)
        while true {
            while let end = received.firstRange(of: [13, 10, 13, 10]) {
                let head = String(decoding: received[..<end.lowerBound], as: UTF8.self)
                received.removeSubrange(..<end.upperBound)
                guard answer(head, on: connection) else { return }
            }
            let count = recv(connection, &room, room.count, 0)
            guard count > 0, received.count < 65_536 else { return }
            received += room[..<count]
        }
    }

    private func answer(_ head: String, on connection: Int32) -> Bool {
        let lines = head.split(separator: "\r\n")
        let words = lines.first?.split(separator: " ") ?? []
        guard words.count == 3, words[0] == "GET" || words[0] == "HEAD" else { return false }
        let path = String(words[1]).removingPercentEncoding ?? ""
        state.withLock { $0.requests.append(path) }
        let file = open(folder + path, O_RDONLY | O_CLOEXEC)
        defer { if file >= 0 { close(file) } }
        var status = stat()
        guard !path.contains(".."), file >= 0, fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            return send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", connection)
        }
        let size = Int(status.st_size)
        let range = honorsRanges ? Self.range(in: lines, size: size) : nil
        let body = range ?? 0..<size
        var answer = "HTTP/1.1 \(range == nil ? "200 OK" : "206 Partial Content")\r\nContent-Length: \(body.count)\r\n"
        if let range { answer += "Content-Range: bytes \(range.lowerBound)-\(range.upperBound - 1)/\(size)\r\n" }
        guard send(answer + "\r\n", connection) else { return false }
        return words[0] == "HEAD" || send(file, body, connection)
    }

    /// The one range of the field `Range: bytes=a-b`.
    private static func range(in lines: [Substring], size: Int) -> Range<Int>? {
        guard let line = lines.first(where: { $0.lowercased().hasPrefix("range: bytes=") }) else { return nil }
        let parts = line.dropFirst("range: bytes=".count).split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let first = Int(parts[0]), first < size else { return nil }
        return first..<min(size, (Int(parts[1]) ?? size - 1) + 1)
    }

    private func send(_ text: String, _ connection: Int32) -> Bool {
        let bytes = Array(text.utf8)
        return Glibc.send(connection, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count
    }

    private func send(_ file: Int32, _ range: Range<Int>, _ connection: Int32) -> Bool {
        var offset = off_t(range.lowerBound)
        while offset < range.upperBound {
            // At most 1 MiB at a time, so that what was sent is counted while it is being sent.
            let count = sendfile(connection, file, &offset, min(1 << 20, range.upperBound - Int(offset)))
            guard count > 0 else { return false }
            state.withLock { $0.bytesSent += count }
        }
        return true
    }
}
