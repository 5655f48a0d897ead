// SPDX-License-Identifier: Apache-2.0
internal import ICE
public import Wire

/// Data between clients and peers: what has to be fast, and allocates nothing.
extension RelayCore {
    /// Where the data of one client's channel goes, kept while packets of one channel follow each other.
    struct Lane {
        var slot = -1
        var channel: UInt16 = 0
        var train: RelayTrain?
        /// Whether bandwidth is counted.
        var isLimited = false
    }

    /// The largest payload of a datagram: 65,535 bytes with the headers of IPv4 and UDP (RFC 791, RFC 768).
    private static let maximumDatagram = 65_507
    /// The largest message of a stream: what a length of 16 bits says, with its header.
    private static let maximumStreamMessage = 65_535

    // MARK: - From clients

    /// RFC 8656 §12.6.
    mutating func relayChannelData(
        _ packet: RawSpan, from client: RelayClient, now: Timestamp, lane: inout Lane, into outbox: RelayOutbox
    ) {
        guard let header = packet.channelHeader, ChannelData.headerLength + header.count <= packet.byteCount else {
            return counters.drop(.malformed)
        }
        let number = header.channel
        let data = ChannelData.headerLength..<ChannelData.headerLength + header.count
        if lane.train == nil || lane.channel != number {
            guard open(&lane, number, client, now: now, outbox) else { return }
        }
        guard let train = lane.train else { return }
        if lane.isLimited, !(slots[lane.slot].allocation?.mayRelay(data.count, now: now) ?? false) {
            return counters.drop(.bandwidth)
        }
        counters.toPeers.count(data.count)
        train.append(packet.extracting(data))
    }

    /// Finds where a channel's data goes.
    private mutating func open(
        _ lane: inout Lane, _ number: UInt16, _ client: RelayClient, now: Timestamp, _ outbox: RelayOutbox
    ) -> Bool {
        lane.train = nil
        if lane.slot < 0 {
            guard let slot = slotOfClient[client] else {
                counters.drop(.noAllocation)
                return false
            }
            lane.slot = slot
        }
        guard let peer = slots[lane.slot].allocation?.peer(ofChannel: number, now: now),
            let relayed = slots[lane.slot].allocation?[peer.ip.family], relayed.expires > now
        else {
            counters.drop(.noChannel)
            return false
        }
        // Another client's relayed address may be nobody's by now, or a stranger's on this host.
        guard !isClosedEnd(peer) else {
            counters.drop(.deniedPeer)
            return false
        }
        lane.channel = number
        lane.train = outbox.train(.relayed(relayed.socket), to: peer)
        lane.isLimited = slots[lane.slot].allocation?.isLimited ?? false
        return true
    }

    /// RFC 8656 §11.2: whatever is wrong with it, it is dropped without an answer.
    mutating func relaySend(_ bytes: RawSpan, from client: RelayClient, now: Timestamp, into outbox: RelayOutbox) {
        guard let slot = slotOfClient[client] else { return counters.drop(.noAllocation) }
        guard let sent = DataIndication.readSend(bytes) else { return counters.drop(.malformed) }
        guard let relayed = slots[slot].allocation?[sent.peer.ip.family], relayed.expires > now,
            slots[slot].allocation?.permits(sent.peer.ip, now: now) ?? false
        else { return counters.drop(.noPermission) }
        // The address was judged when it got its permission; of the server's own addresses the port counts as well.
        guard sent.peer.port != 0, !isClosedEnd(sent.peer) else { return counters.drop(.deniedPeer) }
        guard slots[slot].allocation?.mayRelay(sent.data.count, now: now) ?? false else {
            return counters.drop(.bandwidth)
        }
        counters.toPeers.count(sent.data.count)
        outbox.train(.relayed(relayed.socket), to: sent.peer, dontFragment: sent.dontFragment)
            .append(bytes.extracting(sent.data))
    }

    // MARK: - From peers

