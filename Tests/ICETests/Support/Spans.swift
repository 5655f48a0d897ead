// SPDX-License-Identifier: Apache-2.0
import ICE
import TestSupport
import Wire

/// The bytes of a file under `Fixtures/`.
func fixture(_ path: String) throws -> [UInt8] { try Fixtures.bytes(path) }

extension [UInt8] {
    /// Lends the bytes to `body` as a span.
    func withSpan<Result>(_ body: (RawSpan) throws -> Result) rethrows -> Result {
        try withUnsafeBytes { try body(RawSpan(_unsafeBytes: $0)) }
    }
}

/// Reads a message from an array.
func decode(_ bytes: [UInt8]) throws(STUNError) -> STUNMessage {
    let result: Result<STUNMessage, STUNError> = bytes.withUnsafeBytes { buffer in
        do throws(STUNError) {
            return .success(try STUNMessage(decoding: RawSpan(_unsafeBytes: buffer)))
        } catch {
            return .failure(error)
        }
    }
    return try result.get()
}

/// Whether a key made a message.
func isAuthentic(
    _ message: STUNMessage, _ bytes: [UInt8], _ key: [UInt8], _ algorithm: STUNIntegrity.Algorithm = .sha1
) -> Bool {
    bytes.withSpan { message.isAuthentic($0, key: key, algorithm: algorithm) }
}
