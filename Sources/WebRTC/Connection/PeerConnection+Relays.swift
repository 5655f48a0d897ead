// SPDX-License-Identifier: Apache-2.0
import DTLS
import Hashing
import ICE
import NetIO
import SDP
import Synchronization
import Wire

// MARK: - Servers

extension PeerConnection {
    /// Servers by address.
    struct Servers: Sendable {
        var stun: [SocketAddress] = []
        var turn: [TURNServer] = []
    }

    /// The servers' addresses, for a peer of which that much is known; those whose names are not found in time are left
    /// out.
    func resolveServers(expecting peer: [RemoteTrait]) async -> Servers {
        var servers = await resolveServers()
        let remote: [IPAddress] = peer.compactMap { trait in
            if case .candidate(.address(let ip), _) = trait { ip } else { nil }
        }
        servers.wantFamilies(local: endpoint.localAddresses.map(\.ip), remote: remote)
        return servers
    }

    private func resolveServers() async -> Servers {
        let servers = configuration.iceServers
        let limit = configuration.gatheringTimeout
        guard !servers.isEmpty else { return Servers() }
        // Certificates are read from files, for which the loop must not wait; what fails is told when it is needed.
        if servers.contains(where: { $0.transport == .tls }) { _ = try? endpoint.relayContext() }
        return await withTaskGroup(of: (ICEServer, [SocketAddress])?.self) { group in
            for server in servers {
                group.addTask { (server, (try? await Resolver.resolve(server.host, port: server.port)) ?? []) }
            }
            group.addTask {
                try? await Task.sleep(for: limit)
                return nil
            }
            var found = Servers()
            var waiting = servers.count
            while waiting > 0, let (server, addresses) = await group.next() ?? nil {
                found.add(server, addresses)
                waiting -= 1
            }
            group.cancelAll()
            return found
        }
    }
}

extension PeerConnection.Servers {
    /// Takes the addresses of a server.
    mutating func add(_ server: ICEServer, _ addresses: [SocketAddress]) {
        // A relay's own socket is not one that data goes out by, so that a reflexive address is asked for as of any
        // STUN server; those that speak TLS have it at another port.
        if server.transport != .tls { stun += addresses }
        guard server.kind == .turn else { return }
        let transport: TURNServer.Transport =
            switch server.transport {
            case .udp: .udp
            case .tcp: .tcp
            case .tls: .tls
            }
        turn += addresses.map { address in
            TURNServer(
                address: address, transport: transport,
                credentials: .init(username: server.username, password: server.password), name: server.host)
        }
    }

    /// Has relays asked for IPv6 addresses as well, where such a one is of use: this host has one of its own, so that
    /// the peer may have nothing else, or the peer offers one. IPv4 is asked for in any case.
    mutating func wantFamilies(local: [IPAddress], remote: [IPAddress]) {
        func isWide(_ ip: IPAddress) -> Bool { ip.family == .v6 && !ip.isLinkLocal }
        guard (local + remote).contains(where: isWide) else { return }
        for index in turn.indices { turn[index].families = .both }
    }
}

// MARK: - Links

extension PeerConnection {
    /// Tells the budget what went over relays, and the core what may.
    func noteRelayed(_ bytes: UInt64) {
        guard let budget = configuration.relayBudget else { return }
        if work.relay.peer == nil {
            work.relay.peer = guarded.withLock { $0.core.remoteCertificate }.map { SHA256.hash($0) }
        }
        guard let peer = work.relay.peer else { return }
        budget.add(bytes - work.relay.bytes, for: peer)
        work.relay.bytes = bytes
        // Other connections to the same peer spend of it as well.
        guarded.withLock { $0.core.relayAllowance = bytes &+ budget.allowance(for: peer) }
    }

    /// Answers whether anything may be relayed for the peer of a description, and has its relayed candidates left alone
    /// otherwise: a path over them would end with its first packet.
    func heedBudget(_ description: SessionDescription) throws(PeerConnectionError) -> Bool {
        guard let budget = configuration.relayBudget,
            let digest = description.fingerprints.first(where: { $0.algorithm == "sha-256" })?.bytes,
            budget.isSpent(for: digest)
        else { return true }
        guard configuration.iceTransportPolicy == .all else {
            throw PeerConnectionError(
                .relayBudgetSpent, "as many bytes went over relays as may for this peer, and relays alone are allowed")
        }
        guarded.withLock { $0.core.refuseRelays() }
        return false
    }

    /// Does what an agent wants for a relay, on the loop's thread.
    func serve(_ request: RelayRequest) {
        switch request {
        case .open(let link, .udp, let server, _, let local):
            openSocket(link, to: server, from: local)
        case .open(let link, let transport, let server, let name, let local):
            let handler = RelayLinks.Handler(
                opened: { [weak self] in self?.opened($0, from: $1) },
                received: { [weak self] in self?.received($1, over: $0) },
                closed: { [weak self] in self?.closed($0, $1) })
            do {
                relays.openStream(
                    link, to: server, name: name, from: local,
                    tls: transport == .tls ? try endpoint.relayContext() : nil, loop: endpoint.loop, handler: handler)
            } catch {
                closed(link, .tlsFailed("\(error)"))
            }
        case .send(let link, let bytes):
            relays.send(bytes, over: link)
        case .close(let link):
            guard let socket = relays.close(link) else { return }
            guarded.withLock { state in state.sockets.removeAll { $0 === socket } }
            socket.remove(self)
            endpoint.retire(socket)
        }
    }

    /// Opens and closes sockets for guessing ports, on the loop's thread.
    func serve(_ wanted: PeerPortRequest) {
        let run = ProbingLedger.Run(connection: ObjectIdentifier(self), ufrag: wanted.ufrag)
        switch wanted.request {
        case .open(let count, let address, let host, let packets):
            let isAllowed = endpoint.mayProbe(run, toward: host, packets: packets)
            var opened: [EndpointSocket] = []
            // Fewer help as well.
            while isAllowed, opened.count < count, let socket = try? endpoint.openSocket(on: address) {
                opened.append(socket)
            }
            for socket in opened { socket.add(self, ufrag: wanted.ufrag) }
            guarded.withLock { state in
                state.sockets += opened
                state.core.portsOpened(
                    isAllowed ? opened.map(\.localAddress) : nil, for: wanted.ufrag, now: endpoint.loop.now)
            }
            process()
        case .close(let addresses):
            endpoint.probingEnded(run)
            guard !addresses.isEmpty else { return }
            let unused = Set(addresses)
            let sockets = guarded.withLock { state in
                defer { state.sockets.removeAll { unused.contains($0.localAddress) } }
                return state.sockets.filter { unused.contains($0.localAddress) }
            }
            for socket in sockets {
                socket.remove(self)
                endpoint.retire(socket)
            }
        }
    }

    private func openSocket(_ link: RelayLink, to server: SocketAddress, from local: IPAddress?) {
        do {
            let socket = try endpoint.openSocket(on: local ?? (server.ip.family == .v4 ? .anyV4 : .anyV6))
            guarded.withLock { $0.sockets.append(socket) }
            socket.add(self, ufrag: link.ufrag)
            // What the server sends unasked bears nothing that names us.
            socket.claim(server, for: self)
            relays.adopt(socket, for: link)
            opened(link, from: socket.localAddress)
        } catch {
            closed(link, .unreachable)
        }
    }

    private func opened(_ link: RelayLink, from local: SocketAddress) {
        guarded.withLock { $0.core.relayOpened(link, local: local, now: endpoint.loop.now) }
        process()
    }
}
