// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// Memory of the system, all zeros, of which only what is written to is really taken. A refusal is an error, where Swift's
/// own allocation would end the program.
final class HostMemory: @unchecked Sendable {
    // Unchecked: who may write when is up to the owner.

    /// The first byte, at the start of a page.
    let base: UnsafeMutableRawPointer
    private let byteCount: Int

    /// Memory for `what`, which messages name.
    init(byteCount: Int, for what: String) throws(ComputeError) {
        self.byteCount = max(1, byteCount)
        let memory = mmap(nil, self.byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let memory, memory != MAP_FAILED else {
            throw ComputeError(.outOfMemory, "the system has no \(byteCount) bytes for \(what)")
        }
        base = memory
    }

    deinit { munmap(base, byteCount) }
}
