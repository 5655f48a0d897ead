// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// A folder that is made beside its final place and takes its name only when it is complete, so that a failure at any
/// moment leaves what was there before.
struct StagingFolder: ~Copyable {
    /// Where the files are written.
    let path: String
    private let destination: String
    private var isFinished = false

    /// Makes the folder beside `destination`, where nothing may be yet but an empty folder.
    init(for destination: String) throws(RDRRError) {
        var destination = destination
        while destination.count > 1 && destination.hasSuffix("/") { destination.removeLast() }
        let (parent, name) = Self.split(destination)
        guard name != "", name != ".", name != "..", name != "/" else {
            throw RDRRError(
                .exists, at: destination, "the folder is there already", advice: "name a new folder inside it")
        }
        try Self.checkFree(destination)
        Self.removeLeftovers(parent: parent, name: name)
        let path = "\(parent)/\(Self.prefix(name))\(getpid())"
        guard mkdir(path, 0o755) == 0 else { throw RDRRError.system(errno, at: path, "cannot be made") }
        self.path = path
        self.destination = destination
    }

    deinit {
        if !isFinished { Self.remove(path) }
    }

    /// Makes a subfolder.
    func makeFolder(_ name: String) throws(RDRRError) {
        guard mkdir("\(path)/\(name)", 0o755) == 0 || errno == EEXIST else {
            throw RDRRError.system(errno, at: "\(path)/\(name)", "cannot be made")
        }
    }

    /// Writes a whole file and waits until it is on the disk.
    func write(_ bytes: [UInt8], to name: String) throws(RDRRError) {
        let file = try SystemFile(creating: "\(path)/\(name)")
        try file.write(bytes)
        try file.synchronize()
    }

    /// Refuses early when the disk has less room than will be needed.
    func checkSpace(for bytes: Int) throws(RDRRError) {
        var status = statvfs()
        guard statvfs(path, &status) == 0 else { return }
        let (free, overflow) = UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize))
        guard overflow || free >= UInt64(bytes) else {
            throw RDRRError(
                .diskFull, at: destination, "\(bytes) bytes are needed and \(free) are free on the disk",
                advice: "free some space or choose another disk; what was there before is untouched")
        }
    }

    /// Gives the folder its final name (`rename`, after `fsync` of it and its subfolders).
    mutating func finish(subfolders: [String] = []) throws(RDRRError) {
        for name in subfolders { try Self.synchronize("\(path)/\(name)") }
        try Self.synchronize(path)
        guard rename(path, destination) == 0 else { throw RDRRError.system(errno, at: destination, "cannot be made") }
        isFinished = true
        // The name itself must survive a power cut too; a file system that cannot do this is no reason to fail.
        try? Self.synchronize(Self.split(destination).parent)
    }

    private static func prefix(_ name: String) -> String { ".\(name).packing-" }

    private static func split(_ path: String) -> (parent: String, name: String) {
        guard let slash = path.lastIndex(of: "/") else { return (".", path) }
        let parent = slash == path.startIndex ? "/" : String(path[..<slash])
        return (parent, String(path[path.index(after: slash)...]))
    }

    private static func checkFree(_ path: String) throws(RDRRError) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        if status.st_mode & S_IFMT == S_IFDIR, (try? names(in: path))?.isEmpty == true { return }
        throw RDRRError(
            .exists, at: path, "something is there already, and it is not overwritten",
            advice: "choose another folder, or remove this one first")
    }

    /// Removes what runs that were killed have left.
    private static func removeLeftovers(parent: String, name: String) {
        let start = prefix(name)
        for found in (try? names(in: parent)) ?? [] where found.hasPrefix(start) {
            guard let process = pid_t(found.dropFirst(start.count)) else { continue }
            if process == getpid() || (kill(process, 0) != 0 && errno == ESRCH) { remove("\(parent)/\(found)") }
        }
    }

    private static func remove(_ path: String) {
        for name in (try? names(in: path)) ?? [] where unlink("\(path)/\(name)") != 0 { remove("\(path)/\(name)") }
        rmdir(path)
    }

    private static func synchronize(_ path: String) throws(RDRRError) {
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw RDRRError.system(errno, at: path, "cannot be opened") }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw RDRRError.system(errno, at: path, "cannot be written") }
    }

    /// The names in a folder, sorted, without `.` and `..` (`readdir`).
    static func names(in path: String) throws(RDRRError) -> [String] {
        guard let folder = opendir(path) else { throw RDRRError.system(errno, at: path, "cannot be opened") }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }
}
