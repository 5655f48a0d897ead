// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import RDRR
import Testing
import Wire

/// A manifest that cannot be used, and what is said of it.
struct BadManifest: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// What the complaint names: where it is, and what is wrong.
    let words: [String]
    let spoil: @Sendable ([UInt8]) throws -> [UInt8]

    init(_ description: String, _ words: [String], bytes: @escaping @Sendable ([UInt8]) throws -> [UInt8]) {
        testDescription = description
        self.words = words
        spoil = bytes
    }

    /// Changes the manifest's JSON.
    init(_ description: String, _ words: [String], _ edit: @escaping @Sendable (inout JSON.Object) -> Void) {
        self.init(description, words) { bytes in
            guard case .object(var object) = try JSON(parsing: bytes) else { return bytes }
            edit(&object)
            return Array(JSON.object(object).serialized().utf8)
        }
    }

    /// Changes one of the manifest's shards or files.
    init(_ description: String, _ words: [String], _ list: String, _ index: Int, _ name: String, _ value: JSON) {
        self.init(description, words) { $0.set(list, index, name, value) }
    }

    static let all: [BadManifest] = [
        BadManifest("empty", ["manifest.json", "byte 0"], bytes: { _ in [] }),
        BadManifest(
            "truncated JSON", ["manifest.json", "ends too early", "at byte"],
            bytes: { Array($0.prefix($0.count * 2 / 3)) }),
        BadManifest("random bytes", ["manifest.json", "byte 0"], bytes: { $0.map { $0 &* 193 &+ 7 } }),
        BadManifest("no object", ["manifest.json", "object"], bytes: { _ in Array("[1, 2]".utf8) }),
        BadManifest(
            "2^60 bytes", ["manifest.json", "shards[0].size", "2^53"], "shards", 0, "size", .integer(1 << 60)),
        BadManifest("a size below zero", ["shards[1].size"], "shards", 1, "size", -1),
        BadManifest("a size that is text", ["shards[1].size", "whole number"], "shards", 1, "size", "big"),
        BadManifest(
            "a shard outside of the folder", ["shards[0].filename", "../escape.bin"], "shards", 0, "filename",
            "../escape.bin"),
        BadManifest(
            "a shard at an absolute path", ["shards[0].filename", "/tmp/escape.bin"], "shards", 0, "filename",
            "/tmp/escape.bin"),
        BadManifest("a file outside of the folder", ["files[0].name", "../escape"], "files", 0, "name", "../escape"),
        BadManifest("the manifest as a file", ["files[0].name"], "files", 0, "name", "manifest.json"),
        BadManifest("two files of one name", ["files[1].name", "tokenizer.json"]) { manifest in
            manifest.set("files", 0, "name", "tokenizer.json")
            manifest.set("files", 1, "name", "tokenizer.json")
        },
        BadManifest("overlapping shards", ["shards[1].offset"], "shards", 1, "offset", 100),
        BadManifest("a gap between shards", ["shards[1].offset"], "shards", 1, "offset", 2_000_000),
        BadManifest("a hash that is none", ["shards[0].hash"], "shards", 0, "hash", "abc"),
        BadManifest("a version of the future", ["version"]) { $0["version"] = "x" },
    ]
}

extension JSON.Object {
    fileprivate mutating func set(_ list: String, _ index: Int, _ name: String, _ value: JSON) {
        guard case .array(var entries)? = self[list], case .object(var entry) = entries[index] else { return }
        entry[name] = value
        entries[index] = .object(entry)
        self[list] = .array(entries)
    }
}

