// SPDX-License-Identifier: Apache-2.0

import Hashing
import Wire

/// What the core knows of one connection. A class, so that a change to one field copies nothing; the core alone holds it.
final class Peer {
    let handle: PeerHandle
    /// Our role: the other side has the opposite.
    let role: SessionRole
    let nodeID: NodeID
    let certificateDigest: [UInt8]
    /// The largest message the other side takes, 0 for no limit.
    let maxMessageSize: Int
    let connectedAt: Timestamp
    let number: UInt64

    // Session.
    var isJoined = false
    var bulkIsOpen: Bool
    var agent = ""
    var remoteMaxRequests = 64
    var lastReceived: Timestamp
    var pingSentAt: Timestamp?
    /// When a connection that a newer one may have replaced is given up.
    var replacedDeadline: Timestamp?
    var controlBudget = SendBudget()
    var controlQueue: [String] = []
    var receiveBudget = ReceiveBudget()

    // What it has. Bits beyond the catalog are kept until the catalog is known.
    var shards = GroupSet(capacity: SwarmCatalog.maximumEntryCount)
    var groups: [Int: GroupSet] = [:]
    var earlyGroups: [(shard: Int, ranges: [ControlMessage.GroupRange])] = []

    // What we ask of it.
    var isChokingUs = false
    var lastRequestID: UInt32 = 0
    var requests: [UInt32: OutgoingRequest] = [:]
    /// Entries whose values were asked of it and have not come.
    var proofsAsked: Set<Int> = []
    /// SHA-256 entries: the list of values it stands by.
    var commitments: [Int: BLAKE3.Digest] = [:]
    var heldByteCount = 0
    var inFlight = 0
    /// When it last answered `missing` for an entry it had announced.
    var missing: Set<Int> = []
    var silences = 0
    /// Rejects since its last verified group.
    var rejects = 0
    var silenceAt: Timestamp?
    /// No new requests before this time, after a reject.
    var pausedUntil: Timestamp = .zero
    var manifestTriedAt: Timestamp?
    var roundTrip = 0.2
    var download: RateMeter
    /// Bytes of shards that it sent and that were new.
    var bytesReceived = 0

    // What it asks of us.
    var isChoked = false
    var lastRemoteRequestID: UInt32 = 0
    var jobs: [ServingJob] = []
    var nextJob = 0
    /// Entries whose values were queued, with the number of the want that did.
    var proofsSent: [Int: UInt32] = [:]
    var wantsServiceSince: Timestamp?
    var unchokedAt: Timestamp = .zero
    var upload: RateMeter

    init(
        handle: PeerHandle, role: SessionRole, certificateDigest: [UInt8], maxMessageSize: Int, bulkIsOpen: Bool,
        number: UInt64, now: Timestamp
    ) {
        self.handle = handle
        self.role = role
        self.certificateDigest = certificateDigest
        nodeID = NodeID(certificateDigest: certificateDigest)
        self.maxMessageSize = maxMessageSize
        self.bulkIsOpen = bulkIsOpen
        self.number = number
        connectedAt = now
        lastReceived = now
        download = RateMeter(now: now)
        upload = RateMeter(now: now)
    }

    /// Whether its messages can hold 16 KiB; else it is neither asked nor served.
    var takesBulk: Bool { maxMessageSize == 0 || maxMessageSize >= BulkHeader.minimumMessageSize }

    /// The largest data of a frame to it.
    var largestPayload: Int {
        (maxMessageSize == 0 ? BulkHeader.maximumFrameByteCount : min(maxMessageSize, BulkHeader.maximumFrameByteCount))
            - BulkHeader.byteCount
    }

    func hasWhole(_ entry: Int) -> Bool { shards.contains(entry) && !missing.contains(entry) }

    func has(_ entry: Int, group: Int) -> Bool {
        hasWhole(entry) || groups[entry]?.contains(group) == true
    }

    /// Whether it has any group of the entry.
    func offers(_ entry: Int) -> Bool { hasWhole(entry) || groups[entry]?.isEmpty == false }

    /// Bytes that may be in flight: the rate times the round trip and half a second, within bounds.
    func inFlightTarget(limit: Int) -> Int {
        // After a silence one group tells whether it is alive.
        if silences > 0 { return SwarmCatalog.groupSize }
        let wanted = Int(min(1e12, download.bytesPerSecond * (min(roundTrip, 2) + 0.5)))
        // Before the first measure, and while slow: enough to measure with, not so much that a request waits 15 s.
        let floor = !download.isMeasured ? 2 << 20 : wanted < 64 * 1024 ? SwarmCatalog.groupSize : 4 * SwarmCatalog.groupSize
        return min(max(wanted, floor), limit)
    }
}

/// A want, or a request for the manifest, that has not ended.
struct OutgoingRequest {
    let id: UInt32
    /// The entry, `nil` for the manifest.
    let entry: Int?
    let groups: Range<Int>
    let bytes: Range<Int>
    let sentAt: Timestamp
    var lastFrameAt: Timestamp
    var hasFrame = false
    var received = 0
    /// Bytes of group values that are still to come, `nil` when none were asked for.
    var proof: ProofAssembly?
    var isCancelled = false

    /// Bytes still to come.
    var remaining: Int { max(0, bytes.count - received) }
    var isComplete: Bool { received >= bytes.count && (proof?.isWhole ?? true) }
}

/// A list of group values as it arrives.
struct ProofAssembly {
    var values: [BLAKE3.Digest]
    var missing: GroupSet

    init(groupCount: Int) {
        values = Array(repeating: BLAKE3.Digest(bytes: [UInt8](repeating: 0, count: 32)), count: groupCount)
        missing = GroupSet(capacity: groupCount)
        missing.formUnion(0..<groupCount)
    }

    var isWhole: Bool { missing.isEmpty }
}

/// A want or a manifest request that we serve.
struct ServingJob {
    let requestID: UInt32
    /// The entry, `nil` for the manifest.
    let entry: Int?
    /// Group values still to be queued, in bytes of the list.
    var proof: Range<Int>
    /// Bytes still to be queued.
    var bytes: Range<Int>
    /// The frames' shard index.
    let shardIndex: UInt32

    var isDone: Bool { proof.isEmpty && bytes.isEmpty }
}
