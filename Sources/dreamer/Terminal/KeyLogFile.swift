// SPDX-License-Identifier: Apache-2.0
import Glibc
import Synchronization

/// A file that gets the secrets of DTLS sessions in the NSS key log format, with which Wireshark decrypts captures.
final class KeyLogFile: Sendable {
    /// The variable by which programs are told to write one.
    private static let variable = "SSLKEYLOGFILE"
    private let file: Mutex<Int32>

    /// Opens the file, or makes it for its owner alone; what is in it stays.
    init(path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw CommandFailure("--key-log \(path): \(String(cString: strerror(errno)))") }
        file = Mutex(descriptor)
    }

    deinit { file.withLock { _ = close($0) } }

    /// The file that an option names, or else the environment; `nil` where neither does.
    static func named(_ path: String?) throws -> KeyLogFile? {
        if let path { return try KeyLogFile(path: path) }
        guard let value = getenv(variable), value.pointee != 0 else { return nil }
        return try KeyLogFile(path: String(cString: value))
    }

    /// Appends a line.
    func write(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        file.withLock { descriptor in
            _ = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        }
    }
}