/// Damaged, cut and hostile files; full disks; wrong usage. Each has an error that says what, where and what to do, the
/// right exit status, and leaves everything as it was.
@Suite("Bad input")
struct BadInputTests {
    @Suite(.serialized)
    struct Manifests {
        @Test("a bad manifest is refused by every command, with its place", arguments: BadManifest.all)
        func refused(_ bad: BadManifest) async throws {
            let scene = try Scene()
            try scene.copyModel(to: "model")
            try scene.write(bad.spoil(scene.read("model/manifest.json")), to: "model/manifest.json")
            let before = scene.names("model")
            try await LoopbackServer.with(LoopbackServer.files(of: scene.path("model"))) { web in
                for arguments in [
                    ["inspect", scene.path("model")], ["verify", scene.path("model")],
                    ["seed", scene.path("model"), "--bind", "127.0.0.1"],
                    ["fetch", scene.path("model"), "--bind", "127.0.0.1"],
                    ["fetch", "http://127.0.0.1:\(web.port)/manifest.json", "-o", scene.path("copy")],
                ] {
                    let outcome = try await Scene.run(arguments)
                    #expect(outcome.status == 1, "\(arguments[0]): \(outcome.errors)")
                    #expect(outcome.errors.hasPrefix("dreamer: "), "\(arguments[0]): \(outcome.errors)")
                    #expect(outcome.errors.split(separator: "\n").count == 1, "\(arguments[0]): \(outcome.errors)")
                    for word in bad.words where !outcome.errors.contains(word) {
                        Issue.record("\(arguments[0]) does not say \(word): \(outcome.errors)")
                    }
                }
            }
            #expect(scene.names("model") == before, "nothing was touched")
            #expect(scene.names() == ["model"], "nothing was left behind")
        }

        @Test("a manifest that claims 2^50 bytes takes neither memory nor disk")
        func enormous() async throws {
            let scene = try Scene()
            try scene.copyModel(to: "model")
            guard case .object(var manifest) = try JSON(parsing: scene.read("model/manifest.json")) else { return }
            let last = (manifest["shards"]?.array?.count ?? 1) - 1
            manifest.set("shards", last, "size", .integer(1 << 50))
            let others = (manifest["shards"]?.array ?? []).dropLast().reduce(0) { $0 + ($1["size"]?.integer ?? 0) }
            manifest["totalSize"] = .integer(others + 1 << 50)
            try scene.write(JSON.object(manifest).serialized(), to: "model/manifest.json")
            let verify = try await scene.run("verify", scene.path("model"))
            #expect(verify.status == 1)
            #expect(verify.output.contains("where the manifest says 1125899906842624"), "\(verify.output)")
            try await LoopbackServer.with(LoopbackServer.files(of: scene.path("model"))) { web in
                let fetch = try await scene.run(
                    "fetch", "http://127.0.0.1:\(web.port)/manifest.json", "-o", scene.path("copy"), "--bind",
                    "127.0.0.1")
                #expect(fetch.status == 1)
                #expect(fetch.errors.contains("the manifest claims"), "\(fetch.errors)")
                #expect(scene.names() == ["model"])
            }
            let seed = try await scene.run("seed", scene.path("model"), "--bind", "127.0.0.1")
            #expect(seed.status == 1)
            #expect(seed.errors.contains("the manifest claims"), "\(seed.errors)")
        }

        @Test("a folder without a manifest, and one that is not there, are named")
        func absent() async throws {
            let scene = try Scene()
            try FileManager.default.createDirectory(atPath: scene.path("empty"), withIntermediateDirectories: true)
            for name in ["empty", "nowhere"] {
                for command in ["inspect", "verify", "seed", "fetch"] {
                    let outcome = try await scene.run(command, scene.path(name))
                    #expect(outcome.status == 1, "\(command): \(outcome.errors)")
                    #expect(outcome.errors.contains(scene.path(name)), "\(command): \(outcome.errors)")
                }
            }
        }
    }

