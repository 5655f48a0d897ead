// SPDX-License-Identifier: Apache-2.0
internal import ICE
internal import Wire

/// Requests about an allocation that exists, of who made it.
extension RelayCore {
    /// RFC 8656 §8.2.
    mutating func refresh(_ request: Request, _ slot: Int, now: Timestamp, into outbox: RelayOutbox) {
        let lifetime: Duration
        let only: IPAddress.Family?
        do throws(STUNErrorCode) {
            lifetime = try self.lifetime(in: request.message) ?? configuration.defaultLifetime
            // A family that there is no number for is one that the allocation lacks.
            do throws(STUNErrorCode) {
                only = try family(request.message.first(.requestedAddressFamily))
            } catch {
                throw error == .badRequest ? error : .peerAddressFamilyMismatch
            }
            if let only, slots[slot].allocation?[only] == nil { throw .peerAddressFamilyMismatch }
        } catch {
            return refuse(request, error, into: outbox)
        }
        let families = only.map { [$0] } ?? [.v4, .v6]
        if lifetime == .zero {
            for family in families { removeRelayed(family, of: slot) }
            if slots[slot].allocation?.relayed.isEmpty ?? true { removeAllocation(slot) }
        } else {
            for family in families { slots[slot].allocation?[family]?.expires = now + lifetime }
            schedule(slot)
        }
        var answer = success(request)
        answer.append(.lifetime, Self.seconds(until: now + lifetime, from: now))
        send(answer, to: request, into: outbox)
    }

    /// RFC 8656 §10.2: all of the addresses or none.
    mutating func createPermission(_ request: Request, _ slot: Int, now: Timestamp, into outbox: RelayOutbox) {
        var peers: Set<IPAddress> = []
        do throws(STUNErrorCode) {
            for attribute in request.message.attributes where attribute.kind == .xorPeerAddress {
                peers.insert(try peer(attribute.value, of: request, slot, isWhole: false).ip)
            }
            guard !peers.isEmpty else { throw .badRequest }
            guard hasRoom(forPermissions: peers, slot, now: now) else { throw .insufficientCapacity }
        } catch {
            return refuse(request, error, into: outbox)
        }
        for peer in peers { slots[slot].allocation?.permit(peer, now: now) }
        send(success(request), to: request, into: outbox)
    }

    /// RFC 8656 §12.2.
    mutating func bindChannel(_ request: Request, _ slot: Int, now: Timestamp, into outbox: RelayOutbox) {
        let message = request.message
        do throws(STUNErrorCode) {
            // The last two bytes are reserved (RFC 8656 §18.1).
            guard let value = message.first(.channelNumber), value.count == 4,
                let address = message.first(.xorPeerAddress)
            else { throw .badRequest }
            let number = UInt16(value[0]) << 8 | UInt16(value[1])
            guard channelNumbers.contains(number) else { throw .badRequest }
            let peer = try peer(address, of: request, slot, isWhole: true)
            guard slots[slot].allocation?.canBind(number, to: peer, now: now) ?? false else { throw .badRequest }
            let limit = configuration.limits.channels
            guard hasRoom(forPermissions: [peer.ip], slot, now: now),
                slots[slot].allocation?.hasRoom(forChannel: number, limit: limit, now: now) ?? false
            else { throw .insufficientCapacity }
            slots[slot].allocation?.bind(number, to: peer, now: now)
            slots[slot].allocation?.permit(peer.ip, now: now)
        } catch {
            return refuse(request, error, into: outbox)
        }
        send(success(request), to: request, into: outbox)
    }

    private mutating func hasRoom(forPermissions peers: Set<IPAddress>, _ slot: Int, now: Timestamp) -> Bool {
        let limit = configuration.limits.permissions
        return slots[slot].allocation?.hasRoom(forPermissions: peers, limit: limit, now: now) ?? false
    }

    /// The peer that an attribute names, if the allocation can reach it and may. A permission is for an address,
    /// whatever the port.
    private func peer(
        _ value: [UInt8], of request: Request, _ slot: Int, isWhole: Bool
    ) throws(STUNErrorCode) -> SocketAddress {
        let id = request.message.transactionID
        guard let peer = value.withUnsafeBytes({ PeerAddress.read($0.bytes, id) }) else { throw .badRequest }
        guard slots[slot].allocation?[peer.ip.family] != nil else { throw .peerAddressFamilyMismatch }
        guard isWhole ? mayReach(peer) : mayPermit(peer.ip) else { throw .forbidden }
        // Nothing can be sent to port 0.
        guard !isWhole || peer.port != 0 else { throw .badRequest }
        return peer
    }

    /// Whether an address may get a permission: the server's own host is looked for before any list.
    private func mayPermit(_ ip: IPAddress) -> Bool {
        if configuration.peers.names(ip) { return true }
        if isRelayed(ip) { return configuration.allowsOwnRelayedPeers }
        return !isOwn(ip) && configuration.peers.allows(ip)
    }

    /// Whether packets to an address end up at the server's own host, whatever dress it wears: what is said of ranges
    /// does not open that.
    private func isOwn(_ ip: IPAddress) -> Bool {
        if ledger.isOwn(ip.withoutScope) { return true }
        guard let inner = RelayPeerPolicy.embeddedV4(ip) else { return false }
        return isRelayed(inner) || ledger.isOwn(inner)
    }

    /// Whether a peer may get a channel.
    private func mayReach(_ peer: SocketAddress) -> Bool {
        mayPermit(peer.ip) && !isClosedEnd(peer)
    }

    /// Whether a peer is at the relayed address but no allocation's: the address may have a permission, for the sake of
    /// the server's other clients, and whatever else listens there stays closed.
    @inline(__always)
    func isClosedEnd(_ peer: SocketAddress) -> Bool {
        guard isRelayed(peer.ip), let own = configuration.relayed(peer.ip.family),
            !configuration.peers.names(peer.ip)
        else { return false }
        return !ledger.isOpen(SocketAddress(ip: own.local, port: peer.port))
    }

    @inline(__always)
    private func isRelayed(_ ip: IPAddress) -> Bool {
        guard let own = configuration.relayed(ip.family) else { return false }
        return own.local == ip || own.external == ip
    }
}
