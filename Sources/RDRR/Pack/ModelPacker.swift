// SPDX-License-Identifier: Apache-2.0

/// Packs a GGUF file or a folder of safetensors files as a model folder (RDRR).
///
/// The weights are copied in one pass, without ever being in memory as a whole. The same input and options give the same
/// manifest, byte for byte. The folder appears under its name only when everything is on the disk; a failure leaves what
/// was there before.
public struct ModelPacker: Sendable {
    /// What may be chosen.
    public struct Options: Sendable {
        /// The bytes of a shard; the last one may be smaller.
        public var shardSize: Int
        /// The hash function of shards and files. BLAKE3 lets peers verify parts of a shard.
        public var hash: HashAlgorithm
        /// The model's name; by default the one in its own metadata.
        public var modelId: String?

        /// 64 MiB is the format's usual size of a shard.
        public init(shardSize: Int = 64 << 20, hash: HashAlgorithm = .blake3, modelId: String? = nil) {
            self.shardSize = shardSize
            self.hash = hash
            self.modelId = modelId
        }
    }

    /// How far packing has come.
    public struct Progress: Hashable, Sendable {
        /// Bytes of weights written.
        public let bytesDone: Int
        /// Bytes of weights in all.
        public let bytesTotal: Int
    }

    /// What was made.
    public struct Result: Sendable {
        /// The new folder.
        public let folder: ModelFolder
        /// What could not be carried over, in words.
        public let warnings: [String]
    }

    /// More shards than this make no sense: the list alone would pass what peers exchange.
    static let mostShards = 100_000

    /// Packs the model at `source` into the new folder `destination`.
    ///
    /// - Parameter progress: called now and then, on the caller's thread.
    @discardableResult
    public static func pack(
        _ source: String, to destination: String, options: Options = Options(),
        progress: ((Progress) -> Void)? = nil
    ) throws(RDRRError) -> Result {
        let model = try ImportedModel.open(source)
        let total = model.tensorBytes
        try check(options, total: total)
        var staging = try StagingFolder(for: destination)
        let spared = 8 << 20
        try staging.checkSpace(for: total + spared)
        try staging.makeFolder(GroupProof.folderName)

        var run = PackRun(path: staging.path, algorithm: options.hash, shardSize: options.shardSize)
        try run.writeTensors(of: model, total: total, progress: progress)
        let shards = run.entries
        try run.writeCompanions(of: model)
        let writer = ManifestWriter(
            model: model, modelId: options.modelId ?? model.modelId, algorithm: options.hash, shards: shards,
            files: Array(run.entries.dropFirst(shards.count)), tensors: run.tensors)
        let bytes = writer.bytes()
        // What is written is read again by the same rules as any other manifest.
        let manifest = try RDRRManifest(parsing: bytes)
        try staging.write(bytes, to: RDRRManifest.manifestName)
        try staging.finish(subfolders: [GroupProof.folderName])
        return Result(folder: ModelFolder(path: destination, manifest: manifest), warnings: model.warnings)
    }

    private static func check(_ options: Options, total: Int) throws(RDRRError) {
        guard options.shardSize > 0 else {
            throw RDRRError(
                .invalid, at: "shard size", "\(options.shardSize) bytes are no size", advice: "give 64MiB, for example")
        }
        guard total > 0 else {
            throw RDRRError(.notAModel, at: "tensors", "they have no bytes", advice: "give the file with the weights")
        }
        guard (total - 1) / options.shardSize < mostShards else {
            throw RDRRError(
                .invalid, at: "shard size", "\(options.shardSize) bytes would make more than \(mostShards) shards",
                advice: "give a larger size, 64MiB for example")
        }
        if let id = options.modelId, id.isEmpty || id.utf8.count > 200 {
            throw RDRRError(
                .invalid, at: "model id", "it must have 1 to 200 bytes", advice: "give a short name")
        }
    }
}

/// One run of the packer: the shard that is being written, and what has been written so far.
private struct PackRun {
    let path: String
    let algorithm: HashAlgorithm
    let shardSize: Int
    private(set) var entries: [RDRRManifest.Entry] = []
    private(set) var tensors: [Tensor] = []
    /// Bytes of the tensors that have their place.
    private var placed = 0

