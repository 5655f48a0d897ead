// SPDX-License-Identifier: Apache-2.0
import Recovery
import SCTP
import Wire

// Toward a peer that has it too, reliable channels take this way:
//
//     channels of priority ≥ medium ──▶ association, flow "urgent" ─┐
//                                                                   ├─▶ ReliableLink ──▶ DTLS records
//     other channels                ──▶ association, flow "bulk" ───┘
//
// Each flow has an association of its own (RFC 8261 §6.1 allows several over one DTLS session), made when the first
// channel wants it. Their packets are as long as is good for usrsctp: the link cuts them.

/// The data channels of a connection whose losses are recovered below SCTP.
struct RecoveredChannels: ~Copyable {
    /// What `a=dreamer-link` says.
    static let version = 1

    /// The flows of the link, the more urgent first.
    enum Flow: Int, Hashable, CaseIterable, Sendable {
        case urgent, bulk
    }

    /// Streams of each association; channels for which there is none stay plain. usrsctp's tables take 104 bytes for each.
    private static let streams: UInt16 = 32
    /// The longest SCTP packet: with longer ones usrsctp's windows open faster and most of its work a byte is saved; beyond
    /// this nothing is gained.
    private static let packetSize = 32 * 1024
    /// The window that we announce. It bounds what is on the way, as the memory of a receiver that does not read.
    private static let receiveBuffer = 8 << 20
    /// What an association holds for sending at first and on short paths …
    private static let usualSendBuffer = 1 << 20
    /// … at least, where a longest message still fits (what it holds stands before every other channel's messages) …
    private static let leastSendBuffer = 256 << 10
    /// … and at most.
    private static let largestSendBuffer = 32 << 20
    /// The link repairs losses, so these time-outs (in milliseconds) only guard against packets that usrsctp itself drops.
    private static let retransmissionTimeout: UInt32 = 20_000

    private var link: ReliableLink
    private var urgent: DataChannelMultiplexer?
    private var bulk: DataChannelMultiplexer?
    private let settings: DataChannelMultiplexer.Configuration
    private let linkSettings: ReliableLink.Configuration
    private var isConnected = false
    private var sendBuffer: Int
    private var packets = PacketBuffer()

    /// Channels like those of the plain association.
    init(_ plain: DataChannelMultiplexer.Configuration, maxPacketSize: Int) {
        var settings = plain
        settings.association.streams = Self.streams
        settings.association.maxPacketSize = Self.packetSize
        settings.association.packetsPerBundle = 1
        settings.association.prefixesLength = true
        settings.association.joinsReceived = false
        settings.association.sendBuffer = max(plain.association.sendBuffer, Self.usualSendBuffer)
        settings.association.receiveBuffer = Self.receiveBuffer
        settings.association.initialRTO = Self.retransmissionTimeout
        settings.association.minRTO = Self.retransmissionTimeout
        settings.association.maxRTO = Self.retransmissionTimeout
        self.settings = settings
        sendBuffer = settings.association.sendBuffer
        linkSettings = ReliableLink.Configuration(maxPacketSize: maxPacketSize)
        link = ReliableLink(configuration: linkSettings)
    }

    /// What became of the link's packets.
    var statistics: ReliableLink.Statistics { link.statistics }

    /// Does something with the channels of a flow, where it has any.
    mutating func on<Result, Failure: Error>(
        _ flow: Flow, _ body: (inout DataChannelMultiplexer) throws(Failure) -> Result
    ) throws(Failure) -> Result? {
        switch flow {
        case .urgent: try urgent?.apply(body)
        case .bulk: try bulk?.apply(body)
        }
    }

    private borrowing func peek<Result>(
        _ flow: Flow, _ body: (borrowing DataChannelMultiplexer) -> Result
    ) -> Result? {
        switch flow {
        case .urgent: urgent.peek(body)
        case .bulk: bulk.peek(body)
        }
    }

    /// Bytes of a channel that are in no packet yet.
    borrowing func bufferedAmount(_ id: ChannelID, _ flow: Flow) -> Int {
        peek(flow) { $0.bufferedAmount(id) } ?? 0
    }

    /// What was accepted for sending and is not known to have arrived.
    var outstanding: Int { (urgent.peek { $0.outstanding } ?? 0) + (bulk.peek { $0.outstanding } ?? 0) }

    /// Makes the association of a flow; answers its handle if it is new.
    mutating func prepare(_ flow: Flow) throws(SCTPError) -> SCTPHandle? {
        guard peek(flow, { _ in true }) == nil else { return nil }
        var made = try DataChannelMultiplexer(configuration: settings)
        if isConnected { try made.connect() }
        let handle = made.handle
        switch flow {
        case .urgent: urgent = consume made
        case .bulk: bulk = consume made
        }
        return handle
    }

