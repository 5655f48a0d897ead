// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Compute
import Glibc
import Inference
import RDRR
import Wire

/// Options of whatever runs a model: on what, and with how much.
struct InferenceOptions: ParsableArguments {
    /// On what a model runs.
    enum Device: String, ExpressibleByArgument, CaseIterable {
        case auto, vulkan, cpu
    }

    /// How products are taken.
    enum Arithmetic: String, ExpressibleByArgument, CaseIterable {
        case fast, float32
    }

    @Option(help: "On what the model runs: a device of Vulkan, the processor, or whichever is faster.")
    var device: Device = .auto

    @Option(name: .customLong("vulkan-device"), help: "Which device of Vulkan: its number, or a part of its name.")
    var vulkanDevice: String?

    @Option(help: "Threads on the processor; as many as it has cores unless given.")
    var threads: Int?

    @Option(help: "The longest text in tokens, the prompt included; what the model and memory allow unless given.")
    var context: Int?

    @Option(
        name: .customLong("kv-format"), help: "How keys and values are kept: f32, f16 or q8_0; f16 unless given.")
    var cacheFormat: String?

    @Option(name: .customLong("kv-limit"), help: "The most memory that keys and values may take.")
    var cacheLimit = ByteCount(1 << 30)

    @Option(help: "fast arithmetic, or float32 throughout with keys and values like it: the reference.")
    var arithmetic: Arithmetic = .fast

    func validate() throws {
        if let threads, threads < 1 || threads > 256 {
            throw ValidationError("--threads \(threads): give a number from 1 to 256")
        }
        if threads != nil, device == .vulkan {
            throw ValidationError("--threads is for the processor: leave it out with --device vulkan")
        }
        if let context, context < 1 { throw ValidationError("--context \(context): give at least 1") }
        if let cacheFormat, BlockFormat(named: cacheFormat.uppercased())?.isEncodable != true {
            throw ValidationError("--kv-format \(cacheFormat): give f32, f16 or q8_0")
        }
        if vulkanDevice != nil, device == .cpu {
            throw ValidationError("--vulkan-device chooses among devices of Vulkan: leave it out with --device cpu")
        }
    }

    /// The same options for a program of our own.
    var arguments: [String] {
        var words = [
            "--device", device.rawValue, "--kv-limit", "\(cacheLimit.value)", "--arithmetic", arithmetic.rawValue,
        ]
        if let vulkanDevice { words += ["--vulkan-device", vulkanDevice] }
        if let threads { words += ["--threads", "\(threads)"] }
        if let context { words += ["--context", "\(context)"] }
        if let cacheFormat { words += ["--kv-format", cacheFormat] }
        return words
    }

    /// What a model is loaded for.
    func modelOptions(sequences: Int = 1, outputs: Int? = nil, profiles: Bool = false) -> ModelOptions {
        var options = ModelOptions(
            context: context, sequences: sequences, cacheLimit: cacheLimit.value, outputs: outputs, profiles: profiles)
        if arithmetic == .float32 {
            options.precision = .single
            options.cacheFormat = .f32
        }
        if let cacheFormat, let format = BlockFormat(named: cacheFormat.uppercased()) { options.cacheFormat = format }
        return options
    }

    /// Opens the device, and says why it is this one.
    func makeDevice() throws -> (device: any ComputeDevice, reason: String) {
        let processor = CPUDevice(threads: threads ?? Self.cores)
        guard device != .cpu else { return (processor, "as asked for") }
        let isFree = device == .auto && vulkanDevice == nil
        // Looking for devices of Vulkan loads its drivers, a compiler among them: some 50 MiB and a tenth of a second.
        if isFree, !Self.hasGraphics { return (processor, "this machine has no graphics device") }
        do {
            let found = try VulkanDevice(.init(selection: vulkanDevice, cacheFolder: Self.cacheFolder))
            if isFree, found.isProcessor {
                return (processor, "Vulkan has this processor alone, which is faster without it")
            }
            return (found, found.reason)
        } catch {
            guard isFree else { throw error }
            return (processor, "no device of Vulkan: \(error)")
        }
    }

