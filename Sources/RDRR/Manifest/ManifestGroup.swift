// SPDX-License-Identifier: Apache-2.0
internal import Wire

extension RDRRManifest {
    /// A named set of tensors of a manifest of the second generation, such as one layer or one expert.
    public struct Group: Hashable, Sendable {
        /// The name: `embed`, `layer.3`, `layer.3.expert.7`.
        public let name: String
        /// The kind: `embed`, `layer`, `expert`, `head`; an open set.
        public let type: String
        /// The shards that hold it.
        public let shards: [Int]
        /// The tensors in it.
        public let tensors: [String]
        /// The layer, where it is one layer's.
        public let layer: Int?
        /// The expert, where it is one expert's.
        public let expert: Int?
    }

    static func readGroups(_ root: ManifestField, shardCount: Int) throws(RDRRError) -> [Group] {
        guard let field = root.member("groups") else { return [] }
        var groups: [Group] = []
        for (name, group) in try field.members() {
            var shards: [Int] = []
            for element in try group.required("shards").elements() {
                let shard = try element.count()
                guard shard < shardCount else {
                    throw element.fault(.outOfBounds, "there is no shard \(shard), the model has \(shardCount)")
                }
                shards.append(shard)
            }
            var tensors: [String] = []
            for element in try group.required("tensors").elements() { tensors.append(try element.text()) }
            let place = ExpertName(name)
            groups.append(
                Group(
                    name: name, type: try group.required("type").text(), shards: shards, tensors: tensors,
                    layer: try group.member("layerIndex")?.count() ?? place.layer,
                    expert: try group.member("expertIndex")?.count() ?? place.expert))
        }
        return groups
    }
}
