// SPDX-License-Identifier: Apache-2.0

/// Where the bytes of a model come from: a folder, or peers. What peers give has been verified before it comes out here.
public protocol ShardSource: Sendable {
    /// The manifest that the bytes belong to.
    var manifest: RDRRManifest { get }

    /// Bytes of an entry (the protocol's shard index: a shard, or one of the files after them). `range` counts from the
    /// file's start and must lie inside it; `nil` means the whole file.
    func shard(_ index: Int, range: Range<Int>?) async throws -> [UInt8]
}

extension ShardSource {
    /// A whole shard or file.
    public func shard(_ index: Int) async throws -> [UInt8] {
        try await shard(index, range: nil)
    }

    /// The bytes of a tensor, or of a part of it counted from its first byte.
    public func bytes(of tensor: Tensor, range: Range<Int>? = nil) async throws -> [UInt8] {
        let range = range ?? 0..<tensor.size
        guard range.lowerBound >= 0, range.upperBound <= tensor.size else {
            throw RDRRError(
                .outOfBounds, at: "tensor \(tensor.name)",
                "bytes \(range.lowerBound) to \(range.upperBound) are not inside its \(tensor.size)",
                advice: "ask for a range inside the tensor")
        }
        let spans = tensor.spans(of: range)
        if spans.count == 1 { return try await shard(spans[0].shard, range: spans[0].range) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(range.count)
        for span in spans { bytes += try await shard(span.shard, range: span.range) }
        return bytes
    }
}

/// Where the experts of a mixture of experts come from, one layer and expert at a time, when they are needed.
public protocol ExpertSource: Sendable {
    /// The weights of one expert of one layer: each of its tensors, or its slice of a tensor that holds all experts.
    func expert(_ expert: Int, layer: Int) async throws -> [ExpertWeights]
}

/// One tensor of an expert, or the expert's slice of one.
public struct ExpertWeights: Sendable {
    /// Which part of which tensor.
    public let slice: ExpertSlice
    /// Its bytes.
    public let bytes: [UInt8]

    /// Weights that are at hand.
    public init(slice: ExpertSlice, bytes: [UInt8]) {
        self.slice = slice
        self.bytes = bytes
    }
}

/// Experts out of any source of shards.
public struct ShardExpertSource<Source: ShardSource>: ExpertSource {
    /// Where the bytes come from.
    public let source: Source

    /// Experts of the source's model.
    public init(_ source: Source) {
        self.source = source
    }

    /// The weights of one expert of one layer.
    public func expert(_ expert: Int, layer: Int) async throws -> [ExpertWeights] {
        var weights: [ExpertWeights] = []
        for slice in source.manifest.slices(ofExpert: expert, layer: layer) {
            let bytes = try await source.bytes(of: slice.tensor, range: slice.range)
            weights.append(ExpertWeights(slice: slice, bytes: bytes))
        }
        guard !weights.isEmpty else {
            throw RDRRError(
                .missing, at: "expert \(expert) of layer \(layer)", "the model has no such expert",
                advice: "run dreamer inspect to see the experts")
        }
        return weights
    }
}