    /// Puts a model on the device, or on the processor where the device cannot take it and was not asked for by name.
    ///
    /// - Parameter pipeline: brings the shards while the model is used already; they are on the disk without one.
    func load(
        _ folder: ModelFolder, _ options: ModelOptions, pipeline: ModelPipeline, progress: ArrivalProgress,
        note: (String) -> Void
    ) async throws -> (model: LanguageModel, device: any ComputeDevice) {
        try await load(options, note: note) {
            try await pipeline.load(on: $0, options: options) { progress.show($0) }
        }
    }

    /// The same for a model that is whole on the disk.
    func load(
        _ folder: ModelFolder, _ options: ModelOptions, note: (String) -> Void
    ) async throws -> (model: LanguageModel, device: any ComputeDevice) {
        try await load(options, note: note) { try LanguageModel(folder, on: $0, options: options) }
    }

    private func load(
        _ options: ModelOptions, note: (String) -> Void,
        _ load: (any ComputeDevice) async throws -> LanguageModel
    ) async throws -> (model: LanguageModel, device: any ComputeDevice) {
        let (device, reason) = try makeDevice()
        note("running on \(device.name) (\(reason))")
        do {
            return (try await load(device), device)
        } catch let error as ComputeError {
            guard self.device == .auto, !(device is CPUDevice) else { throw error }
            let processor = CPUDevice(threads: threads ?? Self.cores)
            note("\(device.name) cannot run it: \(error); running on \(processor.name)")
            return (try await load(processor), processor)
        }
    }

    /// Whether there is a device that could be faster than the processor: one of the kernel's direct rendering manager,
    /// NVIDIA's, or the host's under WSL.
    private static var hasGraphics: Bool {
        ["/dev/dri", "/dev/nvidiactl", "/dev/dxg"].contains { (path: String) in access(path, F_OK) == 0 }
    }

    /// Processors that this program may use (proc(5): `Cpus_allowed`), which may be fewer than the machine has.
    static var cores: Int {
        let online = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
        guard let bytes = try? SmallFile.read("/proc/self/status"),
            let line = String(decoding: bytes, as: UTF8.self).split(separator: "\n").first(where: {
                $0.hasPrefix("Cpus_allowed:")
            })
        else { return online }
        let allowed = line.dropFirst("Cpus_allowed:".count).reduce(0) { $0 + ($1.hexDigitValue?.nonzeroBitCount ?? 0) }
        return allowed > 0 ? min(allowed, online) : online
    }

    /// Where compiled kernels are kept (XDG Base Directory Specification), made where it is not there.
    private static var cacheFolder: String? {
        let base =
            getenv("XDG_CACHE_HOME").map { String(cString: $0) }
            ?? getenv("HOME").map { "\(String(cString: $0))/.cache" }
        guard let base, base.hasPrefix("/") else { return nil }
        mkdir(base, 0o700)
        let folder = "\(base)/dreamer"
        mkdir(folder, 0o700)
        return access(folder, W_OK) == 0 ? folder : nil
    }
}

/// Options of how tokens are chosen.
struct SamplingArguments: ParsableArguments {
    @Option(help: "How freely tokens are chosen: 0 takes the likeliest.")
    var temperature: Float = 0.8

    @Option(name: .customLong("top-k"), help: "Choose among so many of the likeliest tokens; 0 for all.")
    var topK = 40

    @Option(name: .customLong("top-p"), help: "Choose among the likeliest tokens that have this share together.")
    var topP: Float = 0.95

    @Option(
        name: .customLong("min-p"), help: "Choose among tokens with at least this part of the likeliest one's share.")
    var minP: Float = 0.05

    @Option(
        name: .customLong("repeat-penalty"),
        help: "By how much tokens of the last 64 are less likely; 1 for not at all.")
    var repetitionPenalty: Float = 1

    @Option(help: "A number that the choices depend on: the same one gives the same text on the same device.")
    var seed: UInt64?

    var options: SamplingOptions {
        var options = SamplingOptions()
        options.temperature = temperature
        options.topK = topK
        options.topP = topP
        options.minP = minP
        options.repetitionPenalty = repetitionPenalty
        options.seed = seed
        return options
    }
}
