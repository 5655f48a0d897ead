// SPDX-License-Identifier: Apache-2.0
public import DTLS
public import ICE
import NetIO
import SCTP
public import SDP
import Synchronization
import Wire

/// A connection to one peer: ICE finds a path, DTLS secures it, SCTP carries data channels (RFC 8831).
///
/// Everything that the connection knows is a ``PeerCore`` under one lock. Packets come in and timers fire on the
/// endpoint's thread; what the core answers with is sent and told after the lock was let go.
public final class PeerConnection: Sendable {
    /// What a connection is made with.
    public struct Configuration: Sendable {
        /// STUN and TURN servers.
        public var iceServers: [ICEServer] = []
        /// W3C's `iceCandidatePoolSize`: with any other than 0 candidates are gathered from the moment that the
        /// connection is made, on sockets of its own, so that the offer or answer has them at once. One transport
        /// carries all channels, so that there is nothing for more than 1 to gather. Until the connection ends, ports
        /// and allocations are held.
        public var iceCandidatePoolSize: UInt8 = 0
        /// What ways to the peer are used: any, or relays alone, which hide every address of this host from the peer.
        public var iceTransportPolicy = ICEAgent.TransportPolicy.all
        /// Whether our candidates have names in place of this host's addresses, as browsers' have that do not trust a
        /// page (draft-ietf-mmusic-mdns-ice-candidates). Peers on the same link find the address behind a name by
        /// multicast, others come by what servers see of us or over relays; those that we check see where the checks
        /// come from.
        public var hidesHostAddresses = false
        /// Ta, the least time between two new checks: what peers are told that have a word for it (`a=ice-pacing`, RFC
        /// 8839 §5.6); the larger of both sides' values holds, and 50 ms toward the others (RFC 8445 §14.2).
        public var checkInterval: Duration = .milliseconds(5)
        /// What bounds the bytes that go over relays; shared by the connections that it is to hold for.
        public var relayBudget: RelayBudget?
        /// What this host's NAT does, where that is known. Peers that have the words for it are told, and then ways are
        /// tried that such NATs need.
        public var localNAT: NATBehavior?
        /// What guessing the ports of NATs may cost where they cannot be told; `nil`, the default, for no guessing.
        /// Both sides' NATs have to be known for it.
        public var birthdayBudget: ICEAgent.BirthdayBudget?
        /// How long gathering may take before the offer or answer goes out with what was found.
        public var gatheringTimeout: Duration = .seconds(3)
        /// How long a path is looked for before the connection fails (RFC 8863 §4: at least 39.5 s). Longer where a
        /// person carries the descriptions.
        public var patience: Duration = .milliseconds(39_500)
        /// Told everything that the connection tells its handler, and every decision of ICE besides; on the event
        /// loop's thread, with no lock held. For traces.
        public var observer: (@Sendable (Event) -> Void)?
        /// The longest message that can be sent, where the peer takes it; `nil` for the usual 1 MiB.
        package var sendBuffer: Int?
        /// Whether the audio section of an offer is accepted and its RTP sent back, for those who test protected media;
        /// otherwise it is inactive, and without the package trait `SRTP` always.
        public var echoesAudio = false
        /// What our description tells Dreamer peers in `a=dreamer:`.
        public var dreamerAttribute: DreamerAttribute?

        /// Whether losses are recovered below SCTP toward peers that can do that too: reliable channels then fill long
        /// and lossy paths, which SCTP alone does not.
        public var recoversLosses = true

        /// The defaults.
        public init() {}
    }

    /// The states of W3C's RTCPeerConnectionState.
    public typealias State = PeerCore.State

    /// What a connection tells.
    public enum Event: Sendable {
        /// The state changed.
        case stateChanged(State)
        /// A local candidate was found, for signalling that trickles (RFC 8838). Its extension `ufrag` names the
        /// description that it belongs to.
        case localCandidate(ICECandidate)
        /// No more local candidates will come for the current description.
        case gatheringComplete
        /// The peer opened a channel.
        case channel(DataChannel)
        /// A path was chosen.
        case selectedPair(ICECandidatePair)
        /// The address that data left from is gone: only a restart helps, which the next offer asks for
        /// (``PeerConnection/createOffer(trickling:)``).
        case restartNeeded
        /// A decision of the ICE agent, with its reason.
        case decision(ICEDecision)
    }

