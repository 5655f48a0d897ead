// SPDX-License-Identifier: Apache-2.0
public import Inference
public import Wire

/// A request for text: `POST /v1/chat/completions` or `POST /v1/completions`.
public struct TextRequest: Sendable {
    /// The two ways to ask.
    public enum Kind: Hashable, Sendable {
        /// A conversation is gone on with.
        case chat
        /// A text is gone on with.
        case completion
    }

    /// A text to go on with.
    public enum Prompt: Hashable, Sendable {
        /// As text.
        case text(String)
        /// As tokens.
        case tokens([Int32])
    }

    /// What is gone on with.
    public enum Input: Hashable, Sendable {
        /// A conversation, and what else the chat template is told.
        case conversation([ChatMessage], variables: JSON.Object)
        /// Texts, at least one.
        case prompts([Prompt])

        /// How many prompts these are.
        var count: Int { if case .prompts(let prompts) = self { prompts.count } else { 1 } }
    }

    /// How it is asked.
    public let kind: Kind
    /// What is gone on with.
    public let input: Input
    /// How.
    public let parameters: TextParameters

    /// The field that the input stands in.
    var inputName: String { kind == .chat ? "messages" : "prompt" }

    /// Reads the body of a request.
    public init(_ kind: Kind, _ json: JSON) throws(APIError) {
        self.kind = kind
        let fields = try RequestFields(json)
        var parameters = try TextParameters(fields)
        switch kind {
        case .chat: input = try Self.chat(fields, &parameters)
        case .completion: input = try Self.completion(fields, &parameters)
        }
        self.parameters = parameters
    }

    // MARK: Conversations

    private static func chat(_ fields: RequestFields, _ parameters: inout TextParameters) throws(APIError) -> Input {
        // The newer name counts.
        for name in ["max_tokens", "max_completion_tokens"] {
            if let most = try fields.integer(name, in: 1 ... .max) { parameters.maxTokens = most }
        }
        let top = try fields.integer("top_logprobs", in: 0...TextParameters.mostProbabilities)
        if try fields.bool("logprobs") {
            parameters.topProbabilities = top ?? 0
        } else if top != nil {
            throw .invalid("top_logprobs", "it goes with logprobs alone")
        }
        try fields.refuse("modalities", unless: { $0 == ["text"] }, "text alone is given")
        try fields.refuse("audio", unless: { _ in false }, "text alone is given")
        var variables: JSON.Object = [:]
        if let value = fields["chat_template_kwargs"] {
            guard let object = value.object else { throw .invalid("chat_template_kwargs", "an object was expected") }
            variables = object
        }
        guard let value = fields["messages"] else { throw .invalid("messages", "a list of messages was expected") }
        do {
            return .conversation(try ChatMessage.conversation(openAI: value), variables: variables)
        } catch {
            throw APIError(400, "\(error)", parameter: error.place, code: "invalid_value")
        }
    }

    // MARK: Texts

    private static func completion(
        _ fields: RequestFields, _ parameters: inout TextParameters
    ) throws(APIError) -> Input {
        // Sixteen is what OpenAI's interface takes where nothing is said.
        parameters.maxTokens = try fields.integer("max_tokens", in: 1 ... .max) ?? 16
        parameters.topProbabilities = try fields.integer("logprobs", in: 0...TextParameters.mostProbabilities)
        try fields.refuse("echo", unless: { $0 == false }, "the prompt is not given back: leave it out")
        try fields.refuse("suffix", unless: { $0 == "" }, "text is not filled in between others: leave it out")
        if let best = try fields.integer("best_of", in: 1 ... .max), best != parameters.choices {
            throw .unsupported("best_of", "texts are not chosen among: leave it out")
        }
        guard let value = fields["prompt"] else {
            throw .invalid("prompt", "a text was expected, a list of texts, or tokens")
        }
        let prompts = try prompts(value)
        guard prompts.count * parameters.choices <= TextParameters.mostChoices else {
            throw .invalid(
                "prompt",
                "\(prompts.count) prompts with \(parameters.choices) texts each are more than "
                    + "\(TextParameters.mostChoices) texts")
        }
        return .prompts(prompts)
    }

    private static func prompts(_ value: JSON) throws(APIError) -> [Prompt] {
        if let text = value.string { return [.text(text)] }
        guard let list = value.array, let first = list.first else {
            throw .invalid("prompt", "a text was expected, a list of texts, or tokens")
        }
        if first.integer != nil { return [.tokens(try tokens(list))] }
        guard list.count <= TextParameters.mostChoices else {
            throw .invalid("prompt", "\(list.count) prompts are more than \(TextParameters.mostChoices)")
        }
        var prompts: [Prompt] = []
        for entry in list {
            if let text = entry.string {
                prompts.append(.text(text))
            } else if let ids = entry.array {
                prompts.append(.tokens(try tokens(ids)))
            } else {
                throw .invalid("prompt", "a text was expected, a list of texts, or tokens")
            }
        }
        return prompts
    }

    private static func tokens(_ list: [JSON]) throws(APIError) -> [Int32] {
        var tokens: [Int32] = []
        tokens.reserveCapacity(list.count)
        for entry in list {
            guard let id = entry.integer, id >= 0, let token = Int32(exactly: id) else {
                throw .invalid("prompt", "ids of tokens were expected")
            }
            tokens.append(token)
        }
        return tokens
    }
}
