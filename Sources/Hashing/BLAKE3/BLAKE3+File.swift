// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Synchronization

extension BLAKE3 {
    /// Why a file could not be hashed.
    public struct FileError: Error, Hashable, CustomStringConvertible {
        /// The file.
        public let path: String
        /// The C function that failed.
        public let operation: String
        /// The system's number for the reason (`errno`); 0 when the file became shorter while it was read.
        public let code: Int32

        /// One line that says which file, which step and why.
        public var description: String {
            let reason = code == 0 ? "the file became shorter while it was read" : String(cString: strerror(code))
            return "\(path): \(operation): \(reason)"
        }
    }

    /// The hash of a file's contents, computed by up to `threads` cores.
    ///
    /// A regular file is read in segments of 1 MiB, each by the thread that hashes it; anything else (a pipe, a device)
    /// from front to back on the caller's thread.
    public static func hash(file path: String, threads: Int = 1) throws(FileError) -> Digest {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw FileError(path: path, operation: "open", code: errno) }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { throw FileError(path: path, operation: "fstat", code: errno) }
        let size = Int(status.st_size)
        if status.st_mode & S_IFMT == S_IFREG, size > segmentLength {
            return try hash(file, size: size, path: path, threads: threads)
        }
        return try hashStream(file, path: path)
    }

    /// A large regular file, by segments.
    private static func hash(_ file: Int32, size: Int, path: String, threads: Int) throws(FileError) -> Digest {
        let count = segmentCount(size)
        let mode = Mode.hash
        return try mode.withValues(count) { values throws(FileError) in
            // Each value is written by the one thread that took its number, and read after all threads have ended.
            nonisolated(unsafe) let values = values
            let segments = WorkList(count: count)
            let failure = Mutex<FileError?>(nil)
            Workers.run(threads: min(threads, count)) {
                let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: segmentLength, alignment: 4096)
                defer { buffer.deallocate() }
                while let segment = segments.next() {
                    let range = segmentRange(segment, of: size)
                    let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<range.count])
                    if let code = fill(part, from: file, at: range.lowerBound) {
                        failure.withLock { $0 = FileError(path: path, operation: "pread", code: code) }
                        segments.stop()
                        return
                    }
                    values[segment] = mode.subtreeValue(
                        of: UnsafeRawBufferPointer(part), counter: UInt64(segment * segmentChunks))
                }
            }
            if let failure = failure.withLock({ $0 }) { throw failure }
            return Digest(words: mode.root(over: values, count: count).rootDigest())
        }
    }

    /// Reads until `part` is full; the reason when it cannot be filled (`errno`, or 0 at the end of the file).
    private static func fill(_ part: UnsafeMutableRawBufferPointer, from file: Int32, at offset: Int) -> Int32? {
        var done = 0
        while done < part.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: part[done...])
            let count = pread(file, rest.baseAddress, rest.count, off_t(offset + done))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return count == 0 ? 0 : errno }
            done += count
        }
        return nil
    }

    /// Whatever can be read, up to its end.
    private static func hashStream(_ file: Int32, path: String) throws(FileError) -> Digest {
        var hasher = BLAKE3()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: segmentLength, alignment: 4096)
        defer { buffer.deallocate() }
        while true {
            let count = read(file, buffer.baseAddress, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw FileError(path: path, operation: "read", code: errno) }
            if count == 0 { return hasher.digest() }
            hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
    }
}
