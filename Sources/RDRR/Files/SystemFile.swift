// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// An open file. Reads and writes are complete or throw; the file is closed when the last owner lets go.
final class SystemFile: Sendable {
    let path: String
    let descriptor: Int32

    /// Opens a regular file to read (`open`).
    init(reading path: String) throws(RDRRError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw RDRRError.system(errno, at: path, "cannot be opened") }
        self.path = path
        self.descriptor = descriptor
        guard try status().st_mode & S_IFMT == S_IFREG else {
            throw RDRRError(
                .wrongKind, at: path, "this is a folder or a device, not a file", advice: "give the path of a file")
        }
    }

    /// Makes a new file to write; there must be none of that name (`open` with `O_EXCL`).
    init(creating path: String) throws(RDRRError) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw RDRRError.system(errno, at: path, "cannot be made") }
        self.path = path
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// The file's length in bytes (`fstat`).
    func size() throws(RDRRError) -> Int { Int(try status().st_size) }

    /// Fills the buffer from `offset` on (`pread`).
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(RDRRError) {
        var done = 0
        while done < buffer.count {
            let count = pread(
                descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset + done))
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw RDRRError.system(errno, at: path, "cannot be read") }
            guard count > 0 else {
                throw RDRRError(
                    .truncated, at: path, "the file ends at byte \(offset + done), more was expected",
                    advice: "get the file again, it is incomplete")
            }
            done += count
        }
    }

    /// So many bytes from `offset` on.
    func bytes(_ range: Range<Int>) throws(RDRRError) -> [UInt8] {
        var failure: RDRRError?
        let bytes = [UInt8](unsafeUninitializedCapacity: range.count) { buffer, count in
            do throws(RDRRError) {
                try read(into: UnsafeMutableRawBufferPointer(buffer), at: range.lowerBound)
                count = range.count
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Appends all bytes (`write`).
    func write(_ bytes: UnsafeRawBufferPointer) throws(RDRRError) {
        var done = 0
        while done < bytes.count {
            let count = Glibc.write(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw RDRRError.system(errno, at: path, "cannot be written") }
            done += count
        }
    }

    /// Appends all bytes.
    func write(_ bytes: [UInt8]) throws(RDRRError) {
        var failure: RDRRError?
        bytes.withUnsafeBytes { buffer in
            do throws(RDRRError) { try write(buffer) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Waits until the bytes are on the disk (`fsync`).
    func synchronize() throws(RDRRError) {
        guard fsync(descriptor) == 0 else { throw RDRRError.system(errno, at: path, "cannot be written") }
    }

    /// Removes the file's name (`unlink`), for a file that could not be finished.
    func remove() { unlink(path) }

    private func status() throws(RDRRError) -> stat {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw RDRRError.system(errno, at: path, "cannot be examined") }
        return status
    }
}

extension RDRRError {
    /// The error for a failed call of the system.
    static func system(_ number: Int32, at path: String, _ action: String) -> RDRRError {
        let reason = String(cString: strerror(number))
        switch number {
        case ENOENT, ENOTDIR:
            return RDRRError(.missing, at: path, "there is no such file or folder", advice: "check the path")
        case ENOSPC, EDQUOT:
            return RDRRError(
                .diskFull, at: path, "no room is left on the disk",
                advice: "free some space or choose another disk; what was there before is untouched")
        case EACCES, EPERM, EROFS:
            return RDRRError(.io, at: path, "\(action): \(reason)", advice: "check the rights of the file and its folder")
        case EEXIST, ENOTEMPTY:
            return RDRRError(.exists, at: path, "the place is taken", advice: "choose another name or remove it first")
        default:
            return RDRRError(.io, at: path, "\(action): \(reason)", advice: "check the disk and try again")
        }
    }
}
