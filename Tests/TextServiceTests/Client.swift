// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import Testing
import Wire

/// A client that knows just enough of HTTP, over a socket, so that tests decide about every byte. It waits on threads
/// of its own: those of the tests' tasks are the server's as well.
final class Client: @unchecked Sendable {
    // Unchecked: a test does one thing after the other with it.

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    struct Response: Sendable {
        var status = 0
        /// By lowercase names.
        var headers: [String: String] = [:]
        var body: [UInt8] = []

        var json: JSON? { try? JSON(parsing: body) }
        var error: JSON? { json?["error"] }
    }

    private let descriptor: Int32
    private var isOpen = true
    private var buffer: [UInt8] = []

    init(_ port: Int, receiveBuffer: Int32? = nil) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        if var size = receiveBuffer {
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        }
        // Nothing here takes long; a test that waits in vain should fail and not hang.
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else { throw Failure(description: "cannot connect: \(String(cString: strerror(errno)))") }
    }

    deinit { close() }

    func close() {
        if isOpen { Glibc.close(descriptor) }
        isOpen = false
    }

    private func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
        }
    }

    // MARK: Asking

    /// Sends bytes as they are; what the other side does not take any more is nobody's fault.
    func send(_ text: some StringProtocol & Sendable) async throws { try await send(Array(text.utf8)) }

    /// Sends one byte after the other, each in a segment of its own.
    func sendBytes(_ text: String) async throws {
        var isOn: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &isOn, socklen_t(MemoryLayout<Int32>.size))
        try await send(Array(text.utf8), pieces: 1)
    }

    func send(_ bytes: [UInt8], pieces: Int = .max) async throws {
        try await onThread { [descriptor] in
            var rest = bytes[...]
            while !rest.isEmpty {
                let sent = rest.prefix(pieces).withUnsafeBytes {
                    Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
                }
                guard sent > 0 else { return }
                rest = rest.dropFirst(sent)
            }
        }
    }

    static func request(_ method: String, _ path: String, _ headers: [String] = [], body: String? = nil) -> String {
        let lines =
            ["\(method) \(path) HTTP/1.1", "Host: localhost"] + headers
            + (body.map { ["Content-Length: \($0.utf8.count)"] } ?? [])
        return lines.joined(separator: "\r\n") + "\r\n\r\n" + (body ?? "")
    }

    func get(_ path: String, _ headers: [String] = []) async throws -> Response {
        try await send(Self.request("GET", path, headers))
        return try await response()
    }

    func post(_ path: String, _ body: String, _ headers: [String] = []) async throws -> Response {
        try await send(Self.request("POST", path, headers, body: body))
        return try await response()
    }

    // MARK: Being answered

    func response() async throws -> Response {
        try await onThread {
            var response = try self.readHead()
            if response.headers["transfer-encoding"] == "chunked" {
                while let chunk = try self.readChunk() { response.body += chunk }
            } else if let length = response.headers["content-length"].flatMap({ Int($0) }) {
                response.body = try self.take(length)
            }
            return response
        }
    }

    /// The head alone.
    func head() async throws -> Response { try await onThread { try self.readHead() } }

    /// What an event of a stream says; `nil` at the stream's end.
    func event() async throws -> String? {
        try await onThread {
            guard let chunk = try self.readChunk() else { return nil }
            let text = String(decoding: chunk, as: UTF8.self)
            guard text.hasPrefix("data: "), text.hasSuffix("\n\n") else {
                throw Failure(description: "this is no event: \(text)")
            }
            return String(text.dropFirst(6).dropLast(2))
        }
    }

    /// All events up to the end.
    func events() async throws -> [String] {
        var events: [String] = []
        while let event = try await event() { events.append(event) }
        return events
    }

    /// Whether the other side has closed, after all that was read.
    func isAtEnd() async throws -> Bool {
        try await onThread { try self.buffer.isEmpty && !self.fill() }
    }

    private func fill() throws -> Bool {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        if count < 0, errno != ECONNRESET {
            throw Failure(description: "nothing came: \(String(cString: strerror(errno)))")
        }
        guard count > 0 else { return false }
        buffer += bytes[..<count]
        return true
    }

    private func take(_ count: Int) throws -> [UInt8] {
        while buffer.count < count {
            guard try fill() else { throw Failure(description: "the connection ended in the middle") }
        }
        defer { buffer.removeFirst(count) }
        return Array(buffer[..<count])
    }

    private func line() throws -> String {
        while true {
            if let end = buffer.firstIndex(of: 0x0A) {
                return String(decoding: try take(end + 1).dropLast(2), as: UTF8.self)
            }
            guard try fill() else { throw Failure(description: "the connection ended: \(buffer)") }
        }
    }

    private func readHead() throws -> Response {
        var response = Response()
        let words = try line().split(separator: " ")
        guard words.count >= 2, let status = Int(words[1]) else { throw Failure(description: "no status: \(words)") }
        response.status = status
        while true {
            let line = try line()
            guard !line.isEmpty else { return response }
            let parts = line.split(separator: ":", maxSplits: 1)
            response.headers[parts[0].lowercased()] = parts.last.map { $0.trimmingCharacters(in: .whitespaces) }
        }
    }

    private func readChunk() throws -> [UInt8]? {
        guard let size = Int(try line(), radix: 16) else { throw Failure(description: "no size of a chunk") }
        let bytes = try take(size)
        _ = try take(2)
        return size == 0 ? nil : bytes
    }
}

/// Looks until something is so; for not too long.
func eventually(
    _ what: String, sourceLocation: SourceLocation = #_sourceLocation, _ condition: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + .seconds(20)
    while try await !condition() {
        guard ContinuousClock.now < deadline else {
            Issue.record("it never came to it that \(what)", sourceLocation: sourceLocation)
            return
        }
        try await Task.sleep(for: .milliseconds(2))
    }
}
