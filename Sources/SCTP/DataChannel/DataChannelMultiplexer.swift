// SPDX-License-Identifier: Apache-2.0
public import Wire

/// The data channels of one peer over one association: RFC 8831 with its establishment protocol, RFC 8832.
///
/// It is driven like every core here. Feed it with ``receive(_:)`` or ``receive(batch:)``, and with ``handleTimers()``
/// when ``SCTPRuntime/advance(to:)`` names its handle; after any call take ``nextEvent(into:)`` until `nil` and then
/// ``takeOutgoing(into:)``. Every call belongs under the owner's lock; messages are read into the caller's buffer, so
/// that they can be handed on after it is released.
///
/// Each channel has a queue of its own. usrsctp gets the messages of all channels in turn, by their priorities, and
/// only so many bytes ahead of what it has put into packets, so that a message of one channel waits for at most one of
/// each other.
public struct DataChannelMultiplexer: ~Copyable, @unchecked Sendable {
    /// What it was made with.
    public let configuration: Configuration
    /// The largest message that the peer takes, from its SDP; 0 for no limit (RFC 8841 §6.1).
    public var remoteMaxMessageSize: Int
    /// What became of messages that break a rule.
    public private(set) var counters = Counters()

    var association: SCTPAssociation
    var phase: Phase = .starting
    /// By stream identifier, as long as the highest in use wants.
    var channels: [DataChannelState?] = []
    /// Channels with something in their queue or unsent in usrsctp, in the order of their turns.
    var busy: [DataChannelState] = []
    /// Whose turn is next.
    var turn = 0
    /// Bytes of reliable messages that usrsctp holds and has not put into packets, as of the last look.
    var unsentTotal = 0
    /// Usable stream identifiers lie below.
    var streamLimit: Int
    /// Where the search for a free identifier goes on: late reuse keeps old packets away from new channels.
    var nextID: Int
    /// Identifiers whose reset failed, which are not used again.
    var retired: Set<UInt16> = []
    let pool = MessagePool.shared

    var events: [Event] = []
    var eventsHead = 0
    /// A message whose event waits behind another.
    var held = MessageBuffer()
    var heldEvent: Event?
    /// The parts so far of a message that usrsctp hands out in parts.
    var assembly = MessageBuffer()
    var assemblyPhase: AssemblyPhase = .none
    /// Whether usrsctp may have something to read.
    var isReadable = false

    /// Channels without any yet, over an association that is not connected yet.
    public init(configuration: Configuration) throws(SCTPError) {
        self.configuration = configuration
        association = try SCTPAssociation(configuration: configuration.association)
        remoteMaxMessageSize = configuration.remoteMaxMessageSize
        streamLimit = Int(configuration.association.streams)
        nextID = configuration.role == .client ? 0 : 1
    }

    /// What names the association in ``SCTPRuntime/advance(to:)``.
    public var handle: SCTPHandle { association.handle }

    /// Whether messages can flow.
    public var isUp: Bool { phase == .up }

    /// What became of packets.
    public var associationCounters: SCTPAssociation.Counters { association.counters }

    /// Whether ``nextEvent(into:)`` is worth a call.
    public var mayHaveEvents: Bool {
        eventsHead < events.count || heldEvent != nil || (isReadable && phase != .down)
    }

    /// Starts the association. Channels may be opened before and after.
    public mutating func connect() throws(SCTPError) {
        try association.connect()
        pump()
    }

    /// Takes an SCTP packet: the plaintext of one DTLS record.
    public mutating func receive(_ packet: RawSpan) {
        guard phase != .down else { return }
        association.receive(packet)
        isReadable = true
        pump()
    }

    /// Takes SCTP packets.
    public mutating func receive(batch: borrowing PacketBuffer) {
        guard phase != .down else { return }
        association.receive(batch: batch)
        isReadable = true
        pump()
    }

    /// Looks at what timers did.
    public mutating func handleTimers() {
        // Before it is connected, usrsctp takes a read for one at the end of the stream.
        guard phase != .down, association.isConnecting else { return }
        isReadable = true
        pump()
    }

    /// Moves the packets that wait to be sent, each for one DTLS record, behind those of `buffer`.
    public mutating func takeOutgoing(into buffer: inout PacketBuffer) {
        association.takeOutgoing(into: &buffer)
    }

