// SPDX-License-Identifier: Apache-2.0
public import Wire

/// What ICMP says of the place where a packet was to go.
public enum Unreachability: String, Hashable, Sendable, CaseIterable {
    /// Nobody listens at the port.
    case port
    /// The host does not answer its link, or is not there.
    case host
    /// No way leads there.
    case network
    /// Somebody on the way does not let it through.
    case prohibited

    /// The meaning of a destination-unreachable message about a packet to an address of a family (RFC 792, RFC 1122
    /// §3.2.2.1, RFC 1812 §5.2.7.1; RFC 4443 §3.1); `nil` for any other message, and for one that is about a packet's
    /// size.
    public init?(icmpType type: UInt8, code: UInt8, family: IPAddress.Family) {
        switch (family, type, code) {
        case (.v4, 3, 3), (.v6, 1, 4): self = .port
        case (.v4, 3, 1), (.v4, 3, 7), (.v4, 3, 8), (.v4, 3, 12), (.v6, 1, 2), (.v6, 1, 3): self = .host
        case (.v4, 3, 0), (.v4, 3, 5), (.v4, 3, 6), (.v4, 3, 11), (.v6, 1, 0), (.v6, 1, 6): self = .network
        case (.v4, 3, 9), (.v4, 3, 10), (.v4, 3, 13), (.v6, 1, 1), (.v6, 1, 5): self = .prohibited
        default: return nil
        }
    }
}

extension Unreachability: CustomStringConvertible {
    /// The meaning in words.
    public var description: String {
        switch self {
        case .port, .host, .network: "\(rawValue) unreachable"
        case .prohibited: "administratively prohibited"
        }
    }
}

extension ICEAgent {
    /// The network says that packets do not get to `destination`, as ICMP tells a socket. `id` is the transaction that
    /// the message quotes: with it the message is about a request of ours and no guess of somebody's; without it that
    /// has to be known elsewhere.
    ///
    /// Requests to servers there end at once. Checks go on, and so does consent: whoever is on the way may say such a
    /// thing, a peer may yet bind its socket, and there are NATs that say it until their own side has sent something
    /// (RFC 8445 §7.2.5.2.2 leaves it open). It is the reason that is given if nothing else comes.
    public mutating func receiveUnreachable(
        _ destination: SocketAddress, from local: SocketAddress, because cause: Unreachability? = nil,
        quoting id: STUNTransactionID? = nil, now: Timestamp
    ) {
        clock = max(clock, now)
        guard !hasEnded else { return }
        relayUnreachable(destination, from: local)
        guard let base = baseIndex(of: local) else { return }
        let plain = SocketAddress(ip: destination.ip.withoutScope, port: destination.port)
        let hit = transactions.entries.filter { entry in
            entry.base == base && (entry.destination == plain || entry.destination == destination)
                && (id.map { $0 == entry.id } ?? true)
        }
        for purpose in hit.map(\.purpose) {
            switch purpose {
            case .gather(let request):
                transactions.removeAll { $0.purpose == purpose }
                gatheringFailed(request, cause.map { .told($0) } ?? .unreachable)
            case .check(let pair, _), .consent(let pair):
                guard let cause, let told = checklist[id: pair], told.unreachable != cause else { continue }
                checklist.update(pair) { $0.unreachable = cause }
                note(.unreachableTold(name(told), cause))
            }
        }
    }

    /// Why a check or a request for consent has no answer.
    func silence(of pair: Int) -> ICEDecision.FailureReason {
        checklist[id: pair]?.unreachable.map { .told($0) } ?? .timeout
    }

    /// What ICMP said of pairs that no answer came from since, best pair first.
    public var unreachable: [(remote: SocketAddress, cause: Unreachability)] {
        checklist.pairs.compactMap { pair in
            pair.unreachable.map { (remotes[pair.remote].address, $0) }
        }
    }
}
