// SPDX-License-Identifier: Apache-2.0
import Glibc
import Hashing
import WebRTC
import Wire

/// What two sides of `dreamer connect` do once they are connected.
///
/// A file goes over the channel "files" as a text `{"name","size","blake3"}`, then its bytes in binary messages.
struct PeerChat {
    static let chatLabel = "chat"
    static let filesLabel = "files"
    private static let chunkSize = 65_536

    let chat: DataChannel
    let files: DataChannel
    let downloads: String

    /// Sends what is typed and shows what arrives, until either side ends.
    func run(_ lines: inout AsyncStream<String>.Iterator) async throws {
        let shows = Task { [self] in
            do {
                for try await message in chat.messages {
                    if case .text(let text) = message { Terminal.output("> \(printable(text))") }
                }
                Terminal.note("The other side has left.")
                // Ends the wait for a line that nobody will read.
                Main.end(0)
            } catch {
                Terminal.note("dreamer: the connection was lost: \(error)")
                Main.end(1)
            }
        }
        let receives = Task { [self] in
            do { try await receiveFiles() } catch { Terminal.note("dreamer: receiving files has ended: \(error)") }
        }
        defer {
            shows.cancel()
            receives.cancel()
        }
        while let line = await lines.next() {
            if line == "/quit" { break }
            if line.hasPrefix("/send ") {
                do { try await send(String(line.dropFirst(6))) } catch { Terminal.note("dreamer: \(error)") }
            } else if !line.isEmpty {
                try await chat.send(line)
            }
        }
        // What was typed last is on its way before the connection closes.
        for _ in 0..<200 where chat.bufferedAmount + files.bufferedAmount > 0 {
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    /// Text of the other side without what terminals take for commands.
    private func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { $0.properties.generalCategory == .control ? "\u{FFFD}" : $0 }))
    }

    private func send(_ path: String) async throws {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw CommandFailure("\(path): \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw CommandFailure("\(path) is no file")
        }
        let digest = try BLAKE3.hash(file: path)
        let name = path.split(separator: "/").last.map(String.init) ?? path
        let size = Int(status.st_size)
        try await files.send(
            JSON.object(["name": .string(name), "size": .integer(Int64(size)), "blake3": .string(digest.hex)])
                .serialized())
        var sent = 0
        var line = ProgressLine(label: "sending \(name)")
        var meter = Meter()
        while sent < size {
            let count = min(Self.chunkSize, size - sent)
            let bytes = try [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
                initialized = max(0, pread(descriptor, buffer.baseAddress, count, off_t(sent)))
                guard initialized == count else { throw CommandFailure("\(path) became shorter while it was sent") }
            }
            try await files.send(bytes)
            sent += count
            line.show(.init(done: sent, total: size, rate: meter.rate(sent, at: Clock.seconds)), at: Clock.seconds)
        }
        line.clear()
        Terminal.note("Sent \(name), \(Units.bytes(size)).")
    }

    private func receiveFiles() async throws {
        var messages = files.messages.makeAsyncIterator()
        while let message = try await messages.next() {
            guard case .text(let text) = message,
                let header = try? JSON(parsing: text, limits: .init(depth: 2, values: 8)),
                let name = header["name"]?.string, let size = header["size"]?.integer, size >= 0,
                let digest = header["blake3"]?.string.flatMap({ BLAKE3.Digest(hex: $0) })
            else { throw CommandFailure("the other side sent something that is no file") }
            // A name with a dot in front could be a shell's start file.
            guard !name.isEmpty, !name.hasPrefix("."), !name.utf8.contains(where: { $0 == 0x2F || $0 < 0x20 }) else {
                throw CommandFailure(
                    "the other side sent a file with the name \(printable(name)), which is not allowed")
            }
            try await receive(name, Int(size), digest, &messages)
        }
    }

    /// Takes one file. It gets its name when all of it is there and has the right hash, and replaces nothing.
    private func receive(
        _ name: String, _ size: Int, _ digest: BLAKE3.Digest, _ messages: inout DataChannel.Messages.Iterator
    ) async throws {
        let path = "\(downloads)/\(name)"
        let partial = path + ".part"
        let descriptor = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw CommandFailure("\(partial): \(String(cString: strerror(errno)))") }
        var isComplete = false
        defer {
            close(descriptor)
            if !isComplete { unlink(partial) }
        }
        var hasher = BLAKE3()
        var received = 0
        while received < size {
            guard case .binary(let bytes)? = try await messages.next(), received + bytes.count <= size else {
                throw CommandFailure("\(name) did not arrive whole")
            }
            hasher.update(bytes)
            guard bytes.withUnsafeBytes({ write(descriptor, $0.baseAddress, $0.count) }) == bytes.count else {
                throw CommandFailure("\(partial): \(String(cString: strerror(errno)))")
            }
            received += bytes.count
        }
        guard hasher.digest() == digest else {
            throw CommandFailure("\(name) arrived with another hash and was thrown away")
        }
        guard link(partial, path) == 0 else {
            throw CommandFailure("\(path): \(String(cString: strerror(errno))); the file was thrown away")
        }
        unlink(partial)
        isComplete = true
        Terminal.note("Received \(path), \(Units.bytes(size)), hash verified.")
    }
}
