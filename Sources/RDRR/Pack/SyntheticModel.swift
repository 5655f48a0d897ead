// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// Makes a GGUF file with the tensors of a SmolLM2-135M (the same names, shapes and block types) and random weights,
/// for tests, benchmarks and demonstrations without a network. Same size and seed, same bytes. With experts it is a mixture of
/// them, as Mixtral is.
public struct SyntheticModel: Sendable {
    /// The size of SmolLM2-135M-Instruct in Q4_1, in bytes.
    public static let usualSize = 98_362_432
    /// The smallest file that can be made.
    public static let smallestSize = 262_144

    /// The file's length in bytes.
    public let size: Int
    /// What the weights and the vocabulary are drawn from.
    public let seed: UInt64
    private let shape: Shape
    private let vocabulary: SyntheticVocabulary

    /// The measures of the network.
    private struct Shape {
        var width: Int
        var hidden: Int
        var heads: Int
        var keyHeads: Int
        var blocks: Int
        var vocabulary: Int
        /// How many experts each block has; none in a network without.
        var experts: Int

        var keyWidth: Int { width / heads * keyHeads }
    }

    private struct Plan {
        let name: String
        /// The fastest dimension first, as GGUF has them.
        let dimensions: [Int]
        let type: UInt32
        let size: Int
    }

    // GGML's numbers and block sizes of the three types that the real model has.
    private static let f32: UInt32 = 0
    private static let q4_1: UInt32 = 3
    private static let q8_0: UInt32 = 8
    private static let alignment = 32

    /// A model of exactly `size` bytes; from 40 MB on only the number of blocks grows.
    ///
    /// - Parameter experts: how many experts each block has, of which a token asks two; at least 2, or 0 for one network that
    ///   all tokens go through.
    public init(size: Int = usualSize, seed: UInt64 = 1, experts: Int = 0) throws(RDRRError) {
        guard experts == 0 || (2...256).contains(experts) else {
            throw RDRRError(.invalid, at: "experts", "a block cannot have \(experts)", advice: "give 0, or 2 to 256")
        }
        guard size >= Self.smallestSize, size <= 1 << 40 else {
            throw RDRRError(
                .invalid, at: "size", "\(size) bytes are no size for a synthetic model",
                advice: "give \(Self.smallestSize) bytes to 1 TiB")
        }
        self.size = size
        self.seed = seed
        // The real measures from 40 MB on; below, a network that leaves room for a block or more.
        var shape =
            size >= 40_000_000
            ? Shape(width: 576, hidden: 1536, heads: 9, keyHeads: 3, blocks: 1, vocabulary: 49_152, experts: experts)
            : Shape(width: 64, hidden: 192, heads: 2, keyHeads: 1, blocks: 1, vocabulary: 512, experts: experts)
        vocabulary = SyntheticVocabulary(count: shape.vocabulary, seed: seed)
        let fixed = Self.header(shape, vocabulary, filler: 0).count
        func dataSize(_ shape: Shape) -> Int {
            Self.plan(shape).reduce(0) { $0 + Self.aligned($1.size) }
        }
        let one = dataSize(shape)
        shape.blocks = 2
        let block = dataSize(shape) - one
        // A block adds about 1 KB to the header: nine tensors of some 60 bytes each, kept loosely.
        shape.blocks = max(1, 1 + (size - fixed - one - 4096) / (block + 1024))
        self.shape = shape
    }

    /// Writes the file. There must be none of that name yet, and a failure leaves none.
    public func write(to path: String) throws(RDRRError) {
        let file = try SystemFile(creating: path)
        do throws(RDRRError) {
            try write(to: file)
        } catch {
            file.remove()
            throw error
        }
    }

    private func write(to file: SystemFile) throws(RDRRError) {
        let plan = Self.plan(shape)
        let data = plan.reduce(0) { $0 + Self.aligned($1.size) }
        // What is left over becomes a text in the metadata, so that the size is met to the byte.
        let bare = Self.header(shape, vocabulary, filler: 0).count
        let left = size - data - bare
        let header = Self.header(shape, vocabulary, filler: left / Self.alignment * Self.alignment)
        try file.write(header)
        var random = WeightSource(seed: seed)
        for tensor in plan {
            var remaining = Self.aligned(tensor.size)
            // 340 bytes are whole blocks of every type: 4, 20 and 34 divide it.
            let pieceSize = 340 * 3072
            while remaining > 0 {
                let piece = random.bytes(min(remaining, pieceSize), type: tensor.type)
                try file.write(piece)
                remaining -= piece.count
            }
        }
        try file.write([UInt8](repeating: 0, count: left % Self.alignment))
        try file.synchronize()
    }

    private static func aligned(_ size: Int) -> Int { (size + alignment - 1) / alignment * alignment }

