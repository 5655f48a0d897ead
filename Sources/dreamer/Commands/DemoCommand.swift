// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import RDRR
import Wire

/// `dreamer demo`
struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract:
            """
            Show the main job on this machine: a tracker, a seeder and a fetcher, a model that travels between them, and a \
            text that the copy writes.
            """
    )

    @Option(help: "The model: a GGUF file or a safetensors folder.")
    var model: String?

    @Flag(help: "Make a model of the usual size (98,362,432 bytes) instead.")
    var synthetic = false

    @Option(help: "The folder to work in, kept afterwards; by default a temporary one.")
    var work: String?

    func validate() throws {
        guard model != nil || synthetic else { throw ValidationError("give --model FILE, or --synthetic") }
        guard !(model != nil && synthetic) else { throw ValidationError("--model and --synthetic exclude each other") }
    }

    func run() async throws {
        let interrupt = Interrupt()
        try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                try await demonstrate()
                return true
            }
            group.addTask {
                await interrupt.wait()
                return false
            }
            let isFinished = try await group.next() ?? false
            group.cancelAll()
            // The other task ends too: programs are stopped and the folder is removed on its way out.
            while let _ = try? await group.next() {}
            if !isFinished { throw CommandFailure("stopped") }
        }
    }

    private func demonstrate() async throws {
        let folder = URL(filePath: work ?? NSTemporaryDirectory() + "dreamer-demo-\(getpid())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { if work == nil { try? FileManager.default.removeItem(at: folder) } }
        let source = try model ?? makeModel(in: folder)
        let packed = folder.appending(path: "model").path
        let copy = folder.appending(path: "copy").path
        let begin = Clock.seconds

        try await show(["pack", source, "-o", packed])

        let tracker = try start(["tracker", "--listen", "127.0.0.1:0", "--json"])
        guard let url = try await tracker.event("listening")["url"]?.string else { throw CommandFailure("no tracker") }
        Terminal.note("tracker (process \(tracker.pid)): \(url)")

        let seeder = try start(["seed", packed, "--tracker", url, "--bind", "127.0.0.1", "--json"])
        guard let link = try await seeder.event("seeding")["magnet"]?.string else { throw CommandFailure("no seeder") }
        Terminal.note("seeder (process \(seeder.pid)): \(link)")

        let fetchStart = Clock.seconds
        try await show(["fetch", link, "-o", copy, "--bind", "127.0.0.1", "--p2p-only"])
        let fetchSeconds = Clock.seconds - fetchStart
        seeder.stop()
        tracker.stop()

        try await show(["verify", copy])
        let bytes = try compare(packed, copy)
        Terminal.output("")
        Terminal.output("The model went from one process to another over ICE, DTLS, SCTP and WebRTC data channels.")
        Terminal.output("  model      \(source)")
        Terminal.output("  copy       \(Units.bytes(bytes)), equal to the original byte for byte")
        Terminal.output("  fetching   \(Units.duration(fetchSeconds)), start of the program included")
        Terminal.output("  everything \(Units.duration(Clock.seconds - begin))")
        Terminal.output("")
        try await speak(copy)
    }

    /// Has the copy answer a question, or, if nobody taught it to answer, go on from a text.
    private func speak(_ copy: String) async throws {
        let manifest = try ModelFolder(opening: copy).manifest
        let isTaught = manifest.json["inference"]?["chatTemplate"]?["file"]?.string != nil
        let question = "What is the capital of France? Answer in one sentence."
        try await show(
            ["generate", copy, "--prompt", question, "--max-tokens", "40", "--seed", "1", "--temperature", "0"]
                + (isTaught ? ["--chat"] : []))
    }

    private func makeModel(in folder: URL) throws -> String {
        let path = folder.appending(path: "synthetic.gguf").path
        Terminal.note("making a model of \(SyntheticModel.usualSize) bytes")
        try SyntheticModel().write(to: path)
        return path
    }

    private func start(_ arguments: [String]) throws -> ChildProgram {
        Terminal.note("$ \(commandLine(arguments)) &")
        return try ChildProgram(arguments, readsOutput: true)
    }

    private func show(_ arguments: [String]) async throws {
        Terminal.note("$ \(commandLine(arguments))")
        try await ChildProgram(arguments, readsOutput: false).finish()
    }

    /// The command as it could be typed.
    private func commandLine(_ arguments: [String]) -> String {
        let safe = { (argument: String) in argument.allSatisfy { $0.isLetter || $0.isNumber || "-_./:".contains($0) } }
        return (["dreamer"] + arguments.map { safe($0) ? $0 : "'\($0)'" }).joined(separator: " ")
    }

    /// Compares all that the manifest lists, and the manifest, byte by byte; answers how many bytes there are.
    private func compare(_ original: String, _ copy: String) throws -> Int {
        let manifest = try ModelFolder(opening: original).manifest
        var bytes = 0
        for name in [RDRRManifest.manifestName] + manifest.entries.map(\.name) {
            let first = try MappedFile(path: "\(original)/\(name)")
            let second = try MappedFile(path: "\(copy)/\(name)")
            let isEqual = first.bytes.withUnsafeBytes { a in
                second.bytes.withUnsafeBytes { b in
                    a.count == b.count && a.elementsEqual(b)
                }
            }
            guard isEqual else { throw CommandFailure("\(copy)/\(name) differs from the original") }
            bytes += first.count
        }
        return bytes
    }
}