    struct Guarded: ~Copyable, Sendable {
        var core: PeerCore
        var channels: [PeerCore.ChannelKey: DataChannel] = [:]
        /// Somebody runs the core's outputs; others only leave word that there is more.
        var isProcessing = false
        var isDirty = false
        var readingPaused = false
        var state = State.new
        var failure: PeerConnectionError?
        var handler: (@Sendable (Event) -> Void)?
        var waiters: [CheckedContinuation<Void, Never>] = []
        var sockets: [EndpointSocket] = []
        var deadline: Timestamp?
    }

    let endpoint: RTCEndpoint
    let configuration: Configuration
    let guarded: Mutex<Guarded>
    let work = Work()
    let relays = RelayLinks()
    /// Gathers ahead of the first description.
    let pooling = Mutex<Task<Void, Never>?>(nil)
    private let timer = Mutex<LoopTimer?>(nil)

    /// A connection over the sockets of `endpoint`. Nothing is sent before an offer is made or taken.
    public init(endpoint: RTCEndpoint, configuration: Configuration = Configuration()) {
        self.endpoint = endpoint
        self.configuration = configuration
        var settings = PeerCore.Configuration(certificate: endpoint.certificate)
        settings.keyLog = endpoint.configuration.keyLog
        settings.ciphers = endpoint.configuration.ciphers
        settings.echoesAudio = configuration.echoesAudio
        settings.includesLoopback = endpoint.configuration.usesLoopback
        settings.gatheringTimeout = configuration.gatheringTimeout
        settings.patience = configuration.patience
        settings.sendBuffer = configuration.sendBuffer
        settings.dreamerAttribute = configuration.dreamerAttribute
        settings.recoversLosses = configuration.recoversLosses
        settings.transportPolicy = configuration.iceTransportPolicy
        settings.hidesHostAddresses = configuration.hidesHostAddresses
        settings.localNAT = configuration.localNAT
        settings.checkInterval = configuration.checkInterval
        settings.birthdayBudget = configuration.birthdayBudget
        settings.tcpCandidates = endpoint.configuration.tcpCandidates
        settings.reportsDecisions = configuration.observer != nil
        let core = PeerCore(configuration: settings, entropy: endpoint.makeEntropy())
        guarded = Mutex(Guarded(core: core))
        let timer = endpoint.loop.makeTimer { [weak self] in self?.timerFired() }
        self.timer.withLock { $0 = timer }
        guard configuration.iceCandidatePoolSize > 0 else { return }
        pooling.withLock { $0 = Task { [weak self] in await self?.gatherAhead() } }
    }

    // MARK: - Queries

    /// The state.
    public var state: State { guarded.withLock { $0.state } }

    /// Why the connection failed, if it did.
    public var failure: PeerConnectionError? { guarded.withLock { $0.failure } }

    /// The peer's certificate (DER), once DTLS is up.
    public var remoteCertificate: [UInt8]? { guarded.withLock { $0.core.remoteCertificate } }

    /// The certificate that this side shows.
    public var localCertificate: DTLSCertificate { endpoint.certificate }

    /// The largest message that the peer takes, in bytes; 65,536 until it says otherwise (RFC 8841 §6.1).
    public var remoteMaxMessageSize: Int { guarded.withLock { $0.core.remoteMaxMessageSize } }

    /// Counters of all layers.
    public var statistics: PeerStatistics { guarded.withLock { $0.core.statistics } }

    /// What a browser's `getStats` tells.
    public func getStats() -> StatsReport { guarded.withLock { $0.core.stats(now: endpoint.loop.now) } }

    // MARK: - Channels

