// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// Which servers were asked from which bases, and when the asking ends. Knows no sockets and sends nothing.
///
///     idle ──start──▶ running ──all done, answered, grace or deadline──▶ complete
///
/// A relay that has given a first answer is waited for until the deadline, since an allocation takes several; one that
/// is silent no longer than any other server.
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

    /// What became of asking a relay.
    enum RelayState: Hashable, Sendable { case pending, asked, alive, done, failed }
    /// What is to be asked next.
    enum Next: Hashable, Sendable {
        /// The request with this index.
        case reflexive(Int)
        /// The relay with this index.
        case relay(Int)
    }

    private enum Phase: Sendable { case idle, running, complete }
    private var phase = Phase.idle
    private(set) var requests: [Request] = []
    private(set) var relays: [RelayState] = []
    private var nextRequest = Timestamp.zero
    private var deadline = Timestamp.distantFuture
    private var firstAnswer: Timestamp?
    private var lastAsked = Timestamp.zero
    private var grace = Duration.zero
    /// Bases that the host has no more, from which no answer can come.
    private var goneBases: Set<Int> = []

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

    /// Adds a relay; the caller numbers them alike. One over a stream makes no binding in a NAT for UDP, which is what
    /// pacing is for (RFC 8445 §B.1), and is asked at once.
    mutating func addRelay(isAsked: Bool) {
        relays.append(isAsked ? .asked : .pending)
    }

    /// What to ask now, if its time has come.
    mutating func takeRequest(now: Timestamp, pacing: Duration) -> Next? {
        guard phase == .running, nextRequest <= now, let next = nextPending else { return nil }
        switch next {
        case .reflexive(let index): requests[index].state = .asked
        case .relay(let index): relays[index] = .asked
        }
        lastAsked = now
        nextRequest = now + pacing
        return next
    }

    /// Every base asks its first server before any asks its second, and none asks once it has an answer. Relays come
    /// last.
    private var nextPending: Next? {
        let answered = answeredBases
        let reflexive = requests.indices
            .filter { requests[$0].state == .pending && !answered.contains(requests[$0].base) }
            .min { (requests[$0].round, $0) < (requests[$1].round, $1) }
        return reflexive.map { .reflexive($0) } ?? relays.firstIndex(of: .pending).map { .relay($0) }
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

    /// A relay gave an answer: its first, or all that there is to have of it.
    mutating func relayAnswered(_ index: Int, _ state: RelayState, now: Timestamp) {
        guard relays.indices.contains(index) else { return }
        relays[index] = state
        if state != .failed, firstAnswer == nil { firstAnswer = now }
    }

    mutating func failed(_ index: Int) {
        if requests[index].state == .asked { requests[index].state = .failed }
        requests[index].refreshAt = nil
    }

    /// Nothing can be asked from a base any more. Answers what was asked and is open.
    mutating func drop(base: Int) -> [Int] {
        goneBases.insert(base)
        let mine = requests.indices.filter { requests[$0].base == base }
        let open = mine.filter { requests[$0].state == .asked }
        for index in mine {
            if requests[index].state == .pending || requests[index].state == .asked { requests[index].state = .failed }
            requests[index].refreshAt = nil
        }
        return open
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
        let relaysAreDone = relays.allSatisfy { $0 == .done || $0 == .failed }
        let end: ICEDecision.GatheringEnd
        if requests.isEmpty, relays.isEmpty {
            end = .noServers
        } else if relaysAreDone, requests.allSatisfy({ $0.state == .answered || $0.state == .failed }) {
            end = .allDone
        } else if relaysAreDone, Set(requests.map(\.base)).subtracting(goneBases).isSubset(of: answeredBases) {
            // A dead server delays nobody: each base needs one answer.
            end = .answered
        } else if let graceEnd, graceEnd <= now, !relays.contains(.alive) {
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
        relays.removeAll()
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
        // A grace that a living relay outlasts is no deadline.
        let grace = relays.contains(.alive) ? nil : graceEnd
        return [refresh, pending, grace, deadline].compactMap { $0 }.min()
    }
}
