// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Compute
import Glibc
import Inference
import RDRR
import Wire

/// `dreamer bench inference DIR`
struct BenchInferenceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inference",
        abstract:
            "Measure how fast a model reads a prompt and writes text, what it takes of memory, and llama.cpp beside it.",
        discussion: """
            Each measurement is a process of its own, after a run that is not counted; they take turns. llama.cpp is \
            measured by its own llama-bench, on the GGUF file that the folder was packed from.
            """)

    @Argument(help: "The folder with manifest.json.")
    var folder: String

    @OptionGroup var inference: InferenceOptions

    @Option(name: .customLong("prompt-tokens"), help: "Tokens of the prompt.")
    var promptTokens = 128

    @Option(help: "Tokens that are written.")
    var tokens = 64

    @Option(help: "How often each is measured.")
    var rounds = 5

    @Option(name: .customLong("llama-bench"), help: "llama.cpp's program llama-bench.")
    var llamaBench: String?

    @Option(help: "The GGUF file for llama-bench.")
    var gguf: String?

    @Flag(help: "Tell what the operations took, of one run of ours.")
    var operations = false

    @Flag(help: "Measure the processor's kernels alone, without a model's other work.")
    var kernels = false

    @Flag(help: .hidden)
    var once = false

    @Flag(help: "Print the result as JSON.")
    var json = false

    func validate() throws {
        guard promptTokens > 0, tokens > 0, rounds > 0 else {
            throw ValidationError("--prompt-tokens, --tokens and --rounds: give at least 1")
        }
        guard (llamaBench == nil) == (gguf == nil) else {
            throw ValidationError("--llama-bench and --gguf belong together")
        }
    }

    /// What one process measured.
    private struct Figures {
        var prompt = Samples()
        var decode = Samples()
        var load = Samples()
        var peak = Samples()
    }

    func run() async throws {
        if once { return Terminal.output(try await measure().serialized()) }
        if kernels { return try showKernels() }
        let machine = Machine.current
        var ours = Figures()
        var theirs = Figures()
        var last: JSON = .null
        for _ in 0..<rounds {
            last = try measureInProcess()
            ours.prompt.add(last["promptTokensPerSecond"]?.number ?? 0)
            ours.decode.add(last["tokensPerSecond"]?.number ?? 0)
            ours.load.add(last["loadSeconds"]?.number ?? 0)
            ours.peak.add(Double(last["peakBytes"]?.integer ?? 0))
            if let llamaBench, let gguf { try measure(llamaBench, gguf, into: &theirs) }
        }
        if json {
            Terminal.output(report(ours, theirs, last, machine).serialized())
        } else {
            show(ours, theirs, last, machine)
        }
    }

    // MARK: Ours

    /// Runs this program once more, so that memory and loading are a fresh process's.
    private func measureInProcess() throws -> JSON {
        var arguments = [
            "bench", "inference", folder, "--once", "--prompt-tokens", "\(promptTokens)", "--tokens", "\(tokens)",
        ]
        arguments += inference.arguments
        if operations { arguments.append("--operations") }
        let ending = try MeasuredProcess(MeasuredProcess.ownProgram, arguments).finish(within: 3600)
        guard ending.status == 0 else { throw CommandFailure("the measurement ended with status \(ending.status)") }
        do {
            return try JSON(parsing: Array(ending.output.utf8))
        } catch {
            throw CommandFailure("the measurement printed something else than its result: \(error)")
        }
    }

    private func measure() async throws -> JSON {
        let start = Clock.seconds
        let source = try ModelFolder(opening: folder)
        let tokenizer = try Tokenizer(source)
        var options = inference.modelOptions(profiles: operations)
        if options.context == nil { options.context = promptTokens + tokens + 1 }
        let (model, device) = try await inference.load(source, options) { _ in }
        let load = Clock.seconds - start
        let count = Int32(clamping: tokenizer.count)
        _ = try read(model, count)
        _ = try write(model, count, tokens: min(4, tokens))
        model.executable.resetTimings()
        let prompt = try read(model, count)
        let promptTimings = model.executable.timings
        model.executable.resetTimings()
        let decode = try write(model, count, tokens: tokens)
        let decodeTimings = model.executable.timings
        let memory = model.executable.memory
        return [
            "device": .string(device.name), "loadSeconds": .number(load),
            "promptTokensPerSecond": .number(Double(promptTokens) / prompt),
            "tokensPerSecond": .number(Double(tokens) / decode),
            "weightBytes": .integer(Int64(memory.weights)), "cacheBytes": .integer(Int64(memory.caches)),
            "workingBytes": .integer(Int64(memory.working)),
            "peakBytes": .integer(Int64(MeasuredProcess.status("VmHWM", of: "self"))),
            "prompt": .array(promptTimings.map(\.json)), "decode": .array(decodeTimings.map(\.json)),
        ]
    }

    /// Reads a prompt from the first position on, whatever its tokens say; how long it takes.
    private func read(_ model: LanguageModel, _ vocabulary: Int32) throws -> Double {
        let start = Clock.seconds
        let size = model.executable.options.tokens
        for first in stride(from: 0, to: promptTokens, by: size) {
            var batch = Batch()
            for index in first..<min(first + size, promptTokens) {
                batch.append(
                    Int32(index * 7919 % Int(vocabulary)), position: index, wantsOutput: index == promptTokens - 1)
            }
            try model.run(batch)
        }
        return Clock.seconds - start
    }

    /// Lets tokens through one by one, from the first position on.
    private func write(_ model: LanguageModel, _ vocabulary: Int32, tokens: Int) throws -> Double {
        let start = Clock.seconds
        for index in 0..<tokens {
            var batch = Batch()
            batch.append(Int32(index * 104_729 % Int(vocabulary)), position: index, wantsOutput: true)
            try model.run(batch)
        }
        return Clock.seconds - start
    }

    // MARK: Theirs

    private func measure(_ program: String, _ file: String, into figures: inout Figures) throws {
        let threads = inference.threads ?? InferenceOptions.cores
        let ending = try MeasuredProcess(
            program,
            [
                "-m", file, "-t", "\(threads)", "-p", "\(promptTokens)", "-n", "\(tokens)", "-r", "1", "-o", "json",
            ]
        ).finish(within: 3600)
        guard ending.status == 0, let runs = try? JSON(parsing: Array(ending.output.utf8)).array else {
            throw CommandFailure("\(program) ended with status \(ending.status), without its table as JSON")
        }
        for run in runs {
            guard let rate = run["avg_ts"]?.number else { continue }
            if run["n_gen"]?.integer == 0 { figures.prompt.add(rate) } else { figures.decode.add(rate) }
        }
        figures.peak.add(Double(ending.peakBytes))
    }

    // MARK: Results

    private func report(_ ours: Figures, _ theirs: Figures, _ last: JSON, _ machine: Machine) -> JSON {
        func figures(_ figures: Figures) -> JSON {
            [
                "promptTokensPerSecond": figures.prompt.json, "tokensPerSecond": figures.decode.json,
                "loadSeconds": figures.load.json, "peakBytes": figures.peak.json,
            ]
        }
        return [
            "benchmark": "inference", "machine": machine.json, "promptTokens": .integer(Int64(promptTokens)),
            "tokens": .integer(Int64(tokens)), "ours": figures(ours),
            "llama.cpp": llamaBench == nil ? .null : figures(theirs),
            "last": last,
        ]
    }

    private func show(_ ours: Figures, _ theirs: Figures, _ last: JSON, _ machine: Machine) {
        Terminal.output(machine.description)
        Terminal.output(last["device"]?.string ?? "")
        var table = TextTable(
            "tokens a second, medians of \(rounds)", "prompt of \(promptTokens)", "\(tokens) one by one")
        table.add("ours", ours.prompt.text(1), ours.decode.text(1))
        if llamaBench != nil {
            table.add("llama.cpp", theirs.prompt.text(1), theirs.decode.text(1))
            table.add(
                "ratio", ours.prompt.ratios(to: theirs.prompt).text(2), ours.decode.ratios(to: theirs.decode).text(2))
        }
        for line in table.lines { Terminal.output(line) }
        func size(_ name: String) -> String { Units.bytes(Int(last[name]?.integer ?? 0)) }
        Terminal.output(
            "loaded in \(Units.duration(ours.load.median ?? 0)); weights \(size("weightBytes")), keys and values "
                + "\(size("cacheBytes")), at most \(Units.bytes(Int(ours.peak.median ?? 0))) in all"
                + (theirs.peak.median.map { "; llama-bench \(Units.bytes(Int($0)))" } ?? ""))
        guard operations else { return }
        for (title, key) in [("reading the prompt", "prompt"), ("writing", "decode")] {
            var table = TextTable(title, "times", "ms")
            for timing in last[key]?.array ?? [] {
                table.add(
                    timing["name"]?.string ?? "", "\(timing["count"]?.integer ?? 0)",
                    Units.fixed((timing["seconds"]?.number ?? 0) * 1e3, 2))
            }
            for line in table.lines { Terminal.output(line) }
        }
    }

    private func showKernels() throws {
        Terminal.output(Machine.current.description)
        try KernelBenchmark.run(threads: inference.threads ?? InferenceOptions.cores) { Terminal.output("\($0)") }
    }
}

extension OperationTiming {
    fileprivate var json: JSON {
        ["name": .string(name), "count": .integer(Int64(count)), "seconds": .number(duration / .seconds(1))]
    }
}