    /// Takes datagrams that a peer sent to a relayed address, `segment` bytes each, the last perhaps shorter; one of no
    /// bytes is a datagram too (RFC 8656 §11.3, §12.7).
    public mutating func receiveFromPeer(
        _ bytes: RawSpan, segment: Int, at socket: RelaySocketID, from peer: SocketAddress, now: Timestamp,
        into outbox: RelayOutbox
    ) {
        guard let slot = slotOfSocket[socket], let client = slots[slot].allocation?.client else {
            return counters.drop(.noAllocation)
        }
        guard let relayed = slots[slot].allocation?[peer.ip.family], relayed.expires > now,
            slots[slot].allocation?.permits(peer.ip, now: now) ?? false
        else { return counters.drop(.noPermission) }
        guard !isClosedEnd(peer) else { return counters.drop(.deniedPeer) }
        let channel = slots[slot].allocation?.channel(of: peer, now: now)
        let isLimited = slots[slot].allocation?.isLimited ?? false
        let train = outbox.train(.client(client), to: client.address)
        let segment = segment > 0 ? segment : max(bytes.byteCount, 1)
        var offset = 0
        repeat {
            let packet = bytes.extracting(offset..<min(offset + segment, bytes.byteCount))
            offset += segment
            if isLimited, !(slots[slot].allocation?.mayRelay(packet.byteCount, now: now) ?? false) {
                counters.drop(.bandwidth)
                continue
            }
            if let channel {
                append(packet, to: train, channel: channel, isStream: client.isStream)
            } else {
                append(packet, to: train, from: peer, isStream: client.isStream)
            }
        } while offset < bytes.byteCount
    }

    @inline(__always)
    private mutating func append(_ packet: RawSpan, to train: RelayTrain, channel: UInt16, isStream: Bool) {
        let length = ChannelData.headerLength + packet.byteCount
        // RFC 8656 §12.5: padded on streams alone.
        let padded = isStream ? (length + 3) & ~3 : length
        guard padded <= (isStream ? Self.maximumStreamMessage : Self.maximumDatagram) else {
            return counters.drop(.tooLarge)
        }
        counters.toClients.count(packet.byteCount)
        train.packets.append(maximumLength: padded) { room in
            room.store(channel, at: 0)
            room.store(UInt16(truncatingIfNeeded: packet.byteCount), at: 2)
            packet.withUnsafeBytes {
                UnsafeMutableRawBufferPointer(rebasing: room[ChannelData.headerLength...]).copyMemory(from: $0)
            }
            for index in length..<padded { room[index] = 0 }
            return padded
        }
    }

    private mutating func append(_ packet: RawSpan, to train: RelayTrain, from peer: SocketAddress, isStream: Bool) {
        let length = DataIndication.headerLength(peer.ip.family) + (packet.byteCount + 3) & ~3
        guard length <= (isStream ? Self.maximumStreamMessage : Self.maximumDatagram) else {
            return counters.drop(.tooLarge)
        }
        counters.toClients.count(packet.byteCount)
        let id = STUNTransactionID(using: &entropy)
        train.packets.append(maximumLength: length) { DataIndication.writeData(packet, from: peer, id, into: $0) }
    }

    /// An ICMP error came for a datagram that a relayed socket had sent to `peer` (RFC 8656 §11.5). `information` is
    /// the MTU where that was too small.
    public mutating func receivePeerError(
        type: UInt8, code: UInt8, information: UInt32, at socket: RelaySocketID, about peer: SocketAddress,
        now: Timestamp, into outbox: RelayOutbox
    ) {
        let isV4 = peer.ip.family == .v4
        // Unreachable and time exceeded; of ICMPv6 unreachable, too big and time exceeded.
        guard isV4 ? type == 3 || type == 11 : (1...3).contains(type), let slot = slotOfSocket[socket],
            let client = slots[slot].allocation?.client, slots[slot].allocation?.permits(peer.ip, now: now) ?? false
        else { return }
        counters.icmpErrors += 1
        let isTooBig = isV4 ? type == 3 && code == 4 : type == 2
        let id = STUNTransactionID(using: &entropy)
        let length = DataIndication.headerLength(peer.ip.family) + 8
        outbox.train(.client(client), to: client.address).packets.append(maximumLength: length) {
            DataIndication.writeError(
                type: type, code: code, information: isTooBig ? information : 0, about: peer, id, into: $0)
        }
    }
}

extension RawSpan {
    /// The channel and the length that ChannelData begins with (RFC 8656 §12.4).
    @inline(__always)
    fileprivate var channelHeader: (channel: UInt16, count: Int)? {
        guard let a = byte(at: 0), let b = byte(at: 1), let c = byte(at: 2), let d = byte(at: 3) else { return nil }
        return (UInt16(a) << 8 | UInt16(b), Int(c) << 8 | Int(d))
    }
}

extension RelayAllocation {
    /// Whether bandwidth is counted at all.
    var isLimited: Bool { userAccount.isLimited || addressAccount.isLimited }
}
