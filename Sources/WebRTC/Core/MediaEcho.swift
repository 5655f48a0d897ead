// SPDX-License-Identifier: Apache-2.0
#if SRTP
package import SRTP
package import Wire

/// The far end of an audio section: what comes as RTP goes back, protected with our own keys and under SSRCs of our own, so
/// that the sender does not take it for a loop (RFC 3550 §8.2). RTCP is counted and not answered.
package struct MediaEcho: ~Copyable, Sendable {
    private var session: SRTPSession
    private var entropy: Entropy
    /// Whether the answer agreed to send.
    private let sends: Bool
    /// Ours for each SSRC of the peer; ``SRTPSession/maximumSources`` at most.
    private var sources: [UInt32: UInt32] = [:]
    /// What the next of them is.
    private var nextSSRC: UInt32
    private var arrived = PacketBuffer(capacity: 2048)
    /// RTP packets between an echo and the next drain.
    private var waiting = PacketBuffer(capacity: 2048)
    /// What came and what went.
    package private(set) var counters = MediaCounters()

    /// As many packets wait for the next drain; a batch of datagrams holds fewer.
    private static let waitingLimit = 1024

    /// An echo on a session; the first source is the one that the answer announced.
    package init(session: consuming SRTPSession, ssrc: UInt32, sends: Bool, entropy: Entropy) {
        self.session = session
        self.entropy = entropy
        self.sends = sends
        nextSSRC = ssrc
    }

    /// Takes a packet of the kind that RFC 7983 §7 gives to RTP.
    package mutating func receive(_ packet: RawSpan) {
        arrived.removeAll()
        guard let header = session.unprotect(packet, into: &arrived), arrived.count == 1 else {
            counters.packetsDropped &+= 1
            return
        }
        switch header.kind {
        case .rtcp:
            counters.rtcpPacketsReceived &+= 1
        case .rtp:
            counters.rtpPacketsReceived &+= 1
            counters.rtpBytesReceived &+= UInt64(arrived.byteCount)
            if sends { echo(from: header.ssrc) }
        }
    }

    /// Moves what is to be sent to the end of `buffer`.
    package mutating func takeOutgoing(into buffer: inout PacketBuffer) {
        for index in 0..<waiting.count { buffer.append(waiting[index]) }
        waiting.removeAll()
    }

    private mutating func echo(from theirs: UInt32) {
        // What came from us by way of an echo at the other end would go round for ever.
        guard waiting.count < Self.waitingLimit, !sources.values.contains(theirs) else { return }
        var packet = [UInt8](copying: arrived[0])
        withUnsafeBytes(of: ours(theirs).bigEndian) { ssrc in
            packet.replaceSubrange(RTPHeader.rtpSSRCOffset..<RTPHeader.rtpSSRCOffset + 4, with: ssrc)
        }
        do {
            try session.protect(packet.span.bytes, into: &waiting)
            counters.rtpPacketsSent &+= 1
        } catch {
            counters.packetsNotSent &+= 1
        }
    }

    /// The SSRC that a source of the peer has here. The session bounds how many there are.
    private mutating func ours(_ theirs: UInt32) -> UInt32 {
        if let known = sources[theirs] { return known }
        let fresh = nextSSRC
        sources[theirs] = fresh
        nextSSRC = UInt32(truncatingIfNeeded: entropy.next())
        return fresh
    }
}
#endif
