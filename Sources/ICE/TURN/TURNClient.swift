// SPDX-License-Identifier: Apache-2.0
public import Wire

// start ─▶ .connect ─connected─▶ Allocate ─401─▶ Allocate with a proof ─success─▶ .allocated      RFC 8656 §7
//              ▲                    │ 300: another server · 437: another local address
//              └────────────────────┘
// permit ─▶ CreatePermission, every 4 minutes      bind ─▶ ChannelBind, every 9 minutes           §10, §12
// send: ChannelData where a channel is bound, else a Send indication                              §11, §12
// Refresh a minute before the end; release ─▶ Refresh with lifetime 0 ─▶ .ended                   §8

/// A client of one TURN server over one transport (RFC 8656), as a value without I/O: one allocation, its permissions
/// and its channels.
///
/// Messages come whole: datagrams as they are, those of a stream as ``TURNStreamReader`` cuts them. After every call of
/// a mutating method ``nextOutput()`` is asked until it answers ``Output/wait(until:)``.
public struct TURNClient: Sendable {
    /// How far a client has come.
    public enum State: Hashable, Sendable {
        /// Nothing was asked for.
        case idle
        /// A way to the server is waited for.
        case connecting
        /// The server was asked for an allocation.
        case allocating
        /// The relayed addresses can be used.
        case allocated
        /// The server was told that they are not needed any more.
        case releasing
        /// It is over.
        case ended
    }

    /// What a client wants done.
    public enum Output: Hashable, Sendable {
        /// Send this to ``TURNClient/address``: a datagram, or bytes of the stream.
        case transmit([UInt8])
        /// This happened.
        case event(Event)
        /// Nothing more until input arrives or this time passes. Always the last output of a drain.
        case wait(until: Timestamp?)
    }

    /// What a client reports.
    public enum Event: Hashable, Sendable {
        /// A socket or stream toward a server is wanted; ``TURNClient/connected(now:)`` says that it is there. `name`
        /// is the one that a certificate must be for. Where `isFresh` the local address must be one that was not used
        /// before.
        case connect(SocketAddress, name: String?, isFresh: Bool)
        /// The server gave its first answer.
        case answered
        /// The relayed addresses are there.
        case allocated
        /// Packets from and to the address are let through from now on.
        case permitted(IPAddress)
        /// They are not.
        case refused(IPAddress, TURNFailure)
        /// Data for the peer takes four bytes of header from now on.
        case bound(SocketAddress, channel: UInt16)
        /// A packet to the peer met this ICMP error (RFC 8656 §11.6).
        case undelivered(SocketAddress, type: UInt8, code: UInt8)
        /// It is over: on our wish, or for this reason.
        case ended(TURNFailure?)
    }

    /// What a message from the server was.
    public enum Received: Hashable, Sendable {
        /// The client's own business.
        case handled
        /// No TURN message: another user of the socket may know it.
        case foreign
        /// Of no use; counted.
        case dropped
        /// A peer's data, where it lies in the message.
        case data(from: SocketAddress, Range<Int>)
    }

    /// What was done and what was of no use.
    public struct Counters: Hashable, Sendable {
        /// Bytes of peers' data sent, headers left out.
        public var bytesSent: UInt64 = 0
        /// Bytes of peers' data received.
        public var bytesReceived: UInt64 = 0
        /// Messages that are broken, or that nobody asked for.
        public var dropped = 0
        /// Data of peers that were not permitted, or on channels that are not bound.
        public var notPermitted = 0
        /// Responses without a right proof.
        public var unauthenticated = 0
        /// Copies of requests sent again.
        public var retransmissions = 0
        /// Nonces that went stale.
        public var staleNonces = 0
    }

    /// The server that was configured.
    public let server: TURNServer
    /// The server that is used: another one where the first sent us there.
    public internal(set) var address: SocketAddress
    /// How far the client has come.
    public internal(set) var state = State.idle
    /// The relayed addresses, one or two.
    public internal(set) var relayed: [SocketAddress] = []
    /// Our own address as the server sees it.
    public internal(set) var mapped: SocketAddress?
    /// What was done and what was of no use.
    public internal(set) var counters = Counters()

    /// Which relayed addresses are asked for by now.
    var families: TURNServer.Families

    /// Whether the server has answered anything.
    var hasAnswered: Bool { timing.hasAnswered }

    let initialRTO: Duration
    var entropy: Entropy
    var clock = Timestamp(nanoseconds: .min)
    var authentication: TURNAuthentication
    var requests: [Request] = []
    var permissions: [Permission] = []
    /// The channel at index n has the number 0x4000 + n for as long as the allocation lives, so that neither a number
    /// nor a peer ever gets another partner (RFC 8656 §12 asks for five minutes between).
    var channels: [Channel] = []
    var timing = Timing()
    var visited: [SocketAddress] = []
    /// The name that an alternate server's certificate must be for.
    var alternateName: String?
    var mismatches = 0
    private var isEndTold = false
    private var outputs: [Output] = []
    private var head = 0

    /// When what is due.
    struct Timing: Sendable {
        /// Until when a way to the server is waited for.
        var connectDeadline: Timestamp?
        var refreshAt: Timestamp?
        var expiresAt: Timestamp?
        /// When something was sent last.
        var lastSent = Timestamp(nanoseconds: .min)
        /// RFC 6298 of the answers so far; `nil` before the first.
        var rto: Duration?
        var hasAnswered = false
    }