    /// Opens a channel, or has it opened as soon as the connection is up.
    public func createDataChannel(
        _ label: String, options: DataChannel.Options = .init()
    ) throws(PeerConnectionError) -> DataChannel {
        let channel: DataChannel = try guarded.withLock { (state) throws(PeerConnectionError) in
            let key = try state.core.openChannel(label: label, options: options)
            state.core.setLowThreshold(DataChannel.highWaterMark / 2, of: key)
            let channel = DataChannel(label: label, options: options, key: key, connection: self)
            state.channels[key] = channel
            return channel
        }
        process()
        return channel
    }

    // MARK: - Descriptions

    /// The offer to hand to the peer: with all candidates once they are gathered, or at once where signalling is
    /// `trickling` (RFC 8838), and then candidates follow as ``Event/localCandidate(_:)`` up to
    /// ``Event/gatheringComplete``. On a connection that has exchanged descriptions, a further offer.
    public func createOffer(trickling: Bool = false) async throws(PeerConnectionError) -> SessionDescription {
        let isPrepared = await isPrepared()
        let servers = isPrepared ? Servers() : await resolveServers(expecting: [])
        if guarded.withLock({ $0.core.side == nil }) {
            try start(.offer, expecting: [], servers: servers)
        } else {
            let fresh = guarded.withLock { $0.core.wantsRestart } ? try await endpoint.socketsForRestart() : []
            try adopt(fresh) { (core, addresses, now) throws(PeerConnectionError) in
                try core.offerAgain(
                    localAddresses: addresses, servers: servers.stun, turnServers: servers.turn, now: now)
            }
        }
        let offer = try await description(trickling: trickling)
        guard offer.type == .offer else {
            throw PeerConnectionError(.invalidState, "an offer of the peer came in between, and stands")
        }
        return offer
    }

    /// Takes a peer's offer, the first one or a further one, and answers what to hand back: after gathering, or at once
    /// where signalling is `trickling`. Checks begin at once. An offer of ours that has no answer yet is given up.
    public func accept(
        offer: SessionDescription, trickling: Bool = false
    ) async throws(PeerConnectionError) -> SessionDescription {
        let traits = RemoteTrait.all(in: offer)
        let mayRelay = try heedBudget(offer)
        let isPrepared = await isPrepared()
        if guarded.withLock({ $0.core.side == nil }) {
            var servers = isPrepared ? Servers() : await resolveServers(expecting: traits)
            if !mayRelay { servers.turn = [] }
            try start(.answer, expecting: traits, servers: servers)
        } else {
            expect(traits)
        }
        let fresh = guarded.withLock { $0.core.isRestart(offer) } ? try await endpoint.socketsForRestart() : []
        try adopt(fresh) { (core, addresses, now) throws(PeerConnectionError) in
            try core.setRemoteDescription(offer, localAddresses: addresses, now: now)
        }
        return try await description(trickling: trickling)
    }

    /// Takes the peer's answer to our offer.
    public func accept(answer: SessionDescription) throws(PeerConnectionError) {
        _ = try heedBudget(answer)
        try guarded.withLock { (state) throws(PeerConnectionError) in
            try state.core.setRemoteDescription(answer, now: endpoint.loop.now)
        }
        process()
    }

    /// Has the next offer restart ICE (RFC 8445 §9): another path is looked for, and data goes on over the old one
    /// until it is found. For use when the network has changed, or in the state `disconnected`.
    public func restartICE() {
        guarded.withLock { $0.core.restartICE() }
    }

    /// Takes a candidate that was signalled after the description; `nil` says that there are no more.
    public func addRemoteCandidate(_ candidate: ICECandidate?) {
        if let candidate, candidate.transport == .udp { expect([RemoteTrait(candidate)]) }
        guarded.withLock { $0.core.addRemoteCandidate(candidate, now: endpoint.loop.now) }
        process()
    }

    /// Waits until data channels can be used. Throws when the connection fails instead.
    public func connected() async throws(PeerConnectionError) {
        try await wait("the connection") { (state) throws(PeerConnectionError) in
            switch state.state {
            case .connected: true
            case .failed, .closed: throw state.failure ?? PeerConnectionError(.closed, "the connection was closed")
            default: false
            }
        }
    }

