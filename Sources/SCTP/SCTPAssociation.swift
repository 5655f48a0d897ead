// SPDX-License-Identifier: Apache-2.0
internal import CUSRSCTP
internal import Synchronization
public import Wire

/// One SCTP association over DTLS (RFC 8261) as usrsctp keeps it: packets in, packets out, messages in, messages out.
///
/// Both peers call ``connect()``, as data channels do (RFC 8831 §6.2); the crossing of their INITs is resolved by RFC
/// 9260 §5.2.1. Every call belongs under the owner's lock. Timers are ``SCTPRuntime``'s.
///
///     unconnected ──connect──▶ connecting ──COMM UP──▶ up ──loss, ABORT, SHUTDOWN, close──▶ closed
public struct SCTPAssociation: ~Copyable, @unchecked Sendable {
    /// What it was made with.
    public let configuration: Configuration
    /// What became of packets.
    public private(set) var counters = Counters()

    /// How much is received before packets are joined freely: more than the product of bandwidth and delay of most
    /// paths.
    private static let startingBytes: UInt64 = 4 << 20

    /// How many packets are joined. usrsctp walks a packet from its start for every chunk: 64 cost more than 32.
    private static let joinedPackets = 32

    let socket: SCTPSocket
    /// What of a batch is handed on; kept so that its memory is.
    private var good: [Range<Int>] = []
    /// Whether the handshake was started.
    public private(set) var isConnecting = false

    /// A socket of usrsctp bound to our port; nothing is sent yet.
    public init(configuration: Configuration = Configuration()) throws(SCTPError) {
        self.configuration = configuration
        socket = try SCTPSocket(configuration: configuration)
    }

    /// What names this association in ``SCTPRuntime/advance(to:)``.
    public var handle: SCTPHandle { socket.handle }

    /// Packets that wait to be sent, and what was learnt from them.
    var outbox: SCTPOutbox { socket.outbox }

    /// Whether usrsctp still has it. After a failure or ``abort()`` nothing is sent or taken any more.
    public var isOpen: Bool { socket.pointer != nil }

    /// Starts the handshake: an INIT waits to be sent.
    public mutating func connect() throws(SCTPError) {
        guard let pointer = socket.pointer else { throw .notConnected }
        guard !isConnecting else { return }
        isConnecting = true
        let error = SCTPRuntime.shared.call {
            cusrsctp_connect(pointer, handle.rawValue, configuration.remotePort)
        }
        if error != 0 { throw .socket(call: "usrsctp_connect", errno: error) }
    }

    /// Has usrsctp make bundles of several packets; to be called when the handshake is complete.
    mutating func beginBundling() {
        guard let pointer = socket.pointer, configuration.packetsPerBundle > 1 else { return }
        _ = SCTPRuntime.shared.call {
            Self.setPath(
                pointer, handle: handle, configuration: configuration,
                packetsPerBundle: configuration.packetsPerBundle)
        }
    }

    /// Takes one packet, the plaintext of one DTLS record. A wrong checksum is dropped and counted (RFC 9260 §6.8).
    public mutating func receive(_ packet: RawSpan) {
        guard isOpen, isConnecting else {
            counters.packetsDropped &+= 1
            return
        }
        packet.withUnsafeBytes { bytes in
            guard accepts(bytes) else { return }
            SCTPRuntime.shared.call { input(bytes) }
        }
    }

    /// Takes all packets of a buffer under one hold of usrsctp.
    public mutating func receive(batch: borrowing PacketBuffer) {
        guard isOpen, isConnecting else {
            counters.packetsDropped &+= UInt64(batch.count)
            return
        }
        if batch.count == 1 { return receive(batch[0]) }
        batch.withUnsafeBytes { all in
            var good: [Range<Int>] = []
            swap(&good, &self.good)
            defer { swap(&good, &self.good) }
            good.removeAll(keepingCapacity: true)
            for index in 0..<batch.count {
                let range = batch.range(index)
                if accepts(UnsafeRawBufferPointer(rebasing: all[range])) { good.append(range) }
            }
            SCTPRuntime.shared.call {
                // A sender in slow start grows its window with the number of SACKs (RFC 9260 §7.2.1), so it gets one
                // for every second packet at first.
                let isStarting = counters.bytesReceived < Self.startingBytes
                var joiner = PacketJoiner(
                    into: SCTPRuntime.shared.joined, maxPackets: isStarting ? 2 : Self.joinedPackets)
                for range in good {
                    let packet = UnsafeRawBufferPointer(rebasing: all[range])
                    if configuration.joinsReceived, joiner.append(packet) { continue }
                    if let joined = joiner.take() { input(joined) }
                    if configuration.joinsReceived, joiner.append(packet) { continue }
                    input(packet)
                }
                if let joined = joiner.take() { input(joined) }
            }
        }
    }

    /// Moves the packets that wait to be sent, each for one DTLS record, behind those of `buffer`.
    public mutating func takeOutgoing(into buffer: inout PacketBuffer) {
        outbox.take(into: &buffer)
    }

