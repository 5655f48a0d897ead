// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// A model on the disk: its manifest, and access to its shards and files.
public struct ModelFolder: Sendable {
    /// The folder's path, without a slash at the end.
    public let path: String
    /// Its manifest; with the tensors of `tensorsFile`, if it has one.
    public let manifest: RDRRManifest

    /// Opens a model folder, given by its path or its manifest's. The manifest is read and checked, the shards are not.
    public init(opening path: String) throws(RDRRError) {
        var folder = path
        let suffix = "/" + RDRRManifest.manifestName
        if folder == RDRRManifest.manifestName {
            folder = "."
        } else if folder.hasSuffix(suffix) {
            folder.removeLast(suffix.count)
        }
        while folder.count > 1 && folder.hasSuffix("/") { folder.removeLast() }
        let manifestPath = "\(folder)/\(RDRRManifest.manifestName)"
        let bytes = try Self.read(manifestPath, limit: RDRRManifest.largestManifest)
        do throws(RDRRError) {
            var manifest = try RDRRManifest(parsing: bytes)
            if manifest.tensors.isEmpty, let name = manifest.tensorsFile {
                try manifest.addTensors(parsing: Self.read("\(folder)/\(name)", limit: RDRRManifest.largestManifest))
            }
            self.manifest = manifest
        } catch {
            // A file that is missing or unreadable carries its own path already.
            throw error.place.hasPrefix(folder + "/") ? error : error.within(manifestPath)
        }
        self.path = folder
    }

    /// A folder whose manifest is at hand: one that is being fetched.
    public init(path: String, manifest: RDRRManifest) {
        self.path = path
        self.manifest = manifest
    }

    /// The path of a shard or file. The name was checked to be plain when the manifest was read.
    public func path(of entry: RDRRManifest.Entry) -> String { "\(path)/\(entry.name)" }

    /// The path of the group values of a shard or file.
    public func proofPath(of entry: RDRRManifest.Entry) -> String { "\(path)/\(GroupProof.path(forName: entry.name))" }

    /// Bytes of a shard or file; `nil` means all of it.
    public func bytes(of entry: RDRRManifest.Entry, range: Range<Int>? = nil) throws(RDRRError) -> [UInt8] {
        try SystemFile(reading: path(of: entry)).bytes(range ?? 0..<entry.size)
    }

    /// A shard or file in memory, in place.
    public func mapped(_ entry: RDRRManifest.Entry) throws(RDRRError) -> MappedFile {
        let file = try MappedFile(path: path(of: entry))
        guard file.count == entry.size else {
            throw RDRRError(
                .sizeMismatch, at: path(of: entry), "the file has \(file.count) bytes, the manifest says \(entry.size)",
                advice: "run dreamer verify, then fetch the model again")
        }
        return file
    }

    /// The stored group values of an entry of several groups; `nil` when none are stored, or not those of a BLAKE3 entry.
    public func storedProof(of entry: RDRRManifest.Entry) -> GroupProof? {
        let count = entry.groupCount * GroupProof.valueSize
        guard entry.groupCount > 1, let bytes = try? Self.read(proofPath(of: entry), limit: count),
            let proof = try? GroupProof(parsing: bytes.span.bytes, size: entry.size),
            entry.algorithm == .sha256 || proof.proves(entry)
        else { return nil }
        return proof
    }

    /// The group values of an entry, from its stored proof or else computed from the file.
    public func proof(of entry: RDRRManifest.Entry) throws(RDRRError) -> GroupProof {
        if entry.algorithm == .blake3, let proof = storedProof(of: entry) { return proof }
        return try GroupProof(ofFile: path(of: entry))
    }

    /// A whole file, if it is not larger than `limit`.
    static func read(_ path: String, limit: Int) throws(RDRRError) -> [UInt8] {
        let file = try SystemFile(reading: path)
        let size = try file.size()
        guard size <= limit else {
            throw RDRRError(
                .tooLarge, at: path, "\(size) bytes are more than such a file may have, \(limit)",
                advice: "this is not the file it should be; get it again")
        }
        return try file.bytes(0..<size)
    }
}

extension ModelFolder: ShardSource {
    /// Bytes of a shard or file, as they are on the disk: a folder's owner verifies it when it arrives.
    public func shard(_ index: Int, range: Range<Int>?) async throws -> [UInt8] {
        let entries = manifest.entries
        guard entries.indices.contains(index) else {
            throw RDRRError(
                .outOfBounds, at: "shard \(index)", "the model has \(entries.count) shards and files",
                advice: "ask for one of them")
        }
        let entry = entries[index]
        let range = range ?? 0..<entry.size
        guard range.lowerBound >= 0, range.upperBound <= entry.size else {
            throw RDRRError(
                .outOfBounds, at: entry.name,
                "bytes \(range.lowerBound) to \(range.upperBound) are not inside its \(entry.size)",
                advice: "ask for a range inside the file")
        }
        return try bytes(of: entry, range: range)
    }
}

extension GroupProof {
    /// The values of a file, read piece by piece.
    public init(ofFile path: String) throws(RDRRError) {
        let file = try SystemFile(reading: path)
        var builder = Builder()
        try file.forEachPiece { builder.update($0) }
        self = builder.finish()
    }
}

extension SystemFile {
    /// Bytes read at a time where a file is read from start to end: large enough that calls cost nothing.
    static let pieceSize = 1 << 20

    /// Reads a range of the file, or all of it, in pieces.
    func forEachPiece(
        of range: Range<Int>? = nil, _ body: (UnsafeRawBufferPointer) throws(RDRRError) -> Void
    ) throws(RDRRError) {
        let range = if let range { range } else { 0..<(try size()) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(1, min(Self.pieceSize, range.count)), alignment: 64)
        defer { buffer.deallocate() }
        var offset = range.lowerBound
        while offset < range.upperBound {
            let piece = UnsafeMutableRawBufferPointer(
                rebasing: buffer[..<min(buffer.count, range.upperBound - offset)])
            try read(into: piece, at: offset)
            try body(UnsafeRawBufferPointer(piece))
            offset += piece.count
        }
    }
}
