// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// How many experts a model has, and the maps of old manifests that say which shards hold which.
public struct ExpertLayout: Hashable, Sendable {
    /// Experts in each layer.
    public let count: Int
    /// Experts that one token uses in each layer; `nil` where the manifest leaves it out.
    public let perToken: Int?
    /// The way experts are stored (`mixtral`, `gpt-oss`, `gemma4`), an open set.
    public let format: String?

    /// Shards by "expert" (first generation) or "layer_expert" (second).
    let shardMap: [String: [Int]]
    /// Tensor names by "layer_expert".
    let tensorMap: [String: [String]]

    /// Reads `moeConfig`; `nil` for a model without experts.
    init?(_ root: ManifestField) throws(RDRRError) {
        guard let config = root.member("moeConfig") else { return nil }
        count = try config.required("numExperts").positive()
        // The first writer called it topK.
        let used = config.member(["numExpertsPerToken", "topK"])
        perToken = try used?.positive()
        if let used, let perToken, perToken > count {
            throw used.fault(.invalid, "a token cannot use \(perToken) of \(count) experts")
        }
        format = try config.member("expertFormat")?.string()
        let shardCount = root.value["shards"]?.array?.count ?? 0
        shardMap = try Self.map(config.member("expertShardMap")) { (element) throws(RDRRError) in
            let shard = try element.count()
            guard shard < shardCount else {
                throw element.fault(.outOfBounds, "there is no shard \(shard), the model has \(shardCount)")
            }
            return shard
        }
        tensorMap = try Self.map(config.member("expertTensors")) { (element) throws(RDRRError) in try element.text() }
    }

    /// Reads a map from expert to one value or several; an array stands for the experts in order.
    private static func map<Value>(
        _ field: ManifestField?, _ read: (ManifestField) throws(RDRRError) -> Value
    ) throws(RDRRError) -> [String: [Value]] {
        guard let field else { return [:] }
        var members: [(name: String, field: ManifestField)] = []
        if field.value.array != nil {
            for (index, element) in try field.elements().enumerated() { members.append((String(index), element)) }
        } else {
            members = try field.members()
        }
        var map: [String: [Value]] = [:]
        for (name, member) in members where !member.value.isNull {
            var values: [Value] = []
            if member.value.array != nil {
                for element in try member.elements() { values.append(try read(element)) }
            } else {
                values.append(try read(member))
            }
            map[name] = values
        }
        return map
    }
}

extension RDRRManifest {
    /// The shards that hold an expert, each once, rising; of one layer, or of all layers. Empty when the manifest does
    /// not tell them apart, or has no such expert.
    ///
    /// Looked for in the maps of old manifests, then in `groups`, then in tensor names, then as a slice of packed
    /// tensors.
    public func shards(forExpert expert: Int, layer: Int? = nil) -> [Int] {
        guard expert >= 0, experts.map({ expert < $0.count }) ?? true else { return [] }
        if let mapped = mappedShards(expert: expert, layer: layer) { return mapped }
        let grouped = groups.filter { $0.expert == expert && (layer == nil || $0.layer == layer) }
        if !grouped.isEmpty { return Set(grouped.flatMap(\.shards)).sorted() }
        return Set(slices(ofExpert: expert, layer: layer).flatMap { $0.spans.map(\.shard) }).sorted()
    }

    /// The bytes of an expert: the tensors that are its own, and its slices of tensors that hold all experts of a
    /// layer. Every slice is exactly the expert's, so that one expert of a packed layer costs a few megabytes, not
    /// whole shards.
    public func slices(ofExpert expert: Int, layer: Int? = nil) -> [ExpertSlice] {
        guard expert >= 0, experts.map({ expert < $0.count }) ?? true else { return [] }
        var mapped: Set<String> = []
        if let experts {
            for (key, names) in experts.tensorMap where Self.matches(key, expert: expert, layer: layer) {
                mapped.formUnion(names)
            }
        }
        for group in groups where group.expert == expert && (layer == nil || group.layer == layer) {
            mapped.formUnion(group.tensors)
        }
        return tensors.compactMap { tensor in
            if !mapped.isEmpty {
                return mapped.contains(tensor.name) ? ExpertSlice(tensor: tensor, range: 0..<tensor.size) : nil
            }
            let name = ExpertName(tensor.name)
            if let layer, name.layer != layer { return nil }
            if name.expert == expert { return ExpertSlice(tensor: tensor, range: 0..<tensor.size) }
            guard name.isPacked, let count = experts?.count, tensor.shape.first == count,
                tensor.size % count == 0
            else { return nil }
            let size = tensor.size / count
            return ExpertSlice(tensor: tensor, range: expert * size..<(expert + 1) * size)
        }
    }

    private func mappedShards(expert: Int, layer: Int?) -> [Int]? {
        guard let map = experts?.shardMap, !map.isEmpty else { return nil }
        let found = map.filter { Self.matches($0.key, expert: expert, layer: layer) }
        return found.isEmpty ? nil : Set(found.values.joined()).sorted()
    }

    /// Whether a key "expert" or "layer_expert" means this expert. A key without a layer stands for all layers.
    private static func matches(_ key: String, expert: Int, layer: Int?) -> Bool {
        let parts = key.split(separator: "_").map { Int($0) }
        switch parts.count {
        case 1: return parts[0] == expert
        case 2: return parts[1] == expert && (layer == nil || parts[0] == layer)
        default: return false
        }
    }
}

/// The part of a tensor that belongs to one expert.
public struct ExpertSlice: Hashable, Sendable {
    /// The tensor.
    public let tensor: Tensor
    /// The expert's bytes, counted from the tensor's first.
    public let range: Range<Int>
    /// Where those bytes are.
    public var spans: [Tensor.Span] { tensor.spans(of: range) }
}
