// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// A model of another format, ready to be written as RDRR: everything that the manifest says, and where the bytes are.
struct ImportedModel {
    /// A tensor of the source.
    struct SourceTensor {
        let name: String
        let shape: [Int]
        let dtype: String
        let layout: String?
        /// Which of `sources` holds it.
        let source: Int
        /// Its bytes in that file.
        let range: Range<Int>
    }

    /// A file that goes along beside the shards.
    struct Companion {
        enum Content {
            case bytes([UInt8])
            case file(SystemFile)
        }
        let name: String
        let content: Content
    }

    /// A name for the model from its own metadata.
    var modelId = ""
    var modelType = "transformer"
    var quantization = ""
    var architecture = JSON.Object()
    var inference = JSON.Object()
    var moeConfig: JSON = .null
    var endOfSequence: JSON = .null
    var tokenizer: JSON = .null
    var metadata = JSON.Object()
    var tensors: [SourceTensor] = []
    var sources: [SystemFile] = []
    var companions: [Companion] = []
    /// What could not be carried over or is not known, in words.
    var warnings: [String] = []

    /// The bytes of all tensors.
    var tensorBytes: Int { tensors.reduce(0) { $0 + $1.range.count } }

    /// Opens a GGUF file or a folder of safetensors files.
    static func open(_ path: String) throws(RDRRError) -> ImportedModel {
        if let names = try? StagingFolder.names(in: path) {
            return try SafetensorsImport(folder: path, names: names).model()
        }
        if path.lowercased().hasSuffix(".safetensors") {
            throw RDRRError(
                .unsupported, at: path, "a safetensors file says nothing about the network it is for",
                advice: "give the folder with config.json and the safetensors files")
        }
        return try GGUFImport(path: path).model()
    }

    /// The type that most bytes have, for `quantization` and `quantizationInfo`.
    func dominantType(where include: (SourceTensor) -> Bool = { _ in true }) -> String? {
        var bytes: [String: Int] = [:]
        for tensor in tensors where include(tensor) { bytes[tensor.dtype, default: 0] += tensor.range.count }
        return bytes.max { ($0.value, $1.key) < ($1.value, $0.key) }?.key
    }

    /// `quantizationInfo`: the types of the large parts, under RDRR's short names.
    var quantizationInfo: JSON {
        var info = JSON.Object()
        let parts: [(String, Set<String>)] = [
            ("weights", ["matmul"]), ("embeddings", ["embedding"]), ("lmHead", ["lm_head"]), ("experts", ["expert"]),
        ]
        for (key, roles) in parts {
            guard let type = dominantType(where: { roles.contains(TensorName($0.name, shape: $0.shape).role) }) else {
                continue
            }
            let short = ["Q4_K_M": "q4k", "Q6_K": "q6k"]
            info[key] = .string(short[type] ?? type.lowercased())
        }
        if tensors.contains(where: { $0.layout == "row" }) { info["layout"] = "row" }
        return .object(info)
    }

    /// A name that is fit for a folder and a link: lowercase letters, digits, `.`, `_` and `-`.
    static func slug(_ text: String) -> String {
        var result: [UInt8] = []
        for byte in text.lowercased().utf8 {
            switch byte {
            case 0x61...0x7A, 0x30...0x39, UInt8(ascii: "."), UInt8(ascii: "_"): result.append(byte)
            default: if let last = result.last, last != UInt8(ascii: "-") { result.append(UInt8(ascii: "-")) }
            }
        }
        while result.last == UInt8(ascii: "-") { result.removeLast() }
        return String(decoding: result, as: UTF8.self)
    }

    /// A name for a model that brings none: its kind and its number of weights, as in `llama-135m`.
    func fallbackId(kind: String) -> String {
        let weights = tensors.reduce(0) { $0 + (TensorType.product($1.shape) ?? 0) }
        let label =
            switch weights {
            case 1_000_000_000...: "\(weights / 1_000_000_000)b"
            case 1_000_000...: "\(weights / 1_000_000)m"
            default: "\(weights / 1000)k"
            }
        return Self.slug("\(kind)-\(label)")
    }
}

extension JSON {
    /// A number without a needless fraction, `null` for none.
    init(_ number: Double?) {
        guard let number, number.isFinite else {
            self = .null
            return
        }
        if let integer = Int64(exactly: number), abs(integer) <= ManifestField.largestInteger {
            self = .integer(integer)
        } else {
            self = .number(number)
        }
    }
}
