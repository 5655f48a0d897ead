// SPDX-License-Identifier: Apache-2.0

/// What is known of model architectures by their names.
enum ModelKind {
    /// RDRR's `modelType` for an architecture of GGUF or Hugging Face.
    static func modelType(of kind: String) -> String {
        let families = ["mamba", "rwkv", "jamba", "mixtral", "deepseek", "gpt-oss"]
        let name = kind.lowercased().split(separator: "_").joined(separator: "-")
        return families.first { name.hasPrefix($0) } ?? "transformer"
    }

    /// RDRR's `expertFormat`: there are three.
    static func expertFormat(of kind: String) -> String {
        let name = kind.lowercased()
        if name.hasPrefix("gpt-oss") || name.hasPrefix("gpt_oss") { return "gpt-oss" }
        return name.hasPrefix("gemma4") ? "gemma4" : "mixtral"
    }

    /// Whether a GGUF file of this architecture is laid out for rotary embedding that pairs neighbours (2i, 2i + 1) rather
    /// than the two halves of a head; `nil` when it is not known. For llama and its kin the converter permutes the rows of
    /// the query and key weights to that end. From llama.cpp's `llama_model_rope_type`.
    static func ggufRotatesNeighbours(_ kind: String) -> Bool? {
        if neighbours.contains(kind) { return true }
        return halves.contains(kind) ? false : nil
    }

    /// Whether a model of Hugging Face's kind pairs neighbours; nearly all pair halves.
    static func huggingFaceRotatesNeighbours(_ kind: String) -> Bool {
        [
            "codegen", "cohere", "cohere2", "deepseek_v2", "deepseek_v3", "ernie4_5", "glm", "glm4", "gptj", "helium",
            "llama4", "llama4_text",
        ].contains(kind)
    }

    private static let neighbours: Set<String> = [
        "arcee", "arctic", "baichuan", "bailingmoe", "chameleon", "chatglm", "cohere2", "command-r", "deci", "deepseek",
        "deepseek2", "ernie4_5", "ernie4_5-moe", "glm4", "granite", "granitehybrid", "granitemoe", "internlm2", "llama",
        "llama4", "minicpm", "mistral3", "olmo", "plm", "smollm3", "starcoder", "xverse",
    ]

    private static let halves: Set<String> = [
        "apertus", "bailingmoe2", "bert", "bitnet", "codeshell", "dbrx", "dots1", "dream", "exaone", "exaone4", "falcon",
        "falcon-h1", "gemma", "gemma2", "gemma3", "gemma3n", "glm4moe", "gpt-oss", "gptneox", "grok", "hunyuan-dense",
        "hunyuan-moe", "lfm2", "lfm2moe", "minicpm3", "nemotron", "nomic-bert", "olmo2", "olmoe", "openelm", "orion",
        "phi2", "phi3", "phimoe", "plamo", "plamo2", "qwen", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "seed_oss",
        "smallthinker", "stablelm", "starcoder2",
    ]
}
