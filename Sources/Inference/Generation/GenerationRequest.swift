// SPDX-License-Identifier: Apache-2.0

/// What a model is to continue, and how.
public struct GenerationRequest: Sendable {
    /// The tokens to go on from; at least one.
    public var prompt: [Int32]
    /// How tokens are chosen.
    public var sampling: SamplingOptions
    /// The most tokens to generate; as many as there is room for when `nil`.
    public var maxTokens: Int?
    /// Texts that end the generation; they are not given out.
    public var stops: [String]
    /// How many of the likeliest tokens are told with each token; `nil` when no probabilities are wanted.
    public var topProbabilities: Int?
    /// Whether tokens that end a text are taken like others.
    public var ignoresEnd: Bool

    /// A request.
    public init(
        prompt: [Int32], sampling: SamplingOptions = SamplingOptions(), maxTokens: Int? = nil, stops: [String] = [],
        topProbabilities: Int? = nil, ignoresEnd: Bool = false
    ) {
        self.prompt = prompt
        self.sampling = sampling
        self.maxTokens = maxTokens
        self.stops = stops
        self.topProbabilities = topProbabilities
        self.ignoresEnd = ignoresEnd
    }
}

/// What happens to a request, in order; `end` is the last.
public enum GenerationEvent: Sendable {
    /// So many tokens of the prompt have gone through the network.
    case prompt(done: Int, of: Int)
    /// A token was chosen.
    case token(GeneratedToken)
    /// Nothing more comes.
    case end(GenerationEnd)
}

/// A token that was chosen.
public struct GeneratedToken: Sendable {
    /// Its id.
    public let id: Int32
    /// The text that is certain now: often that of the token, and nothing while a character is not whole or a text that
    /// ends the generation may have begun.
    public let text: String
    /// How likely the model held it, as a natural logarithm, and what it held likelier; `nil` when that was not asked for.
    public let probabilities: (own: Float, top: [TokenProbabilities.Entry])?
}

/// How a generation came to its end, and what it took.
public struct GenerationEnd: Sendable {
    /// Why nothing more comes.
    public enum Reason: String, Sendable {
        /// The model ended its text.
        case endOfText
        /// A text came that was to end it.
        case stopSequence
        /// As many tokens came as were asked for.
        case length
        /// There is no room for more.
        case contextFull
        /// Whoever asked does not listen any more.
        case cancelled
    }

    /// Why nothing more comes.
    public let reason: Reason
    /// Text that was held back and belongs to nothing that ends a generation.
    public let text: String
    /// Tokens of the prompt.
    public let promptTokens: Int
    /// How many of them were known from a request before.
    public let reusedTokens: Int
    /// Tokens that were generated, the one that ended the text included.
    public let generatedTokens: Int
    /// From the request's turn to the first token.
    public let promptDuration: Duration
    /// From the first token to the last.
    public let decodeDuration: Duration

    /// Tokens of the prompt a second, those that were known not counted; `nil` where there is nothing to count.
    public var promptRate: Double? { Self.rate(promptTokens - reusedTokens, promptDuration) }
    /// Tokens generated a second, the first one not counted.
    public var decodeRate: Double? { Self.rate(generatedTokens - 1, decodeDuration) }

    private static func rate(_ count: Int, _ duration: Duration) -> Double? {
        let seconds = duration / .seconds(1)
        return count > 0 && seconds > 0 ? Double(count) / seconds : nil
    }
}
