// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import RDRR
import Signaling
import Synchronization
import Testing
import Wire

/// A folder for one scenario, and the programs that play in it. Everything ends and goes with it.
final class Scene: Sendable {
    /// The scenario's folder.
    let folder: String

    init() throws {
        let url = FileManager.default.temporaryDirectory.appending(path: "dreamer-scene-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        folder = url.path
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    /// A path in the folder.
    func path(_ name: String) -> String { "\(folder)/\(name)" }

    /// What lies in the folder or one below it, without the order in which it lies.
    func names(_ sub: String = "") -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: path(sub))) ?? []).sorted()
    }

    /// The bytes of a file.
    func read(_ name: String) throws -> [UInt8] { try [UInt8](Data(contentsOf: URL(filePath: path(name)))) }

    /// Writes a file.
    func write(_ bytes: some Sequence<UInt8>, to name: String) throws {
        try Data(bytes).write(to: URL(filePath: path(name)))
    }

    /// Writes a text.
    func write(_ text: String, to name: String) throws { try write(text.utf8, to: name) }

    /// A copy of the sample model.
    func copyModel(to name: String) throws {
        try FileManager.default.copyItem(atPath: SampleModel.shared.get().folder, toPath: path(name))
    }

    // MARK: - Programs

    /// Starts `dreamer` with arguments.
    func start(_ arguments: String...) throws -> LineProcess { try LineProcess(Programs.dreamer, arguments) }

    /// Runs `dreamer` to its end.
    func run(_ arguments: String...) async throws -> Outcome { try await Scene.run(arguments) }

    /// Runs `dreamer` to its end.
    static func run(_ arguments: [String]) async throws -> Outcome {
        let process = try LineProcess(Programs.dreamer, arguments)
        let status = try await process.exit()
        // What the pipes still hold is read after the end.
        try await process.waitForOutputEnd()
        return Outcome(status: status, errors: process.errors, output: process.output)
    }

    /// A fetch of the sample model into `copy`, that prints JSON lines.
    func fetch(
        _ source: String? = nil, trackers: [String] = [], into copy: String = "copy", _ more: String...
    ) throws -> LineProcess {
        let source = try source ?? MagnetLink(to: SampleModel.shared.get().manifest).description
        return try LineProcess(
            Programs.dreamer,
            ["fetch", source, "-o", path(copy), "--bind", "127.0.0.1", "--json"]
                + trackers.flatMap { ["--tracker", $0] }
                + more)
    }

    /// A seeder of the sample model, that prints JSON lines, once it is ready.
    func seed(trackers: [String], _ more: String...) async throws -> LineProcess {
        let process = try LineProcess(
            Programs.dreamer,
            ["seed", SampleModel.shared.get().folder, "--bind", "127.0.0.1", "--json"]
                + trackers.flatMap { ["--tracker", $0] } + more)
        _ = try await process.json(where: ["event": "seeding"])
        return process
    }

    /// Checks that a folder holds the sample model, byte for byte, and no unfinished files.
    func expectModel(in copy: String = "copy", sourceLocation: SourceLocation = #_sourceLocation) throws {
        let model = try SampleModel.shared.get()
        for name in model.manifest.entries.map(\.name) + [RDRRManifest.manifestName] {
            let original = try Data(contentsOf: URL(filePath: "\(model.folder)/\(name)"))
            let copied = try? Data(contentsOf: URL(filePath: "\(path(copy))/\(name)"))
            #expect(copied == original, "\(name) is another", sourceLocation: sourceLocation)
        }
        #expect(!names(copy).contains { $0.hasPrefix(".dreamer") }, sourceLocation: sourceLocation)
    }
}

/// How a program ended.
struct Outcome: Sendable {
    let status: Int32
    let errors: String
    let output: String
}

/// A small model, packed once for all tests.
struct SampleModel: Sendable {
    let folder: String
    let manifest: RDRRManifest
    /// The GGUF file that it was packed from.
    let file: String
    /// Keeps the files.
    private let scene: Scene

    private static let leftover = Mutex("")
    static let shared = Result { try SampleModel() }

    private init() throws {
        scene = try Scene()
        let leftover = scene.folder
        SampleModel.leftover.withLock { $0 = leftover }
        // What is static is never let go.
        atexit { SampleModel.leftover.withLock { _ = try? FileManager.default.removeItem(atPath: $0) } }
        file = scene.path("model.gguf")
        folder = scene.path("model")
        try SyntheticModel(size: 6 << 20).write(to: file)
        manifest = try ModelPacker.pack(file, to: folder, options: .init(shardSize: 1 << 20)).folder.manifest
    }
}

extension TrackerServer {
    /// The address for `--tracker`.
    var url: String { "ws://127.0.0.1:\(port)/announce" }

    /// A tracker for one scenario.
    static func with<Result: Sendable>(_ body: (TrackerServer) async throws -> Result) async throws -> Result {
        let server = try await start(host: "127.0.0.1", port: 0)
        do {
            let result = try await body(server)
            await server.stop()
            return result
        } catch {
            await server.stop()
            throw error
        }
    }
}
