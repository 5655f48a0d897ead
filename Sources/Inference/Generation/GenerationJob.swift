// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

/// A request on its way, with what it needs from token to token. The engine's thread alone uses it, but for
/// the cancellation.
final class GenerationJob: @unchecked Sendable {
    // Unchecked: see above; `cancelled` is atomic.

    typealias Continuation = AsyncThrowingStream<GenerationEvent, any Error>.Continuation

    let request: GenerationRequest
    private let cancelled = Atomic<Bool>(false)
    /// The last token that was chosen, which has not gone through the network yet.
    private(set) var pending: Int32?
    /// Tokens of the prompt that are kept.
    var promptDone = 0

    private let continuation: Continuation
    private let tokenizer: Tokenizer
    private let vocabulary: Int
    private var sampler: Sampler
    private var detokenizer: Detokenizer
    private var stops: StopSequences
    private var generated = 0
    private var reused = 0
    private var began: ContinuousClock.Instant?
    private var firstToken: ContinuousClock.Instant?
    private var lastToken: ContinuousClock.Instant?

    init(
        _ request: GenerationRequest, tokenizer: Tokenizer, vocabulary: Int, continuation: Continuation
    ) throws(SamplingError) {
        self.request = request
        self.tokenizer = tokenizer
        self.continuation = continuation
        // A network may have rows that no token belongs to.
        self.vocabulary = min(vocabulary, tokenizer.count)
        sampler = try Sampler(request.sampling, vocabulary: self.vocabulary, prompt: request.prompt)
        detokenizer = Detokenizer(tokenizer)
        stops = try StopSequences(request.stops)
    }

    /// Whether nobody listens any more.
    var isCancelled: Bool { cancelled.load(ordering: .relaxed) }

    /// Nobody listens any more; from any thread.
    func cancel() { cancelled.store(true, ordering: .relaxed) }

    /// The request's turn has come, `reused` tokens of its prompt being kept already.
    func begin(reused: Int) {
        began = .now
        self.reused = reused
        promptDone = reused
        tellPrompt()
    }

    func tellPrompt() { continuation.yield(.prompt(done: promptDone, of: request.prompt.count)) }

    /// Chooses the next token from a row of logits; returns why it was the last, if it was.
    func choose(from row: UnsafeMutableBufferPointer<Float>, hasRoom: Bool) throws -> GenerationEnd.Reason? {
        var held: (TokenProbabilities, [Float])?
        if let top = request.topProbabilities {
            held = (try TokenProbabilities(row, vocabulary: vocabulary, top: top), Array(row))
        }
        let token = try sampler.next(row)
        let now = ContinuousClock.now
        if firstToken == nil { firstToken = now }
        lastToken = now
        generated += 1
        if tokenizer.endOfGeneration.contains(token), !request.ignoresEnd { return .endOfText }
        let text = stops.append(detokenizer.append(token))
        let probabilities = held.map { ($0.logProbability(ofLogit: $1[Int(token)]), $0.top) }
        continuation.yield(
            .token(GeneratedToken(id: token, text: text, probabilities: probabilities.map { (own: $0, top: $1) })))
        if stops.found != nil { return .stopSequence }
        if let most = request.maxTokens, generated >= most { return .length }
        guard hasRoom else { return .contextFull }
        pending = token
        return nil
    }

    func end(_ reason: GenerationEnd.Reason) {
        var text = ""
        if stops.found == nil {
            text = stops.append(detokenizer.finish())
            if stops.found == nil { text += stops.finish() }
        }
        let start = began ?? .now
        let first = firstToken ?? .now
        continuation.yield(
            .end(
                GenerationEnd(
                    reason: reason, text: text, promptTokens: request.prompt.count, reusedTokens: reused,
                    generatedTokens: generated, promptDuration: first - start,
                    decodeDuration: (lastToken ?? first) - first)))
        continuation.finish()
    }

    func fail(_ error: any Error) { continuation.finish(throwing: error) }
}
