// SPDX-License-Identifier: Apache-2.0

import Hashing
import RDRR
import Wire

/// Who gives a group in one attempt.
enum GroupSource: Hashable {
    case peer(PeerHandle, request: UInt32)
    case origin(OriginRequestID)
}

/// How far the core is with one entry. A class, so that a change to one field copies nothing; the core alone holds it.
///
///     open ──asked──▶ asked ──whole, values known──▶ verified ─▶ writing ─▶ stored ──all──▶ finishing ─▶ complete
///       ▲               │ └─whole, no values: held in its assembly until they come
///       └──peer gone, reject, cancel, bad group
final class EntryState {
    /// How far one group is.
    enum Status: UInt8 {
        /// Nobody was asked.
        case open
        /// Asked for, or arriving, or held.
        case asked
        /// Verified (or tentative) and with the storage.
        case writing
        /// In the part file.
        case stored
    }

    /// The groups' bytes on their way.
    struct Assembly {
        let buffer: GroupBuffer
        let source: GroupSource
        /// Counted against the source's 2 MiB until its values are known.
        var heldBytes = 0
    }

    let index: Int
    let entry: SwarmCatalog.Entry
    /// Its place in an order that differs from node to node, by chance: orders that were rotations of one another would
    /// bring two nodes together in every entry.
    let turn: Int
    var isWanted = false
    var priority = 0
    var isComplete = false
    var isFinishing = false
    /// When it was last asked for or served, for eviction.
    var lastUsed: Timestamp = .zero

    var status: [Status]
    var openCount: Int
    /// No open group stands before this one.
    var firstOpen = 0
    var stored: GroupSet
    var assigned: [Int: GroupSource] = [:]
    var assemblies: [Int: Assembly] = [:]
    var writing: [Int: GroupBuffer] = [:]

    /// The values that groups are checked against.
    var values: [BLAKE3.Digest]?
    /// Whether the manifest's hash covers the values.
    var isProved = false
    /// Groups from HTTP that were stored while no values were known, with the values they have.
    var tentative: [Int: BLAKE3.Digest] = [:]
    var commitments = Commitments()
    var lastGroupAt: Timestamp = .zero
    /// Verified groups of which peers have not been told.
    var unannounced: [Int] = []
    var uncoveredSince: Timestamp?
    var proofWasTriedAtOrigin = false
    var originFailures = 0
    var bytesFromPeers = 0
    var bytesFromOrigin = 0

    init(index: Int, entry: SwarmCatalog.Entry, turn: Int) {
        self.index = index
        self.entry = entry
        self.turn = turn
        let count = entry.groupCount
        status = Array(repeating: .open, count: count)
        openCount = count
        stored = GroupSet(capacity: count)
        isComplete = count == 0
    }

    var groupCount: Int { status.count }
    /// Whether values must be known before a group of a peer can be checked.
    var needsValues: Bool { groupCount > 1 }
    /// Whether there is anything to ask for.
    var isOpen: Bool { isWanted && !isComplete && openCount > 0 }
    /// Whether verified groups may be announced and served before the entry is whole.
    var sharesGroups: Bool { isProved && entry.algorithm == .blake3 && !isComplete }

    func setStatus(_ group: Int, _ new: Status) {
        let old = status[group]
        guard old != new else { return }
        if old == .open { openCount -= 1 }
        if new == .open {
            openCount += 1
            firstOpen = min(firstOpen, group)
        }
        if old == .stored { stored.remove(group) }
        if new == .stored { stored.insert(group) }
        status[group] = new
        if group == firstOpen {
            while firstOpen < status.count, status[firstOpen] != .open { firstOpen += 1 }
        }
    }

    /// The first run of open groups that `isOffered` accepts, at most `limit` long.
    func openRun(limit: Int, isOffered: (Int) -> Bool) -> Range<Int>? {
        var group = firstOpen
        while group < status.count {
            if status[group] == .open, isOffered(group) {
                var end = group + 1
                while end < status.count, end - group < limit, status[end] == .open, isOffered(end) { end += 1 }
                return group..<end
            }
            group += 1
        }
        return nil
    }

    /// Bytes that are in the part file, or whole.
    var storedByteCount: Int {
        if isComplete { return entry.size }
        let last = entry.groupCount - 1
        let full = stored.count * SwarmCatalog.groupSize
        return stored.contains(last) ? full - SwarmCatalog.groupSize + entry.range(ofGroup: last).count : full
    }
}

/// The lists of group values that peers stand by for an entry with a SHA-256 hash, which says nothing about groups.
struct Commitments {
    /// The list that groups are checked against, by its own hash.
    var inUse: BLAKE3.Digest?
    /// Every list that was given.
    var lists: [BLAKE3.Digest: [BLAKE3.Digest]] = [:]
    /// Who gave it, those that have left too.
    var givers: [BLAKE3.Digest: Set<NodeID>] = [:]
    /// The list that came from HTTP.
    var fromOrigin: BLAKE3.Digest?

    /// More different lists than this are not kept: honest nodes have one.
    static let limit = 64

    static func id(of values: [BLAKE3.Digest]) -> BLAKE3.Digest {
        var hash = BLAKE3()
        for value in values { value.withUnsafeBytes { hash.update($0) } }
        return hash.digest()
    }
}
