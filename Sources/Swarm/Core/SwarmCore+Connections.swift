// SPDX-License-Identifier: Apache-2.0

import Hashing
public import Wire

//  offerer                      answerer
//     │── control, bulk opened ──▶│
//     │── hello ─────────────────▶│   within 10 s of the opening of `control`; nothing else before the
//     │◀───────────────── hello ──│   other side's hello has been checked
//     │── bitfield, have_groups ─▶│
//     │◀─ bitfield, have_groups ──│

extension SwarmCore {
    /// Whether an offer of this node should be answered: not while it is connected already (unless that connection has
    /// been silent for 5 s), banned, this node itself, or one too many.
    public func shouldAnswer(_ node: NodeID, now: Timestamp) -> Bool {
        guard !hasLeft, node != nodeID, bans[node] == nil else { return false }
        if let same = peers.values.first(where: { $0.nodeID == node && now - $0.lastReceived < .seconds(5) }) {
            return same.replacedDeadline != nil
        }
        return wantsPeers
    }

    /// Whether there is room for another connection.
    public var wantsPeers: Bool { !hasLeft && peers.count < configuration.maxPeers }

    /// The channel `control` is open.
    ///
    /// - Parameters:
    ///   - role: this node's role.
    ///   - certificateDigest: SHA-256 of the other side's certificate, from the DTLS session.
    ///   - maxMessageSize: the other side's `a=max-message-size`: 65,536 when absent, 0 for no limit.
    ///   - bulkIsOpen: whether `bulk` is open too; else call ``bulkOpened(_:now:)`` later.
    public mutating func peerConnected(
        _ handle: PeerHandle, role: SessionRole, certificateDigest: [UInt8], maxMessageSize: Int, bulkIsOpen: Bool,
        now: Timestamp
    ) {
        guard peers[handle] == nil, certificateDigest.count == 32 else { return }
        let node = NodeID(certificateDigest: certificateDigest)
        let objection: SwarmCloseReason? =
            if hasLeft {
                SwarmCloseReason(.left, "this node leaves")
            } else if let ban = bans[node] {
                SwarmCloseReason(.banned, "banned before: \(ban)")
            } else if node == nodeID {
                SwarmCloseReason(.duplicate, "a connection to this node itself")
            } else if peers.count >= configuration.maxPeers {
                SwarmCloseReason(.tooManyPeers, "\(configuration.maxPeers) peers are connected already")
            } else {
                nil
            }
        if let objection {
            actions.append(.close(handle, objection))
            return
        }
        nextPeerNumber += 1
        let peer = Peer(
            handle: handle, role: role, certificateDigest: certificateDigest, maxMessageSize: max(0, maxMessageSize),
            bulkIsOpen: bulkIsOpen, number: nextPeerNumber, now: now)
        peers[handle] = peer
        actions.append(.event(.peerConnected(handle, node, role, at: now)))
        send(
            peer,
            .hello(
                .init(
                    nodeID: nodeID, binding: binding(peer, sender: peer.role), agent: configuration.agent,
                    maxRequests: Int64(configuration.maxRequests))), now: now)
    }

    /// The channel `bulk` is open.
    public mutating func bulkOpened(_ handle: PeerHandle, now: Timestamp) {
        guard let peer = peers[handle], !peer.bulkIsOpen else { return }
        peer.bulkIsOpen = true
        if !peer.jobs.isEmpty { actions.append(.framesReady(handle)) }
        schedule(now: now)
    }

    /// The transport lost the connection, or the other side closed it.
    public mutating func peerDisconnected(_ handle: PeerHandle, reason: String, now: Timestamp) {
        guard let peer = peers[handle] else { return }
        remove(peer, SwarmCloseReason(.disconnected, reason), now: now)
        schedule(now: now)
    }

    // MARK: - Hello

    private func binding(_ peer: Peer, sender: SessionRole) -> [UInt8] {
        SessionBinding.value(
            manifestDigest: manifestDigest, role: sender,
            offererDigest: peer.role == .offerer ? certificateDigest : peer.certificateDigest,
            answererDigest: peer.role == .offerer ? peer.certificateDigest : certificateDigest)
    }

