// SPDX-License-Identifier: Apache-2.0
internal import Compute
internal import Glibc
internal import Wire

/// Chooses tokens, one after the other, for one text.
///
/// The steps come in llama.cpp's order: bias, penalties, top-k, top-p, min-p, temperature, draw. So what is cut off does
/// not depend on the temperature, unlike with Hugging Face's transformers, which divide by it first. Among equal logits
/// the token with the smaller id goes first.
public struct Sampler: Sendable {
    /// How tokens are chosen.
    public let options: SamplingOptions
    /// What the draws depend on: the option, or what was drawn in its place.
    public let seed: UInt64
    /// Tokens are below this; a row of logits may be longer.
    public let vocabulary: Int

    private var entropy: Entropy
    /// Which of the last tokens `repetitionPenalty` looks at: how often each is among them, and all in a ring.
    private var recent: [Int32: Int32] = [:]
    private var ring: [Int32] = []
    private var oldest = 0
    /// How often each token was generated.
    private var generated: [Int32: Int32] = [:]
    /// Kept from token to token for its memory.
    private var candidates: [LogitRow.Candidate] = []
    private var weights: [Double] = []

    /// A sampler for a text.
    ///
    /// - Parameters:
    ///   - vocabulary: how many tokens there are; what a row holds beyond is not looked at.
    ///   - prompt: what the text begins with; only `repetitionPenalty` cares.
    public init(
        _ options: SamplingOptions, vocabulary: Int, prompt: some Sequence<Int32> = EmptyCollection()
    ) throws(SamplingError) {
        try options.validate(vocabulary: vocabulary)
        self.options = options
        self.vocabulary = vocabulary
        seed = options.seed ?? UInt64.random(in: .min ... .max)
        entropy = Entropy(seed: seed)
        for token in prompt { remember(token) }
    }

    /// Chooses the next token and remembers it.
    ///
    /// The row is changed: biases and penalties are applied in place. It must hold no NaN and no +∞; −∞ is a token that
    /// is not to be chosen.
    public mutating func next(_ logits: UnsafeMutableBufferPointer<Float>) throws(SamplingError) -> Int32 {
        let row = LogitRow(logits, limit: vocabulary)
        apply(to: row)
        let peak = try row.peak()
        let token = options.temperature == 0 ? peak.token : draw(from: row, peak)
        accept(token)
        return token
    }

    /// Remembers a token that was generated but chosen by someone else.
    public mutating func accept(_ token: Int32) {
        remember(token)
        if options.frequencyPenalty != 0 || options.presencePenalty != 0 { generated[token, default: 0] += 1 }
    }

    // MARK: Bias and penalties

    private mutating func remember(_ token: Int32) {
        guard options.repetitionPenalty != 1, options.repetitionWindow != 0 else { return }
        recent[token, default: 0] += 1
        guard let window = options.repetitionWindow else { return }
        if ring.count < window {
            ring.append(token)
            return
        }
        let forgotten = ring[oldest]
        ring[oldest] = token
        oldest = (oldest + 1) % window
        let left = (recent[forgotten] ?? 0) - 1
        recent[forgotten] = left > 0 ? left : nil
    }

    private func apply(to row: LogitRow) {
        for (token, bias) in options.logitBias where row.holds(token) { row[token] += bias }
        for token in recent.keys where row.holds(token) {
            // Dividing alone would make tokens with negative logits likelier.
            let logit = row[token]
            row[token] = logit > 0 ? logit / options.repetitionPenalty : logit * options.repetitionPenalty
        }
        for (token, count) in generated where row.holds(token) {
            row[token] -= Float(count) * options.frequencyPenalty + options.presencePenalty
        }
    }

    // MARK: Drawing

    private mutating func draw(from row: LogitRow, _ peak: LogitRow.Candidate) -> Int32 {
        let scale = 1 / options.temperature
        // A temperature of 1e-40 has no inverse.
        guard scale.isFinite else { return peak.token }
        if options.topK > 0, options.topK < row.count {
            row.collect(highest: options.topK, into: &candidates)
            if options.topP < 1 {
                let total = candidates.reduce(0) { $0 + exp(Double($1.logit - peak.logit)) }
                keepNucleus(of: total * Double(options.topP), peak.logit)
            }
        } else if options.topP < 1 {
            let target = row.sumOfExponentials(highest: peak.logit, scale: 1) * Double(options.topP)
            row.collect(reaching: target, below: peak.logit, into: &candidates)
            keepNucleus(of: target, peak.logit)
        } else if options.minP > 0 {
            row.collect(from: leastLogit(peak), into: &candidates)
        } else {
            let total = row.sumOfExponentials(highest: peak.logit, scale: scale)
            return row.place(of: fraction() * total, highest: peak.logit, scale: scale) ?? peak.token
        }
        if options.minP > 0 {
            let least = leastLogit(peak)
            candidates.removeAll { $0.logit < least }
        }
        weights.removeAll(keepingCapacity: true)
        var total = 0.0
        for candidate in candidates {
            total += exp(Double((candidate.logit - peak.logit) * scale))
            weights.append(total)
        }
        let target = fraction() * total
        let place = weights.firstIndex { $0 > target } ?? weights.count - 1
        return place >= 0 ? candidates[place].token : peak.token
    }

    /// The least logit that `minP` leaves.
    private func leastLogit(_ peak: LogitRow.Candidate) -> Float { peak.logit + log(options.minP) }

    /// Drops all candidates behind the one with which the weights reach `target`. They are in order.
    private mutating func keepNucleus(of target: Double, _ highest: Float) {
        var sum = 0.0
        for (index, candidate) in candidates.enumerated() {
            sum += exp(Double(candidate.logit - highest))
            if sum >= target {
                candidates.removeSubrange((index + 1)...)
                return
            }
        }
    }

    /// From 0 up to 1, of 53 bits.
    private mutating func fraction() -> Double { Double(entropy.next() >> 11) * 0x1p-53 }
}
