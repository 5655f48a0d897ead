// SPDX-License-Identifier: Apache-2.0
import ICE
import NetIO
import Synchronization
import Wire

/// One UDP socket and the way from its packets to the connections that share it.
///
///     STUN request    → the connection whose ufrag stands in front of USERNAME's colon
///     STUN response   → the connection that sent the transaction
///     anything else   → the connection that owns the remote address
final class EndpointSocket: Sendable {
    let socket: UDPSocket
    private let observer: RTCEndpoint.PacketObserver?
    private let routes = Mutex(Routes())
    private let retirement = Atomic<Bool>(false)
    /// Who received something in the batch that is being read.
    private let touched = Mutex<[PeerConnection]>([])
    /// What ICMP said of nothing that we asked.
    let strays = Mutex(StrayReports())

    fileprivate struct Routes {
        var byAddress: [SocketAddress: PeerConnection] = [:]
        var byUfrag: [String: PeerConnection] = [:]
        var byTransaction: [STUNTransactionID: PeerConnection] = [:]
        /// How many connections expect each of these at the other end.
        var expected: [RemoteTrait: Int] = [:]
        /// The order in which transactions began, so that the oldest make room.
        var transactions: [STUNTransactionID] = []
        var head = 0
        /// What leads to each connection, so that one of a thousand leaves without a search.
        var keys: [ObjectIdentifier: Keys] = [:]
    }

    /// What may lead to one connection; some of it may lead elsewhere by now, or nowhere.
    fileprivate struct Keys {
        var addresses: Set<SocketAddress> = []
        var ufrags: Set<String> = []
        var transactions: [STUNTransactionID] = []
        var expected: Set<RemoteTrait> = []
    }

    /// As many requests as are remembered: 100 pairs of 20 connections, each with its copies, fit.
    fileprivate static let transactionLimit = 4096

    /// As many remote addresses as unverified checks may bring in: whoever knows a ufrag can forge sources.
    private static let addressLimit = 4096

    /// As many traits of its peer as one connection may name: the candidates that ICE takes, and fingerprints.
    fileprivate static let expectedLimit = 128

    /// The address that the socket is bound to.
    let localAddress: SocketAddress

    /// Whether the socket was made for one connection alone.
    var closesWithLastSession: Bool {
        get { retirement.load(ordering: .relaxed) }
        set { retirement.store(newValue, ordering: .relaxed) }
    }

    /// Whether no connection uses the socket.
    var isIdle: Bool { routes.withLock { $0.byUfrag.isEmpty } }

    private init(socket: UDPSocket, observer: RTCEndpoint.PacketObserver?) {
        self.socket = socket
        self.observer = observer
        localAddress = socket.localAddress
    }

    /// The addresses that a configuration names, as the host is now.
    static func addresses(_ configuration: RTCEndpoint.Configuration) -> [IPAddress] {
        if let addresses = configuration.addresses { return addresses }
        let interfaces = (try? NetworkInterface.all()) ?? []
        return interfaces.flatMap(\.addresses).map(\.ip).filter { address in
            // Link-local IPv6 reaches only the same link, where global or private addresses reach as well.
            !address.isLinkLocal && (configuration.includesLoopback || !address.isLoopback)
        }
    }

    /// A socket on each address that the configuration names.
    static func bind(
        _ configuration: RTCEndpoint.Configuration, loop: EventLoop
    ) throws(PeerConnectionError) -> [EndpointSocket] {
        let addresses = addresses(configuration)
        var sockets: [EndpointSocket] = []
        var failure: NetIOError?
        for address in addresses {
            do throws(NetIOError) {
                sockets.append(try open(address, configuration, loop: loop))
            } catch {
                failure = error
            }
        }
        guard !sockets.isEmpty else {
            throw PeerConnectionError(
                .noSocket,
                failure.map { "no UDP socket could be bound: \($0)" }
                    ?? "this host has no address to bind but loopback (use --bind 127.0.0.1 for peers on this host)")
        }
        return sockets
    }

