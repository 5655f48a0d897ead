// SPDX-License-Identifier: Apache-2.0
internal import Compute
internal import RDRR

extension ModelGraph {
    /// Appends what a model computes, layer by layer, looking up the tensors that each step needs.
    struct Builder {
        var program: Program
        private(set) var sources: [[Source]] = []
        private(set) var expertLayers: [WeightID: Int] = [:]

        private let architecture: ModelArchitecture
        private let manifest: RDRRManifest
        private let names: TensorNames
        private let ropeFactors: [Float]?
        private var embedding: WeightID?

        init(
            _ architecture: ModelArchitecture, _ manifest: RDRRManifest, _ names: TensorNames, _ program: Program,
            _ ropeFactors: [Float]?
        ) {
            self.architecture = architecture
            self.manifest = manifest
            self.names = names
            self.program = program
            self.ropeFactors = ropeFactors
        }

        // MARK: Parts of the network

        mutating func embed(_ rows: Rows) throws {
            program.beginSegment("embedding")
            let table = try matrix(names.embedding, rows: architecture.vocabulary, columns: architecture.width)
            embedding = table
            try program.append(.embed(table: table, scale: architecture.embeddingScale, into: rows.x))
        }

        mutating func layer(_ layer: Int, _ rows: Rows) throws {
            program.beginSegment("layer \(layer)")
            try attention(layer, rows)
            try normalize(rows.x, .feedForwardNorm, layer, into: rows.normed)
            if architecture.experts != nil {
                try experts(layer, rows)
            } else {
                try program.append(
                    .multiply(
                        [
                            try product(
                                .gate, layer, rows: architecture.hidden, columns: architecture.width, rows.gates),
                            try product(.up, layer, rows: architecture.hidden, columns: architecture.width, rows.ups),
                        ], by: rows.normed))
                try program.append(.gate(architecture.gate, rows.gates, up: rows.ups, into: rows.gates))
                try program.append(
                    .multiply(
                        [
                            try product(
                                .down, layer, rows: architecture.width, columns: architecture.hidden, rows.projected)
                        ],
                        by: rows.gates))
            }
            if architecture.family == .gemma3 {
                try normalize(rows.projected, .feedForwardPostNorm, layer, into: rows.projected)
            }
            try program.append(.add(rows.projected, to: rows.x))
        }

        private mutating func attention(_ layer: Int, _ rows: Rows) throws {
            let width = architecture.width
            let headLength = architecture.headLength
            try normalize(rows.x, .attentionNorm, layer, into: rows.normed)
            try program.append(
                .multiply(
                    [
                        try product(.query, layer, rows: rows.queries.length, columns: width, rows.queries),
                        try product(.key, layer, rows: rows.keys.length, columns: width, rows.keys),
                        try product(.value, layer, rows: rows.values.length, columns: width, rows.values),
                    ], by: rows.normed))
            if architecture.family == .qwen3 || architecture.family == .gemma3 {
                try normalize(rows.queries, .queryNorm, layer, length: headLength, into: rows.queries)
                try normalize(rows.keys, .keyNorm, layer, length: headLength, into: rows.keys)
            }
            let rotation = program.rotation(
                architecture.rotations(ofLayer: layer).embedding(
                    convention: architecture.convention, dimensions: architecture.rotated, factors: ropeFactors))
            try program.append(.rotate(rows.queries, headLength: headLength, by: rotation))
            try program.append(.rotate(rows.keys, headLength: headLength, by: rotation))
            let cache = try program.cache(keyValueHeads: architecture.keyValueHeads, headLength: headLength)
            try program.append(.store(keys: rows.keys, values: rows.values, in: cache))
            let shape = try AttentionShape(
                heads: architecture.heads, keyValueHeads: architecture.keyValueHeads, headLength: headLength,
                scale: architecture.attentionScale, window: architecture.window(ofLayer: layer))
            try program.append(.attend(rows.queries, in: cache, shape: shape, into: rows.attended))
            try program.append(
                .multiply(
                    [try product(.attentionOutput, layer, rows: width, columns: rows.attended.length, rows.projected)],
                    by: rows.attended))
            if architecture.family == .gemma3 {
                try normalize(rows.projected, .attentionPostNorm, layer, into: rows.projected)
            }
            try program.append(.add(rows.projected, to: rows.x))
        }

        private mutating func experts(_ layer: Int, _ rows: Rows) throws {
            guard let experts = architecture.experts, let router = rows.router else { return }
            try program.append(
                .multiply(
                    [try product(.router, layer, rows: experts.count, columns: architecture.width, router)],
                    by: rows.normed))
            let (hidden, width) = (architecture.hidden, architecture.width)
            let mixture = ExpertMixture(
                gates: try expertMatrices(.expertGates, layer, experts.count, rows: hidden, columns: width),
                ups: try expertMatrices(.expertUps, layer, experts.count, rows: hidden, columns: width),
                downs: try expertMatrices(.expertDowns, layer, experts.count, rows: width, columns: hidden),
                used: experts.used, normalizes: true, gate: architecture.gate)
            try program.append(.mix(mixture, router: router, by: rows.normed, into: rows.projected))
        }

