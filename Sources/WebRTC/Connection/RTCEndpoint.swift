// SPDX-License-Identifier: Apache-2.0
public import DTLS
public import ICE
public import NetIO
import SCTP
import Synchronization
public import Wire

/// The sockets, the thread and the certificate that many ``PeerConnection``s share.
///
/// Each local address has two sockets: one for the connections that we offer, one for those that we answer. When two
/// nodes offer to each other at the same time, their two sessions then never run between the same two sockets, where
/// DTLS could not be told apart.
public final class RTCEndpoint: Sendable {
    /// Is shown a UDP payload with source and destination, on whatever thread moves it.
    public typealias PacketObserver = @Sendable (RawSpan, SocketAddress, SocketAddress) -> Void

    /// What an endpoint binds.
    public struct Configuration: Sendable {
        /// The addresses to bind; `nil` for every address of the host that is up.
        public var addresses: [IPAddress]?
        /// The ports to choose from; `nil` leaves the choice to the system.
        public var portRange: ClosedRange<UInt16>?
        /// Whether 127.0.0.1 and ::1 are used too, for peers on the same host.
        public var includesLoopback: Bool
        /// The certificate of all connections; `nil` for a fresh one.
        public var certificate: DTLSCertificate?
        /// What protects records, most preferred first.
        public var ciphers = DTLSCipher.allCases
        /// Whose certificates TURN servers over TLS may show.
        public var relayTrust = TLSContext.Trust.system
        /// Which candidates for TCP the connections have (RFC 6544): none, those that open connections to a peer, or
        /// those that take them as well, at a listener on each address and within ``portRange``.
        public var tcpCandidates = ICEAgent.TCPCandidates.none
        /// Is shown every datagram that leaves or comes; what goes over TCP is not. For captures.
        public var packetObserver: PacketObserver?
        /// Where NSS key log lines go, for looking into captures; `nil` for nowhere.
        public var keyLog: (@Sendable (String) -> Void)?

        /// Whether loopback addresses become candidates: where they are asked for, by the switch or by name.
        var usesLoopback: Bool { includesLoopback || addresses?.contains(where: \.isLoopback) ?? false }

        /// Every address but loopback, any port, a fresh certificate.
        public init(
            addresses: [IPAddress]? = nil, portRange: ClosedRange<UInt16>? = nil, includesLoopback: Bool = false,
            certificate: DTLSCertificate? = nil
        ) {
            self.addresses = addresses
            self.portRange = portRange
            self.includesLoopback = includesLoopback
            self.certificate = certificate
        }
    }

    /// Which of an address's sockets a connection uses.
    enum Side: Int { case offer, answer }

    /// The thread on which packets are handled and handlers called.
    public let loop: EventLoop
    /// The certificate of all connections.
    public let certificate: DTLSCertificate
    let configuration: Configuration
    /// Where messages are read.
    let messages = MessageRoom()
    /// Where peers connect to over TCP.
    let door: StreamDoor
    let state: Mutex<State>

    struct State {
        var sockets: [[EndpointSocket]]
        var extra: [EndpointSocket] = []
        var entropy: Entropy
        var isClosed = false
        var relayContext: TLSContext?
        var monitor: NetworkMonitor?
        var networkHandler: (@Sendable () -> Void)?
        var probing = ProbingLedger()
        var responder: MulticastResponder?
    }

    /// Binds the sockets and starts the thread. Throws ``PeerConnectionError/Code/noSocket`` if no address could be
    /// bound.
    public init(configuration: Configuration = Configuration()) throws(PeerConnectionError) {
        self.configuration = configuration
        do {
            certificate = try configuration.certificate ?? DTLSCertificate.generate()
        } catch {
            throw PeerConnectionError(.dtlsFailed, "no certificate could be made: \(error)")
        }
        do {
            loop = try EventLoop(name: "dreamer-rtc")
        } catch {
            throw PeerConnectionError(.noSocket, "\(error)")
        }
        var sockets: [[EndpointSocket]] = []
        do {
            for _ in 0..<2 {
                sockets.append(try EndpointSocket.bind(configuration, loop: loop))
            }
        } catch {
            for socket in sockets.joined() { socket.close() }
            loop.stop()
            throw error
        }
        door = StreamDoor(configuration, loop: loop)
        state = Mutex(State(sockets: sockets, entropy: SystemEntropy.make()))
        door.open(EndpointSocket.addresses(configuration), for: self)
        if configuration.addresses == nil {
            // A host that tells nothing of its network keeps the addresses that it had.
            let monitor = try? NetworkMonitor(on: loop) { [weak self] in self?.networkChanged() }
            state.withLock { $0.monitor = monitor }
        }
        loop.execute { [loop, certificate] in
            Rehearsal.runOnce(certificate: certificate, entropy: SystemEntropy.make(), now: loop.now)
        }
    }