    mutating func receiveHello(_ peer: Peer, _ hello: ControlMessage.Hello, now: Timestamp) {
        let objection: SwarmCloseReason? =
            if hello.nodeID != peer.nodeID {
                SwarmCloseReason(.breach, "a hello with the node id of another certificate")
            } else if hello.binding != binding(peer, sender: peer.role.opposite) {
                SwarmCloseReason(.breach, "a hello with a wrong binding: another link, or someone sits in the middle")
            } else if hello.version < 1 || hello.minVersion > 1 || hello.minVersion > hello.version {
                SwarmCloseReason(
                    .unsupported, "it speaks versions \(hello.minVersion) to \(hello.version), this node speaks 1")
            } else if hello.lane != 0 {
                SwarmCloseReason(.unsupported, "a connection for lane \(hello.lane)")
            } else {
                nil
            }
        if let objection {
            close(peer, objection, now: now)
            return
        }
        peer.agent = String(hello.agent.unicodeScalars.prefix(100).map { Character($0) })
        peer.remoteMaxRequests = Int(min(hello.maxRequests, 100_000))
        guard resolveDuplicate(peer, now: now) else { return }
        peer.isJoined = true
        actions.append(.event(.peerJoined(peer.handle, peer.nodeID, agent: peer.agent)))
        sendInventory(to: peer, now: now)
        schedule(now: now)
    }

    /// Two connections between the same two nodes: whether `peer`, whose hello was just checked, stays.
    private mutating func resolveDuplicate(_ peer: Peer, now: Timestamp) -> Bool {
        let same = joinedPeers.filter { $0.nodeID == peer.nodeID && $0 !== peer }
        for other in same {
            let reason = SwarmCloseReason(.duplicate, "a second connection to the same node")
            if other.role != peer.role {
                // Of two offered by different sides, the one of the smaller nodeId stays.
                let keepsOurs = nodeID < peer.nodeID
                guard (peer.role == .offerer) == keepsOurs else {
                    close(peer, reason, now: now)
                    return false
                }
                close(other, reason, now: now)
            } else if peer.role == .offerer {
                close(peer, reason, now: now)
                return false
            } else {
                // The offerer closes its later one, if it still has the earlier: a ping shows that.
                other.replacedDeadline = now + .seconds(10)
                ping(other, now: now)
            }
        }
        return true
    }

    mutating func ping(_ peer: Peer, now: Timestamp) {
        peer.pingSentAt = now
        send(peer, .ping(nonce: Int64(entropy.next() >> 12)), now: now)
    }

    // MARK: - Closing

    /// A lie, or a message against the format: closes, and bans the node.
    mutating func fault(_ peer: Peer, _ what: String, now: Timestamp) {
        close(peer, SwarmCloseReason(.fault, what), now: now)
    }

    mutating func breach(_ peer: Peer, _ what: String, now: Timestamp) {
        close(peer, SwarmCloseReason(.breach, what), now: now)
    }

    mutating func close(_ peer: Peer, _ reason: SwarmCloseReason, now: Timestamp) {
        guard peers[peer.handle] === peer else { return }
        actions.append(.close(peer.handle, reason))
        remove(peer, reason, now: now)
    }

    /// Bans a node and closes whatever connections it has.
    mutating func ban(_ node: NodeID, _ what: String, now: Timestamp) {
        if bans[node] == nil {
            bans[node] = what
            actions.append(.event(.peerBanned(node, reason: what)))
        }
        for peer in Array(peers.values) where peer.nodeID == node {
            close(peer, SwarmCloseReason(.banned, what), now: now)
        }
    }