    /// A peer's address that may send to us, and we to it.
    struct Permission: Sendable {
        enum State: Hashable, Sendable { case asked, granted, refused }
        /// Any address of the peer's: the port does not count.
        let peer: SocketAddress
        var state = State.asked
        var refreshAt: Timestamp?
        var expiresAt: Timestamp?
        /// Messages that wait for the permission.
        var waiting: [(payload: [UInt8], peer: SocketAddress)] = []
    }

    /// A peer with a number.
    struct Channel: Sendable {
        let peer: SocketAddress
        var isBound = false
        var refreshAt: Timestamp?
        var expiresAt: Timestamp?
    }

    /// A request on its way.
    struct Request: Sendable {
        enum Purpose: Hashable, Sendable {
            case allocate, refresh, release
            case permission(IPAddress)
            case channel(Int)
        }
        let id: STUNTransactionID
        let purpose: Purpose
        let payload: [UInt8]
        let integrity: STUNIntegrity?
        let sentAt: Timestamp
        let rto: Duration
        /// How often a stale nonce made this request new.
        let staleCount: Int
        var sent = 1
        var deadline: Timestamp
        /// A response came that proves nothing, and what it claimed.
        var unproven: (hasCome: Bool, code: Int?) = (false, nil)
    }

    // RFC 8656 §9, §12: how long a permission and a channel live; and how long before its end each is refreshed.
    static let permissionLifetime = Duration.seconds(300)
    static let channelLifetime = Duration.seconds(600)
    static let margin = Duration.seconds(60)
    /// How long a NAT's binding toward the server is left alone: Tr of RFC 8445 §11.
    static let keepaliveInterval = Duration.seconds(15)
    // RFC 8489 §6.2.1, §6.2.2: Rc, Rm and Ti.
    static let maximumCopies = 7
    static let finalWait = 16
    static let streamTimeout = Duration.milliseconds(39_500)
    /// Most peers that are permitted at a time.
    static let maximumPermissions = 128
    /// Most messages that wait for one permission.
    static let maximumWaiting = 4
    /// Most servers that one after the other send us on, and most stale nonces in a row.
    static let maximumRedirects = 5
    static let maximumStale = 5
    /// RFC 8656 §7.4: local addresses that are tried after 437.
    static let maximumMismatches = 3

    /// A client at rest. All its randomness comes from `entropy`.
    public init(server: TURNServer, initialRTO: Duration = .milliseconds(500), entropy: Entropy) {
        self.server = server
        address = server.address
        families = server.families
        self.initialRTO = max(initialRTO, .milliseconds(500))
        self.entropy = entropy
        authentication = TURNAuthentication(server.credentials)
    }

    // MARK: - What the owner asks for

    /// Asks for a way to the server, and then for an allocation.
    public mutating func start(now: Timestamp) {
        clock = max(clock, now)
        guard state == .idle else { return }
        visited = [address]
        connect(name: server.name, isFresh: false)
    }

    /// The way that ``Event/connect(_:name:isFresh:)`` asked for is there.
    public mutating func connected(now: Timestamp) {
        clock = max(clock, now)
        guard state == .connecting else { return }
        timing.connectDeadline = nil
        state = .allocating
        send(.allocate)
    }

    /// The way to the server is gone, or could not be made.
    public mutating func disconnected(_ reason: TURNFailure = .streamClosed, now: Timestamp) {
        clock = max(clock, now)
        guard state != .ended, state != .idle else { return }
        end(state == .releasing ? nil : reason)
    }

    /// Gives the allocation back. What is still to be sent for it goes out once more; ``Event/ended(_:)`` follows.
    public mutating func release(now: Timestamp) {
        clock = max(clock, now)
        switch state {
        case .allocated:
            abandon()
        // The server may have made it already, and its answer be under way: what is given back behind the request is
        // given back for certain, where packets keep their order.
        case .allocating where requests.contains { $0.purpose == .allocate && $0.integrity != nil }:
            abandon()
        case .releasing, .ended:
            break
        case .idle, .connecting, .allocating:
            end(nil)
        }
    }

    /// The next thing to do.
    public mutating func nextOutput() -> Output {
        guard head < outputs.count else { return .wait(until: nextDeadline) }
        defer {
            head += 1
            if head == outputs.count {
                outputs.removeAll(keepingCapacity: true)
                head = 0
            }
        }
        return outputs[head]
    }

    // MARK: - Shared by the parts

    mutating func report(_ event: Event) { outputs.append(.event(event)) }

    mutating func transmit(_ bytes: [UInt8]) {
        timing.lastSent = clock
        outputs.append(.transmit(bytes))
    }

    mutating func connect(name: String?, isFresh: Bool) {
        state = .connecting
        timing.connectDeadline = clock + Self.streamTimeout
        report(.connect(address, name: name, isFresh: isFresh))
    }

    /// Sends the request that deletes the allocation, and forgets the rest. Where that is not our wish the end is told
    /// at once.
    mutating func abandon(because reason: TURNFailure? = nil) {
        forget()
        state = .releasing
        send(.release)
        guard let reason else { return }
        isEndTold = true
        report(.ended(reason))
    }

    mutating func end(_ reason: TURNFailure?) {
        guard state != .ended else { return }
        state = .ended
        forget()
        if !isEndTold { report(.ended(reason)) }
        isEndTold = true
    }

    private mutating func forget() {
        requests.removeAll()
        permissions.removeAll()
        channels.removeAll()
        relayed = []
        timing = Timing(rto: timing.rto, hasAnswered: timing.hasAnswered)
    }
}
