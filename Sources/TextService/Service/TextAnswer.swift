// SPDX-License-Identifier: Apache-2.0
internal import Inference

/// Has the texts of a request generated. Whoever cancels the task, or fails in taking a piece, ends that within a
/// token.
struct TextAnswer: Sendable {
    /// A piece of one of the texts: its number, what it says, and how likely its token was.
    typealias Piece = (index: Int, text: String, chance: TokenChance?)

    private let model: ServedModel
    private let request: TextRequest
    private let streams: [AsyncThrowingStream<GenerationEvent, any Error>]
    /// Texts of each prompt.
    private let choices: Int

    /// Puts a request before the engine.
    ///
    /// - Throws: ``APIError`` for what cannot be asked, and where too many wait.
    init(_ request: TextRequest, of model: ServedModel) throws(APIError) {
        self.model = model
        self.request = request
        choices = request.parameters.choices
        do {
            streams = try model.jobs(request).map { try model.engine.generate($0) }
        } catch {
            throw APIError(error, parameter: request.inputName)
        }
    }

    /// How many texts there will be.
    var count: Int { streams.count }

    /// Takes the texts as they come; answers what they took. Pieces of different texts come at the same time.
    func run(
        piece: @escaping @Sendable (Piece) async throws -> Void,
        finish: @escaping @Sendable (_ index: Int, _ reason: String) async throws -> Void
    ) async throws -> TextUsage {
        try await withThrowingTaskGroup(of: (Int, GenerationEnd).self) { group in
            for (index, stream) in streams.enumerated() {
                group.addTask { (index, try await take(stream, index, piece, finish)) }
            }
            var usage = TextUsage()
            while let (index, end) = try await group.next() {
                usage.completionTokens += end.generatedTokens
                // A prompt counts once, however many texts come of it.
                guard index % choices == 0 else { continue }
                usage.promptTokens += end.promptTokens
                usage.cachedTokens += end.reusedTokens
            }
            return usage
        }
    }

    private func take(
        _ stream: AsyncThrowingStream<GenerationEvent, any Error>, _ index: Int,
        _ piece: @Sendable (Piece) async throws -> Void, _ finish: @Sendable (Int, String) async throws -> Void
    ) async throws -> GenerationEnd {
        var events = stream.makeAsyncIterator()
        while let event = try await next(&events) {
            switch event {
            case .prompt: break
            case .token(let token):
                let chance = TokenChance(token, model.engine.tokenizer)
                if !token.text.isEmpty || chance != nil { try await piece((index, token.text, chance)) }
            case .end(let end):
                if !end.text.isEmpty { try await piece((index, end.text, nil)) }
                guard let reason = TextChoice.finish(end.reason) else { throw CancellationError() }
                try await finish(index, reason)
                return end
            }
        }
        // Only a cancelled stream ends without an end.
        throw CancellationError()
    }

    private func next(
        _ events: inout AsyncThrowingStream<GenerationEvent, any Error>.AsyncIterator
    ) async throws -> GenerationEvent? {
        do {
            return try await events.next()
        } catch {
            guard model.engine.isRunning else { throw APIError.unavailable("The engine has ended: \(error)") }
            throw APIError(error, parameter: request.inputName)
        }
    }
}