    private static func plan(_ shape: Shape) -> [Plan] {
        func tensor(_ name: String, _ dimensions: [Int], _ type: UInt32) -> Plan {
            let values = dimensions.reduce(1, *)
            let size = type == f32 ? values * 4 : type == q4_1 ? values / 32 * 20 : values / 32 * 34
            return Plan(name: name + ".weight", dimensions: dimensions, type: type, size: size)
        }
        var plan = [tensor("token_embd", [shape.width, shape.vocabulary], q8_0)]
        for block in 0..<shape.blocks {
            let prefix = "blk.\(block)."
            plan += [
                tensor(prefix + "attn_norm", [shape.width], f32),
            ]
            if shape.experts == 0 {
                plan += [
                    tensor(prefix + "ffn_down", [shape.hidden, shape.width], q4_1),
                    tensor(prefix + "ffn_gate", [shape.width, shape.hidden], q4_1),
                    tensor(prefix + "ffn_up", [shape.width, shape.hidden], q4_1),
                ]
            } else {
                plan += [
                    tensor(prefix + "ffn_gate_inp", [shape.width, shape.experts], f32),
                    tensor(prefix + "ffn_down_exps", [shape.hidden, shape.width, shape.experts], q4_1),
                    tensor(prefix + "ffn_gate_exps", [shape.width, shape.hidden, shape.experts], q4_1),
                    tensor(prefix + "ffn_up_exps", [shape.width, shape.hidden, shape.experts], q4_1),
                ]
            }
            plan += [
                tensor(prefix + "ffn_norm", [shape.width], f32),
                tensor(prefix + "attn_k", [shape.width, shape.keyWidth], q4_1),
                tensor(prefix + "attn_output", [shape.width, shape.width], q4_1),
                tensor(prefix + "attn_q", [shape.width, shape.width], q4_1),
                tensor(prefix + "attn_v", [shape.width, shape.keyWidth], q4_1),
            ]
        }
        return plan + [tensor("output_norm", [shape.width], f32)]
    }

    private static func header(_ shape: Shape, _ vocabulary: SyntheticVocabulary, filler: Int) -> [UInt8] {
        var gguf = GGUFHeaderWriter()
        gguf.add("general.architecture", "llama")
        gguf.add("general.name", "Synthetic SmolLM2")
        gguf.add("general.license", "apache-2.0")
        gguf.add("llama.block_count", shape.blocks)
        gguf.add("llama.context_length", 8192)
        gguf.add("llama.embedding_length", shape.width)
        gguf.add("llama.feed_forward_length", shape.hidden)
        gguf.add("llama.attention.head_count", shape.heads)
        gguf.add("llama.attention.head_count_kv", shape.keyHeads)
        if shape.experts > 0 {
            gguf.add("llama.expert_count", shape.experts)
            gguf.add("llama.expert_used_count", 2)
        }
        gguf.add("llama.rope.freq_base", Float(100_000))
        gguf.add("llama.attention.layer_norm_rms_epsilon", Float(1e-5))
        gguf.add("general.file_type", 3)
        gguf.add("llama.vocab_size", shape.vocabulary)
        gguf.add("llama.rope.dimension_count", shape.width / shape.heads)
        gguf.add("tokenizer.ggml.model", "gpt2")
        gguf.add("tokenizer.ggml.pre", "smollm")
        gguf.add("tokenizer.ggml.tokens", vocabulary.tokens)
        gguf.add("tokenizer.ggml.token_type", vocabulary.types)
        gguf.add("tokenizer.ggml.merges", vocabulary.merges)
        gguf.add("tokenizer.ggml.bos_token_id", 1)
        gguf.add("tokenizer.ggml.eos_token_id", 2)
        gguf.add("tokenizer.ggml.unknown_token_id", 0)
        gguf.add("tokenizer.ggml.padding_token_id", 2)
        gguf.add("tokenizer.ggml.add_bos_token", false)
        gguf.add("tokenizer.ggml.add_space_prefix", false)
        gguf.add("tokenizer.chat_template", SyntheticVocabulary.chatTemplate)
        gguf.add("synthetic.filler", String(repeating: ".", count: max(0, filler)))
        var offset = 0
        for tensor in plan(shape) {
            gguf.add(tensor: tensor.name, dimensions: tensor.dimensions, type: tensor.type, offset: offset)
            offset += aligned(tensor.size)
        }
        return gguf.finish(alignment: alignment)
    }
}

/// Random weights that are numbers of a sensible size in every type: a tenth or so of one.
private struct WeightSource {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    /// SplitMix64: fast, and good enough for weights that mean nothing.
    private mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    mutating func bytes(_ count: Int, type: UInt32) -> [UInt8] {
        var bytes = [UInt8](unsafeUninitializedCapacity: (count + 7) / 8 * 8) { buffer, used in
            let words = UnsafeMutableRawBufferPointer(buffer)
            for offset in stride(from: 0, to: words.count, by: 8) {
                words.storeBytes(of: next(), toByteOffset: offset, as: UInt64.self)
            }
            used = words.count
        }
        bytes.removeLast(bytes.count - count)
        // The high bytes of half-precision numbers; the low ones stay random. Q4_1: a scale of 1/256 and a minimum of
        // -1/32, so that the sixteen values lie around zero. Q8_0: a scale of 1/2048.
        switch type {
        case 3:
            for block in stride(from: 0, to: count - 3, by: 20) {
                bytes[block + 1] = 0x1C
                bytes[block + 3] = 0xA8
            }
        case 8: for block in stride(from: 0, to: count - 1, by: 34) { bytes[block + 1] = 0x10 }
        default:
            // 0x3F80 is the top half of one: weights of norms lie between 0.5 and 2.
            for value in stride(from: 0, to: count - 3, by: 4) { bytes[value + 3] = 0x3F }
        }
        return bytes
    }
}