    /// A socket on an address.
    static func open(
        _ address: IPAddress, _ configuration: RTCEndpoint.Configuration, loop: EventLoop
    ) throws(NetIOError) -> EndpointSocket {
        var options = UDPSocket.Options()
        options.reportsErrors = true
        let socket =
            if let ports = configuration.portRange {
                try UDPSocket.bound(to: address, ports: ports, options: options)
            } else {
                try UDPSocket(bind: SocketAddress(ip: address, port: 0), options: options)
            }
        let bound = EndpointSocket(socket: socket, observer: configuration.packetObserver)
        try socket.start(on: loop) { [weak bound] train in
            bound?.receive(train)
        } onBatchEnd: { [weak bound] in
            bound?.batchEnded()
        } onError: { [weak bound, weak loop] report in
            if let bound, let loop { bound.receive(report, now: loop.now) }
        }
        return bound
    }

    func close() { socket.close() }

    // MARK: - Sending

    /// Sends packets that lie back to back to one destination.
    func send(_ packets: borrowing PacketBuffer, to destination: SocketAddress) {
        if let observer {
            for index in 0..<packets.count { observer(packets[index], localAddress, destination) }
        }
        socket.send(packets, to: destination)
    }

    /// Sends one datagram of ICE, and remembers whose transaction it begins.
    func send(_ datagram: Datagram, for connection: PeerConnection) {
        let bytes = datagram.payload.span.bytes
        if STUNMessage.messageClass(in: bytes) == .request, let id = STUNMessage.transactionID(in: bytes) {
            routes.withLock { $0.remember(id, connection) }
        }
        observer?(bytes, localAddress, datagram.destination)
        if let hopLimit = datagram.hopLimit {
            socket.send(bytes, to: datagram.destination, hopLimit: hopLimit)
        } else {
            socket.send(bytes, to: datagram.destination)
        }
    }

    // MARK: - Routes

    /// Has requests that name `ufrag` go to `connection`.
    func add(_ connection: PeerConnection, ufrag: String) {
        routes.withLock { routes in
            routes.byUfrag[ufrag] = connection
            routes.keys[ObjectIdentifier(connection), default: Keys()].ufrags.insert(ufrag)
        }
    }

    /// Has packets from `remote` go to `connection`.
    func claim(_ remote: SocketAddress, for connection: PeerConnection) {
        routes.withLock { $0.lead(remote, to: connection) }
    }

    /// Has requests that name `ufrag` go nowhere; answers whether they went anywhere.
    func remove(ufrag: String) -> Bool {
        let removed = routes.withLock { $0.byUfrag.removeValue(forKey: ufrag) }
        return removed != nil
    }

    /// The connections whose checks are taken here.
    var connections: [PeerConnection] {
        let all = routes.withLock { Array($0.byUfrag.values) }
        var seen: Set<ObjectIdentifier> = []
        return all.filter { seen.insert(ObjectIdentifier($0)).inserted }
    }

    /// Whose checks bear a fragment.
    func connection(named ufrag: String) -> PeerConnection? { routes.withLock { $0.byUfrag[ufrag] } }

    /// Whether any credentials of a connection are checked here.
    func serves(_ connection: PeerConnection) -> Bool {
        routes.withLock { routes in routes.byUfrag.contains { $0.value === connection } }
    }

    func remove(_ connection: PeerConnection) {
        // What was removed is released here, outside of the lock; the caller still holds the connection.
        let keys = routes.withLock { $0.remove(connection) }
        _ = consume keys
    }

    /// Notes what `connection` is going to meet at the other end. Answers false, and notes nothing, where `isExclusive`
    /// and another connection has or expects the same.
    func expect(_ traits: [RemoteTrait], for connection: PeerConnection, isExclusive: Bool) -> Bool {
        routes.withLock { $0.expect(traits, for: connection, isExclusive: isExclusive) }
    }

    private func receive(_ train: borrowing PacketTrain) {
        if let observer {
            for index in 0..<train.count { observer(train[index], train.source, train.destination) }
        }
        // Nearly all trains are bulk data of a known peer: one look-up for all packets.
        let first = train.count > 0 ? train[0].byte(at: 0) ?? 0 : 0
        if first > 3, let connection = routes.withLock({ $0.byAddress[train.source] }) {
            deliver(train, to: connection)
            return
        }
        for index in 0..<train.count {
            let packet = train[index]
            guard let connection = route(packet, from: train.source) else { continue }
            deliver(
                PacketTrain(
                    packet, segment: packet.byteCount, source: train.source, destination: train.destination),
                to: connection)
        }
    }

    private func deliver(_ train: borrowing PacketTrain, to connection: PeerConnection) {
        connection.receive(train)
        touch(connection)
    }

