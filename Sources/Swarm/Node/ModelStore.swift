// SPDX-License-Identifier: Apache-2.0

import Glibc
import Hashing
import RDRR
import Synchronization

// <folder>/manifest.json
// <folder>/<name>                           verified: renamed here when whole
// <folder>/.dreamer-<digest>/<index>.part   groups at their places, holes where none came yet
// <folder>/.dreamer-<digest>/<index>.values the groups' values at 32 bytes each, zero where not known

/// A model's folder while it is being fetched and served.
///
/// Nothing needs to be journalled: at a restart the groups of a part file are hashed and compared with the kept values, so
/// whatever a killed process or a dead machine left behind is either right or asked for again.
final class ModelStore: Sendable {
    /// What the folder holds of an entry at the start.
    enum Found: Sendable {
        case nothing
        case whole([BLAKE3.Digest])
        case part(values: [BLAKE3.Digest?], groups: [Int: BLAKE3.Digest])
        /// A file of the entry's name with other contents.
        case wrong
    }

    let folder: String
    let catalog: SwarmCatalog
    private let partFolder: String
    private let files = Mutex<[Int: OpenFile]>([:])

    init(folder: String, manifestDigest: BLAKE3.Digest, catalog: SwarmCatalog) {
        self.folder = folder
        self.catalog = catalog
        partFolder = "\(folder)/.dreamer-\(manifestDigest.hex.prefix(16))"
    }

    // MARK: - At the start

    /// Makes the folder and puts the manifest into it.
    func prepare(manifest: [UInt8]) throws(StoreError) {
        try makeFolder(folder)
        let path = "\(folder)/\(RDRRManifest.manifestName)"
        if let old = try? ModelStore.read(path), old == manifest { return }
        try makeFolder(partFolder)
        let temporary = "\(partFolder)/manifest"
        try OpenFile(writing: temporary).writeAll(manifest)
        try move(temporary, to: path)
    }

    /// Reads and hashes what is here of an entry.
    func examine(_ index: Int) -> Found {
        let entry = catalog.entries[index]
        if entry.size == 0 { return .whole([]) }
        if let file = try? MappedFile(path: path(index)) {
            guard file.count == entry.size else { return .wrong }
            let values = GroupProof(of: file.bytes).values
            let isRight: Bool =
                switch entry.algorithm {
                case .blake3:
                    entry.groupCount > 1 ? entry.isProved(by: values) : BLAKE3.hash(file.bytes).bytes == entry.hash
                case .sha256: SHA256.hash(file.bytes) == entry.hash
                }
            return isRight ? .whole(values) : .wrong
        }
        guard let part = try? MappedFile(path: partPath(index)), let kept = try? ModelStore.read(valuesPath(index)),
            kept.count == entry.groupCount * SwarmCatalog.valueSize
        else { return .nothing }
        var values: [BLAKE3.Digest?] = []
        var groups: [Int: BLAKE3.Digest] = [:]
        for group in 0..<entry.groupCount {
            let start = group * SwarmCatalog.valueSize
            let bytes = Array(kept[start..<start + SwarmCatalog.valueSize])
            values.append(bytes.allSatisfy { $0 == 0 } ? nil : BLAKE3.Digest(bytes: bytes))
            let range = entry.range(ofGroup: group)
            // A part file may end early: the rest are groups that never came.
            guard range.upperBound <= part.count else { continue }
            groups[group] = GroupProof.value(ofGroup: group, bytes: part.bytes.extracting(range))
        }
        return .part(values: values, groups: groups)
    }

    /// Takes a file with wrong contents away from its name.
    func displace(_ index: Int) throws(StoreError) {
        try makeFolder(partFolder)
        unlink(valuesPath(index))
        try move(path(index), to: partPath(index))
    }