    /// Calls the handler, on the endpoint's thread, whenever addresses of this host have come or gone and the connections
    /// have been told; `nil` ends that. Nothing is told where the addresses were given by
    /// ``Configuration/addresses``.
    public func setNetworkHandler(_ handler: (@Sendable () -> Void)?) { state.withLock { $0.networkHandler = handler } }

    /// The bound addresses, for logs.
    public var localAddresses: [SocketAddress] { state.withLock { $0.sockets.joined().map(\.localAddress) } }

    /// Closes the sockets and ends the thread. Connections must be closed before.
    public func close() {
        door.close()
        let sockets = state.withLock { state in
            state.isClosed = true
            state.monitor?.close()
            state.monitor = nil
            state.networkHandler = nil
            state.responder?.close()
            state.responder = nil
            let all = state.sockets.joined() + state.extra
            state.sockets = []
            state.extra = []
            return all
        }
        // After what closed connections still have to say, which waits on the loop.
        loop.execute { for socket in sockets { socket.close() } }
        loop.stop()
    }

    /// All that are open.
    var allSockets: [EndpointSocket] { state.withLock { $0.sockets.joined() + $0.extra } }

    /// An independent source of randomness.
    func makeEntropy() -> Entropy { state.withLock { $0.entropy.split() } }

    /// The sockets for a connection: those of its side, or fresh ones where a connection on one of these already has,
    /// or expects, the same peer. Of connections that ask at the same time only one gets the usual sockets.
    func sockets(
        for side: Side, of connection: PeerConnection, expecting peer: [RemoteTrait]
    ) throws(PeerConnectionError) -> [EndpointSocket] {
        let usual: [EndpointSocket]? = state.withLock { state in
            guard !state.sockets.isEmpty else { return [] }
            let usual = state.sockets[side.rawValue]
            for (index, socket) in usual.enumerated()
            where !socket.expect(peer, for: connection, isExclusive: true) {
                for socket in usual[..<index] { socket.remove(connection) }
                return nil
            }
            return usual
        }
        guard let usual else { return try bindExtra() }
        guard !usual.isEmpty else { throw PeerConnectionError(.closed, "the endpoint is closed") }
        return usual
    }

