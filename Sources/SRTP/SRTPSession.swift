// SPDX-License-Identifier: Apache-2.0
#if SRTP
private import CSRTP
public import DTLS
public import Wire

/// Protects and unprotects the RTP and RTCP of one transport (RFC 3711, RFC 7714), with keys from its DTLS session
/// (RFC 5764 §4.2).
///
/// A value without I/O. What comes from the network never throws: a packet that is cut short, forged, repeated or of one
/// source too many is dropped and counted. Not for several threads at once, like any value.
public struct SRTPSession: ~Copyable, @unchecked Sendable {
    /// What was protected, unprotected and dropped.
    public struct Counters: Hashable, Sendable {
        /// RTP packets that were authentic.
        public var rtpReceived: UInt64 = 0
        /// RTCP packets that were authentic.
        public var rtcpReceived: UInt64 = 0
        /// RTP packets protected.
        public var rtpSent: UInt64 = 0
        /// RTCP packets protected.
        public var rtcpSent: UInt64 = 0
        /// Received and cut short, of another version or too long.
        public var malformed: UInt64 = 0
        /// Received with a wrong authentication tag.
        public var unauthentic: UInt64 = 0
        /// Received before, or older than the window shows (RFC 3711 §3.3.2).
        public var replayed: UInt64 = 0
        /// Received from one source more than are kept.
        public var overLimit: UInt64 = 0
        /// Received and refused for another reason, such as a key that is worn out.
        public var refused: UInt64 = 0
    }

    /// What protection adds at most: a tag of 16 bytes, and in RTCP the index of 4 (RFC 7714 §9.2).
    public static let maximumOverhead = 20
    /// The longest packet that is taken, protected or not: what a datagram can hold.
    public static let longestPacket = 65_507
    /// How many SSRCs are followed in each direction. Each costs memory, and whoever has the keys can invent them; a
    /// browser's connection has a few.
    public static let maximumSources = 64
    /// How many packets back a late one is still taken. RFC 3711 §3.3.2 asks for at least 64.
    private static let replayWindow: UInt = 1024

    /// What was agreed on in the handshake.
    public let profile: SRTPProtectionProfile
    /// What was protected, unprotected and dropped.
    public private(set) var counters = Counters()

    private let outbound: OpaquePointer
    private let inbound: OpaquePointer
    /// Where a packet is worked on: the library does so in place, and reads words.
    private let workspace: UnsafeMutableRawBufferPointer
    private var sendingSources: Set<UInt32> = []
    private var receivingSources: Set<UInt32> = []

    /// A session with these keys.
    ///
    /// - Parameters:
    ///   - profile: what the handshake agreed on.
    ///   - role: our role in it; the client sends with the client's write keys.
    ///   - keyingMaterial: ``DTLSTransport/srtpKeyingMaterial``: client key, server key, client salt, server salt.
    public init(
        profile: SRTPProtectionProfile, role: DTLSTransport.Role, keyingMaterial: [UInt8]
    ) throws(SRTPError) {
        let (key, salt) = (profile.masterKeyLength, profile.masterSaltLength)
        guard keyingMaterial.count == 2 * (key + salt) else {
            throw .wrongKeyLength(expected: 2 * (key + salt), actual: keyingMaterial.count)
        }
        let salts = keyingMaterial[(2 * key)...]
        let client = Array(keyingMaterial[..<key] + salts.prefix(salt))
        let server = Array(keyingMaterial[key..<2 * key] + salts.suffix(salt))
        let outbound = try Self.makeContext(profile, key: role == .client ? client : server, isInbound: false)
        do throws(SRTPError) {
            inbound = try Self.makeContext(profile, key: role == .client ? server : client, isInbound: true)
        } catch {
            srtp_dealloc(outbound)
            throw error
        }
        self.outbound = outbound
        self.profile = profile
        workspace = .allocate(byteCount: Self.longestPacket + Int(SRTP_MAX_TRAILER_LEN) + 8, alignment: 16)
    }

    /// A session keyed by a DTLS session; `nil` where that is not connected or agreed on no profile.
    public init?(_ transport: borrowing DTLSTransport) throws(SRTPError) {
        guard let profile = transport.srtpProfile, let material = transport.srtpKeyingMaterial else { return nil }
        try self.init(profile: profile, role: transport.role, keyingMaterial: material)
    }

    deinit {
        srtp_dealloc(outbound)
        srtp_dealloc(inbound)
        workspace.deallocate()
    }

