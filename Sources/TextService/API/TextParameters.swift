// SPDX-License-Identifier: Apache-2.0
public import Inference
internal import Wire

/// What requests of both kinds say about the text that is wanted.
public struct TextParameters: Hashable, Sendable {
    /// The model that is asked; `nil` for whichever is served.
    public var model: String?
    /// The most tokens to generate; as many as there is room for when `nil`.
    public var maxTokens: Int?
    /// How tokens are chosen.
    public var sampling = SamplingOptions()
    /// Texts that end the generation.
    public var stops: [String] = []
    /// How many texts are wanted for each prompt.
    public var choices = 1
    /// Whether the text is wanted in pieces as it comes.
    public var isStreamed = false
    /// Whether a stream ends with what it took.
    public var includesUsage = false
    /// How many of the likeliest tokens are told with each token; `nil` for no probabilities.
    public var topProbabilities: Int?

    /// The most texts that one request may ask for.
    public static let mostChoices = 64
    /// The most likeliest tokens that are told.
    public static let mostProbabilities = 20

    /// Reads the fields that both kinds share.
    init(_ fields: RequestFields) throws(APIError) {
        model = try fields.string("model")
        isStreamed = try fields.bool("stream")
        if let options = fields["stream_options"] {
            guard isStreamed else { throw .invalid("stream_options", "it goes with stream alone") }
            includesUsage = try RequestFields(options).bool("include_usage")
        }
        choices = try fields.integer("n", in: 1...Self.mostChoices) ?? 1
        try readStops(fields)
        try readSampling(fields)
        try fields.refuse(
            "tools", unless: { $0.array?.isEmpty ?? false }, "functions cannot be called: leave it out")
        try fields.refuse(
            "functions", unless: { $0.array?.isEmpty ?? false }, "functions cannot be called: leave it out")
        try fields.refuse(
            "tool_choice", unless: { $0 == "none" || $0 == "auto" }, "functions cannot be called: leave it out")
        try fields.refuse(
            "response_format", unless: { $0["type"] == "text" }, "text alone is given, without any form")
    }

    private mutating func readStops(_ fields: RequestFields) throws(APIError) {
        guard let value = fields["stop"] else { return }
        let list = value.array ?? [value]
        for entry in list {
            guard let text = entry.string else { throw .invalid("stop", "a text was expected, or a list of texts") }
            stops.append(text)
        }
        do {
            _ = try StopSequences(stops)
        } catch {
            throw .invalid("stop", error.message)
        }
    }

    private mutating func readSampling(_ fields: RequestFields) throws(APIError) {
        sampling.temperature = try fields.number("temperature", in: 0...2) ?? 1
        sampling.topP = try fields.number("top_p", in: 0...1) ?? 1
        // −1 stands for all with servers that other programs were written for.
        sampling.topK = max(0, try fields.integer("top_k", in: -1 ... .max) ?? 0)
        sampling.minP = try fields.number("min_p", in: 0...1) ?? 0
        if let penalty = try fields.number("repetition_penalty", in: 0.01...100) {
            sampling.repetitionPenalty = penalty
        }
        sampling.frequencyPenalty = try fields.number("frequency_penalty", in: -2...2) ?? 0
        sampling.presencePenalty = try fields.number("presence_penalty", in: -2...2) ?? 0
        sampling.seed = try fields.integer("seed", in: .min ... .max).map { UInt64(bitPattern: Int64($0)) }
        if sampling.topP == 0 {
            // The likeliest token alone reaches nothing at all.
            sampling.topP = 1
            sampling.topK = 1
        }
        guard let bias = fields["logit_bias"] else { return }
        guard let object = bias.object else { throw .invalid("logit_bias", "an object was expected: numbers by token") }
        for (name, value) in object {
            guard let token = Int32(name), token >= 0, let number = value.number, (-100...100).contains(number) else {
                throw .invalid(
                    "logit_bias", "“\(name.prefix(50))”: ids of tokens were expected, with numbers from -100 to 100")
            }
            // OpenAI's −100 means never.
            sampling.logitBias[token] = number == -100 ? -.infinity : Float(number)
        }
    }
}
