// SPDX-License-Identifier: Apache-2.0
internal import Compute
internal import RDRR

/// A model as a program, with the tensor that each of its weights is.
struct ModelGraph {
    /// Where the bytes of a part of weights are.
    struct Source: Hashable {
        let tensor: Tensor
        /// Which of the tensor's bytes.
        let range: Range<Int>
        /// Whether the tensor's numbers become single-precision ones when they are bound: vectors alone.
        let widens: BlockFormat?

        /// The shards that hold them.
        var shards: [Int] { tensor.spans(of: range).map(\.shard) }
    }

    let architecture: ModelArchitecture
    /// What is computed.
    private(set) var program = Program()
    /// For each weight, the source of each of its parts.
    private(set) var sources: [[Source]] = []
    /// The layers whose experts weights hold.
    private(set) var expertLayers: [WeightID: Int] = [:]
    /// The numbers for every token of the vocabulary, for each output.
    let logits: Activation

    private let manifest: RDRRManifest
    private let names: TensorNames

    /// Lays a model out, `ropeFactors` being the numbers of the tensor of that name if the model has it.
    init(_ architecture: ModelArchitecture, _ manifest: RDRRManifest, ropeFactors: [Float]?) throws(InferenceError) {
        self.architecture = architecture
        self.manifest = manifest
        names = Self.names(architecture, manifest)
        do {
            let rows = try Rows(architecture, &program)
            logits = try program.activation(architecture.vocabulary, rows: .outputs)
            var graph = Builder(architecture, manifest, names, program, ropeFactors)
            try graph.embed(rows)
            for layer in 0..<architecture.layers { try graph.layer(layer, rows) }
            try graph.head(rows, logits)
            program = graph.program
            sources = graph.sources
            expertLayers = graph.expertLayers
        } catch let error as ComputeError {
            throw InferenceError(.mismatch, at: manifest.modelId, error.message, advice: "get the model again")
        } catch {
            throw error as? InferenceError
                ?? InferenceError(.mismatch, at: manifest.modelId, "\(error)", advice: "get the model again")
        }
    }

    /// The shards in the order in which the first token needs them, without those of experts alone: nobody knows yet which
    /// it asks for.
    var shardsInOrder: [Int] {
        var order: [Int] = []
        var known: Set<Int> = []
        for segment in program.segments {
            for weight in segment.weights where expertLayers[weight] == nil {
                for shard in sources[weight.index].flatMap(\.shards) where known.insert(shard).inserted {
                    order.append(shard)
                }
            }
        }
        return order
    }

    /// The shards that hold the matrices of an expert, in the order in which they are computed with.
    func shards(ofExpert expert: Int, in layer: Int) -> [Int] {
        expertLayers.filter { $0.value == layer }.keys.sorted { $0.index < $1.index }
            .flatMap { sources[$0.index][expert].shards }
    }

    static func names(_ architecture: ModelArchitecture, _ manifest: RDRRManifest) -> TensorNames {
        let prefixes = ["", "language_model.", "model.language_model."]
        let prefix = prefixes.first { manifest.tensor(named: "\($0)model.embed_tokens.weight") != nil } ?? ""
        return TensorNames(architecture.family, architecture.naming, prefix: prefix)
    }

    /// The rows that all layers use in turn.
    struct Rows {
        let x, normed, queries, keys, values, attended, projected: Activation
        let gates, ups: Activation
        let router: Activation?

        init(_ architecture: ModelArchitecture, _ program: inout Program) throws(ComputeError) {
            x = try program.activation(architecture.width)
            normed = try program.activation(architecture.width)
            queries = try program.activation(architecture.heads * architecture.headLength)
            keys = try program.activation(architecture.keyValueHeads * architecture.headLength)
            values = try program.activation(architecture.keyValueHeads * architecture.headLength)
            attended = try program.activation(architecture.heads * architecture.headLength)
            projected = try program.activation(architecture.width)
            gates = try program.activation(architecture.hidden)
            ups = try program.activation(architecture.hidden)
            if let experts = architecture.experts {
                router = try program.activation(experts.count)
            } else {
                router = nil
            }
        }
    }
}