    /// Protects an RTP or RTCP packet and appends it to `buffer`. An RTP packet must not have a sequence number that was
    /// used before.
    public mutating func protect(_ packet: RawSpan, into buffer: inout PacketBuffer) throws(SRTPError) {
        guard packet.byteCount <= Self.longestPacket - Self.maximumOverhead else {
            throw .packetTooLong(limit: Self.longestPacket - Self.maximumOverhead)
        }
        guard let header = RTPHeader(packet) else { throw .malformedPacket }
        guard sendingSources.contains(header.ssrc) || sendingSources.count < Self.maximumSources else {
            throw .tooManySources(limit: Self.maximumSources)
        }
        var count = load(packet)
        let status =
            switch header.kind {
            case .rtp: srtp_protect(outbound, workspace.baseAddress, &count)
            case .rtcp: srtp_protect_rtcp(outbound, workspace.baseAddress, &count)
            }
        guard status == srtp_err_status_ok else { throw .library(status: UInt32(status.rawValue)) }
        sendingSources.insert(header.ssrc)
        switch header.kind {
        case .rtp: counters.rtpSent &+= 1
        case .rtcp: counters.rtcpSent &+= 1
        }
        unload(count, into: &buffer)
    }

    /// Checks and decrypts a packet from the network and appends it to `buffer`; answers its header. What cannot be used
    /// is dropped and counted.
    public mutating func unprotect(_ packet: RawSpan, into buffer: inout PacketBuffer) -> RTPHeader? {
        guard let header = RTPHeader(packet), packet.byteCount <= Self.longestPacket,
            packet.byteCount >= header.byteCount + profile.overhead(isRTCP: header.kind == .rtcp)
        else {
            counters.malformed &+= 1
            return nil
        }
        let isKnown = receivingSources.contains(header.ssrc)
        guard isKnown || receivingSources.count < Self.maximumSources else {
            counters.overLimit &+= 1
            return nil
        }
        var count = load(packet)
        let status =
            switch header.kind {
            case .rtp: srtp_unprotect(inbound, workspace.baseAddress, &count)
            case .rtcp: srtp_unprotect_rtcp(inbound, workspace.baseAddress, &count)
            }
        guard status == srtp_err_status_ok else {
            note(status)
            return nil
        }
        if !isKnown { receivingSources.insert(header.ssrc) }
        switch header.kind {
        case .rtp: counters.rtpReceived &+= 1
        case .rtcp: counters.rtcpReceived &+= 1
        }
        unload(count, into: &buffer)
        return header
    }

    private mutating func note(_ status: srtp_err_status_t) {
        switch status {
        // In AEAD the tag is the cipher's, and libsrtp says so.
        case srtp_err_status_auth_fail, srtp_err_status_cipher_fail: counters.unauthentic &+= 1
        case srtp_err_status_replay_fail, srtp_err_status_replay_old, srtp_err_status_pkt_idx_old:
            counters.replayed &+= 1
        case srtp_err_status_bad_param, srtp_err_status_parse_err: counters.malformed &+= 1
        default: counters.refused &+= 1
        }
    }

    /// Copies a packet to the workspace; answers its length as the library counts.
    private func load(_ packet: RawSpan) -> Int32 {
        packet.withUnsafeBytes { workspace.copyMemory(from: $0) }
        return Int32(packet.byteCount)
    }

    private func unload(_ count: Int32, into buffer: inout PacketBuffer) {
        let result = UnsafeRawBufferPointer(rebasing: workspace[..<Int(count)])
        buffer.append(maximumLength: result.count) { room in
            room.copyMemory(from: result)
            return result.count
        }
    }

    /// `srtp_init` is called once for the process.
    private static let isReady = srtp_init() == srtp_err_status_ok

    private static func makeContext(
        _ profile: SRTPProtectionProfile, key: [UInt8], isInbound: Bool
    ) throws(SRTPError) -> OpaquePointer {
        guard isReady else { throw .library(status: UInt32(srtp_err_status_init_fail.rawValue)) }
        var key = key
        var context: OpaquePointer?
        let status = shim_srtp_create(&context, UInt32(profile.rawValue), isInbound ? 1 : 0, &key, replayWindow)
        guard status == srtp_err_status_ok, let context else {
            throw .library(status: UInt32(status.rawValue))
        }
        return context
    }
}

extension SRTPProtectionProfile {
    /// What protection adds to a packet: the tag, and in RTCP the index behind it.
    func overhead(isRTCP: Bool) -> Int { tagLength + (isRTCP ? 4 : 0) }
}
#endif