    /// DTLS is up; `roundTrip` is what ICE measured.
    mutating func connect(roundTrip: Duration?) throws(SCTPError) {
        isConnected = true
        if let roundTrip {
            var settings = linkSettings
            settings.roundTrip = roundTrip
            link = ReliableLink(configuration: settings)
        }
        for flow in Flow.allCases {
            try on(flow) { (channels) throws(SCTPError) in try channels.connect() }
        }
    }

    /// Takes the records of the link and puts others into `others`. Answers the handles of associations that were made
    /// for what came.
    mutating func receive(
        batch records: borrowing PacketBuffer, others: inout PacketBuffer, now: Timestamp
    ) -> [SCTPHandle] {
        for index in 0..<records.count {
            let record = records[index]
            if ReliableLink.owns(record) { link.receive(record, now: now) } else { others.append(record) }
        }
        return deliver()
    }

    private mutating func deliver() -> [SCTPHandle] {
        var made: [SCTPHandle] = []
        for flow in Flow.allCases {
            guard link.hasPackets(flow: flow.rawValue) else { continue }
            // A flow that cannot be served stays silent; its peer gives up in time.
            if let handle = try? prepare(flow) { made.append(handle) }
            switch flow {
            case .urgent: link.takePackets(flow: flow.rawValue) { urgent?.receive($0) }
            case .bulk: link.takePackets(flow: flow.rawValue) { bulk?.receive($0) }
            }
        }
        return made
    }

    /// Looks at what usrsctp's timers did.
    mutating func handleTimers() {
        urgent?.handleTimers()
        bulk?.handleTimers()
    }

    /// Lets the bulk association hold what the path takes: less makes it run dry, more only waits.
    private mutating func adjustSendBuffer() {
        guard let wanted = link.usefulBuffer else { return }
        let room = settings.association.sendBuffer
        let longest = settings.remoteMaxMessageSize == 0 ? room : min(room, settings.remoteMaxMessageSize)
        let least = link.isShort ? room : max(longest, Self.leastSendBuffer)
        let useful = min(max(wanted, least), max(Self.largestSendBuffer, room))
        guard useful > sendBuffer + sendBuffer / 4 || useful < sendBuffer / 2 else { return }
        sendBuffer = useful
        bulk?.setSendBuffer(useful)
    }

    /// What happened next on any of the channels.
    mutating func nextEvent(into message: inout MessageBuffer) -> (DataChannelMultiplexer.Event, Flow)? {
        if let event = urgent?.nextEvent(into: &message) { return (event, .urgent) }
        if let event = bulk?.nextEvent(into: &message) { return (event, .bulk) }
        return nil
    }

    /// Whether ``nextEvent(into:)`` is worth a call.
    var mayHaveEvents: Bool {
        (urgent.peek { $0.mayHaveEvents } ?? false) || (bulk.peek { $0.mayHaveEvents } ?? false)
    }

    /// Moves the records that may leave now behind those of `buffer`.
    mutating func takeOutgoing(into buffer: inout PacketBuffer, now: Timestamp) {
        guard isConnected else { return }
        adjustSendBuffer()
        for flow in Flow.allCases {
            switch flow {
            case .urgent: urgent?.takeOutgoing(into: &packets)
            case .bulk: bulk?.takeOutgoing(into: &packets)
            }
            guard !packets.isEmpty else { continue }
            link.enqueue(&packets, flow: flow.rawValue)
        }
        link.transmit(into: &buffer, now: now)
    }

    /// ICE chose a path, another one or the same again.
    mutating func pathSelected(isNew: Bool, roundTrip: Duration?, now: Timestamp) {
        guard isConnected else { return }
        if isNew { link.pathChanged(roundTrip: roundTrip, now: now) } else { link.pathReturned() }
    }

    /// When ``handleTimeout(now:)`` is due.
    var nextDeadline: Timestamp? { isConnected ? link.nextDeadline : nil }

    /// Tells that time has passed.
    mutating func handleTimeout(now: Timestamp) {
        guard isConnected else { return }
        link.handleTimeout(now: now)
        link.trim(now: now)
    }

    /// Ends all associations and answers their handles. Nothing is said to the peer: the end of DTLS tells it.
    mutating func end() -> [SCTPHandle] {
        var handles: [SCTPHandle] = []
        for flow in Flow.allCases {
            if let handle = on(flow, { channels in
                channels.abort()
                return channels.handle
            }) {
                handles.append(handle)
            }
        }
        return handles
    }
}
