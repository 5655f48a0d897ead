// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Hashing
public import Inference
public import RDRR
internal import Wire

/// A model that is asked over a network: an engine, and how it is talked to.
public struct ServedModel: Sendable {
    /// What requests call it.
    public let name: String
    /// What makes the text.
    public let engine: GenerationEngine
    /// How conversations are put; what is wrong with that where it does not go.
    let template: Result<ChatTemplate, TemplateError>
    /// Which bytes the model is.
    let fingerprint: String
    /// Since when it is served, in seconds since 1970.
    let created: Int64

    /// A model out of its folder, under the name that its manifest says unless given.
    public init(_ folder: ModelFolder, engine: GenerationEngine, name: String? = nil) {
        self.engine = engine
        self.name = name ?? folder.manifest.modelId
        template = Result { () throws(TemplateError) in try ChatTemplate(folder, tokenizer: engine.tokenizer) }
        fingerprint = "fp_\(folder.manifest.digest.hex.prefix(12))"
        created = Self.now
    }

    /// Why conversations cannot be had with it; `nil` where they can.
    public var chatProblem: String? {
        if case .failure(let error) = template { "\(error)" } else { nil }
    }

    static var now: Int64 { Int64(time(nil)) }

    /// The model as lists of models show it.
    var json: JSON {
        [
            "id": .string(name), "object": "model", "created": .integer(created), "owned_by": "dreamer",
            "context_length": .integer(Int64(engine.model.context)),
        ]
    }

    // MARK: What is asked of the engine

    /// What the engine is to do: for each prompt, as many texts as are wanted.
    func jobs(_ request: TextRequest) throws -> [GenerationRequest] {
        let parameters = request.parameters
        if let asked = parameters.model, asked != name { throw APIError.noModel(asked) }
        do {
            try parameters.sampling.validate(vocabulary: engine.tokenizer.count)
            let count = parameters.choices * request.input.count
            guard count <= engine.queueLimit else {
                throw APIError.invalid("n", "\(count) texts are more than may wait here, \(engine.queueLimit)")
            }
            var jobs: [GenerationRequest] = []
            for tokens in try prompts(request.input) {
                for choice in 0..<parameters.choices {
                    var sampling = parameters.sampling
                    // Texts of one prompt differ, and are the same each time.
                    sampling.seed = sampling.seed.map { $0 &+ UInt64(choice) }
                    jobs.append(
                        GenerationRequest(
                            prompt: tokens, sampling: sampling, maxTokens: parameters.maxTokens,
                            stops: parameters.stops,
                            topProbabilities: parameters.topProbabilities))
                }
            }
            return jobs
        } catch {
            throw APIError(error, parameter: request.inputName)
        }
    }

    private func prompts(_ input: TextRequest.Input) throws -> [[Int32]] {
        let tokenizer = engine.tokenizer
        // What does not fit is refused before all of it is made into tokens.
        let limit = engine.model.context
        switch input {
        case .conversation(let messages, let variables):
            let text = try template.get().render(
                messages, constants: tokenizer.templateConstants, variables: variables)
            return [try tokenizer.encode(text, addingSpecialTokens: false, limit: limit)]
        case .prompts(let prompts):
            return try prompts.map { prompt in
                switch prompt {
                case .tokens(let tokens): return tokens
                case .text(let text):
                    let tokens = try tokenizer.encode(text, addingSpecialTokens: true, limit: limit)
                    guard tokens.isEmpty else { return tokens }
                    // Of nothing a model can go on if there is a token that texts begin with.
                    return tokenizer.beginning.map { [$0] } ?? []
                }
            }
        }
    }
}
