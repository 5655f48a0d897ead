// SPDX-License-Identifier: Apache-2.0
public import ArgumentParser
import Hashing
public import RDRR
import Signaling
import Wire

/// `dreamer pack MODEL -o DIR`
struct PackCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pack", abstract: "Turn a GGUF file or a safetensors folder into a model folder (RDRR).")

    @Argument(help: "The GGUF file, or the folder with config.json and *.safetensors.")
    var model: String

    @Option(name: .shortAndLong, help: "The folder to make. It must not exist.")
    var output: String

    @Option(help: "The size of a shard.")
    var shardSize: ByteCount = ByteCount(64 << 20)

    @Option(help: "How shards are hashed: blake3 (verifiable group by group) or sha256.")
    var hash: HashAlgorithm = .blake3

    @Option(help: "The model's name; by default what the file says, or its name.")
    var modelId: String?

    @Option(name: .customLong("tracker"), help: "A tracker to name in the printed link (repeatable).")
    var trackers: [String] = []

    @Flag(help: "Print the result as JSON.")
    var json = false

    func validate() throws {
        guard shardSize.value > 0 else { throw ValidationError("--shard-size 0: give a size as 64MiB") }
        for tracker in trackers where TrackerURL(tracker) == nil {
            throw ValidationError("--tracker \(tracker): give an address as ws://host:port/announce or wss://…")
        }
    }

    func run() throws {
        var line = ProgressLine(label: "packing")
        var meter = Meter()
        let result = try ModelPacker.pack(
            model, to: output, options: .init(shardSize: shardSize.value, hash: hash, modelId: modelId)
        ) { progress in
            let now = Clock.seconds
            line.show(
                .init(
                    done: progress.bytesDone, total: progress.bytesTotal, rate: meter.rate(progress.bytesDone, at: now)),
                at: now)
        }
        line.clear()
        for warning in result.warnings { Terminal.note("dreamer: \(model): \(warning)") }
        let manifest = result.folder.manifest
        let link = MagnetLink(to: manifest, trackers: trackers).description
        if json {
            Terminal.output(
                JSON.object([
                    "folder": .string(output), "modelId": .string(manifest.modelId),
                    "manifestDigest": .string(manifest.digest.hex), "shards": .integer(Int64(manifest.shards.count)),
                    "files": .integer(Int64(manifest.files.count)), "bytes": .integer(Int64(manifest.totalEntrySize)),
                    "magnet": .string(link), "warnings": .array(result.warnings.map(JSON.string)),
                ]).serialized())
        } else {
            Terminal.output(
                "\(output): \(manifest.modelId), \(Units.bytes(manifest.totalEntrySize)) in "
                    + "\(manifest.shards.count) shards and \(manifest.files.count) files")
            Terminal.output(link)
        }
    }
}

extension HashAlgorithm: ExpressibleByArgument {}
