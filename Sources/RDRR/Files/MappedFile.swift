// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// A file mapped into memory to be read (`mmap`), for weights that are used in place. The file must not be cut short
/// while it is mapped; a fetched model folder never is.
@safe
public final class MappedFile: @unchecked Sendable {
    // Unchecked: the memory is only ever read, and unmapped when nobody is left to read it.
    let memory: UnsafeRawBufferPointer

    /// Maps the whole file.
    public init(path: String) throws(RDRRError) {
        let file = try SystemFile(reading: path)
        let size = try file.size()
        guard size > 0 else {
            memory = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        guard let start = mmap(nil, size, PROT_READ, MAP_SHARED, file.descriptor, 0), start != MAP_FAILED else {
            throw RDRRError.system(errno, at: path, "cannot be mapped into memory")
        }
        memory = UnsafeRawBufferPointer(start: start, count: size)
    }

    deinit {
        if let start = memory.baseAddress { munmap(UnsafeMutableRawPointer(mutating: start), memory.count) }
    }

    /// How many bytes there are.
    public var count: Int { memory.count }

    /// The bytes; they live as long as this object.
    public var bytes: RawSpan {
        @_lifetime(borrow self)
        get {
            let span = RawSpan(_unsafeBytes: memory)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }
}