    /// Does something to descriptions that may restart ICE, on `fresh` sockets then.
    private func adopt(
        _ fresh: [EndpointSocket],
        _ body: (inout PeerCore, [SocketAddress], Timestamp) throws(PeerConnectionError) -> Void
    ) throws(PeerConnectionError) {
        do {
            try guarded.withLock { (state) throws(PeerConnectionError) in
                useHostNames(&state.core)
                state.core.listeners = endpoint.door.localAddresses
                try body(&state.core, fresh.map(\.localAddress), endpoint.loop.now)
                state.sockets += fresh
                for socket in fresh { socket.add(self, ufrag: state.core.localUfrag) }
            }
        } catch {
            for socket in fresh { endpoint.retire(socket) }
            throw error
        }
        answerForHostNames()
        process()
    }

    /// Leaves the sockets that served the credentials with this fragment and no others.
    private func leave(ufrag: String, _ sockets: [EndpointSocket]) {
        for socket in sockets where socket.remove(ufrag: ufrag) {
            guard !socket.serves(self) else { continue }
            guarded.withLock { state in state.sockets.removeAll { $0 === socket } }
            socket.remove(self)
            endpoint.retire(socket)
        }
    }

    private func description(trickling: Bool) async throws(PeerConnectionError) -> SessionDescription {
        try await wait("gathering") { (state) throws(PeerConnectionError) in
            if trickling || state.core.isGatheringComplete { return true }
            guard state.state != .closed else { throw PeerConnectionError(.closed, "the connection was closed") }
            return false
        }
        return try guarded.withLock { (state) throws(PeerConnectionError) in try state.core.localDescription }
    }

    private func start(
        _ side: RTCEndpoint.Side, expecting peer: [RemoteTrait], servers: Servers
    ) throws(PeerConnectionError) {
        if try startPrepared(side) { return process() }
        let sockets = try endpoint.sockets(for: side, of: self, expecting: peer)
        do {
            try guarded.withLock { (state) throws(PeerConnectionError) in
                useHostNames(&state.core)
                state.core.listeners = endpoint.door.localAddresses
                try state.core.start(
                    as: side == .offer ? .offerer : .answerer, localAddresses: sockets.map(\.localAddress),
                    servers: servers.stun, turnServers: servers.turn, now: endpoint.loop.now)
                state.sockets = sockets
                // Under the lock, so that a connection that is closed meanwhile is taken off again, not put on after.
                for socket in sockets { socket.add(self, ufrag: state.core.localUfrag) }
            }
        } catch {
            for socket in sockets {
                socket.remove(self)
                endpoint.retire(socket)
            }
            throw error
        }
        answerForHostNames()
        process()
    }

    /// Has connections that come later avoid this one's peer.
    private func expect(_ traits: [RemoteTrait]) {
        for socket in guarded.withLock({ $0.sockets }) where !socket.closesWithLastSession {
            _ = socket.expect(traits, for: self, isExclusive: false)
        }
    }

    // MARK: - Closing

    /// Ends the connection once the peer has all that was accepted for sending, and tells it; at once where nothing is
    /// outstanding. Nothing can be sent from now on. Repeated calls are harmless.
    ///
    /// Wait for ``closed()`` before the endpoint is closed, or what is outstanding is lost.
    public func close() {
        guarded.withLock { $0.core.close(now: endpoint.loop.now) }
        endpoint.loop.execute { [self] in process() }
    }

    /// Ends the connection at once and tells the peer; what is on its way is lost. Repeated calls are harmless.
    public func abort() {
        guarded.withLock { $0.core.abort() }
        endpoint.loop.execute { [self] in process() }
    }

    /// Waits until the connection has ended, whoever ended it.
    public func closed() async {
        // A task that is cancelled waits no longer.
        try? await wait("the end") { (state) throws(PeerConnectionError) in
            state.state == .closed || state.state == .failed
        }
    }

    /// Has events handed to `handler` on the event loop's thread, with no lock held.
    public func setHandler(_ handler: (@Sendable (Event) -> Void)?) {
        // What the old handler holds is released after the lock: its end may call this connection.
        let old = guarded.withLock { state in
            defer { state.handler = handler }
            return state.handler
        }
        _ = consume old
    }
}

// MARK: - Running the core

