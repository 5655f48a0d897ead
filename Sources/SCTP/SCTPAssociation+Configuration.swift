// SPDX-License-Identifier: Apache-2.0
internal import CUSRSCTP

extension SCTPAssociation {
    /// How an association is set up.
    public struct Configuration: Hashable, Sendable {
        /// Our port, the `sctp-port` of our SDP (RFC 8841 §5).
        public var localPort: UInt16 = 5000
        /// The peer's port, from its SDP.
        public var remotePort: UInt16 = 5000
        /// Streams asked for and accepted: half as many channels can be opened from each side. usrsctp's tables take 104
        /// bytes for each, used or not, so that the 65,535 of RFC 8831 §6.2 would cost 6.8 MB a connection.
        public var streams: UInt16 = 512
        /// The longest SCTP packet, common header included, in bytes: 1,200 bytes of UDP payload (RFC 8831 §5) less a
        /// DTLS 1.2 record's 37 bytes (header 13, explicit nonce 8, tag 16), cut to a multiple of four.
        public var maxPacketSize = 1160
        /// How many packets usrsctp makes as what it takes for one, once the association is up; they are cut apart on
        /// their way out. It multiplies what usrsctp counts in packets: a window grows by so many packets a round trip
        /// in congestion avoidance, and is never below so many. Beside a flow of TCP CUBIC an association with 1, which
        /// is Reno, gets a quarter of a bottleneck, with 7 about half.
        public var packetsPerBundle = 4
        /// Whether each packet goes out behind its length in two bytes, most significant first, for a carrier that keeps
        /// no borders.
        public var prefixesLength = false
        /// Whether the packets of one batch reach usrsctp joined into one where they can be. A joined packet of several
        /// is acknowledged at once.
        public var joinsReceived = true
        /// Whether the peer is told that packets may come without a checksum, DTLS doing its work (RFC 9653). What the
        /// peer tells is heeded in any case.
        public var acceptsZeroChecksum = true
        /// Bytes usrsctp holds for sending, unacknowledged ones included. Large windows overshoot and cost cache
        /// misses: start small, grow with the product of bandwidth and delay.
        public var sendBuffer = 1 << 20
        /// Bytes usrsctp holds for reading: the window that we announce.
        public var receiveBuffer = 1 << 20
        /// A SACK after so many packets (RFC 9260 §6.2: at least every second) …
        public var sackFrequency: UInt32 = 2
        /// … and not later than after so many milliseconds.
        public var sackDelay: UInt32 = 20
        /// The first retransmission time-out in milliseconds (RFC 9260 §16: 1,000), kept between the next two.
        public var initialRTO: UInt32 = 1000
        /// The longest (RFC 9260 §16: 60,000).
        public var maxRTO: UInt32 = 10_000
        /// The shortest (RFC 9260 §16: 1,000).
        public var minRTO: UInt32 = 1000
        /// Consecutive time-outs before the association is given up (RFC 9260 §16: 10). ICE finds dead paths sooner.
        public var maxRetransmissions: UInt16 = 10
        /// INITs before the handshake is given up (RFC 9260 §16: 8).
        public var maxInitRetransmissions: UInt16 = 8
        /// Milliseconds between heartbeats on an idle path (RFC 9260 §16: 30 s), 0 for none (§8.3 leaves that open). ICE's
        /// checks of consent (RFC 7675) find a dead path sooner, and usrsctp walks through all timers at every tick, of
        /// which a heartbeat's is the only one that an idle association has.
        public var heartbeatInterval: UInt32 = 0

        /// Everything as documented at each member.
        public init() {}
    }

    /// How hard a message is tried (RFC 3758 §4, RFC 7496).
    public enum Reliability: Hashable, Sendable {
        /// Until it arrives.
        case reliable
        /// So many retransmissions; 0 sends it once.
        case maxRetransmits(UInt32)
        /// For so many milliseconds after it was given.
        case maxPacketLifeTime(UInt32)

        var policy: (policy: UInt16, value: UInt32) {
            switch self {
            case .reliable: (UInt16(SCTP_PR_SCTP_NONE), 0)
            case .maxRetransmits(let count): (UInt16(SCTP_PR_SCTP_RTX), count)
            case .maxPacketLifeTime(let milliseconds): (UInt16(SCTP_PR_SCTP_TTL), milliseconds)
            }
        }
    }

    /// Changes how much is held for sending. A smaller buffer drains first.
    public mutating func setSendBuffer(_ bytes: Int) {
        guard let pointer = socket.pointer else { return }
        let value = Int32(clamping: bytes)
        SCTPRuntime.shared.call {
            _ = withUnsafeBytes(of: value) {
                cusrsctp_setsockopt(pointer, SOL_SOCKET, SO_SNDBUF, $0.baseAddress, $0.count)
            }
        }
    }