    /// Bytes that the file system has left, `nil` if it does not tell. The corresponding C function is `statvfs`.
    func freeBytes() -> Int? {
        var status = statvfs()
        guard statvfs(folder, &status) == 0 else { return nil }
        return Int(
            clamping: UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize)).partialValue)
    }

    // MARK: - Fetching

    /// Writes a group into its part file.
    func write(_ bytes: UnsafeRawBufferPointer, entry: Int, group: Int) throws(StoreError) {
        try partFile(entry).write(bytes, at: group * SwarmCatalog.groupSize)
    }

    /// Keeps values beside the part file.
    func write(values: [BLAKE3.Digest], entry: Int, first: Int) throws(StoreError) {
        try makeFolder(partFolder)
        let file = try OpenFile(writing: valuesPath(entry))
        try file.write(values.flatMap(\.bytes), at: first * SwarmCatalog.valueSize)
        // A short list would be taken for another entry's.
        try file.extend(to: catalog.entries[entry].groupCount * SwarmCatalog.valueSize)
    }

    /// Puts a whole part file under its final name. False: its SHA-256 is another one.
    func finish(_ index: Int, checksHash: Bool) throws(StoreError) -> Bool {
        let file = try partFile(index)
        if checksHash {
            guard let mapped = try? MappedFile(path: partPath(index)) else {
                throw StoreError(path: partPath(index), action: "read", number: errno)
            }
            guard mapped.count == catalog.entries[index].size, SHA256.hash(mapped.bytes) == catalog.entries[index].hash
            else { return false }
        }
        try file.synchronize()
        try move(partPath(index), to: path(index))
        unlink(valuesPath(index))
        // Only an empty folder goes.
        rmdir(partFolder)
        return true
    }

    /// Makes the empty files that the model has.
    func makeEmptyFiles() throws(StoreError) {
        for (index, entry) in catalog.entries.enumerated() where entry.size == 0 {
            _ = try OpenFile(writing: path(index))
        }
    }

    /// Throws a part file away.
    func discard(_ index: Int) {
        files.withLock { $0[index] = nil }
        unlink(partPath(index))
        unlink(valuesPath(index))
    }

    /// Removes a finished file.
    func remove(_ index: Int) {
        files.withLock { $0[index] = nil }
        unlink(path(index))
    }

    // MARK: - Serving

    /// Reads bytes of an entry, whole or part, straight into `destination`.
    func read(_ index: Int, at offset: Int, into destination: UnsafeMutableRawBufferPointer) -> Bool {
        guard let file = try? openFile(index) else { return false }
        return file.read(into: destination, at: offset)
    }

    private func openFile(_ index: Int) throws(StoreError) -> OpenFile {
        if let file = files.withLock({ $0[index] }) { return file }
        let file: OpenFile
        do throws(StoreError) {
            file = try OpenFile(reading: path(index))
        } catch {
            // Groups that are verified are served before the file is whole, those of an earlier run included.
            file = try OpenFile(reading: partPath(index))
        }
        keep(file, index)
        return file
    }

    private func partFile(_ index: Int) throws(StoreError) -> OpenFile {
        if let file = files.withLock({ $0[index] }), file.isWritable { return file }
        try makeFolder(partFolder)
        let file = try OpenFile(writing: partPath(index))
        try file.extend(to: catalog.entries[index].size)
        keep(file, index)
        return file
    }

    private func keep(_ file: OpenFile, _ index: Int) {
        files.withLock { files in
            // Descriptors are few; whoever is in the middle of a read keeps its file open.
            if files.count >= 64, let other = files.keys.first { files[other] = nil }
            files[index] = file
        }
    }

    // MARK: - Paths

    func path(_ index: Int) -> String { "\(folder)/\(catalog.entries[index].name)" }
    private func partPath(_ index: Int) -> String { "\(partFolder)/\(index).part" }
    private func valuesPath(_ index: Int) -> String { "\(partFolder)/\(index).values" }

    private func makeFolder(_ path: String) throws(StoreError) {
        var partial = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            partial += part
            guard mkdir(partial, 0o777) == 0 || errno == EEXIST || errno == EISDIR else {
                throw StoreError(path: partial, action: "make the folder", number: errno)
            }
            partial += "/"
        }
    }

    private func move(_ source: String, to destination: String) throws(StoreError) {
        guard rename(source, destination) == 0 else {
            throw StoreError(path: destination, action: "rename a file to it", number: errno)
        }
        // The rename itself becomes durable with its folder.
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        fsync(descriptor)
        close(descriptor)
    }

    private static func read(_ path: String) throws -> [UInt8] {
        let file = try MappedFile(path: path)
        return file.bytes.withUnsafeBytes { Array($0) }
    }
}

/// What the file system refused.
struct StoreError: Error, CustomStringConvertible {
    let path: String
    let action: String
    let number: Int32

    var description: String {
        let advice = number == ENOSPC || number == EDQUOT ? "; make room and start again, nothing verified is lost" : ""
        return "\(path): cannot \(action): \(String(cString: strerror(number)))\(advice)"
    }
}

/// An open file, closed with its last user.
private final class OpenFile: Sendable {
    private let descriptor: Int32
    private let path: String
    let isWritable: Bool

    init(reading path: String) throws(StoreError) {
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        self.path = path
        isWritable = false
        guard descriptor >= 0 else { throw StoreError(path: path, action: "open", number: errno) }
    }

    init(writing path: String) throws(StoreError) {
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
        self.path = path
        isWritable = true
        guard descriptor >= 0 else { throw StoreError(path: path, action: "open", number: errno) }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// The corresponding C function is `pread`.
    func read(into destination: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool {
        var done = 0
        while done < destination.count {
            let count = pread(
                descriptor, destination.baseAddress?.advanced(by: done), destination.count - done, off_t(offset + done))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            done += count
        }
        return true
    }

    /// The corresponding C function is `pwrite`.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StoreError) {
        var done = 0
        while done < bytes.count {
            let count = pwrite(
                descriptor, bytes.baseAddress?.advanced(by: done), bytes.count - done, off_t(offset + done))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw StoreError(path: path, action: "write", number: errno) }
            done += count
        }
    }

    func write(_ bytes: [UInt8], at offset: Int) throws(StoreError) {
        let result: Result<Void, StoreError> = bytes.withUnsafeBytes { raw in
            do throws(StoreError) {
                return .success(try write(raw, at: offset))
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    /// Replaces the whole contents.
    func writeAll(_ bytes: [UInt8]) throws(StoreError) {
        try write(bytes, at: 0)
        try extend(to: bytes.count)
        try synchronize()
    }

    /// Gives the file this length; what is new is a hole. The corresponding C function is `ftruncate`.
    func extend(to size: Int) throws(StoreError) {
        guard ftruncate(descriptor, off_t(size)) == 0 else {
            throw StoreError(path: path, action: "make it \(size) bytes long", number: errno)
        }
    }

    func synchronize() throws(StoreError) {
        guard fsync(descriptor) == 0 else { throw StoreError(path: path, action: "write", number: errno) }
    }
}