extension PeerConnection {
    /// Takes packets from a socket, on the loop's thread; ``process()`` follows at the end of the batch.
    func receive(_ train: borrowing PacketTrain) {
        let now = endpoint.loop.now
        guarded.withLock { state in
            for index in 0..<train.count {
                state.core.receive(train[index], from: train.source, to: train.destination, now: now)
            }
        }
    }

    /// Takes what ICMP said of a request, on the loop's thread.
    func receiveUnreachable(
        _ destination: SocketAddress, from local: SocketAddress, because cause: Unreachability,
        quoting id: STUNTransactionID
    ) {
        let now = endpoint.loop.now
        guarded.withLock { state in
            state.core.receiveUnreachable(destination, from: local, because: cause, quoting: id, now: now)
        }
    }

    private func timerFired() {
        guarded.withLock { state in
            state.deadline = nil
            state.core.handleTimeout(now: endpoint.loop.now)
        }
        process()
    }

    /// usrsctp's timers made packets for this connection.
    func associationWoke() {
        guarded.withLock { $0.core.associationTimersRan() }
        if endpoint.loop.isCurrent { process() } else { endpoint.loop.execute { [self] in process() } }
    }

    /// Sends and tells what the core has. Runs at most once at a time, so that packets and events keep their order; a
    /// call from inside a handler, or from another thread meanwhile, leaves word and returns. Off the loop's thread
    /// packets are sent and events are left to the loop.
    func process() {
        let onLoop = endpoint.loop.isCurrent
        let isFree = guarded.withLock { state in
            state.isDirty = state.isProcessing
            if state.isProcessing { return false }
            state.isProcessing = true
            return true
        }
        guard isFree else { return }
        while true {
            let now = endpoint.loop.now
            if onLoop { endpoint.messages.lend(to: &work.outbox.message) }
            let (sockets, bytesRelayed) = guarded.withLock { state in
                state.isDirty = false
                state.core.drain(
                    into: &work.outbox, includingEvents: onLoop, readsMessages: !state.readingPaused, now: now)
                return (state.sockets, state.core.transport.bytesRelayed)
            }
            transmit(sockets)
            if bytesRelayed != work.relay.bytes { noteRelayed(bytesRelayed) }
            if onLoop {
                for request in work.outbox.relayRequests { serve(request) }
                for request in work.outbox.portRequests { serve(request) }
                deliver(sockets)
                endpoint.messages.takeBack(from: &work.outbox.message)
            }
            let (hasMore, deadline) = (work.outbox.hasMore, work.outbox.deadline)
            work.outbox.removeAll()
            let next: Next = guarded.withLock { state in
                if state.isDirty || (onLoop && hasMore && !state.readingPaused) { return .again }
                state.isProcessing = false
                rearm(&state, deadline)
                return hasMore && !onLoop ? .onLoop : .done
            }
            switch next {
            case .again: continue
            case .done: return
            case .onLoop:
                endpoint.loop.execute { [self] in process() }
                return
            }
        }
    }

    private enum Next { case again, onLoop, done }

    /// What ``process()`` fills and empties; only the thread that set `isProcessing` touches it.
    final class Work: @unchecked Sendable {
        var outbox = PeerOutbox()
        /// Whose bytes are counted against a budget, and how many have been so far.
        var relay: (peer: [UInt8]?, bytes: UInt64) = (nil, 0)
    }

    private func transmit(_ sockets: [EndpointSocket]) {
        for datagram in work.outbox.datagrams {
            sockets.first { $0.localAddress == datagram.source }?.send(datagram, for: self)
        }
        guard !work.outbox.packets.isEmpty else { return }
        if let link = work.outbox.stream {
            relays.send(work.outbox.packets, over: link)
        } else if let (source, destination) = work.outbox.route {
            sockets.first { $0.localAddress == source }?.send(work.outbox.packets, to: destination)
        }
    }

    private func rearm(_ state: inout Guarded, _ deadline: Timestamp?) {
        // A timer that comes too early costs less than one that is set again after every packet.
        if let armed = state.deadline, armed <= deadline ?? .distantFuture { return }
        guard state.deadline != deadline else { return }
        state.deadline = deadline
        timer.withLock { $0?.arm(at: deadline) }
    }

