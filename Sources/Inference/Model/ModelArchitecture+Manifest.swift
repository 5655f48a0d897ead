// SPDX-License-Identifier: Apache-2.0
internal import Compute
public import RDRR
internal import Wire

extension ModelArchitecture {
    /// Reads the network of a model folder, from its manifest and, where that says too little, its `config.json`.
    public init(_ folder: ModelFolder) throws(InferenceError) {
        let manifest = folder.manifest
        let isGGUF = manifest.tensor(named: "token_embd.weight") != nil
        var config: JSON = .null
        if !isGGUF, let entry = manifest.entries.first(where: { $0.name == "config.json" && $0.size < 1 << 20 }) {
            do {
                config = try JSON(parsing: folder.bytes(of: entry))
            } catch {
                throw InferenceError(
                    .missing, at: folder.path(of: entry), "\(error)", advice: "get the model again")
            }
        }
        try self.init(manifest, config: config)
    }

    /// Reads the network out of a manifest; `config` is Hugging Face's `config.json` if the model has one.
    init(_ manifest: RDRRManifest, config: JSON) throws(InferenceError) {
        let settings = ModelSettings(manifest, config: config)
        naming = settings.isGGUF ? .gguf : .huggingFace
        (family, window, windowLayers) = try Self.family(settings)

        layers = try settings.size("numLayers", most: 4096)
        width = try settings.size("hiddenSize", most: 1 << 20)
        if let width = settings.expertWidth {
            hidden = width
        } else {
            hidden = try settings.size("intermediateSize", most: 1 << 22)
        }
        heads = try settings.size("numAttentionHeads", most: 1 << 16)
        keyValueHeads = try settings.optionalSize("numKeyValueHeads", most: 1 << 16) ?? heads
        headLength = try settings.optionalSize("headDim", most: 1 << 16) ?? width / heads
        vocabulary = try settings.size("vocabSize", most: 1 << 24)
        context = try settings.size("maxSeqLen", most: 1 << 24)
        guard heads % keyValueHeads == 0, headLength > 0 else {
            throw settings.fault("\(heads) heads cannot share \(keyValueHeads) heads of keys and values")
        }
        guard let epsilon = settings.epsilon, epsilon >= 0, epsilon < 1 else {
            throw settings.fault("it does not say the epsilon of its norms (rmsNormEps)")
        }
        self.epsilon = Float(epsilon)
        experts = try settings.experts()
        convention = try settings.convention()
        let rotated = settings.rotatedLength(head: headLength)
        guard rotated > 0, rotated <= headLength, rotated % 2 == 0 else {
            throw settings.fault("\(rotated) of \(headLength) numbers of a head cannot turn in pairs")
        }
        self.rotated = rotated
        rotations = try settings.rotations(isWindowed: false)
        windowRotations = windowLayers.isEmpty || family != .gemma3 ? nil : try settings.rotations(isWindowed: true)
        attentionScale = settings.attentionScale(width: width, heads: heads, headLength: headLength, layers: layers)
        try settings.refuseWhatIsNotKnown()
    }

    private static func family(
        _ settings: ModelSettings
    ) throws(InferenceError) -> (Family, Int?, Set<Int>) {
        let family: Family
        switch settings.kind {
        case "llama", "mistral", "mixtral", "smollm2": family = .llama
        case "qwen2": family = .qwen2
        case "qwen3": family = .qwen3
        case "gemma3", "gemma3_text": family = .gemma3
        default:
            throw InferenceError(
                .unsupported, at: "architecture.kind", "the network “\(settings.kind.prefix(100))” is not known here",
                advice: "known are llama (with mistral and mixtral), qwen2, qwen3 and gemma3")
        }
        let layers = try settings.size("numLayers", most: 4096)
        guard let window = settings.window else {
            guard family != .gemma3 else {
                throw settings.fault("it does not say how far its layers with a window see")
            }
            return (family, nil, [])
        }
        return (family, window, settings.windowLayers(count: layers, family: family))
    }
}
