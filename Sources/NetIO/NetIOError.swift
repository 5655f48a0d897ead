// SPDX-License-Identifier: Apache-2.0
import Glibc

/// What the operating system refused.
public struct NetIOError: Error, Hashable, Sendable {
    /// What was tried: the name of the C function, and with what.
    public let operation: String
    /// The value of `errno`, or one of `getaddrinfo`'s codes where ``isResolution``.
    public let code: Int32
    /// Whether the code is one of `getaddrinfo(3)` instead of `errno`.
    public let isResolution: Bool

    /// An error from its parts.
    public init(_ operation: String, code: Int32, isResolution: Bool = false) {
        self.operation = operation
        self.code = code
        self.isResolution = isResolution
    }

    /// The error that the C library reported last on this thread.
    static func last(_ operation: String) -> NetIOError { NetIOError(operation, code: errno) }

    /// The operation was given up because its task was cancelled or its loop ended.
    public var isCancellation: Bool { !isResolution && code == ECANCELED }
}

extension NetIOError: CustomStringConvertible {
    /// For example `bind 127.0.0.1:80: Permission denied`.
    public var description: String {
        if isResolution { return "\(operation): \(String(cString: gai_strerror(code)))" }
        let text = withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
            guard let base = buffer.baseAddress, strerror_r(code, base, buffer.count) == 0 else {
                return "error \(code)"
            }
            return String(cString: base)
        }
        return "\(operation): \(text)"
    }
}