    private func deliver(_ sockets: [EndpointSocket]) {
        for event in work.outbox.events { handle(event, sockets) }
        guard let (key, isText) = work.outbox.arrival, let channel = guarded.withLock({ $0.channels[key] }) else {
            return
        }
        work.outbox.withMessage { channel.didReceive(isText: isText, $0) }
        guard channel.isFull else { return }
        guarded.withLock { $0.readingPaused = true }
        // Whoever took a message in between found nothing to resume.
        if !channel.isFull { guarded.withLock { $0.readingPaused = false } }
    }

    private func handle(_ event: PeerCore.Event, _ sockets: [EndpointSocket]) {
        switch event {
        case .stateChanged(let new, let failure):
            if failure?.code == .relayBudgetSpent, let peer = work.relay.peer { configuration.relayBudget?.spent(by: peer) }
            let (waiters, channels) = guarded.withLock { state in
                state.state = new
                state.failure = state.failure ?? failure
                return (state.takeWaiters(), new == .failed || new == .closed ? Array(state.channels.values) : [])
            }
            for waiter in waiters { waiter.resume() }
            for channel in channels { channel.didClose(failure) }
            if new == .failed || new == .closed { leave(sockets) }
            tell(.stateChanged(new))
            if new == .closed { setHandler(nil) }
        case .gatheringComplete:
            for waiter in guarded.withLock({ $0.takeWaiters() }) { waiter.resume() }
            tell(.gatheringComplete)
        case .nameToResolve(let name):
            resolve(name, sockets)
        case .ufragRetired(let ufrag):
            leave(ufrag: ufrag, sockets)
        case .localCandidate(let candidate):
            tell(.localCandidate(candidate))
        case .selectedPair(let pair):
            sockets.first { $0.localAddress == pair.localAddress }?.claim(pair.remoteAddress, for: self)
            tell(.selectedPair(pair))
        case .associationCreated(let handle):
            AssociationTicker.shared.add(self, handle, loop: endpoint.loop)
        case .associationEnded(let handle):
            AssociationTicker.shared.remove(handle)
        case .decision(let decision):
            tell(.decision(decision))
        case .channelOpened(let key):
            guarded.withLock { $0.channels[key] }?.didOpen()
        case .incomingChannel(let key, let label, let options):
            let channel = DataChannel(label: label, options: options, key: key, connection: self)
            guarded.withLock { state in
                state.channels[key] = channel
                state.core.setLowThreshold(DataChannel.highWaterMark / 2, of: key)
            }
            tell(.channel(channel))
            channel.didOpen()
        case .bufferedAmountLow(let key):
            guarded.withLock { $0.channels[key] }?.bufferedAmountDidFall()
        case .oversizedMessage(let key):
            guarded.withLock { $0.channels[key] }?.didReceiveOversizedMessage()
        case .channelClosed(let key):
            guarded.withLock { $0.channels.removeValue(forKey: key) }?.didClose(nil)
        }
    }

    /// Asks for a name on the links of the sockets.
    private func resolve(_ name: String, _ sockets: [EndpointSocket]) {
        let links = sockets.map(\.localAddress.ip).filter { endpoint.configuration.usesLoopback || !$0.isLoopback }
        MulticastResolver.resolve(name, from: links, loop: endpoint.loop) {
            [weak self] found in
            guard let self else { return }
            guarded.withLock { $0.core.resolved(name, as: found, now: self.endpoint.loop.now) }
            process()
        }
    }

    func tell(_ event: Event) {
        configuration.observer?(event)
        guarded.withLock { $0.handler }?(event)
    }

    /// Takes the connection off its sockets, so that nothing keeps it but its user.
    private func leave(_ sockets: [EndpointSocket]) {
        timer.withLock { $0?.cancel() }
        relays.closeAll()
        endpoint.probingEnded(of: self)
        for socket in sockets {
            socket.remove(self)
            endpoint.retire(socket)
        }
        guarded.withLock { $0.channels = [:] }
    }
}