    /// Opens and sets up a socket. Belongs inside a call of the runtime.
    static func open(handle: SCTPHandle, configuration: Configuration) throws(SCTPError) -> OpaquePointer {
        guard let socket = cusrsctp_socket() else { throw .socket(call: "usrsctp_socket", errno: ENOMEM) }
        do {
            try setUp(socket, handle: handle, configuration: configuration)
        } catch {
            usrsctp_close(socket)
            throw error
        }
        return socket
    }

    private static func setUp(
        _ socket: OpaquePointer, handle: SCTPHandle, configuration: Configuration
    ) throws(SCTPError) {
        func check(_ call: String, _ error: Int32) throws(SCTPError) {
            if error != 0 { throw .socket(call: call, errno: error) }
        }
        func set<Value: BitwiseCopyable>(_ option: Int32, _ value: Value, level: Int32 = Int32(IPPROTO_SCTP))
            throws(SCTPError)
        {
            let error = withUnsafeBytes(of: value) {
                cusrsctp_setsockopt(socket, level, option, $0.baseAddress, $0.count)
            }
            try check("usrsctp_setsockopt \(option)", error)
        }
        try check("usrsctp_set_non_blocking", usrsctp_set_non_blocking(socket, 1))
        try check("usrsctp_set_upcall", SCTPRuntime.shared.watch(socket, of: handle))
        try check("SO_LINGER", cusrsctp_set_linger_zero(socket))
        try set(SO_SNDBUF, Int32(clamping: configuration.sendBuffer), level: SOL_SOCKET)
        try set(SO_RCVBUF, Int32(clamping: configuration.receiveBuffer), level: SOL_SOCKET)
        // Nagle off (RFC 8831 §6.6).
        try set(SCTP_NODELAY, Int32(1))
        try set(SCTP_RECVRCVINFO, Int32(1))
        // Parts of two messages never interleave on the way to us, so one place for reassembly is enough; and a message
        // is not handed out in parts before it fills half of the window.
        try set(SCTP_FRAGMENT_INTERLEAVE, UInt32(0))
        try set(SCTP_PARTIAL_DELIVERY_POINT, UInt32(clamping: configuration.receiveBuffer / 2))
        var value = sctp_assoc_value()
        value.assoc_id = sctp_assoc_t(SCTP_ALL_ASSOC)
        value.assoc_value = UInt32(SCTP_ENABLE_RESET_STREAM_REQ)
        try set(SCTP_ENABLE_STREAM_RESET, value)
        var rto = sctp_rtoinfo()
        rto.srto_initial = min(max(configuration.initialRTO, configuration.minRTO), configuration.maxRTO)
        rto.srto_max = configuration.maxRTO
        rto.srto_min = configuration.minRTO
        try set(SCTP_RTOINFO, rto)
        var initial = sctp_initmsg()
        initial.sinit_num_ostreams = configuration.streams
        initial.sinit_max_instreams = configuration.streams
        initial.sinit_max_attempts = configuration.maxInitRetransmissions
        initial.sinit_max_init_timeo = UInt16(clamping: configuration.maxRTO)
        try set(SCTP_INITMSG, initial)
        var association = sctp_assocparams()
        association.sasoc_asocmaxrxt = configuration.maxRetransmissions
        try set(SCTP_ASSOCINFO, association)
        var sack = sctp_sack_info()
        sack.sack_delay = configuration.sackDelay
        sack.sack_freq = configuration.sackFrequency
        try set(SCTP_DELAYED_SACK, sack)
        for event in [SCTP_ASSOC_CHANGE, SCTP_STREAM_RESET_EVENT, SCTP_PARTIAL_DELIVERY_EVENT] {
            try check("SCTP_EVENT \(event)", cusrsctp_subscribe(socket, UInt16(event)))
        }
        try check("usrsctp_bind", cusrsctp_bind(socket, handle.rawValue, configuration.localPort))
        try set(SCTP_MAXSEG, segment(configuration))
        try check(
            "SCTP_PEER_ADDR_PARAMS", setPath(socket, handle: handle, configuration: configuration, packetsPerBundle: 1))
    }

    /// Sets what usrsctp takes for the size of a packet. During the handshake it has to be right: DATA that is cut off
    /// the packet of a COOKIE ECHO and overtakes it is answered by an ABORT (RFC 9260 §8.4).
    static func setPath(
        _ socket: OpaquePointer, handle: SCTPHandle, configuration: Configuration, packetsPerBundle: Int
    ) -> Int32 {
        // usrsctp counts what follows the common header of 12 bytes.
        cusrsctp_set_path(
            socket, handle.rawValue, configuration.remotePort,
            UInt32((max(512, configuration.maxPacketSize) - 12) * max(1, packetsPerBundle)),
            configuration.heartbeatInterval)
    }

    private static func segment(_ configuration: Configuration) -> sctp_assoc_value {
        // A chunk fills a packet: usrsctp adds 20 bytes for an IPv4 header that AF_CONN does not have, and 28 for the
        // common header and that of DATA.
        var segment = sctp_assoc_value()
        segment.assoc_value = UInt32(max(512, configuration.maxPacketSize) - 48)
        return segment
    }
}