    /// How much was accepted for sending and is not known to have arrived: bytes that wait here and chunks that usrsctp
    /// holds. 0 when all of it has.
    public var outstanding: Int {
        guard phase != .down else { return 0 }
        return channels.reduce(association.outstanding) { $0 + ($1?.queue.byteCount ?? 0) }
    }

    /// Changes how much usrsctp holds for sending, unacknowledged bytes included.
    public mutating func setSendBuffer(_ bytes: Int) {
        association.setSendBuffer(bytes)
        pump()
    }

    /// Ends everything at once, without events. An ABORT waits to be sent where the peer knows of the association.
    public mutating func abort() {
        association.abort()
        phase = .down
        channels.removeAll()
        busy.removeAll()
        events.removeAll()
        eventsHead = 0
        heldEvent = nil
    }

    /// Ends the association after what usrsctp holds was delivered; ``Event/associationDown(_:)`` follows.
    public mutating func shutdown() {
        association.shutdown()
    }

    mutating func emit(_ event: Event) {
        events.append(event)
    }

    mutating func count(_ counter: WritableKeyPath<Counters, UInt64>) {
        counters[keyPath: counter] &+= 1
    }

    func channel(_ stream: UInt16) -> DataChannelState? {
        Int(stream) < channels.count ? channels[Int(stream)] : nil
    }
}

extension DataChannelMultiplexer {
    /// How channels are set up.
    public struct Configuration: Hashable, Sendable {
        /// Which stream identifiers are ours to open (RFC 8832 §6): even for the DTLS client, odd for the server.
        public var role: Role
        /// The association below.
        public var association = SCTPAssociation.Configuration()
        /// The largest message that is taken, the `max-message-size` of our SDP. A longer one closes its channel.
        public var maxMessageSize = 256 * 1024
        /// The largest message that the peer takes; RFC 8841 §6.1: 64 KiB where its SDP says nothing, 0 for no limit.
        public var remoteMaxMessageSize = 64 * 1024
        /// How many bytes of all channels may lie in usrsctp without being in a packet, but for one message of each.
        /// What is more waits in our queues.
        public var maxUnsent = 256 * 1024

        /// Everything else as documented at each member.
        public init(role: Role) {
            self.role = role
        }
    }

    /// The DTLS role.
    public enum Role: Hashable, Sendable {
        case client
        case server
    }

    /// What happened.
    public enum Event: Hashable, Sendable {
        /// The handshake is complete.
        case associationUp
        /// A channel that we opened, or that was negotiated, is open.
        case opened(ChannelID)
        /// The peer opened a channel; it is open.
        case incoming(ChannelID, DataChannelInfo)
        /// A message; its bytes are in the buffer.
        case message(ChannelID, isText: Bool)
        /// The buffered amount fell to the channel's threshold.
        case bufferedAmountLow(ChannelID)
        /// The peer closes the channel: nothing can be sent on it any more.
        case closing(ChannelID)
        /// The peer sent a message that is longer than it may be, which was dropped; the channel is being closed.
        case oversizedMessage(ChannelID)
        /// The channel is gone and its identifier free.
        case closed(ChannelID)
        /// The association is gone, after a `closed` for each channel.
        case associationDown(DownReason)
    }

    /// Why an association ended.
    public enum DownReason: Hashable, Sendable {
        /// The handshake was never answered.
        case neverUp
        /// The peer stopped to answer.
        case lost
        /// The peer aborted it, with this error cause (RFC 9260 §3.3.10; 0 for none).
        case aborted(cause: UInt16)
        /// Shut down in order.
        case shutDown
        /// The peer started anew in its place (RFC 9260 §5.2.4), so that no channel is what it was.
        case restarted
    }

    /// What became of messages that break a rule.
    public struct Counters: Hashable, Sendable {
        /// Longer than we take.
        public var oversizedMessages: UInt64 = 0
        /// DCEP messages that are malformed or out of place.
        public var badDCEP: UInt64 = 0
        /// On a stream without a channel, or under an unknown payload protocol.
        public var strayMessages: UInt64 = 0
    }

    enum Phase: Hashable, Sendable {
        case starting
        case up
        case down
    }

    enum AssemblyPhase: Hashable, Sendable {
        /// No message is being read in parts.
        case none
        case message
        case notification
        /// The rest is thrown away.
        case discardingMessage
        case discardingNotification
    }
}
