// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Synchronization

/// The shards of a model folder in memory, where weights are used in place.
///
/// Shards lie behind each other as they do in the model, so that a tensor over the border of two is one run of bytes.
/// That takes shards of whole pages, which all but the last mostly are; others get a place of their own, and a tensor over
/// such a border is copied.
public final class MappedShards: @unchecked Sendable {
    // Unchecked: memory of a shard is written before it counts as held, and only read from then on.

    /// Bytes that stay where they are for as long as their owner lives.
    public struct Bytes: @unchecked Sendable {
        /// The bytes.
        public let buffer: UnsafeRawBufferPointer
        /// Who keeps them.
        public let owner: AnyObject
    }

    private let folder: ModelFolder
    /// Room for all shards; nothing may be read where none is mapped.
    private let room: UnsafeMutableRawPointer
    private let roomSize: Int
    /// Where each shard has its place in the room; `nil` for one that cannot lie there.
    private let places: [Int?]
    private let held: Mutex<Held>

    /// Which shards are there.
    private struct Held {
        var isThere: [Bool]
        /// Where shards are that have no place in the room, and who keeps them there.
        var apart: [Int: Bytes] = [:]
    }

    /// Takes room in the address space for the shards of a folder; none is mapped yet.
    public init(_ folder: ModelFolder) throws(RDRRError) {
        self.folder = folder
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        var start = 0
        var places: [Int?] = []
        for shard in folder.manifest.shards {
            places.append(start % page == 0 ? start : nil)
            start += shard.size
        }
        self.places = places
        held = Mutex(Held(isThere: Array(repeating: false, count: places.count)))
        roomSize = max(page, start)
        guard let room = mmap(nil, roomSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
            room != MAP_FAILED
        else { throw RDRRError.system(errno, at: folder.path, "there is no room for the model in memory") }
        self.room = room
    }

    deinit { munmap(room, roomSize) }

    /// Takes in a shard that is whole on the disk. One that is there already stays as it is.
    public func map(_ shard: Int) throws(RDRRError) {
        guard !holds(shard) else { return }
        let entry = folder.manifest.shards[shard]
        guard let place = places[shard] else {
            let file = try folder.mapped(entry)
            return hold(shard, apart: Bytes(buffer: file.memory, owner: file))
        }
        let path = folder.path(of: entry)
        let file = try SystemFile(reading: path)
        let size = try file.size()
        guard size == entry.size else {
            throw RDRRError(
                .sizeMismatch, at: path, "the file has \(size) bytes, the manifest says \(entry.size)",
                advice: "run dreamer verify, then fetch the model again")
        }
        if size > 0 {
            let target = mmap(room + place, size, PROT_READ, MAP_SHARED | MAP_FIXED, file.descriptor, 0)
            guard target != MAP_FAILED else { throw RDRRError.system(errno, at: path, "cannot be mapped into memory") }
        }
        hold(shard)
    }

    /// Takes in a shard whose bytes are at hand.
    public func put(_ bytes: Span<UInt8>, as shard: Int) throws(RDRRError) {
        guard !holds(shard) else { return }
        let entry = folder.manifest.shards[shard]
        guard bytes.count == entry.size else {
            throw RDRRError(
                .sizeMismatch, at: entry.name, "\(bytes.count) bytes came, the manifest says \(entry.size)",
                advice: "get the shard from somewhere else")
        }
        let isCopied = bytes.withUnsafeBytes { bytes in
            guard let place = places[shard] else {
                guard let copy = CopiedBytes([bytes]) else { return false }
                hold(shard, apart: Bytes(buffer: copy.buffer, owner: copy))
                return true
            }
            guard bytes.count > 0 else { return true }
            guard mprotect(room + place, bytes.count, PROT_READ | PROT_WRITE) == 0 else { return false }
            UnsafeMutableRawBufferPointer(start: room + place, count: bytes.count).copyMemory(from: bytes)
            return true
        }
        guard isCopied else { throw RDRRError.system(errno, at: entry.name, "there is no memory for the shard") }
        hold(shard)
    }

    /// Takes in all shards, which must be on the disk.
    public func mapAll() throws(RDRRError) {
        for shard in places.indices { try map(shard) }
    }

    /// Whether a shard is there.
    public func holds(_ shard: Int) -> Bool { held.withLock { $0.isThere[shard] } }

    private func hold(_ shard: Int, apart bytes: Bytes? = nil) {
        held.withLock {
            if let bytes { $0.apart[shard] = bytes }
            $0.isThere[shard] = true
        }
    }

    /// A part of a tensor's bytes, whose shards are mapped: where they lie, or copied if they are in several pieces.
    public func bytes(of tensor: Tensor, range: Range<Int>) throws(RDRRError) -> Bytes {
        let spans = tensor.spans(of: range)
        var pieces: [UnsafeRawBufferPointer] = []
        for span in spans {
            guard holds(span.shard) else {
                throw RDRRError(
                    .missing, at: folder.manifest.shards[span.shard].name, "the shard is not there yet",
                    advice: "fetch the model first")
            }
            pieces.append(piece(span))
        }
        guard var joined = pieces.first else {
            throw RDRRError(.missing, at: tensor.name, "the tensor has no bytes", advice: "get the model again")
        }
        var isOne = true
        for piece in pieces.dropFirst() {
            guard let base = joined.baseAddress, base + joined.count == piece.baseAddress else {
                isOne = false
                break
            }
            joined = UnsafeRawBufferPointer(start: base, count: joined.count + piece.count)
        }
        if isOne { return Bytes(buffer: joined, owner: self) }
        guard let copy = CopiedBytes(pieces) else {
            throw RDRRError.system(ENOMEM, at: tensor.name, "there is no memory for the tensor")
        }
        return Bytes(buffer: copy.buffer, owner: copy)
    }

    private func piece(_ span: Tensor.Span) -> UnsafeRawBufferPointer {
        if let place = places[span.shard] {
            return UnsafeRawBufferPointer(start: room + place + span.offset, count: span.size)
        }
        let bytes = held.withLock { $0.apart[span.shard] }
        guard let bytes else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        return UnsafeRawBufferPointer(rebasing: bytes.buffer[span.range])
    }

    /// Bytes of several places in one.
    private final class CopiedBytes {
        let buffer: UnsafeRawBufferPointer

        /// `nil` when there is no memory for them.
        init?(_ pieces: [UnsafeRawBufferPointer]) {
            let count = pieces.reduce(0) { $0 + $1.count }
            var memory: UnsafeMutableRawPointer?
            guard posix_memalign(&memory, 64, max(1, count)) == 0 else { return nil }
            let target = UnsafeMutableRawBufferPointer(start: memory, count: count)
            var offset = 0
            for piece in pieces {
                UnsafeMutableRawBufferPointer(rebasing: target[offset..<offset + piece.count]).copyMemory(from: piece)
                offset += piece.count
            }
            buffer = UnsafeRawBufferPointer(target)
        }

        deinit { free(UnsafeMutableRawPointer(mutating: buffer.baseAddress)) }
    }
}
