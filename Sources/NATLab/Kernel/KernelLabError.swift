// SPDX-License-Identifier: Apache-2.0
import Glibc

/// What the kernel refused to a laboratory.
public struct KernelLabError: Error, Hashable, Sendable {
    /// What was tried, in words.
    public let operation: String
    /// The value of `errno`.
    public let code: Int32

    /// An error from its parts.
    public init(_ operation: String, code: Int32) {
        self.operation = operation
        self.code = code
    }

    /// The error that the C library reported last on this thread.
    static func last(_ operation: String) -> KernelLabError { KernelLabError(operation, code: errno) }

    /// Whether rights are missing, or a device that containers often lack.
    public var isMissingRight: Bool { [EPERM, EACCES, ENOENT, ENODEV].contains(code) }
}

extension KernelLabError: CustomStringConvertible {
    /// For example `making a network namespace: Operation not permitted (this needs root …)`.
    public var description: String {
        let reason = withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
            guard let base = buffer.baseAddress, strerror_r(code, base, buffer.count) == 0 else {
                return "error \(code)"
            }
            return String(cString: base)
        }
        let advice =
            isMissingRight
            ? " (this needs root and /dev/net/tun, or `unshare --user --map-root-user --net` in front of the command "
                + "where users may have namespaces)"
            : ""
        return "\(operation): \(reason)\(advice)"
    }
}
