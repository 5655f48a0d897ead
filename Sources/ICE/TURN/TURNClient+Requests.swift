// SPDX-License-Identifier: Apache-2.0
public import Wire

// What is asked of the server, and what happens because time passes.
extension TURNClient {
    // MARK: - Permissions and channels

    /// Has the server let packets through from and to a peer's address, and keeps that up (RFC 8656 §10). Harmless when
    /// repeated; before the allocation is there it is remembered.
    public mutating func permit(_ peer: SocketAddress, now: Timestamp) {
        clock = max(clock, now)
        guard state != .releasing, state != .ended, permission(of: peer.ip) == nil else { return }
        guard permissions.count < Self.maximumPermissions else {
            report(.refused(peer.ip, .limit))
            return
        }
        permissions.append(Permission(peer: peer))
        if state == .allocated { askPermission(peer.ip) }
    }

    /// Lets all permissions end but those of these addresses, and their channels.
    public mutating func keep(only addresses: [IPAddress]) {
        permissions.removeAll { !addresses.contains($0.peer.ip) }
        for index in channels.indices where !addresses.contains(channels[index].peer.ip) {
            channels[index].refreshAt = nil
        }
        requests.removeAll { [channels] request in
            switch request.purpose {
            case .permission(let ip): !addresses.contains(ip)
            // An answer would have it refreshed again.
            case .channel(let index): !addresses.contains(channels[index].peer.ip)
            case .allocate, .refresh, .release: false
            }
        }
    }

    /// Binds a channel to a peer and keeps it bound (RFC 8656 §12). Harmless when repeated.
    public mutating func bind(_ peer: SocketAddress, now: Timestamp) {
        clock = max(clock, now)
        guard state == .allocated, lendsFamily(of: peer.ip) else { return }
        if let known = channels.firstIndex(where: { $0.peer == peer }) {
            let isOpen = channels[known].isBound || requests.contains { $0.purpose == .channel(known) }
            if !isOpen { send(.channel(known)) }
            return
        }
        guard channels.count < ChannelData.numbers.count else { return }
        channels.append(Channel(peer: peer))
        send(.channel(channels.count - 1))
    }

    /// The number of the channel that data to a peer can take now.
    public func channel(to peer: SocketAddress) -> UInt16? {
        guard let index = channels.firstIndex(where: { $0.peer == peer && $0.isBound }) else { return nil }
        return number(of: index)
    }

    func number(of channel: Int) -> UInt16 { ChannelData.numbers.lowerBound + UInt16(channel) }

    func permission(of ip: IPAddress) -> Int? { permissions.firstIndex { $0.peer.ip == ip } }

    func lendsFamily(of ip: IPAddress) -> Bool { relayed.contains { $0.ip.family == ip.family } }

    mutating func askPermission(_ ip: IPAddress) {
        guard lendsFamily(of: ip) else {
            refuse(ip, .peerAddressFamilyMismatch)
            return
        }
        send(.permission(ip))
    }

    /// A permission is not given. It stays known, so that it is not asked for again with every packet.
    mutating func refuse(_ ip: IPAddress, _ reason: TURNFailure) {
        guard let index = permission(of: ip) else { return }
        permissions[index].state = .refused
        permissions[index].waiting.removeAll()
        (permissions[index].refreshAt, permissions[index].expiresAt) = (nil, nil)
        report(.refused(ip, reason))
    }

    // MARK: - Sending requests

    mutating func send(_ purpose: Request.Purpose, staleCount: Int = 0) {
        var message = STUNMessage(.request, method(of: purpose), transactionID: STUNTransactionID(using: &entropy))
        switch purpose {
        case .allocate:
            // RFC 8656 §18.8: the protocol's number, UDP is 17, and three reserved bytes.
            message.append(.requestedTransport, UInt32(17) << 24)
            switch families {
            case .v4: break
            case .v6: message.append(.requestedAddressFamily, UInt32(2) << 24)
            case .both: message.append(.additionalAddressFamily, UInt32(2) << 24)
            }
        case .refresh: break
        case .release: message.append(.lifetime, UInt32(0))
        case .permission(let ip):
            guard let index = permission(of: ip) else { return }
            message.append(xorAddress: permissions[index].peer, as: .xorPeerAddress)
        case .channel(let index):
            message.append(.channelNumber, UInt32(number(of: index)) << 16)
            message.append(xorAddress: channels[index].peer, as: .xorPeerAddress)
        }
        // RFC 8656 §5 asks for it in these.
        if purpose == .allocate || purpose == .refresh || purpose == .release { message.append(.software, "dreamer") }
        authentication.complete(&message)
        let integrity = authentication.integrity
        let payload = message.encoded(integrity: integrity)
        let rto = max(timing.rto ?? initialRTO, .milliseconds(500))
        requests.append(
            Request(
                id: message.transactionID, purpose: purpose, payload: payload, integrity: integrity, sentAt: clock,
                rto: rto, staleCount: staleCount,
                deadline: clock + (server.transport.isStream ? Self.streamTimeout : rto)))
        transmit(payload)
    }

