// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// A request on its way.
struct Transaction: Sendable {
    /// What it is for.
    enum Purpose: Hashable, Sendable {
        case check(pair: Int, isNomination: Bool)
        case consent(pair: Int)
        case gather(request: Int)

        var pair: Int? {
            switch self {
            case .check(let pair, _), .consent(let pair): pair
            case .gather: nil
            }
        }
    }

    let id: STUNTransactionID
    let purpose: Purpose
    let base: Int
    let destination: SocketAddress
    let payload: [UInt8]
    /// PRIORITY, for the peer-reflexive candidate that the answer may show.
    let priority: UInt32
    /// The role that the request claims.
    let role: ICEAgent.Role
    let sentAt: Timestamp
    let rto: Duration
    /// How many copies may be sent in all.
    let copies: Int
    var sent = 1
    /// When the next copy is due, or, after the last, when the transaction has failed.
    var deadline = Timestamp.distantFuture
    /// No more copies, and silence means nothing (RFC 8445 §7.3.1.4).
    var isCancelled = false

    // RFC 8489 §6.2.1: Rc and Rm.
    static let maximumCopies = 7
    static let finalWait = 16

    /// The wait after the copy that was sent last.
    var wait: Duration {
        sent < copies ? rto * (1 << (sent - 1)) : rto * Self.finalWait
    }

    /// When no answer is waited for any more, had all copies been sent.
    var end: Timestamp { sentAt + rto * ((1 << (copies - 1)) - 1 + Self.finalWait) }
}

/// The requests on their way, in the order in which they were first sent.
struct TransactionTable: Sendable {
    private(set) var entries: [Transaction] = []

    /// Most transactions that one pair has at a time: the last, and cancelled ones that may still be answered.
    private static let maximumPerPair = 8

    func index(of id: STUNTransactionID) -> Int? {
        entries.firstIndex { $0.id == id }
    }

    /// Adds a transaction whose first copy leaves now.
    mutating func append(_ transaction: Transaction) {
        if let pair = transaction.purpose.pair, entries.count(where: { $0.purpose.pair == pair }) >= Self.maximumPerPair,
            let oldest = entries.firstIndex(where: { $0.purpose.pair == pair })
        {
            entries.remove(at: oldest)
        }
        entries.append(transaction)
        entries[entries.count - 1].deadline = transaction.sentAt + transaction.wait
    }

    mutating func remove(at index: Int) -> Transaction {
        entries.remove(at: index)
    }

    mutating func removeAll(where isOver: (Transaction) -> Bool = { _ in true }) {
        entries.removeAll(where: isOver)
    }

    /// Stops copies of the matching transactions and waits for answers until their end.
    mutating func cancel(where matches: (Transaction) -> Bool) {
        for index in entries.indices where !entries[index].isCancelled && matches(entries[index]) {
            entries[index].isCancelled = true
            entries[index].deadline = entries[index].end
        }
    }

    /// The earliest deadline.
    var nextDeadline: Timestamp? {
        var earliest: Timestamp?
        for entry in entries where earliest.map({ entry.deadline < $0 }) ?? true { earliest = entry.deadline }
        return earliest
    }

    /// What is due by now, the oldest first: a transaction to send once more, or one that is over and was removed.
    mutating func nextDue(now: Timestamp) -> (transaction: Transaction, isOver: Bool)? {
        guard let index = entries.firstIndex(where: { $0.deadline <= now }) else { return nil }
        guard !entries[index].isCancelled, entries[index].sent < entries[index].copies else {
            return (entries.remove(at: index), true)
        }
        entries[index].sent += 1
        entries[index].deadline = now + entries[index].wait
        return (entries[index], false)
    }
}
