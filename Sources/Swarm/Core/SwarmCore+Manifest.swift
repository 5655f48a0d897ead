// SPDX-License-Identifier: Apache-2.0

import Hashing
import Wire

/// The manifest as it arrives from one peer. Frames come in any order; the one that reaches the end tells the length.
struct ManifestAssembly {
    let peer: PeerHandle
    let requestID: UInt32
    private(set) var bytes: [UInt8] = []
    private var islands: [Range<Int>] = []
    private var total: Int?

    init(peer: PeerHandle, requestID: UInt32) {
        self.peer = peer
        self.requestID = requestID
    }

    /// A manifest has at most 64 MiB.
    static let limit = 64 << 20

    var isWhole: Bool { total != nil && islands == [0..<bytes.count] && bytes.count == total }

    /// Takes a frame in; what is wrong with it, `nil` if nothing is.
    mutating func add(_ data: RawSpan, at offset: Int, isEnd: Bool) -> String? {
        let end = offset + data.byteCount
        guard data.byteCount > 0, end <= ManifestAssembly.limit else { return "a manifest of more than 64 MiB" }
        guard isEnd ? total == nil || total == end : total == nil || end < total ?? 0 else {
            return "a manifest frame with a wrong end flag"
        }
        guard !isEnd || (islands.last?.upperBound ?? 0) <= end else { return "a manifest that ends before its frames" }
        if isEnd { total = end }
        guard !islands.contains(where: { $0.overlaps(offset..<end) }) else { return nil }
        if bytes.count < end { bytes.append(contentsOf: repeatElement(0, count: end - bytes.count)) }
        data.withUnsafeBytes { source in
            bytes.withUnsafeMutableBytes {
                UnsafeMutableRawBufferPointer(rebasing: $0[offset..<end]).copyMemory(from: source)
            }
        }
        insert(offset..<end)
        // Honest senders go from front to back; a reordering network makes a few gaps.
        return islands.count > 4_096 ? "a manifest in too many pieces" : nil
    }

    private mutating func insert(_ range: Range<Int>) {
        var index = islands.firstIndex { $0.lowerBound >= range.lowerBound } ?? islands.count
        var merged = range
        if index < islands.count, islands[index].lowerBound == merged.upperBound {
            merged = merged.lowerBound..<islands.remove(at: index).upperBound
        }
        if index > 0, islands[index - 1].upperBound == merged.lowerBound {
            index -= 1
            merged = islands.remove(at: index).lowerBound..<merged.upperBound
        }
        islands.insert(merged, at: index)
    }
}

extension SwarmCore {
    /// Asks a peer for the manifest: one peer an attempt.
    mutating func requestManifest(now: Timestamp) {
        guard manifest == nil, failure == nil else { return }
        let candidates = joinedPeers.filter { peer in
            peer.bulkIsOpen && peer.takesBulk && peer.pausedUntil <= now && peer.requests.count < peer.remoteMaxRequests
                && peer.lastRequestID < .max && peer.manifestTriedAt.map { now - $0 >= .seconds(5) } ?? true
        }
        // Who announced shards has it. Who was asked in vain comes last.
        let order = { (peer: Peer) in
            (peer.manifestTriedAt ?? .zero, peer.shards.isEmpty ? 1 : 0, peer.number)
        }
        guard let peer = candidates.min(by: { order($0) < order($1) }) else { return }
        if let assembly = manifestAssembly {
            // Somebody was asked already. If nothing comes, another one is, whose turn it has not been yet.
            guard let asked = peers[assembly.peer], let request = asked.requests[assembly.requestID],
                now - request.lastFrameAt >= .seconds(5), peer.manifestTriedAt == nil
            else { return }
            cancelRequest(asked, assembly.requestID, now: now)
        }
        peer.lastRequestID += 1
        peer.manifestTriedAt = now
        let id = peer.lastRequestID
        peer.requests[id] = OutgoingRequest(
            id: id, entry: nil, groups: 0..<0, bytes: 0..<0, sentAt: now, lastFrameAt: now)
        manifestAssembly = ManifestAssembly(peer: peer.handle, requestID: id)
        send(peer, .manifestRequest(requestID: id), now: now)
    }

    mutating func receiveManifest(
        _ peer: Peer, _ request: OutgoingRequest, _ header: BulkHeader, _ data: RawSpan, now: Timestamp
    ) -> String? {
        guard manifestAssembly?.peer == peer.handle, manifestAssembly?.requestID == request.id else { return nil }
        if let objection = manifestAssembly?.add(data, at: Int(header.offset), isEnd: header.isEnd) { return objection }
        guard manifestAssembly?.isWhole == true, let bytes = manifestAssembly?.bytes else { return nil }
        manifestAssembly = nil
        endRequest(peer, request.id, now: now)
        return takeManifest(bytes) ? nil : "a manifest that does not match the link"
    }

    /// Takes the manifest if the link's digest covers it.
    mutating func takeManifest(_ bytes: [UInt8]) -> Bool {
        guard BLAKE3.hash(bytes) == manifestDigest else { return false }
        guard manifest == nil else { return true }
        manifest = bytes
        actions.append(.event(.manifest(bytes)))
        return true
    }
}