    /// Has a connection answer at the batch's end.
    func touch(_ connection: PeerConnection) {
        touched.withLock { touched in
            if !touched.contains(where: { $0 === connection }) { touched.append(connection) }
        }
    }

    /// The connection that began a transaction.
    func owner(of id: STUNTransactionID) -> PeerConnection? { routes.withLock { $0.byTransaction[id] } }

    /// Answers all packets of one system call at once.
    private func batchEnded() {
        let connections = touched.withLock { touched in
            let all = touched
            touched.removeAll(keepingCapacity: true)
            return all
        }
        for connection in connections { connection.process() }
    }

    private func route(_ packet: RawSpan, from source: SocketAddress) -> PeerConnection? {
        // RFC 7983 §7: 0 to 3 is STUN.
        guard let first = packet.byte(at: 0), first <= 3 else { return routes.withLock { $0.byAddress[source] } }
        if let ufrag = STUNMessage.recipientUfrag(in: packet) {
            return routes.withLock { routes in
                guard let connection = routes.byUfrag[ufrag] else { return nil }
                // The peer that checks us will speak DTLS from there. The check is not yet verified, so it takes no
                // address that another connection owns; the selected pair does.
                if routes.byAddress[source] == nil, routes.byAddress.count < Self.addressLimit {
                    routes.lead(source, to: connection)
                }
                return connection
            }
        }
        if let id = STUNMessage.transactionID(in: packet) {
            return routes.withLock { $0.byTransaction[id] ?? $0.byAddress[source] }
        }
        return routes.withLock { $0.byAddress[source] }
    }
}

extension EndpointSocket.Routes {
    /// A connection's list of its transactions is cleared of forgotten ones whenever it has grown so far.
    private static let listedTransactions = 64

    /// Has packets from an address go to a connection.
    fileprivate mutating func lead(_ remote: SocketAddress, to connection: PeerConnection) {
        byAddress[remote] = connection
        keys[ObjectIdentifier(connection), default: .init()].addresses.insert(remote)
    }

    /// Forgets a connection.
    fileprivate mutating func remove(_ connection: PeerConnection) -> EndpointSocket.Keys? {
        guard let own = keys.removeValue(forKey: ObjectIdentifier(connection)) else { return nil }
        for address in own.addresses where byAddress[address] === connection { byAddress[address] = nil }
        for ufrag in own.ufrags where byUfrag[ufrag] === connection { byUfrag[ufrag] = nil }
        for id in own.transactions where byTransaction[id] === connection { byTransaction[id] = nil }
        for trait in own.expected {
            guard let count = expected[trait] else { continue }
            expected[trait] = count > 1 ? count - 1 : nil
        }
        return own
    }

    fileprivate mutating func expect(
        _ traits: [RemoteTrait], for connection: PeerConnection, isExclusive: Bool
    ) -> Bool {
        let key = ObjectIdentifier(connection)
        func isTaken(_ trait: RemoteTrait) -> Bool {
            if expected[trait] != nil { return true }
            if case .candidate(.address(let ip), let port) = trait {
                return byAddress[SocketAddress(ip: ip, port: port)] != nil
            }
            return false
        }
        if isExclusive, traits.contains(where: isTaken) { return false }
        for trait in traits where keys[key]?.expected.count ?? 0 < EndpointSocket.expectedLimit {
            if keys[key, default: .init()].expected.insert(trait).inserted { expected[trait, default: 0] += 1 }
        }
        return true
    }

    fileprivate mutating func remember(_ id: STUNTransactionID, _ connection: PeerConnection) {
        if byTransaction.updateValue(connection, forKey: id) != nil { return }
        note(id, connection)
        if transactions.count < EndpointSocket.transactionLimit {
            transactions.append(id)
        } else {
            byTransaction[transactions[head]] = nil
            transactions[head] = id
            head = (head + 1) % EndpointSocket.transactionLimit
        }
    }

    private mutating func note(_ id: STUNTransactionID, _ connection: PeerConnection) {
        let key = ObjectIdentifier(connection)
        keys[key, default: .init()].transactions.append(id)
        guard let count = keys[key]?.transactions.count, count >= Self.listedTransactions,
            count.nonzeroBitCount == 1
        else { return }
        keys[key]?.transactions.removeAll { byTransaction[$0] !== connection }
    }
}
