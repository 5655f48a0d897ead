// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// A tensor: its shape, how its values are stored, and where.
public struct Tensor: Hashable, Sendable {
    /// A run of bytes inside one shard.
    public struct Span: Hashable, Sendable {
        /// The shard.
        public let shard: Int
        /// The first byte, from the shard's start.
        public let offset: Int
        /// How many bytes.
        public let size: Int

        /// A run of bytes.
        public init(shard: Int, offset: Int, size: Int) {
            self.shard = shard
            self.offset = offset
            self.size = size
        }

        /// The bytes inside the shard.
        public var range: Range<Int> { offset..<offset + size }
    }

    /// The tensor's name, unique in its model.
    public let name: String
    /// The sizes of its dimensions, the slowest first; a matrix is [outputs, inputs].
    public let shape: [Int]
    /// How the values are stored, under the manifest's name for it.
    public let dtype: String
    /// Its bytes in all.
    public let size: Int
    /// Where its bytes are, in order; empty for a tensor without bytes of its own.
    public let spans: [Span]
    /// What it does: `embedding`, `norm`, `matmul`, `expert` and so on; an open set, absent in old manifests.
    public let role: String?
    /// The part of the model it belongs to: `embed`, `layer.4`, `head`.
    public let group: String?
    /// `row` or `column` where the order of blocks matters.
    public let layout: String?

    /// A tensor of a manifest that is being written.
    public init(
        name: String, shape: [Int], dtype: String, size: Int, spans: [Span], role: String?, group: String?,
        layout: String? = nil
    ) {
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.size = size
        self.spans = spans
        self.role = role
        self.group = group
        self.layout = layout
    }

    /// The shards that hold its bytes, each once, rising.
    public var shards: [Int] { Set(spans.map(\.shard)).sorted() }

    /// Where a part of the tensor's bytes is. `range` counts from the tensor's first byte and must lie inside it.
    public func spans(of range: Range<Int>) -> [Span] {
        var start = 0
        var parts: [Span] = []
        for span in spans {
            let lower = max(range.lowerBound, start)
            let upper = min(range.upperBound, start + span.size)
            if lower < upper {
                parts.append(Span(shard: span.shard, offset: span.offset + lower - start, size: upper - lower))
            }
            start += span.size
        }
        return parts
    }
}

// MARK: - Reading

extension RDRRManifest {
    /// Reads the tensors: an object by name, or (the first documents) an array whose elements have names.
    static func readTensors(_ field: ManifestField, shards: [Entry]) throws(RDRRError) -> [Tensor] {
        var named: [(name: String, field: ManifestField)] = []
        if field.value.array != nil {
            var names: Set<String> = []
            for element in try field.elements() {
                let name = try element.required("name").text()
                guard names.insert(name).inserted else {
                    throw try element.required("name").fault(.duplicateName, "the tensor \"\(name)\" is there twice")
                }
                named.append((name, element))
            }
        } else {
            named = try field.members()
        }
        var tensors: [Tensor] = []
        tensors.reserveCapacity(named.count)
        for (name, field) in named { tensors.append(try readTensor(field, name: name, shards: shards)) }
        return tensors
    }

    private static func readTensor(
        _ field: ManifestField, name: String, shards: [Entry]
    ) throws(RDRRError) -> Tensor {
        var shape: [Int] = []
        for dimension in try field.required("shape").elements() { shape.append(try dimension.count()) }
        let dtype = try field.required("dtype").text()
        let sizeField = try field.required("size")
        let size = try sizeField.count()
        let spans = try readSpans(field, size: size, shards: shards)
        let total = spans.reduce(0) { $0 + $1.size }
        guard total == size else {
            throw sizeField.fault(.sizeMismatch, "the tensor has \(size) bytes, its spans hold \(total)")
        }
        let layout = try field.member("layout")?.string()
        if field.member(["sourceTransform", "descriptorManifest"]) == nil {
            try check(size: sizeField, dtype: dtype, shape: shape, layout: layout)
        }
        return Tensor(
            name: name, shape: shape, dtype: dtype, size: size, spans: spans,
            role: try field.member("role")?.string(), group: try field.member("group")?.string(), layout: layout)
    }

    private static func readSpans(
        _ field: ManifestField, size: Int, shards: [Entry]
    ) throws(RDRRError) -> [Tensor.Span] {
        if let list = field.member("spans") {
            var spans: [Tensor.Span] = []
            var total = 0
            for element in try list.elements() {
                let span = try readSpan(element, size: element.required("size").count(), shards: shards)
                total += span.size
                // More than the model has: also what keeps the sum far from overflow.
                guard total <= ManifestField.largestInteger else {
                    throw list.fault(.sizeMismatch, "the spans together hold more than 2^53 bytes")
                }
                spans.append(span)
            }
            return spans
        }
        if field.member("descriptorManifest") != nil && size == 0 { return [] }
        return [try readSpan(field, size: size, shards: shards)]
    }

    private static func readSpan(
        _ field: ManifestField, size: Int, shards: [Entry]
    ) throws(RDRRError) -> Tensor.Span {
        let shardField = try field.required("shardIndex", "shard")
        let shard = try shardField.count()
        guard shard < shards.count else {
            throw shardField.fault(.outOfBounds, "there is no shard \(shard), the model has \(shards.count)")
        }
        let offsetField = try field.required("offset")
        let offset = try offsetField.count()
        guard offset <= shards[shard].size, size <= shards[shard].size - offset else {
            throw offsetField.fault(
                .outOfBounds,
                "\(size) bytes from \(offset) on are not inside shard \(shard), which has \(shards[shard].size)")
        }
        return Tensor.Span(shard: shard, offset: offset, size: size)
    }

    /// Whether the size is what so many values of that type need. A type that is not known here is taken on trust.
    private static func check(
        size: ManifestField, dtype: String, shape: [Int], layout: String?
    ) throws(RDRRError) {
        guard TensorType.product(shape) != nil else {
            throw size.fault(.invalid, "the shape \(shape) has more than 2^53 values")
        }
        guard let type = TensorType(named: dtype) else { return }
        let byRow = type.byteCount(shape: shape)
        let flat = layout == "row" ? byRow : type.flatByteCount(shape: shape)
        let found = try size.count()
        guard found == byRow || found == flat else {
            throw size.fault(
                .sizeMismatch,
                "\(dtype) of shape \(shape) needs \((flat ?? byRow).map(String.init) ?? "too many") bytes, not \(found)"
            )
        }
    }
}
