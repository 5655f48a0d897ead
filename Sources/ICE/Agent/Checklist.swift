// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// A pair on the checklist: a base and a remote candidate (RFC 8445 §6.1.2).
///
/// A valid pair of RFC 8445 §7.2.5.3.2 has the same base and the same remote candidate as the pair whose check made it,
/// so that both are one entry here; `validLocal` is the candidate that makes the difference.
struct CheckPair: Sendable {
    let id: Int
    let base: Int
    let remote: Int
    /// Of the local and the remote candidate, together.
    var foundation: String
    var priority: UInt64
    var state = ICECandidatePair.State.frozen
    /// Once the pair is valid: the local candidate with the address that the peer saw.
    var validLocal: Int?
    /// Controlled: the peer nominated the pair before it was valid here.
    var nominateOnSuccess = false
    /// The time from a check to its answer, of checks that were sent once.
    var roundTripTime: Duration?
    var counters = ICECandidatePair.Counters()
    /// What ICMP said of the remote candidate since the last answer.
    var unreachable: Unreachability?

    var isValid: Bool { validLocal != nil }
    /// Whether its outcome is still open.
    var isPending: Bool { state == .frozen || state == .waiting || state == .inProgress }
}

/// The pairs in order, which of them may be checked, and those that jump the queue. Knows no time and sends nothing.
struct Checklist: Sendable {
    /// By falling priority.
    private(set) var pairs: [CheckPair] = []
    /// RFC 8445 §6.1.4.1: first in, first out.
    private(set) var triggered: [Int] = []
    /// Whether initial states were given; before, all pairs are frozen (RFC 8445 §6.1.2.6).
    private(set) var isStarted = false
    private var nextID = 1
    private var triggeredInARow = 0

    /// So many triggered checks leave one after the other while ordinary ones wait. RFC 8445 §6.1.4.2 knows no such
    /// bound; but where each check that comes brings about another one, as two NATs can do that answer from ever new
    /// ports, nothing else would ever be checked.
    private static let maximumTriggeredInARow = 8

    /// What became of a pair that was to be added.
    enum Insertion {
        case added(CheckPair, removed: CheckPair?)
        case redundant
        case full
    }

    func index(of id: Int) -> Int? { pairs.firstIndex { $0.id == id } }

    func index(base: Int, remote: Int) -> Int? {
        pairs.firstIndex { $0.base == base && $0.remote == remote }
    }

    subscript(id id: Int) -> CheckPair? { index(of: id).map { pairs[$0] } }

    /// Changes a pair in place. Its priority is left alone; see ``reprioritise(_:)``.
    mutating func update(_ id: Int, _ body: (inout CheckPair) -> Void) {
        guard let index = index(of: id) else { return }
        body(&pairs[index])
    }

    /// Whether ``next()`` would answer a pair. Frozen ones count only if nothing of their foundation is in progress.
    var hasWork: Bool {
        !triggered.isEmpty || hasOrdinaryWork
    }

    private var hasOrdinaryWork: Bool {
        if pairs.contains(where: { $0.state == .waiting && !triggered.contains($0.id) }) { return true }
        let busy = busyFoundations
        return pairs.contains { $0.state == .frozen && !busy.contains($0.foundation) }
    }

    private var busyFoundations: Set<String> { Set(pairs.filter { $0.state == .inProgress }.map(\.foundation)) }

    /// How many checks are waiting or in progress (RFC 8445 §14.3).
    var activeCount: Int { pairs.count { $0.state == .waiting || $0.state == .inProgress } }

    // MARK: Forming

    /// Adds a pair as RFC 8445 §6.1.2 and, once checks run, RFC 8838 §12 have it.
    mutating func insert(base: Int, remote: Int, foundation: String, priority: UInt64, limit: Int) -> Insertion {
        guard index(base: base, remote: remote) == nil else { return .redundant }
        var removed: CheckPair?
        if pairs.count >= max(limit, 1) {
            // RFC 8838 §11: failed pairs make room first, then worse ones.
            let victim =
                pairs.lastIndex { $0.state == .failed && !$0.isValid }
                ?? pairs.lastIndex { ($0.state == .frozen || $0.state == .waiting) && $0.priority < priority }
            guard let victim else { return .full }
            removed = pairs[victim]
            remove(at: victim)
        }
        var pair = CheckPair(id: nextID, base: base, remote: remote, foundation: foundation, priority: priority)
        nextID += 1
        if isStarted {
            let family = pairs.filter { $0.foundation == foundation }
            // RFC 8838 §12 rules 1 and 2.
            let isTop = family.allSatisfy { $0.priority < priority }
            if isTop || family.contains(where: { $0.state == .succeeded }) { pair.state = .waiting }
        }
        place(pair)
        return .added(pair, removed: removed)
    }