    @Suite(.serialized)
    struct Hashes {
        @Test("a shard with another hash is found by verify, not served, and not fetched")
        func wrongHash() async throws {
            let scene = try Scene()
            try scene.copyModel(to: "model")
            let manifest = try SampleModel.shared.get().manifest
            let shard = manifest.shards[1]
            var bytes = try scene.read("model/\(shard.name)")
            bytes[200_000] ^= 1
            try scene.write(bytes, to: "model/\(shard.name)")

            let verify = try await scene.run("verify", scene.path("model"))
            #expect(verify.status == 1)
            #expect(verify.output.contains("\(shard.name): hashes to"), "\(verify.output)")
            #expect(verify.output.contains("byte 131072"), "\(verify.output)")
            #expect(verify.errors.contains("1 of \(manifest.entries.count)"), "\(verify.errors)")

            let seed = try scene.start("seed", scene.path("model"), "--bind", "127.0.0.1", "--json")
            let seeding = try await seed.json(where: ["event": "seeding"])
            #expect(seeding["shards"]?.integer == Int64(manifest.entries.count - 1))
            seed.interrupt()
            try await seed.expectExit()

            try await LoopbackServer.with(LoopbackServer.files(of: scene.path("model"))) { web in
                let fetch = try scene.fetch("http://127.0.0.1:\(web.port)/", into: "copy", "--stall-timeout", "5")
                let event = try await fetch.json(where: ["event": "origin"])
                #expect(event["message"]?.string?.contains(shard.name) == true, "\(event)")
                try await fetch.expectExit(1)
                #expect(!scene.names("copy").contains(shard.name), "nothing unverified has its final name")
            }
            // From a good server the same command goes on, and fetches what is missing alone.
            try await LoopbackServer.with(LoopbackServer.files(of: SampleModel.shared.get().folder)) { web in
                let fetch = try scene.fetch("http://127.0.0.1:\(web.port)/", into: "copy", "--stall-timeout", "20")
                let done = try await fetch.json(where: ["event": "done"])
                try await fetch.expectExit()
                #expect(done["bytesFromHTTP"]?.integer ?? .max <= Int64(shard.size))
            }
            try scene.expectModel()
        }

        @Test("a manifest with a wrong hash leaves nothing unverified under a final name")
        func wrongManifestHash() async throws {
            let scene = try Scene()
            try scene.copyModel(to: "model")
            guard case .object(var manifest) = try JSON(parsing: scene.read("model/manifest.json")) else { return }
            manifest.set("shards", 0, "hash", .string(String(repeating: "ab", count: 32)))
            let name = try SampleModel.shared.get().manifest.shards[0].name
            try scene.write(JSON.object(manifest).serialized(), to: "model/manifest.json")
            try await LoopbackServer.with(LoopbackServer.files(of: scene.path("model"))) { web in
                let fetch = try scene.fetch("http://127.0.0.1:\(web.port)/", into: "copy", "--stall-timeout", "5")
                let event = try await fetch.json(where: ["event": "origin"])
                #expect(event["message"]?.string?.contains(name) == true, "\(event)")
                try await fetch.expectExit(1)
                #expect(!scene.names("copy").contains(name))
            }
        }
    }

    @Suite
    struct ModelFiles {
        @Test(
            "a GGUF file that is cut short is refused, and nothing is left",
            arguments: [0, 3, 20, 1_000, 40_000, 5_000_000])
        func truncated(count: Int) async throws {
            let scene = try Scene()
            let whole = try Data(contentsOf: URL(filePath: SampleModel.shared.get().file))
            try scene.write(whole.prefix(count), to: "cut.gguf")
            let outcome = try await scene.run("pack", scene.path("cut.gguf"), "-o", scene.path("out"))
            #expect(outcome.status == 1)
            #expect(outcome.errors.contains("cut.gguf"), "\(outcome.errors)")
            #expect(outcome.errors.contains("("), "says what to do: \(outcome.errors)")
            #expect(scene.names() == ["cut.gguf"], "nothing was left behind")
        }

        @Test("a GGUF file that claims absurd numbers is refused", arguments: [8, 16])
        func absurd(offset: Int) async throws {
            let scene = try Scene()
            var bytes = try [UInt8](Data(contentsOf: URL(filePath: SampleModel.shared.get().file)).prefix(100_000))
            for index in 0..<8 { bytes[offset + index] = index == 7 ? 0x10 : 0 }
            try scene.write(bytes, to: "absurd.gguf")
            let outcome = try await scene.run("pack", scene.path("absurd.gguf"), "-o", scene.path("out"))
            #expect(outcome.status == 1)
            #expect(outcome.errors.contains("absurd.gguf"), "\(outcome.errors)")
            #expect(scene.names() == ["absurd.gguf"])
        }

        @Test("a folder that is there already is not touched")
        func exists() async throws {
            let scene = try Scene()
            try scene.copyModel(to: "out")
            let outcome = try await scene.run("pack", SampleModel.shared.get().file, "-o", scene.path("out"))
            #expect(outcome.status == 1)
            #expect(outcome.errors.contains(scene.path("out")), "\(outcome.errors)")
            try scene.expectModel(in: "out")
        }
    }

