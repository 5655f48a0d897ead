// SPDX-License-Identifier: Apache-2.0

/// How often a request is answered on a path where nothing filters: what tells a filter from lost packets.
struct LossEstimate: Hashable, Sendable {
    /// Copies of requests that were sent.
    private(set) var copies = 0
    /// Requests that were answered.
    private(set) var answers = 0

    /// Notes a request that should be answered and is over. Of the copies of one that was answered the last counts as
    /// the one that was, which errs on the safe side.
    mutating func note(copies: Int, isAnswered: Bool) {
        self.copies += copies
        answers += isAnswered ? 1 : 0
    }

    /// Silence is taken for a fact where chance would do it less often than this.
    static let tolerance = 1e-6
    /// Fewer silent attempts than this prove nothing, and more than this are not made.
    static let attempts = 6...40

    /// How many attempts in a row must stay without an answer until that is no chance; `nil` where that is too many.
    ///
    /// The rate of answers is taken at the lower end of Wilson's interval for 95 % on one side.
    var attemptsNeeded: Int? {
        guard answers > 0 else { return nil }
        let (n, z) = (Double(copies), 1.64)
        let rate = Double(min(answers, copies)) / n
        let spread = z * ((rate * (1 - rate) + z * z / (4 * n)) / n).squareRoot()
        let lowest = (rate + z * z / (2 * n) - spread) / (1 + z * z / n)
        var chance = 1.0
        for attempts in 1...Self.attempts.upperBound {
            chance *= 1 - lowest
            if chance <= Self.tolerance { return max(attempts, Self.attempts.lowerBound) }
        }
        return nil
    }
}