    init(path: String, algorithm: HashAlgorithm, shardSize: Int) {
        self.path = path
        self.algorithm = algorithm
        self.shardSize = shardSize
    }

    /// Writes all tensors back to back, cut into shards.
    mutating func writeTensors(
        of model: ImportedModel, total: Int, progress: ((ModelPacker.Progress) -> Void)?
    ) throws(RDRRError) {
        for tensor in model.tensors { place(tensor) }
        var done = 0
        for index in 0...(total - 1) / shardSize {
            let name = Self.shardName(index)
            var writer = try EntryWriter(path: "\(path)/\(name)", algorithm: algorithm)
            let end = min(total, (index + 1) * shardSize)
            try forEachRange(of: model, in: index * shardSize..<end) { (file, range) throws(RDRRError) in
                try file.forEachPiece(of: range) { (piece) throws(RDRRError) in
                    try writer.write(piece)
                    done += piece.count
                    progress?(ModelPacker.Progress(bytesDone: done, bytesTotal: total))
                }
            }
            let size = writer.size
            try add(name, size: size, finished: writer.finish())
        }
    }

    /// Writes the files that go along.
    mutating func writeCompanions(of model: ImportedModel) throws(RDRRError) {
        for companion in model.companions.sorted(by: { $0.name < $1.name }) {
            var writer = try EntryWriter(path: "\(path)/\(companion.name)", algorithm: algorithm)
            switch companion.content {
            case .bytes(let bytes):
                var failure: RDRRError?
                bytes.withUnsafeBytes { buffer in
                    do throws(RDRRError) { try writer.write(buffer) } catch { failure = error }
                }
                if let failure { throw failure }
            case .file(let file):
                try file.forEachPiece { (piece) throws(RDRRError) in try writer.write(piece) }
            }
            let size = writer.size
            try add(companion.name, size: size, finished: writer.finish())
        }
    }

    private mutating func add(
        _ name: String, size: Int, finished: (hash: [UInt8], proof: GroupProof)
    ) throws(RDRRError) {
        let entry = RDRRManifest.Entry(
            index: entries.count, name: name, size: size, hash: finished.hash, algorithm: algorithm)
        entries.append(entry)
        guard entry.groupCount > 1 else { return }
        let file = try SystemFile(creating: "\(path)/\(GroupProof.path(forName: name))")
        try file.write(finished.proof.bytes)
        try file.synchronize()
    }

    private mutating func place(_ source: ImportedModel.SourceTensor) {
        var offset = placed
        var spans: [Tensor.Span] = []
        let end = placed + source.range.count
        if source.range.isEmpty {
            // A tensor without values stands at the end of what is there, which is always inside a shard.
            let shard = max(0, placed - 1) / shardSize
            spans.append(Tensor.Span(shard: shard, offset: placed - shard * shardSize, size: 0))
        }
        while offset < end {
            let shard = offset / shardSize
            let size = min(end, (shard + 1) * shardSize) - offset
            spans.append(Tensor.Span(shard: shard, offset: offset % shardSize, size: size))
            offset += size
        }
        placed = end
        let name = TensorName(source.name, shape: source.shape)
        tensors.append(
            Tensor(
                name: source.name, shape: source.shape, dtype: source.dtype, size: source.range.count, spans: spans,
                role: name.role, group: name.group, layout: source.layout))
    }

    /// The parts of the source files that make a range of the concatenated tensors, in order.
    private func forEachRange(
        of model: ImportedModel, in wanted: Range<Int>, _ body: (SystemFile, Range<Int>) throws(RDRRError) -> Void
    ) throws(RDRRError) {
        var start = 0
        for tensor in model.tensors {
            let part = wanted.clamped(to: start..<start + tensor.range.count)
            if !part.isEmpty {
                let base = tensor.range.lowerBound - start
                try body(model.sources[tensor.source], base + part.lowerBound..<base + part.upperBound)
            }
            start += tensor.range.count
        }
    }

    /// The names that RDRR's own writers give: five digits.
    private static func shardName(_ index: Int) -> String {
        let digits = String(index)
        return "shard_" + String(repeating: "0", count: max(0, 5 - digits.count)) + digits + ".bin"
    }
}