    func method(of purpose: Request.Purpose) -> STUNMessage.Method {
        switch purpose {
        case .allocate: .allocate
        case .refresh, .release: .refresh
        case .permission: .createPermission
        case .channel: .channelBind
        }
    }

    // MARK: - Time

    /// Tells that time has passed. Early and repeated calls are harmless.
    public mutating func handleTimeout(now: Timestamp) {
        clock = max(clock, now)
        if let deadline = timing.connectDeadline, deadline <= clock {
            end(.timeout)
            return
        }
        while let index = requests.firstIndex(where: { $0.deadline <= clock }) { requestDue(index) }
        if let expiry = timing.expiresAt, expiry <= clock {
            end(.expired)
            return
        }
        if let refresh = timing.refreshAt, refresh <= clock {
            timing.refreshAt = nil
            send(.refresh)
        }
        refreshPermissions()
        refreshChannels()
        if let keepaliveDue, keepaliveDue <= clock {
            transmit(STUNMessage(.indication, transactionID: STUNTransactionID(using: &entropy)).encoded())
        }
    }

    /// When a packet has to pass the NATs on the way, so that peers' packets go on to find us (RFC 8445 §5.1.1.4).
    private var keepaliveDue: Timestamp? {
        state == .allocated && !server.transport.isStream ? timing.lastSent + Self.keepaliveInterval : nil
    }

    /// When ``handleTimeout(now:)`` has something to do, if nothing comes before.
    public var nextDeadline: Timestamp? {
        var earliest = Timestamp.distantFuture
        func consider(_ deadline: Timestamp?) {
            if let deadline { earliest = min(earliest, deadline) }
        }
        consider(timing.connectDeadline)
        consider(timing.refreshAt)
        consider(timing.expiresAt)
        consider(keepaliveDue)
        for request in requests { consider(request.deadline) }
        for permission in permissions {
            consider(permission.refreshAt)
            consider(permission.expiresAt)
        }
        for channel in channels {
            consider(channel.refreshAt)
            consider(channel.expiresAt)
        }
        return earliest == .distantFuture ? nil : earliest
    }

    /// A request is sent once more, or is over without an answer (RFC 8489 §6.2.1).
    private mutating func requestDue(_ index: Int) {
        let request = requests[index]
        guard !server.transport.isStream, request.sent < Self.maximumCopies else {
            requests.remove(at: index)
            failed(
                request.purpose,
                request.unproven.hasCome ? .integrityViolated(claimed: request.unproven.code) : .timeout)
            return
        }
        // After copy n the wait is RTO · 2ⁿ⁻¹, after the last Rm · RTO.
        requests[index].sent += 1
        let sent = requests[index].sent
        let wait = sent < Self.maximumCopies ? request.rto * (1 << (sent - 1)) : request.rto * Self.finalWait
        requests[index].deadline = clock + wait
        counters.retransmissions += 1
        transmit(request.payload)
    }

    /// A request came to nothing.
    mutating func failed(_ purpose: Request.Purpose, _ reason: TURNFailure) {
        switch purpose {
        case .allocate, .refresh: end(reason)
        case .release: end(nil)
        case .permission(let ip): refuse(ip, reason)
        case .channel(let index): channels[index].refreshAt = nil
        }
    }

    private mutating func refreshPermissions() {
        for index in permissions.indices {
            if let expiry = permissions[index].expiresAt, expiry <= clock {
                refuse(permissions[index].peer.ip, .expired)
            } else if let refresh = permissions[index].refreshAt, refresh <= clock {
                permissions[index].refreshAt = nil
                send(.permission(permissions[index].peer.ip))
            }
        }
    }

    private mutating func refreshChannels() {
        for index in channels.indices {
            if let expiry = channels[index].expiresAt, expiry <= clock {
                // Data goes on in indications.
                channels[index].isBound = false
                (channels[index].refreshAt, channels[index].expiresAt) = (nil, nil)
            } else if let refresh = channels[index].refreshAt, refresh <= clock {
                channels[index].refreshAt = nil
                send(.channel(index))
            }
        }
    }
}
