// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import RDRR
import TestSupport
import Testing
import Wire

/// The model that whole programs move in tests, packed in the ways that tests need.
final class WholeModel: Sendable {
    /// A packing, and the link to it.
    struct Packing: Sendable {
        let folder: String
        let magnet: String
        let model: ModelFolder

        var manifest: RDRRManifest { model.manifest }
        /// Bytes of all shards and files.
        var size: Int { manifest.totalEntrySize }
        /// The entries that have bytes, by the protocol's index.
        var entries: [RDRRManifest.Entry] { manifest.entries.filter { $0.size > 0 } }
    }

    /// The present test's model.
    @TaskLocal static var current: WholeModel?

    /// Two shards, as the usual size of a shard makes them.
    let usual: Packing
    /// Shards of 4 MiB.
    let small: Packing
    /// Two shards with SHA-256 hashes.
    let sha256: Packing
    private let scratch: Scratch

    init() async throws {
        scratch = try Scratch()
        let source = try Self.source(scratch)
        usual = try await Self.pack(source, to: scratch("usual"), [])
        small = try await Self.pack(source, to: scratch("small"), ["--shard-size", "4MiB"])
        sha256 = try await Self.pack(source, to: scratch("sha256"), ["--hash", "sha256"])
    }

    /// The real model's GGUF file; `nil` where it is not at hand.
    static var realFile: String? {
        [
            ProcessInfo.processInfo.environment["DREAMER_MODEL"],
            Fixtures.checkout.appending(path: ".build/demo/SmolLM2-135M-Instruct.Q4_1.gguf").path,
        ].compactMap { $0 }.first { FileManager.default.fileExists(atPath: $0) }
    }

    /// The real model where it is at hand, else one of the same size and build with random weights.
    private static func source(_ scratch: Scratch) throws -> String {
        if let realFile { return realFile }
        let path = scratch("synthetic.gguf")
        try SyntheticModel().write(to: path)
        return path
    }

    private static func pack(_ source: String, to folder: String, _ options: [String]) async throws -> Packing {
        let pack = try LineProcess(Programs.dreamer, ["pack", source, "-o", folder, "--json"] + options)
        let result = try await pack.json(within: .seconds(120))
        try await pack.expectExit()
        return Packing(
            folder: folder, magnet: try #require(result["magnet"]?.string), model: try ModelFolder(opening: folder))
    }
}

extension WholeModel.Packing {
    /// A folder with some of the entries: links to the same files, so that it costs nothing.
    func part(_ folder: String, having entries: (Int) -> Bool) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        var names = [RDRRManifest.manifestName]
        for (index, entry) in manifest.entries.enumerated() where entries(index) { names.append(entry.name) }
        for name in names {
            try FileManager.default.linkItem(atPath: "\(self.folder)/\(name)", toPath: "\(folder)/\(name)")
        }
    }

    /// Checks a copy: by the program's own verification, then byte by byte against the original, and that nothing
    /// but the model lies in the folder.
    func expectCopy(in folder: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let verify = try LineProcess(Programs.dreamer, ["verify", folder, "--json"])
        let report = try await verify.json(within: .seconds(60))
        #expect(report["good"] == true, sourceLocation: sourceLocation)
        try await verify.expectExit(sourceLocation: sourceLocation)
        let names = Set(manifest.entries.map(\.name) + [RDRRManifest.manifestName])
        let found = try FileManager.default.contentsOfDirectory(atPath: folder)
        #expect(Set(found) == names, sourceLocation: sourceLocation)
        for name in names { #expect(isEqual(name, in: folder), "\(name)", sourceLocation: sourceLocation) }
    }

    private func isEqual(_ name: String, in folder: String) -> Bool {
        guard let original = try? MappedFile(path: "\(self.folder)/\(name)"),
            let copy = try? MappedFile(path: "\(folder)/\(name)"), original.count == copy.count
        else { return false }
        return original.bytes.withUnsafeBytes { a in
            copy.bytes.withUnsafeBytes { b in a.count == 0 || memcmp(a.baseAddress!, b.baseAddress!, a.count) == 0 }
        }
    }
}

/// Makes the model before a suite's first test, and removes it after the last.
struct WholeModelTrait: SuiteTrait, TestScoping {
    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        try await WholeModel.$current.withValue(try await WholeModel()) { try await function() }
    }
}

extension Trait where Self == WholeModelTrait {
    /// The tests have ``WholeModel/current``.
    static var wholeModel: Self { Self() }
}
