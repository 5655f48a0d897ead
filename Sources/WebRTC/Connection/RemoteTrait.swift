// SPDX-License-Identifier: Apache-2.0
import ICE
import SDP
import Wire

/// What two connections must not have in common at the other end if they share a socket at this one: below ICE nothing
/// but addresses tells them apart.
enum RemoteTrait: Hashable, Sendable {
    /// Where the peer can be reached. A name stands for one address.
    case candidate(ICECandidate.Host, port: UInt16)
    /// The peer's certificate: who shows the same one on two connections may have both on one socket, and tell its
    /// candidates only later.
    case fingerprint([UInt8])

    /// All that a description tells. Of TCP's candidates many have port 9, which is nobody's.
    static func all(in description: SessionDescription) -> [RemoteTrait] {
        let candidates = description.candidates.compactMap { ICECandidate(sdp: $0) }
        return candidates.filter { $0.transport == .udp }.map(Self.init)
            + description.fingerprints.map { .fingerprint($0.bytes) }
    }

    /// Where a candidate is.
    init(_ candidate: ICECandidate) {
        self = .candidate(candidate.host, port: candidate.port)
    }
}
