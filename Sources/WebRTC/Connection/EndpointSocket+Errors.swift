// SPDX-License-Identifier: Apache-2.0
import ICE
import NetIO
import Synchronization
import Wire

// ICMP errors. Anybody can make them up who knows our port; only one that quotes a transaction of ours, 96 random bits,
// comes from somewhere on the packet's way. What quotes none is dropped, a flood of it ends the listening: each error
// makes one call of the socket fail that has then to be made again.
extension EndpointSocket {
    /// Takes what ICMP said of a datagram.
    func receive(_ report: UDPSocket.ErrorReport, now: Timestamp) {
        let id = STUNMessage.transactionID(in: report.quoted.span.bytes)
        guard let id, let connection = owner(of: id) else {
            if strays.withLock({ $0.isFlooded(now) }) { socket.ignoreErrors() }
            return
        }
        guard
            let cause = Unreachability(
                icmpType: report.type, code: report.code, family: report.destination.ip.family)
        else { return }
        connection.receiveUnreachable(report.destination, from: localAddress, because: cause, quoting: id)
        touch(connection)
    }
}

/// Counts ICMP errors that nothing came of.
struct StrayReports: Sendable {
    private var windowEnd = Timestamp(nanoseconds: .min)
    private var count = 0

    /// As many a second as are borne. Peers that end leave a few, as hosts limit the rate at which they send them (RFC
    /// 1812 §4.3.2.8, RFC 4443 §2.4).
    static let limit = 256

    /// Counts one; whether there are too many.
    mutating func isFlooded(_ now: Timestamp) -> Bool {
        if now >= windowEnd {
            windowEnd = now + .seconds(1)
            count = 0
        }
        count += 1
        return count > Self.limit
    }
}
