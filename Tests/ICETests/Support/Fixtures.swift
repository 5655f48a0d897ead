// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing
import Wire

/// The bytes of a file under `Fixtures/`.
func fixture(_ path: String, source: String = #filePath) throws -> [UInt8] {
    let root = source.split(separator: "/").dropLast(4).joined(separator: "/")
    let file = try #require(fopen("/\(root)/Fixtures/\(path)", "rb"), "no fixture \(path)")
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 65_536)
    let count = fread(&bytes, 1, bytes.count, file)
    return Array(bytes.prefix(count))
}

extension [UInt8] {
    /// Lends the bytes to `body` as a span.
    func withSpan<Result>(_ body: (RawSpan) throws -> Result) rethrows -> Result {
        try withUnsafeBytes { try body(RawSpan(_unsafeBytes: $0)) }
    }
}
