// SPDX-License-Identifier: Apache-2.0

/// What reads bytes of strangers, each as a function of any bytes: for a fuzzer that looks for new paths through it,
/// and for tests that run it on what was found and on mutations of real input.
///
/// A function traps where something is wrong that cannot be wrong: a trap is a finding, whoever makes it.
public enum FuzzTarget: String, CaseIterable, Sendable {
    /// STUN messages, read, written and handed to an ICE agent.
    case stun
    /// Messages of a TURN server, to a client and as a stream.
    case turn
    /// Questions and answers of multicast DNS, to a lookup and to a responder.
    case mdns
    /// Session descriptions, candidates and their out-of-band form.
    case sdp
    /// Messages of the Data Channel Establishment Protocol.
    case dcep
    /// Datagrams to a DTLS session at some point of its life.
    case dtls
    /// SCTP packets and messages to the data channels of a connected association.
    case sctp
    /// Records of the link that recovers losses.
    case recovery
    /// RTP and RTCP, protected and not.
    case srtp
    /// Datagrams and streams of clients and peers to a STUN and TURN server.
    case relay
    /// Answers to the requests of a NAT discovery.
    case natDiscovery = "nat-discovery"

    /// Does with the bytes what the network would.
    public func run(_ bytes: [UInt8]) {
        switch self {
        case .stun: STUNFuzz.run(bytes)
        case .turn: TURNFuzz.run(bytes)
        case .mdns: MDNSFuzz.run(bytes)
        case .sdp: SDPFuzz.run(bytes)
        case .dcep: DCEPFuzz.run(bytes)
        case .dtls: DTLSFuzz.run(bytes)
        case .sctp: SCTPFuzz.run(bytes)
        case .recovery: RecoveryFuzz.run(bytes)
        case .srtp: SRTPFuzz.run(bytes)
        case .relay: RelayFuzz.run(bytes)
        case .natDiscovery: NATDiscoveryFuzz.run(bytes)
        }
    }

    /// What a search begins with: input as it is where nothing is wrong.
    public var seeds: [[UInt8]] {
        switch self {
        case .stun: STUNFuzz.seeds
        case .turn: TURNFuzz.seeds
        case .mdns: MDNSFuzz.seeds
        case .sdp: SDPFuzz.seeds
        case .dcep: DCEPFuzz.seeds
        case .dtls: DTLSFuzz.seeds
        case .sctp: SCTPFuzz.seeds
        case .recovery: RecoveryFuzz.seeds
        case .srtp: SRTPFuzz.seeds
        case .relay: RelayFuzz.seeds
        case .natDiscovery: NATDiscoveryFuzz.seeds
        }
    }
}

/// Bytes as a list of steps: a byte that says what to do, two for a length, and so many bytes; the last may be cut
/// short.
struct Steps {
    private let bytes: [UInt8]
    private var offset: Int

    init(_ bytes: [UInt8], from offset: Int = 0) {
        self.bytes = bytes
        self.offset = offset
    }

    mutating func next() -> (kind: UInt8, body: [UInt8])? {
        guard bytes.count - offset >= 3 else { return nil }
        let kind = bytes[offset]
        let length = Int(bytes[offset + 1]) << 8 | Int(bytes[offset + 2])
        let end = min(bytes.count, offset + 3 + length)
        defer { offset = end }
        return (kind, Array(bytes[(offset + 3)..<end]))
    }

    /// Writes a list of steps.
    static func write(_ steps: [(UInt8, [UInt8])]) -> [UInt8] {
        steps.flatMap { [$0.0, UInt8($0.1.count >> 8), UInt8($0.1.count & 255)] + $0.1 }
    }
}

/// A number, most significant byte first.
func bigEndian<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
    withUnsafeBytes(of: number.bigEndian) { [UInt8]($0) }
}