    /// Sockets of its own for a connection that restarts ICE, on the addresses that the host has now. Browsers gather
    /// new ports as well, and Chromium now and then keeps to a candidate's old credentials where the port stays the
    /// same.
    func socketsForRestart() async throws(PeerConnectionError) -> [EndpointSocket] {
        // On the endpoint's thread, as that may be in another network namespace than the caller's.
        let result: Result<[EndpointSocket], PeerConnectionError> = await withCheckedContinuation { continuation in
            let isRunning = loop.execute { [self] in
                do throws(PeerConnectionError) {
                    continuation.resume(returning: .success(try bindExtra()))
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
            if !isRunning {
                continuation.resume(returning: .failure(PeerConnectionError(.closed, "the endpoint is closed")))
            }
        }
        return try result.get()
    }

    /// Sockets that go with the connections that use them.
    private func bindExtra() throws(PeerConnectionError) -> [EndpointSocket] {
        let fresh = try EndpointSocket.bind(configuration, loop: loop)
        for socket in fresh { socket.closesWithLastSession = true }
        state.withLock { $0.extra += fresh }
        return fresh
    }

    /// Follows the host's addresses: sockets for new ones, an end to those on addresses that are gone.
    private func networkChanged() {
        let present = Set(EndpointSocket.addresses(configuration))
        door.open(Array(present), for: self)
        let (known, all) = state.withLock { state in
            (Set(state.sockets.joined().map(\.localAddress.ip)), state.sockets.joined() + state.extra)
        }
        let fresh = present.subtracting(known).flatMap { address in
            [Side.offer, .answer].compactMap { side in
                (try? EndpointSocket.open(address, configuration, loop: loop)).map { (side, $0) }
            }
        }
        // A socket on no address in particular outlives them all.
        let gone = all.filter { !$0.localAddress.ip.isUnspecified && !present.contains($0.localAddress.ip) }
        let isClosed = state.withLock { state in
            guard !state.isClosed else { return true }
            for (side, socket) in fresh { state.sockets[side.rawValue].append(socket) }
            for index in state.sockets.indices { state.sockets[index].removeAll { socket in gone.contains { $0 === socket } } }
            state.extra.removeAll { socket in gone.contains { $0 === socket } }
            return false
        }
        guard !isClosed else {
            for (_, socket) in fresh { socket.close() }
            return
        }
        state.withLock { $0.responder }?.follow(Array(present))
        for (side, socket) in fresh {
            for connection in Self.connections(of: all.filter { !$0.closesWithLastSession }) where connection.side == side {
                connection.gained(socket)
            }
        }
        for connection in Self.connections(of: gone) { connection.lost(gone) }
        for socket in gone { socket.close() }
        state.withLock { $0.networkHandler }?()
    }

    private static func connections(of sockets: [EndpointSocket]) -> [PeerConnection] {
        var seen: Set<ObjectIdentifier> = []
        return sockets.flatMap(\.connections).filter { seen.insert(ObjectIdentifier($0)).inserted }
    }

    /// A socket of a connection's own toward a relay, on the endpoint's thread.
    func openSocket(on address: IPAddress) throws(PeerConnectionError) -> EndpointSocket {
        let socket: EndpointSocket
        do {
            socket = try EndpointSocket.open(address, configuration, loop: loop)
        } catch {
            throw PeerConnectionError(.noSocket, "no UDP socket could be bound: \(error)")
        }
        socket.closesWithLastSession = true
        let isClosed = state.withLock { state in
            if !state.isClosed { state.extra.append(socket) }
            return state.isClosed
        }
        guard !isClosed else {
            socket.close()
            throw PeerConnectionError(.closed, "the endpoint is closed")
        }
        return socket
    }

    /// Whether a connection's agent may send so many packets to ports of a host that nobody has named.
    func mayProbe(_ run: ProbingLedger.Run, toward host: IPAddress, packets: Int) -> Bool {
        state.withLock { $0.probing.begin(run, toward: host, packets: packets, now: loop.now) }
    }

    /// An agent of a connection does so no more.
    func probingEnded(_ run: ProbingLedger.Run) { state.withLock { $0.probing.end(run) } }

    /// No agent of a connection does so any more.
    func probingEnded(of connection: PeerConnection) {
        state.withLock { $0.probing.end(ObjectIdentifier(connection)) }
    }

    /// What sessions with TURN servers over TLS share.
    func relayContext() throws(TLSError) -> TLSContext {
        if let context = state.withLock({ $0.relayContext }) { return context }
        let context = try TLSContext.client(trust: configuration.relayTrust)
        state.withLock { $0.relayContext = context }
        return context
    }

    /// Lets go of a socket that was made for one connection.
    func retire(_ socket: EndpointSocket) {
        guard socket.closesWithLastSession, socket.isIdle else { return }
        state.withLock { state in state.extra.removeAll { $0 === socket } }
        socket.close()
    }
}

/// Room for the message that is being read, for all connections of a loop: each would need as much as its longest
/// message. Only the loop's thread touches it.
final class MessageRoom: @unchecked Sendable {
    private var buffer = MessageBuffer()

    /// Puts the room where a message is to be read. A connection that reads while another does, because its handler
    /// called it, gets fresh memory.
    func lend(to place: inout MessageBuffer) {
        swap(&place, &buffer)
    }

    /// Takes the room back.
    func takeBack(from place: inout MessageBuffer) {
        var returned = MessageBuffer()
        swap(&place, &returned)
        buffer = returned
    }
}
