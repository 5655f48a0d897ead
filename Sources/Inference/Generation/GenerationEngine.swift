// SPDX-License-Identifier: Apache-2.0
internal import Compute
internal import Glibc

/// Serves requests for text with one model: several at a time where the model keeps several sequences, the others in turn.
///
/// All run on one thread of the engine's own. Tokens of several sequences go through the network together; a prompt that
/// begins like what a sequence holds goes on from there.
public final class GenerationEngine: Sendable {
    /// The model that is asked.
    public let model: LanguageModel
    /// Its vocabulary.
    public let tokenizer: Tokenizer
    /// How many requests may wait for their turn.
    public let queueLimit: Int
    private let queue: GenerationQueue

    /// Starts the engine's thread.
    ///
    /// - Parameter queueLimit: how many requests may wait for their turn; more are refused.
    public init(_ model: LanguageModel, tokenizer: Tokenizer, queueLimit: Int = 64) throws(InferenceError) {
        guard tokenizer.count <= model.architecture.vocabulary else {
            throw InferenceError(
                .mismatch, at: "vocabulary",
                "the vocabulary has \(tokenizer.count) tokens, the network knows \(model.architecture.vocabulary)",
                advice: "network and vocabulary are not of one model: get the model again")
        }
        self.model = model
        self.tokenizer = tokenizer
        self.queueLimit = queueLimit
        queue = GenerationQueue(limit: queueLimit)
        let worker = Unmanaged.passRetained(GenerationLoop(model, queue))
        var thread = pthread_t()
        let status = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<GenerationLoop>.fromOpaque(argument).takeRetainedValue().run() }
                return nil
            }, worker.toOpaque())
        guard status == 0 else {
            worker.release()
            throw InferenceError(
                .device, at: "engine", String(cString: strerror(status)), advice: "end other programs")
        }
        pthread_detach(thread)
    }

    deinit { queue.close() }

    /// How many requests wait for their turn.
    public var waiting: Int { queue.count }
    /// How many requests have their turn now.
    public var active: Int { queue.active }
    /// Whether requests are taken: not any more after a fault of the device.
    public var isRunning: Bool { !queue.hasEnded }

    /// Ends every request with what it has: each is told why it ended, and how fast it was. One that waits for weights ends
    /// when they come; ``LanguageModel/cancelLoading()`` ends that wait.
    public func cancelAll() {
        queue.cancelAll()
        queue.wake()
    }

    /// Has text generated. Whoever stops listening cancels it.
    ///
    /// - Throws: ``InferenceError`` for a prompt that there is no room for and when too many requests wait;
    ///   ``SamplingError`` for options that cannot be. The stream throws what goes wrong later.
    public func generate(_ request: GenerationRequest) throws -> AsyncThrowingStream<GenerationEvent, any Error> {
        guard !request.prompt.isEmpty else {
            throw InferenceError(
                .invalidOption, at: "prompt", "there is no token to go on from", advice: "give some text")
        }
        guard request.prompt.count < model.context else {
            throw InferenceError(
                .tooLong, at: "prompt",
                "its \(request.prompt.count) tokens leave no room in the context of "
                    + "\(model.context)",
                advice: "shorten the prompt, or load the model with a longer context if it can have one")
        }
        let vocabulary = model.architecture.vocabulary
        if let id = request.prompt.first(where: { $0 < 0 || $0 >= vocabulary }) {
            throw InferenceError(
                .invalidOption, at: "prompt", "there is no token \(id)", advice: "tokens are below \(vocabulary)")
        }
        guard request.maxTokens ?? 1 > 0 else {
            throw InferenceError(
                .invalidOption, at: "max tokens", "\(request.maxTokens ?? 0) is no number of tokens",
                advice: "ask for at least one")
        }
        let (stream, continuation) = AsyncThrowingStream<GenerationEvent, any Error>.makeStream()
        let job = try GenerationJob(
            request, tokenizer: tokenizer, vocabulary: vocabulary, continuation: continuation)
        let queue = queue
        continuation.onTermination = { [weak job] reason in
            guard case .cancelled = reason else { return }
            job?.cancel()
            queue.wake()
        }
        try queue.add(job)
        return stream
    }
}