    @Suite(.serialized, .enabled(if: TemporaryDisk.isPossible, "small disks can be mounted by root alone"))
    struct FullDisks {
        @Test("a model that does not fit is refused by pack before it writes, and nothing is left")
        func pack() async throws {
            let disk = try TemporaryDisk(mebibytes: 4)
            let outcome = try await Scene.run(["pack", SampleModel.shared.get().file, "-o", disk.path("out")])
            #expect(outcome.status == 1)
            #expect(outcome.errors.contains(disk.path("out")), "\(outcome.errors)")
            #expect(outcome.errors.contains("free"), "\(outcome.errors)")
            #expect(disk.names == [])
        }

        @Test("a model that does not fit is refused by fetch, which says how much is missing")
        func fetch() async throws {
            let disk = try TemporaryDisk(mebibytes: 4)
            try await LoopbackServer.with(LoopbackServer.files(of: SampleModel.shared.get().folder)) { web in
                let outcome = try await Scene.run([
                    "fetch", "http://127.0.0.1:\(web.port)/", "-o", disk.path("copy"), "--bind", "127.0.0.1",
                ])
                #expect(outcome.status == 1)
                #expect(outcome.errors.contains("bytes are to be fetched and"), "\(outcome.errors)")
                #expect(outcome.errors.contains("make room"), "\(outcome.errors)")
            }
        }

        @Test("a disk that fills up during a fetch loses nothing: the same command completes once there is room")
        func fillsUp() async throws {
            let scene = try Scene()
            let disk = try TemporaryDisk(mebibytes: 12)
            try await LoopbackServer.with(LoopbackServer.files(of: SampleModel.shared.get().folder)) { web in
                let arguments = [
                    "fetch", "http://127.0.0.1:\(web.port)/", "-o", disk.path("copy"), "--bind", "127.0.0.1", "--json",
                ]
                let fetch = try LineProcess(Programs.dreamer, arguments + ["--download-limit", "1MB"])
                var verified: Int64 = 0
                while verified < 2_000_000 {
                    verified = try await fetch.json(where: ["event": "progress"])["verified"]?.integer ?? 0
                }
                try disk.fill()
                try await fetch.expectExit(1)
                #expect(fetch.errors.contains("No space left on device"), "\(fetch.errors)")
                #expect(fetch.errors.contains("make room and start again"), "\(fetch.errors)")
                disk.makeRoom()
                let again = try LineProcess(Programs.dreamer, arguments)
                let done = try await again.json(where: ["event": "done"])
                #expect(done["bytesFromDisk"]?.integer ?? 0 >= verified, "what was verified stayed")
                try await again.expectExit()
            }
            try FileManager.default.copyItem(atPath: disk.path("copy"), toPath: scene.path("copy"))
            try scene.expectModel()
        }
    }
}

/// A small file system in memory, gone with its last user.
final class TemporaryDisk: Sendable {
    private let folder: String

    /// Whether this user may mount; prints the reason where not.
    static let isPossible: Bool = {
        if (try? TemporaryDisk(mebibytes: 1)) != nil { return true }
        print("skipped: tests of full disks mount a tmpfs, which this user may not")
        return false
    }()

    init(mebibytes: Int) throws {
        var template = Array("/tmp/dreamer-disk-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw LineProcess.Failure(description: "no temporary folder") }
        folder = String(cString: made)
        guard mount("tmpfs", folder, "tmpfs", 0, "size=\(mebibytes)m") == 0 else {
            rmdir(folder)
            throw LineProcess.Failure(description: "no tmpfs can be mounted: \(String(cString: strerror(errno)))")
        }
    }

    deinit {
        // Lazily, in case a program that is being ended still has a file open.
        umount2(folder, Int32(MNT_DETACH))
        rmdir(folder)
    }

    func path(_ name: String) -> String { "\(folder)/\(name)" }

    var names: [String] { (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] }

    /// Takes all the room there is.
    func fill() throws {
        let descriptor = open(path("filler"), O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
        defer { close(descriptor) }
        let zeros = [UInt8](repeating: 0, count: 4096)
        while write(descriptor, zeros, zeros.count) > 0 {}
        guard errno == ENOSPC else { throw LineProcess.Failure(description: "the disk could not be filled") }
    }

    /// Gives it back.
    func makeRoom() { unlink(path("filler")) }
}
