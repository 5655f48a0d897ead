// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// Writes a manifest of the newest generation. The same model and options give the same bytes: there is no time, host,
/// path or version in it.
struct ManifestWriter {
    let model: ImportedModel
    let modelId: String
    let algorithm: HashAlgorithm
    let shards: [RDRRManifest.Entry]
    let files: [RDRRManifest.Entry]
    let tensors: [Tensor]

    /// The manifest's bytes.
    func bytes() -> [UInt8] {
        var root: JSON.Object = [
            "version": 1,
            "modelId": .string(modelId),
            "modelType": .string(model.modelType),
            "quantization": .string(model.quantization),
            "quantizationInfo": model.quantizationInfo,
            "architecture": .object(model.architecture),
            "moeConfig": model.moeConfig,
            "inference": .object(model.inference),
        ]
        var offset = 0
        root["shards"] = .array(
            shards.map { shard in
                defer { offset += shard.size }
                return [
                    "index": .integer(Int64(shard.index)), "filename": .string(shard.name),
                    "size": .integer(Int64(shard.size)), "hash": .string(shard.hashHex),
                    "offset": .integer(Int64(offset)),
                ]
            })
        root["files"] = .array(
            files.map { file in
                [
                    "name": .string(file.name), "size": .integer(Int64(file.size)), "hash": .string(file.hashHex),
                    "hashAlgorithm": .string(file.algorithm.rawValue),
                ]
            })
        var list = JSON.Object()
        for tensor in tensors { list[tensor.name] = json(tensor) }
        root["tensors"] = .object(list)
        root["totalSize"] = .integer(Int64(offset))
        root["hashAlgorithm"] = .string(algorithm.rawValue)
        root["eos_token_id"] = model.endOfSequence
        root["metadata"] = .object(model.metadata)
        if !model.tokenizer.isNull { root["tokenizer"] = model.tokenizer }
        return Array((JSON.object(root).serialized(indented: true) + "\n").utf8)
    }

    private func json(_ tensor: Tensor) -> JSON {
        var object = JSON.Object()
        if tensor.spans.count == 1 {
            object["shard"] = .integer(Int64(tensor.spans[0].shard))
            object["offset"] = .integer(Int64(tensor.spans[0].offset))
        } else {
            object["spans"] = .array(
                tensor.spans.map {
                    [
                        "shardIndex": .integer(Int64($0.shard)), "offset": .integer(Int64($0.offset)),
                        "size": .integer(Int64($0.size)),
                    ]
                })
        }
        object["size"] = .integer(Int64(tensor.size))
        object["shape"] = .array(tensor.shape.map { .integer(Int64($0)) })
        object["dtype"] = .string(tensor.dtype)
        object["role"] = .string(tensor.role ?? "other")
        object["group"] = .string(tensor.group ?? "other")
        if let layout = tensor.layout { object["layout"] = .string(layout) }
        return .object(object)
    }
}
