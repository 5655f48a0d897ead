// SPDX-License-Identifier: Apache-2.0
public import RDRR
internal import Wire

extension Tokenizer {
    /// The kinds of `tokenizer.json`.
    public enum Format: Hashable, Sendable {
        /// RDRR's own ("bundled"), as it is written for GGUF files.
        case bundled
        /// That of Hugging Face's tokenizers.
        case huggingFace
    }

    /// Reads a vocabulary file; `name` stands in messages.
    public convenience init(
        parsing bytes: [UInt8], format: Format, name: String = "tokenizer.json"
    ) throws(TokenizerError) {
        switch format {
        case .bundled: try self.init(TokenizerDefinition(bundled: bytes, file: name))
        case .huggingFace: try self.init(TokenizerDefinition(huggingFace: bytes, file: name))
        }
    }

    /// The most bytes that a vocabulary's file may have: those of the largest models have some 35 million.
    private static let largestFile = 256 << 20

    /// Reads the vocabulary that a model folder brings.
    public convenience init(_ folder: ModelFolder) throws(TokenizerError) {
        let entry = folder.manifest.json["tokenizer"]
        guard let entry, !entry.isNull else {
            throw TokenizerError(
                .missing, at: folder.path, "the model brings no vocabulary",
                advice: "pack it again from a source with one, a GGUF file or a folder with tokenizer.json")
        }
        guard let name = entry["file"]?.string else {
            throw TokenizerError(
                .unsupported, at: folder.path,
                "the vocabulary is of the kind “\(entry["type"]?.string ?? "none given")”, without a tokenizer.json",
                advice: "pack the model again from a GGUF file or a folder with tokenizer.json")
        }
        let bytes = try Self.read(name, of: folder)
        var definition =
            if entry["type"]?.string == "huggingface" {
                try TokenizerDefinition(huggingFace: bytes, file: name)
            } else {
                try TokenizerDefinition(bundled: bytes, file: name)
            }
        // What the manifest says goes before what the file says.
        for (key, name) in [("bosTokenId", "bos"), ("eosTokenId", "eos"), ("padTokenId", "pad"), ("unkTokenId", "unk")]
        {
            guard let id = entry[key]?.integer else { continue }
            guard id >= 0, id < definition.tokens.count else {
                throw TokenizerError(
                    .mismatch, at: "tokenizer.\(key)", "\(id) is no token of \(definition.tokens.count)",
                    advice: "manifest and vocabulary are not of one model: get the model again")
            }
            definition.special[name] = Int(id)
        }
        if let flag = entry["addBosToken"]?.bool { definition.addsBeginning = flag }
        if let flag = entry["addEosToken"]?.bool { definition.addsEnd = flag }
        let stated = folder.manifest.json["eos_token_id"]
        let ends = (stated?.array ?? [stated ?? .null]).compactMap { $0.integer }
        try self.init(definition, ends: ends.map { Int(clamping: $0) })
    }

    /// A file of the folder. Its name was checked to be plain when the manifest was read.
    private static func read(_ name: String, of folder: ModelFolder) throws(TokenizerError) -> [UInt8] {
        let manifest = folder.manifest
        guard manifest.entries.contains(where: { $0.name == name }) || manifest.unlistedFiles.contains(name) else {
            throw TokenizerError(
                .missing, at: folder.path, "the model has no file \(name.prefix(100))",
                advice: "get the model again")
        }
        do throws(RDRRError) {
            let file = try MappedFile(path: "\(folder.path)/\(name)")
            guard file.count <= largestFile else {
                throw RDRRError(
                    .tooLarge, at: name, "\(file.count) bytes are more than a vocabulary may have, \(largestFile)",
                    advice: "get the model again")
            }
            return [UInt8](copying: file.bytes)
        } catch {
            throw TokenizerError(.missing, at: error.place, error.message, advice: error.advice)
        }
    }
}
