// SPDX-License-Identifier: Apache-2.0
public import ICE
public import Wire

extension PeerCore {
    /// Takes what ICMP said of a request that left from our socket at `local`: the one that the message quotes. It ends
    /// requests to servers; of checks and consent it is only the reason that is told where no answer comes.
    public mutating func receiveUnreachable(
        _ destination: SocketAddress, from local: SocketAddress, because cause: Unreachability,
        quoting id: STUNTransactionID, now: Timestamp
    ) {
        ice?.receiveUnreachable(destination, from: local, because: cause, quoting: id, now: now)
        restart.offered?.receiveUnreachable(destination, from: local, because: cause, quoting: id, now: now)
        restart.previous?.receiveUnreachable(destination, from: local, because: cause, quoting: id, now: now)
        pumpICE()
    }

    /// Why there is no path, in words.
    var pathFailure: String {
        // See `localDescription`.
        mutating get {
            let told = (ice.peek { $0.unreachable } ?? []).prefix(Self.mostCauses)
                .map { "\($0.cause) at \($0.remote)" }
            let causes = told.isEmpty ? "" : ": " + told.joined(separator: ", ")
            return isDTLSConnected
                ? "the peer stopped answering (no consent for 30 s)\(causes)"
                : "no path to the peer works\(causes) (see the trace of ICE's decisions)"
        }
    }

    /// As many causes as a person reads.
    private static let mostCauses = 3
}
