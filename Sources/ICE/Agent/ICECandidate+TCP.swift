// SPDX-License-Identifier: Apache-2.0
internal import Wire

// Candidates for TCP (RFC 6544): an active one opens connections, a passive one takes them.
extension ICECandidate {
    /// Who opens the connection to or from a candidate (RFC 6544 §4.5). Simultaneous opening is neither offered nor
    /// taken.
    public enum TCPType: String, Sendable, Hashable {
        /// Its owner does; the port means nothing.
        case active
        /// The other side does.
        case passive

        /// Bits 13 to 15 of the local preference, as RFC 6544 §4.2 recommends for host candidates.
        fileprivate var direction: UInt16 { self == .active ? 6 : 4 }
    }

    /// What stands for the port of an active candidate, which has none (RFC 6544 §4.5).
    public static let activePort: UInt16 = 9

    /// What its extension `tcptype` says; `nil` for UDP and for kinds that are not known.
    public var tcpType: TCPType? {
        guard transport == .tcp else { return nil }
        return value(ofExtension: "tcptype").flatMap { TCPType(rawValue: $0.lowercased()) }
    }

    /// How much a kind of candidate is preferred with this transport (RFC 8445 §5.1.2.2, RFC 6544 §4.2): what is lost
    /// on a connection holds up all that comes after it, so that every direct way over UDP comes before every one over
    /// TCP, and those before relays.
    var typePreference: UInt32 { kind.preference(over: transport) }

    /// The extension that says who opens the connection.
    static func tcpType(_ type: TCPType) -> [Extension] { [Extension(name: "tcptype", value: type.rawValue)] }

    /// RFC 6544 §4.2, with as many addresses preferred to this one.
    static func localPreference(_ type: TCPType, rank: Int) -> UInt16 {
        type.direction << 13 | (8191 - UInt16(clamping: min(rank, 8191)))
    }
}

extension ICECandidate.Kind {
    /// The type preference with a transport.
    func preference(over transport: ICECandidate.Transport) -> UInt32 {
        guard transport == .tcp else { return preference }
        return switch self {
        case .host: 90
        case .peerReflexive: 80
        case .serverReflexive: 70
        case .relayed: 0
        }
    }
}
