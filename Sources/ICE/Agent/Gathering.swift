// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// Which servers were asked from which bases, and when the asking ends. Knows no sockets and sends nothing.
///
///     idle ──start──▶ running ──all done, answered, grace or deadline──▶ complete
struct Gathering: Sendable {
    /// One base asking one server.
    struct Request: Sendable {
        enum State: Hashable, Sendable { case pending, asked, answered, failed }
        let base: Int
        let server: SocketAddress
        /// How many servers its base asks before.
        let round: Int
        var state = State.pending
        /// When the binding that an answer showed must be refreshed (RFC 8445 §5.1.1.4).
        var refreshAt: Timestamp?
    }

    private enum Phase: Sendable { case idle, running, complete }
    private var phase = Phase.idle
    private(set) var requests: [Request] = []
    private var nextRequest = Timestamp.zero
    private var deadline = Timestamp.distantFuture
    private var firstAnswer: Timestamp?
    private var lastAsked = Timestamp.zero
    private var grace = Duration.zero

    /// How long a binding in a NAT is left alone: Tr of RFC 8445 §11.
    static let refreshInterval = Duration.seconds(15)

    var isRunning: Bool { phase == .running }
    var isComplete: Bool { phase == .complete }

    mutating func start(now: Timestamp, timeout: Duration, grace: Duration) {
        guard phase == .idle else { return }
        phase = .running
        nextRequest = now
        deadline = now + timeout
        self.grace = grace
    }

    mutating func add(base: Int, server: SocketAddress) {
        requests.append(Request(base: base, server: server, round: requests.count { $0.base == base }))
    }

    /// The request to send now, if its time has come.
    mutating func takeRequest(now: Timestamp, pacing: Duration) -> Int? {
        guard phase == .running, nextRequest <= now, let index = nextPending else { return nil }
        requests[index].state = .asked
        lastAsked = now
        nextRequest = now + pacing
        return index
    }

    /// Every base asks its first server before any asks its second, and none asks once it has an answer.
    private var nextPending: Int? {
        let answered = answeredBases
        return requests.indices
            .filter { requests[$0].state == .pending && !answered.contains(requests[$0].base) }
            .min { (requests[$0].round, $0) < (requests[$1].round, $1) }
    }

    private var answeredBases: Set<Int> { Set(requests.filter { $0.state == .answered }.map(\.base)) }

    /// When those that were asked had their time; `nil` while that is open.
    private var graceEnd: Timestamp? {
        guard let firstAnswer, nextPending == nil else { return nil }
        return max(firstAnswer, lastAsked) + grace
    }

    /// An answer came. Tells whether it is the first to this request.
    mutating func answered(_ index: Int, now: Timestamp) -> Bool {
        let isFirst = requests[index].state == .asked
        requests[index].state = .answered
        requests[index].refreshAt = now + Self.refreshInterval
        if firstAnswer == nil { firstAnswer = now }
        return isFirst
    }

    mutating func failed(_ index: Int) {
        if requests[index].state == .asked { requests[index].state = .failed }
        requests[index].refreshAt = nil
    }

    /// Takes a binding whose refresh is due.
    mutating func takeRefresh(now: Timestamp) -> Int? {
        guard let index = requests.firstIndex(where: { $0.refreshAt.map { $0 <= now } ?? false }) else { return nil }
        requests[index].refreshAt = now + Self.refreshInterval
        return index
    }

    /// Ends gathering if it is time to; answers why, once.
    mutating func finish(now: Timestamp) -> ICEDecision.GatheringEnd? {
        guard phase == .running else { return nil }
        let end: ICEDecision.GatheringEnd
        if requests.isEmpty {
            end = .noServers
        } else if requests.allSatisfy({ $0.state == .answered || $0.state == .failed }) {
            end = .allDone
        } else if Set(requests.map(\.base)).isSubset(of: answeredBases) {
            // A dead server delays nobody: each base needs one answer.
            end = .answered
        } else if let graceEnd, graceEnd <= now {
            end = .grace
        } else if deadline <= now {
            end = .deadline
        } else {
            return nil
        }
        phase = .complete
        return end
    }

    /// Forgets everything but that gathering is over.
    mutating func stop() {
        phase = .complete
        requests.removeAll()
    }

    /// Ends it because a pair is nominated, and lets bindings go that are of no use any more. Answers whether it ran.
    mutating func conclude() -> Bool {
        defer { phase = .complete }
        for index in requests.indices { requests[index].refreshAt = nil }
        return phase == .running
    }

    var nextDeadline: Timestamp? {
        let refresh = requests.compactMap(\.refreshAt).min()
        guard phase == .running else { return refresh }
        let pending = nextPending == nil ? nil : nextRequest
        return [refresh, pending, graceEnd, deadline].compactMap { $0 }.min()
    }
}
