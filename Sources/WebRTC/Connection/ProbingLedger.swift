// SPDX-License-Identifier: Apache-2.0
import Wire

/// Who probes for ports of which hosts, so that no peer can aim an endpoint at others.
///
/// The host that probing packets go to is named by the peer alone. A peer that names a stranger's gets it no more
/// packets than it could send itself: of each endpoint, one run's worth to a host in a while, however many peers ask.
struct ProbingLedger {
    /// One agent's run.
    struct Run: Hashable, Sendable {
        let connection: ObjectIdentifier
        let ufrag: String
    }

    private struct Account {
        var packets: Int
        let end: Timestamp
    }

    private var runs: Set<Run> = []
    private var accounts: [IPAddress: Account] = [:]

    /// Runs at a time: each opens hundreds of sockets and fills as many places of the NAT's table.
    static let maximumRuns = 2
    /// Packets to one host within ``period``: two runs with the largest budget that is needed, one for each side's
    /// role.
    static let packetsPerHost = 4096
    static let period = Duration.seconds(600)
    /// Hosts within ``period``.
    static let maximumHosts = 64

    /// Whether a run may send so many packets to a host; it then counts until it is ended.
    mutating func begin(_ run: Run, toward host: IPAddress, packets: Int, now: Timestamp) -> Bool {
        accounts = accounts.filter { $0.value.end > now }
        guard runs.count < Self.maximumRuns, !runs.contains(run), packets >= 0 else { return false }
        var account = accounts[host] ?? Account(packets: 0, end: now + Self.period)
        guard packets <= Self.packetsPerHost - account.packets,
            accounts[host] != nil || accounts.count < Self.maximumHosts
        else { return false }
        account.packets += packets
        accounts[host] = account
        runs.insert(run)
        return true
    }

    /// Ends a run. Without effect when it does not count any more.
    mutating func end(_ run: Run) { runs.remove(run) }

    /// Ends all of a connection's runs.
    mutating func end(_ connection: ObjectIdentifier) {
        guard !runs.isEmpty else { return }
        runs = runs.filter { $0.connection != connection }
    }
}
