// SPDX-License-Identifier: Apache-2.0

/// How the next token is chosen. As it is, the model's own distribution is drawn from.
public struct SamplingOptions: Hashable, Sendable {
    /// What logits are divided by before a token is drawn: 1 leaves the model's distribution, less sharpens it, 0 takes
    /// the likeliest token each time.
    public var temperature: Float = 1
    /// Only so many of the likeliest tokens are drawn from; 0 for all.
    public var topK = 0
    /// Only the likeliest tokens that together have this probability are drawn from, the one that reaches it included; 1
    /// for all.
    public var topP: Float = 1
    /// Only tokens of at least this part of the likeliest one's probability are drawn from; 0 for all.
    public var minP: Float = 0
    /// What positive logits of tokens that were there are divided by, and negative ones multiplied with; 1 for nothing.
    public var repetitionPenalty: Float = 1
    /// How many of the last tokens, the prompt's among them, `repetitionPenalty` looks at; `nil` for all.
    public var repetitionWindow: Int? = 64
    /// What is taken from a token's logit each time that it was generated.
    public var frequencyPenalty: Float = 0
    /// What is taken from a token's logit once it was generated.
    public var presencePenalty: Float = 0
    /// What is added to logits, by token; −∞ forbids one.
    public var logitBias: [Int32: Float] = [:]
    /// What the draws depend on: the same seed, the same text. `nil` for another text each time.
    public var seed: UInt64?

    /// The model's own distribution.
    public init() {}

    /// The likeliest token each time.
    public static var greedy: SamplingOptions {
        var options = SamplingOptions()
        options.temperature = 0
        return options
    }

    /// Checks that each option can be what it is, for a vocabulary of so many tokens.
    public func validate(vocabulary: Int) throws(SamplingError) {
        func require(
            _ isRight: Bool, _ name: String, _ value: @autoclosure () -> String, _ advice: @autoclosure () -> String
        ) throws(SamplingError) {
            guard !isRight else { return }
            throw SamplingError(.invalidOption, at: name, "\(value()) cannot be", advice: advice())
        }
        try require(
            temperature >= 0 && temperature.isFinite, "temperature", "\(temperature)",
            "give 0 for the likeliest token each time, 1 for the model's distribution, or another number from 0 on")
        try require(topK >= 0, "top-k", "\(topK)", "give a number of tokens, or 0 for all")
        try require(topP > 0 && topP <= 1, "top-p", "\(topP)", "give a number above 0, up to 1")
        try require(minP >= 0 && minP <= 1, "min-p", "\(minP)", "give a number from 0 to 1")
        try require(
            repetitionPenalty > 0 && repetitionPenalty.isFinite, "repetition penalty", "\(repetitionPenalty)",
            "give a number above 0; 1 is none")
        try require(
            (repetitionWindow ?? 0) >= 0, "repetition window", "\(repetitionWindow ?? 0)", "give a number of tokens")
        try require(frequencyPenalty.isFinite, "frequency penalty", "\(frequencyPenalty)", "give a number; 0 is none")
        try require(presencePenalty.isFinite, "presence penalty", "\(presencePenalty)", "give a number; 0 is none")
        for (token, bias) in logitBias.sorted(by: { $0.key < $1.key }) {
            try require(
                !bias.isNaN && bias < .infinity, "logit bias", "\(bias) for the token \(token)",
                "give a number, or minus infinity to forbid the token")
            try require(
                token >= 0 && Int(token) < vocabulary, "logit bias", "the token \(token)",
                "tokens are numbers from 0 to \(vocabulary - 1)")
        }
    }
}