    /// Gives the initial states: of each foundation the best pair waits (RFC 8445 §6.1.2.6).
    mutating func start() {
        guard !isStarted else { return }
        isStarted = true
        var seen: Set<String> = []
        for index in pairs.indices where pairs[index].state == .frozen && seen.insert(pairs[index].foundation).inserted
        {
            pairs[index].state = .waiting
        }
    }

    /// Computes all priorities anew, after a change of role or of a candidate.
    mutating func reprioritise(_ priority: (CheckPair) -> (priority: UInt64, foundation: String)) {
        for index in pairs.indices { (pairs[index].priority, pairs[index].foundation) = priority(pairs[index]) }
        pairs.sort { ($0.priority, $1.id) > ($1.priority, $0.id) }
    }

    // MARK: Checking

    /// Takes the pair to check next, if any (RFC 8445 §6.1.4.2), and tells which were unfrozen for that.
    mutating func next() -> (pair: CheckPair?, isTriggered: Bool, unfrozen: [CheckPair]) {
        if !triggered.isEmpty, triggeredInARow < Self.maximumTriggeredInARow || !hasOrdinaryWork {
            let id = triggered.removeFirst()
            triggeredInARow += 1
            if let pair = self[id: id] { return (pair, true, []) }
        }
        triggeredInARow = 0
        var unfrozen: [CheckPair] = []
        if !pairs.contains(where: { $0.state == .waiting && !triggered.contains($0.id) }) {
            var busy = busyFoundations
            for index in pairs.indices where pairs[index].state == .frozen {
                guard busy.insert(pairs[index].foundation).inserted else { continue }
                pairs[index].state = .waiting
                unfrozen.append(pairs[index])
            }
        }
        return (pairs.first { $0.state == .waiting && !triggered.contains($0.id) }, false, unfrozen)
    }

    /// Puts a pair at the end of the triggered-check queue, once.
    mutating func trigger(_ id: Int) {
        update(id) { if $0.state != .succeeded { $0.state = .waiting } }
        if !triggered.contains(id) { triggered.append(id) }
    }

    /// Takes a pair off the triggered-check queue.
    mutating func untrigger(_ id: Int) {
        triggered.removeAll { $0 == id }
    }

    /// Lets frozen pairs of a foundation that works be checked (RFC 8445 §7.2.5.3.3); answers which.
    mutating func unfreeze(foundation: String) -> [CheckPair] {
        var unfrozen: [CheckPair] = []
        for index in pairs.indices where pairs[index].state == .frozen && pairs[index].foundation == foundation {
            pairs[index].state = .waiting
            unfrozen.append(pairs[index])
        }
        return unfrozen
    }

    /// Takes off the pairs that were not checked yet, but for these (RFC 8445 §8.1.2); answers them.
    mutating func conclude(keeping kept: Set<Int>) -> [CheckPair] {
        let dropped = pairs.filter { ($0.state == .frozen || $0.state == .waiting) && !kept.contains($0.id) }
        pairs.removeAll { ($0.state == .frozen || $0.state == .waiting) && !kept.contains($0.id) }
        triggered.removeAll { !kept.contains($0) }
        return dropped
    }

    private mutating func place(_ pair: CheckPair) {
        let index = pairs.firstIndex { $0.priority < pair.priority } ?? pairs.endIndex
        pairs.insert(pair, at: index)
    }

    /// Takes off all pairs with a remote candidate; answers them.
    mutating func remove(remote: Int) -> [CheckPair] {
        let removed = pairs.filter { $0.remote == remote }
        for pair in removed { untrigger(pair.id) }
        pairs.removeAll { $0.remote == remote }
        return removed
    }

    private mutating func remove(at index: Int) {
        untrigger(pairs[index].id)
        pairs.remove(at: index)
    }
}