    /// DATA chunks that the peer has not acknowledged, or that were not sent yet.
    var outstanding: Int {
        guard let pointer = socket.pointer, isConnecting else { return 0 }
        return SCTPRuntime.shared.call { cusrsctp_outstanding(pointer) }
    }

    /// Ends the association gracefully (RFC 9260 §9.2): what is queued is delivered first.
    public mutating func shutdown() {
        guard let pointer = socket.pointer, isConnecting else { return }
        _ = SCTPRuntime.shared.call { usrsctp_shutdown(pointer, Int32(SHUT_WR)) }
    }

    /// Ends the association at once; an ABORT waits to be sent where the peer knows of it (RFC 9260 §9.1).
    public mutating func abort() {
        socket.close()
    }

    /// Sends one message whole. Empty ones do not exist in SCTP.
    mutating func send(
        _ bytes: UnsafeRawBufferPointer, stream: UInt16, ppid: UInt32, unordered: Bool, reliability: Reliability
    ) -> SendResult {
        guard let pointer = socket.pointer, isConnecting else { return .failed(errno: ENOTCONN) }
        let (policy, value) = reliability.policy
        let error = SCTPRuntime.shared.call {
            cusrsctp_send(
                pointer, bytes.baseAddress, bytes.count, stream, ppid, unordered ? UInt16(SCTP_UNORDERED) : 0, policy,
                value)
        }
        switch error {
        case 0: return .accepted
        case EWOULDBLOCK: return .noRoom
        default: return .failed(errno: error)
        }
    }

    /// Reads (a part of) the next message or notification into `buffer`.
    mutating func read(into buffer: UnsafeMutableRawBufferPointer) -> ReadResult {
        guard let pointer = socket.pointer else { return .end }
        let result = SCTPRuntime.shared.call { cusrsctp_receive(pointer, buffer.baseAddress, buffer.count) }
        if result.length < 0 { return result.error == EWOULDBLOCK ? .nothing : .end }
        if result.length == 0 { return .end }
        if result.is_notification != 0 {
            return .notification(length: result.length, isComplete: result.is_end_of_message != 0)
        }
        return .message(
            length: result.length, stream: result.stream, ppid: result.ppid, isComplete: result.is_end_of_message != 0)
    }

    /// Asks for a reset of an outgoing stream once what is queued on it was sent (RFC 6525 §5.1.2). 0 or an `errno`.
    mutating func resetOutgoing(stream: UInt16) -> Int32 {
        guard let pointer = socket.pointer else { return ENOTCONN }
        return SCTPRuntime.shared.call { cusrsctp_reset_outgoing(pointer, stream) }
    }

    /// Bytes of user messages on a stream that are in packets, retransmissions not counted.
    func transmitted(on stream: Int) -> Int {
        outbox.state.withLock { stream < $0.transmitted.count ? $0.transmitted[stream] : 0 }
    }

    private mutating func accepts(_ packet: UnsafeRawBufferPointer) -> Bool {
        // A common header and one chunk header (RFC 9260 §3); a DTLS record holds at most 16 KiB (RFC 6347 §4.1), other
        // carriers what was agreed on.
        guard packet.count >= 16, packet.count <= max(16 * 1024, configuration.maxPacketSize) else {
            counters.packetsDropped &+= 1
            return false
        }
        if configuration.acceptsZeroChecksum, ZeroChecksum.mayOmitChecksum(packet) {
            counters.withoutChecksum &+= 1
        } else if !SCTPChecksum.isCorrect(packet) {
            counters.checksumErrors &+= 1
            return false
        }
        // INIT and INIT ACK, which say what the peer takes.
        if packet[12] == 1 || packet[12] == 2 { outbox.notePeer(packet) }
        counters.packetsReceived &+= 1
        counters.bytesReceived &+= UInt64(packet.count)
        return true
    }

    private func input(_ packet: UnsafeRawBufferPointer) {
        usrsctp_conninput(UnsafeMutableRawPointer(bitPattern: handle.rawValue), packet.baseAddress, packet.count, 0)
    }
}

extension SCTPAssociation {
    /// What came of a message that was to be sent.
    enum SendResult: Hashable, Sendable {
        /// usrsctp has it.
        case accepted
        /// The send buffer is full for now.
        case noRoom
        /// It will never be sent.
        case failed(errno: Int32)
    }

    /// What a read found.
    enum ReadResult: Hashable, Sendable {
        case nothing
        case end
        case notification(length: Int, isComplete: Bool)
        case message(length: Int, stream: UInt16, ppid: UInt32, isComplete: Bool)
    }

    /// What became of packets.
    public struct Counters: Hashable, Sendable {
        /// Handed to usrsctp.
        public var packetsReceived: UInt64 = 0
        /// Their bytes.
        public var bytesReceived: UInt64 = 0
        /// Of these, those that came without a checksum (RFC 9653).
        public var withoutChecksum: UInt64 = 0
        /// Dropped for their checksum.
        public var checksumErrors: UInt64 = 0
        /// Dropped for their size, or because the association was not there.
        public var packetsDropped: UInt64 = 0
    }
}