    private mutating func remove(_ peer: Peer, _ reason: SwarmCloseReason, now: Timestamp) {
        peers[peer.handle] = nil
        departed.add(peer)
        availabilityIsStale = true
        for id in Array(peer.requests.keys) { endRequest(peer, id, now: now) }
        for state in open { dropAssemblies(of: peer, in: state) }
        if manifestAssembly?.peer == peer.handle { manifestAssembly = nil }
        if peer.isJoined { actions.append(.event(.peerLeft(peer.handle, peer.nodeID, reason))) }
        if !peer.isJoined, [.breach, .helloTimeout, .unsupported].contains(reason.code) {
            actions.append(.event(.peerRefused(peer.nodeID, reason)))
        }
        peer.isJoined = false
        if reason.code == .fault { ban(peer.nodeID, reason.message, now: now) }
        for entry in peer.commitments.keys { reconsiderCommitments(entries[entry], now: now) }
    }
}

extension SwarmCore {
    // MARK: - What this node has

    /// Tells a peer everything that is here.
    mutating func sendInventory(to peer: Peer, now: Timestamp) {
        var whole = GroupSet(capacity: hasBegun ? entries.count : 0)
        if hasBegun { for state in entries where state.isComplete { whole.insert(state.index) } }
        let message = ControlMessage.bitfield(whole.bitfield)
        if fits(peer, (whole.capacity + 7) / 8 * 4 / 3 + 64) {
            send(peer, message, now: now)
        } else {
            // Its messages are too small for the bitfield: the same in parts.
            send(peer, .bitfield([]), now: now)
            sendHave(peer, Array(whole), now: now)
        }
        guard hasBegun else { return }
        for state in entries where state.isWanted && state.sharesGroups && !state.stored.isEmpty {
            sendGroups(peer, state, state.stored.ranges, now: now)
        }
        partIfComplete(peer, now: now)
    }

    mutating func sendHave(_ peer: Peer, _ indices: [Int], now: Timestamp) {
        for start in stride(from: 0, to: indices.count, by: 1_000) {
            let part = indices[start..<min(start + 1_000, indices.count)].map { UInt32($0) }
            send(peer, .have(part), now: now)
        }
    }

    mutating func sendGroups(_ peer: Peer, _ state: EntryState, _ ranges: [Range<Int>], now: Timestamp) {
        guard !peer.hasWhole(state.index) else { return }
        for start in stride(from: 0, to: ranges.count, by: 500) {
            let part = ranges[start..<min(start + 500, ranges.count)].map {
                ControlMessage.GroupRange(first: Int64($0.lowerBound), count: Int64($0.count))
            }
            send(peer, .haveGroups(shardIndex: UInt32(state.index), ranges: part), now: now)
        }
    }

    /// Two nodes that have everything part again; the offerer closes.
    mutating func partIfComplete(_ peer: Peer, now: Timestamp) {
        guard peer.role == .offerer, peer.isJoined, hasEverything, !entries.isEmpty,
            entries.allSatisfy({ $0.groupCount == 0 || peer.hasWhole($0.index) })
        else { return }
        close(peer, SwarmCloseReason(.nothingToExchange, "both nodes have everything"), now: now)
    }

    private func fits(_ peer: Peer, _ byteCount: Int) -> Bool {
        byteCount <= ControlMessage.maximumByteCount && (peer.maxMessageSize == 0 || byteCount <= peer.maxMessageSize)
    }

    // MARK: - Sending

    /// Sends a control message, later if too many were sent in this second.
    mutating func send(_ peer: Peer, _ message: ControlMessage, now: Timestamp) {
        guard peers[peer.handle] === peer else { return }
        let text = message.text
        if peer.controlQueue.isEmpty, peer.controlBudget.take(now: now) {
            actions.append(.sendControl(peer.handle, text))
        } else if peer.controlQueue.count < SwarmCore.controlQueueLimit {
            peer.controlQueue.append(text)
        } else {
            breach(peer, "it makes this node answer more than may be sent", now: now)
        }
    }

    mutating func flushControl(_ peer: Peer, now: Timestamp) {
        var sent = 0
        while sent < peer.controlQueue.count, peer.controlBudget.take(now: now) {
            actions.append(.sendControl(peer.handle, peer.controlQueue[sent]))
            sent += 1
        }
        if sent > 0 { peer.controlQueue.removeFirst(sent) }
    }

    /// Messages that wait to be sent to one peer, at most. It can bring about 20,000 answers in 10 s, of which half are sent.
    static let controlQueueLimit = 20_000
}
