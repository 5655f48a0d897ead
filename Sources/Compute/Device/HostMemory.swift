// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// Memory of the system, all zeros, of which only what is written to is really taken. A refusal is an error, where Swift's
/// own allocation would end the program.
package final class HostMemory: @unchecked Sendable {
    // Unchecked: who may write when is up to the owner.

    /// The first byte, at the start of a page.
    package let base: UnsafeMutableRawPointer
    private let byteCount: Int

    /// Memory for `what`, which messages name.
    package init(byteCount: Int, for what: String) throws(ComputeError) {
        self.byteCount = max(1, byteCount)
        let memory = mmap(nil, self.byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let memory, memory != MAP_FAILED else {
            throw ComputeError(.outOfMemory, "the system has no \(byteCount) bytes for \(what)")
        }
        base = memory
    }

    /// Memory with a copy of bytes.
    package convenience init(copying bytes: UnsafeRawBufferPointer, for what: String) throws(ComputeError) {
        try self.init(byteCount: bytes.count, for: what)
        if let source = bytes.baseAddress { base.copyMemory(from: source, byteCount: bytes.count) }
    }

    deinit { munmap(base, byteCount) }
}
