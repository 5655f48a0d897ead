// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// How likely the model itself holds tokens, before any bias, penalty or temperature: natural logarithms.
public struct TokenProbabilities: Hashable, Sendable {
    /// A token and the logarithm of its probability.
    public struct Entry: Hashable, Sendable {
        /// The token.
        public let token: Int32
        /// The natural logarithm of its probability; −∞ for what is forbidden.
        public let logProbability: Float
    }

    /// The likeliest tokens, best first.
    public let top: [Entry]
    private let highest: Float
    private let logOfSum: Double

    /// What a row of logits says. The row is not changed; take this before a sampler changes it.
    ///
    /// - Parameters:
    ///   - vocabulary: how many tokens there are; what the row holds beyond is not looked at.
    ///   - top: how many of the likeliest tokens are wanted.
    public init(_ logits: UnsafeMutableBufferPointer<Float>, vocabulary: Int, top: Int) throws(SamplingError) {
        let row = LogitRow(logits, limit: vocabulary)
        highest = try row.peak().logit
        logOfSum = log(row.sumOfExponentials(highest: highest, scale: 1))
        var candidates: [LogitRow.Candidate] = []
        if top > 0 { row.collect(highest: min(top, row.count), into: &candidates) }
        let (highest, logOfSum) = (highest, logOfSum)
        self.top = candidates.map {
            Entry(token: $0.token, logProbability: Float(Double($0.logit - highest) - logOfSum))
        }
    }

    /// The logarithm of the probability of a token with this logit in the same row.
    public func logProbability(ofLogit logit: Float) -> Float { Float(Double(logit - highest) - logOfSum) }
}
