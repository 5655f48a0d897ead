// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Compute
import Dispatch
import Glibc
import Inference
import RDRR
import Wire

/// `dreamer generate DIR --prompt TEXT`
struct GenerateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate",
        abstract: "Have a model go on from a prompt; prints the text as it comes.",
        discussion: """
            Ctrl-C ends the text. What it took is told on standard error. With a link the model is fetched meanwhile, layers in \
            the order in which they are needed; what came stays in the folder.
            """)

    @Argument(help: "The folder with manifest.json, or a link (magnet:…) to fetch it by.")
    var folder: String

    @Option(name: .shortAndLong, help: "With a link: the folder to put the model into.")
    var output: String?

    @Option(help: "The text to go on from; standard input unless given.")
    var prompt: String?

    @Flag(help: "Take the prompt for what a user says, and put it into the model's chat template.")
    var chat = false

    @Option(help: "With --chat: what the model is told before.")
    var system: String?

    @Option(
        name: .customLong("max-tokens"), help: "The most tokens to generate; as many as there is room for unless given."
    )
    var maxTokens: Int?

    @Option(name: .customLong("stop"), help: "A text that ends the generation (repeatable).")
    var stops: [String] = []

    @OptionGroup var sampling: SamplingArguments
    @OptionGroup var inference: InferenceOptions
    @OptionGroup var fetching: FetchOptions

    @Option(
        help:
            "Generate nothing: write the logits at each token of the prompt to this file, float32, positions × vocabulary."
    )
    var logits: String?

    @Flag(help: "Print text, tokens and statistics as JSON.")
    var json = false

    @Flag(help: "Tell nothing but the text.")
    var quiet = false

    func validate() throws {
        if system != nil, !chat { throw ValidationError("--system is part of a chat: add --chat") }
        if !ArrivingModel.isLink(folder), let name = output != nil ? "--output" : fetching.givenName {
            throw ValidationError("\(name) is for a model that is fetched by a link: leave it out with a folder")
        }
        if let maxTokens, maxTokens < 1 { throw ValidationError("--max-tokens \(maxTokens): give at least 1") }
        do {
            try sampling.options.validate(vocabulary: .max)
            _ = try StopSequences(stops)
        } catch {
            throw ValidationError("\(error)")
        }
    }

    func run() async throws {
        let command = self
        let model = ArrivingModel.isLink(folder) ? nil : try ModelFolder(opening: folder)
        // Before Ctrl-C is watched for: nothing else ends a wait for what somebody types.
        let text = try prompt.map { Array($0.utf8) } ?? StandardInput.bytes(limit: Tokenizer.longestText)
        try await StopRequest.watch { stop in
            if let model { return try await command.generate(model, nil, text, stop) }
            try await ArrivingModel(source: command.folder, output: command.output, options: command.fetching).use(
                note: { if !command.quiet { Terminal.note($0) } }
            ) { try await command.generate($0, $1, text, stop) }
        }
    }

    private func generate(
        _ source: ModelFolder, _ pipeline: ModelPipeline?, _ text: [UInt8], _ stop: StopRequest
    ) async throws {
        let started = Clock.seconds
        let tokenizer = try Tokenizer(source)
        let tokens = try promptTokens(text, source, tokenizer)
        let batch = 128
        let options = inference.modelOptions(outputs: logits == nil ? nil : batch)
        let note = { (text: String) in if !quiet { Terminal.note(text) } }
        let progress = ArrivalProgress()
        if quiet { progress.end() }
        let (model, device) =
            if let pipeline {
                try await inference.load(source, options, pipeline: pipeline, progress: progress, note: note)
            } else {
                try await inference.load(source, options, note: note)
            }
        let memory = model.executable.memory
        let loaded = Clock.seconds - started
        if let logits {
            stop.answer { model.cancelLoading() }
            // Not on a thread of tasks: weights may still be on their way, and tasks bring them.
            return try await withCheckedThrowingContinuation { continuation in
                DispatchQueue(label: "logits").async {
                    continuation.resume(with: Swift.Result { try write(tokens, of: model, to: logits, stop) })
                }
            }
        }

        let engine = try GenerationEngine(model, tokenizer: tokenizer)
        var sampling = sampling.options
        // Told at the end, so that the text can be had again.
        let seed = sampling.seed ?? .random(in: .min ... .max)
        sampling.seed = seed
        let stream = try engine.generate(
            GenerationRequest(prompt: tokens, sampling: sampling, maxTokens: maxTokens, stops: stops))
        stop.answer {
            engine.cancelAll()
            model.cancelLoading()
        }
        var result = Result()
        do {
            try await show(stream, progress, &result)
        } catch  where stop.isMade {
            // What was waited for when Ctrl-C came does not come any more.
            progress.end()
        }
        tell(
            result, promptTokens: tokens.count, seed: sampling.temperature > 0 ? seed : nil, model, device,
            memory: result.end == nil ? memory : model.executable.memory, loaded: loaded)
    }

    // MARK: The prompt

    private func promptTokens(
        _ bytes: [UInt8], _ source: ModelFolder, _ tokenizer: Tokenizer
    ) throws -> [Int32] {
        // More than that cannot fit any context that the model has; said before all of it is made.
        let limit = (try? ModelArchitecture(source).context) ?? .max
        if chat {
            let template = try ChatTemplate(source, tokenizer: tokenizer)
            var messages: [ChatMessage] = []
            if let system { messages.append(ChatMessage(role: "system", content: system)) }
            messages.append(ChatMessage(role: "user", content: String(decoding: bytes, as: UTF8.self)))
            let text = try template.render(messages, constants: tokenizer.templateConstants)
            return try tokenizer.encode(text, addingSpecialTokens: false, limit: limit)
        }
        let text = MarkedText(repairing: bytes, isTrusted: false)
        let tokens = try tokenizer.encode(text, addingSpecialTokens: true, limit: limit)
        guard tokens.isEmpty else { return tokens }
        // Of nothing a model can go on if there is a token that texts begin with.
        guard let beginning = tokenizer.beginning else {
            throw CommandFailure("the prompt is empty, and the model has no token to begin with: give some text")
        }
        return [beginning]
    }

    // MARK: Text

    private struct Result {
        var text = ""
        var tokens: [Int32] = []
        var end: GenerationEnd?
    }

    private func show(
        _ stream: AsyncThrowingStream<GenerationEvent, any Error>, _ progress: ArrivalProgress, _ result: inout Result
    ) async throws {
        func add(_ text: String) throws {
            result.text += text
            // Whoever read the text is gone, or the disk is full: more of it is of no use.
            if !json, !Terminal.outputText(text) {
                throw CommandFailure("standard output: \(String(cString: strerror(errno)))")
            }
        }
        for try await event in stream {
            switch event {
            case .prompt(let done, let count):
                if Terminal.isInteractive, !quiet, count > 512 {
                    Terminal.status(done < count ? "reading the prompt: \(done) of \(count) tokens" : "")
                }
            case .token(let token):
                result.tokens.append(token.id)
                progress.end()
                try add(token.text)
            case .end(let end):
                progress.end()
                try add(end.text)
                result.end = end
            }
        }
        if !json, !result.text.hasSuffix("\n") { Terminal.outputText("\n") }
    }

    private func tell(
        _ result: Result, promptTokens: Int, seed: UInt64?, _ model: LanguageModel, _ device: any ComputeDevice,
        memory: MemoryUse,
        loaded: Double
    ) {
        let peak = MeasuredProcess.status("VmHWM", of: "self")
        if json {
            var object: JSON.Object = [
                "text": .string(result.text), "tokens": .array(result.tokens.map { .integer(Int64($0)) }),
                "reason": .string(result.end?.reason.rawValue ?? GenerationEnd.Reason.cancelled.rawValue),
                "promptTokens": .integer(Int64(promptTokens)), "generatedTokens": .integer(Int64(result.tokens.count)),
                "device": .string(device.name), "loadSeconds": .number(loaded),
                "weightBytes": .integer(Int64(memory.weights)), "cacheBytes": .integer(Int64(memory.caches)),
                "workingBytes": .integer(Int64(memory.working)), "peakBytes": .integer(Int64(peak)),
            ]
            if let seed { object["seed"] = .string("\(seed)") }
            if let rate = result.end?.promptRate { object["promptTokensPerSecond"] = .number(rate) }
            if let rate = result.end?.decodeRate { object["tokensPerSecond"] = .number(rate) }
            Terminal.output(JSON.object(object).serialized())
            return
        }
        guard !quiet else { return }
        func rate(_ value: Double?) -> String { value.map { " (\(Units.fixed($0, 1)) a second)" } ?? "" }
        let reason =
            switch result.end?.reason {
            case .endOfText: "the model ended it"
            case .stopSequence: "a text that ends it came"
            case .length: "as many as asked for"
            case .contextFull: "the context of \(model.context) tokens is full"
            case .cancelled, nil: "stopped"
            }
        Terminal.note(
            """
            prompt: \(promptTokens) tokens\(rate(result.end?.promptRate)); generated: \(result.tokens.count) tokens\
            \(rate(result.end?.decodeRate))\(seed.map { ", seed \($0)" } ?? ""), \(reason)
            loaded in \(Units.duration(loaded)); memory: weights \(Units.bytes(memory.weights)), keys and values up to \
            \(Units.bytes(memory.caches)), working \(Units.bytes(memory.working)); at most \(Units.bytes(peak)) in all
            """)
    }

    // MARK: Logits

    /// Writes a row for each token, after all tokens before it.
    private func write(_ tokens: [Int32], of model: LanguageModel, to path: String, _ stop: StopRequest) throws {
        guard tokens.count <= model.context else {
            throw CommandFailure("the prompt has \(tokens.count) tokens, the context \(model.context): shorten it")
        }
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw CommandFailure("\(path): \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        var row = [Float](repeating: 0, count: model.architecture.vocabulary)
        let size = model.executable.options.tokens
        for start in stride(from: 0, to: tokens.count, by: size) {
            if stop.isMade { throw CancellationError() }
            var batch = Batch()
            let range = start..<min(start + size, tokens.count)
            for index in range { batch.append(tokens[index], position: index, wantsOutput: true) }
            try model.run(batch)
            for index in range {
                var span = row.mutableSpan
                try model.executable.read(model.logits, row: index - start, into: &span)
                try row.withUnsafeBytes { bytes in
                    guard Glibc.write(descriptor, bytes.baseAddress, bytes.count) == bytes.count else {
                        throw CommandFailure("\(path): \(String(cString: strerror(errno)))")
                    }
                }
            }
        }
        if json {
            let object: JSON.Object = [
                "file": .string(path), "positions": .integer(Int64(tokens.count)),
                "vocabulary": .integer(Int64(row.count)),
                "tokens": .array(tokens.map { .integer(Int64($0)) }),
            ]
            Terminal.output(JSON.object(object).serialized())
        } else if !quiet {
            Terminal.note(
                "\(path): \(tokens.count) positions × \(row.count) numbers; "
                    + "tokens \(tokens.map(String.init).joined(separator: " "))")
        }
    }
}