        mutating func head(_ rows: Rows, _ logits: Activation) throws {
            program.beginSegment("head")
            let width = architecture.width
            let x = try program.activation(width, rows: .outputs)
            let normed = try program.activation(width, rows: .outputs)
            try program.append(.gather(rows.x, into: x))
            try program.append(
                .normalize(
                    x, weight: try vector(names.finalNorm, count: width), offset: architecture.normOffset,
                    epsilon: architecture.epsilon, into: normed))
            var head = embedding
            if manifest.tensor(named: names.head) != nil || embedding == nil {
                head = try matrix(names.head, rows: architecture.vocabulary, columns: width)
            }
            if let head { try program.append(.multiply([.init(head, into: logits)], by: normed)) }
        }

        // MARK: Weights

        private mutating func normalize(
            _ x: Activation, _ part: TensorNames.Part, _ layer: Int, length: Int? = nil, into output: Activation
        ) throws {
            let weight = try vector(names.weight(part, layer: layer), count: length ?? x.length)
            try program.append(
                .normalize(
                    x, weight: weight, offset: architecture.normOffset, epsilon: architecture.epsilon, into: output))
        }

        private mutating func product(
            _ part: TensorNames.Part, _ layer: Int, rows: Int, columns: Int, _ output: Activation
        ) throws -> Operation.Product {
            let weight = try matrix(names.weight(part, layer: layer), rows: rows, columns: columns)
            let name = names.bias(part, layer: layer)
            let bias = manifest.tensor(named: name) == nil ? nil : try vector(name, count: rows)
            return Operation.Product(weight, bias: bias, into: output)
        }

        private mutating func matrix(_ name: String, rows: Int, columns: Int) throws -> WeightID {
            let tensor = try tensor(name, shape: [rows, columns])
            let format = try format(of: tensor)
            sources.append([Source(tensor: tensor, range: 0..<tensor.size, widens: nil)])
            return try program.weight(name, format: format, rows: rows, columns: columns)
        }

        /// A vector, of single-precision numbers whatever the file has.
        private mutating func vector(_ name: String, count: Int) throws -> WeightID {
            let tensor = try tensor(name, shape: [count])
            let format = try format(of: tensor)
            sources.append([Source(tensor: tensor, range: 0..<tensor.size, widens: format == .f32 ? nil : format)])
            return try program.weight(name, format: .f32, columns: count)
        }

        /// The matrices of all experts, packed into one tensor or each a tensor of its own.
        private mutating func expertMatrices(
            _ part: TensorNames.Part, _ layer: Int, _ count: Int, rows: Int, columns: Int
        ) throws -> WeightID {
            let packed = names.weight(part, layer: layer)
            if manifest.tensor(named: packed) != nil {
                let tensor = try tensor(packed, shape: [count, rows, columns])
                let size = tensor.size / count
                sources.append(
                    (0..<count).map { Source(tensor: tensor, range: $0 * size..<($0 + 1) * size, widens: nil) })
                let weight = try program.weight(
                    packed, format: try format(of: tensor), rows: count * rows, columns: columns, parts: count)
                expertLayers[weight] = layer
                return weight
            }
            let tensors = try (0..<count).map {
                try tensor(names.expert(part, $0, layer: layer), shape: [rows, columns])
            }
            let format = try format(of: tensors[0])
            for tensor in tensors where tensor.dtype != tensors[0].dtype {
                throw InferenceError(
                    .unsupported, at: tensor.name, "it is \(tensor.dtype), other experts are \(tensors[0].dtype)",
                    advice: "use a model whose experts are stored alike")
            }
            sources.append(tensors.map { Source(tensor: $0, range: 0..<$0.size, widens: nil) })
            let weight = try program.weight(
                names.expert(part, 0, layer: layer), format: format, rows: count * rows, columns: columns, parts: count)
            expertLayers[weight] = layer
            return weight
        }

        private func tensor(_ name: String, shape: [Int]) throws(InferenceError) -> Tensor {
            guard let tensor = manifest.tensor(named: name) else {
                throw InferenceError(
                    .missing, at: name, "a \(architecture.family.rawValue) model has this tensor, this one has not",
                    advice: "get the model again, or pack it again from its source")
            }
            guard tensor.shape == shape else {
                throw InferenceError(
                    .mismatch, at: name, "its shape is \(tensor.shape), the architecture wants \(shape)",
                    advice: "get the model again, or pack it again from its source")
            }
            let count = shape.reduce((count: 1, overflow: false)) {
                let (product, overflow) = $0.count.multipliedReportingOverflow(by: $1)
                return (product, $0.overflow || overflow)
            }
            guard let format = BlockFormat(named: tensor.dtype), !count.overflow,
                let size = format.byteCount(of: count.count), shape[shape.count - 1] % format.blockLength == 0,
                size == tensor.size
            else {
                _ = try self.format(of: tensor)
                throw InferenceError(
                    .mismatch, at: name, "\(tensor.size) bytes are not \(tensor.dtype) of shape \(shape)",
                    advice: "get the model again, or pack it again from its source")
            }
            return tensor
        }

        private func format(of tensor: Tensor) throws(InferenceError) -> BlockFormat {
            guard let format = BlockFormat(named: tensor.dtype) else {
                let known = BlockFormat.allCases.map(\.name).joined(separator: ", ")
                throw InferenceError(
                    .unsupported, at: tensor.name,
                    "weights stored as \(tensor.dtype.prefix(40)) are not computed with here",
                    advice: "known are \(known)")
            }
            return format
        }
    }
}
