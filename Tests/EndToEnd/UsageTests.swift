// SPDX-License-Identifier: Apache-2.0
import Testing

/// A command line that is wrong, and what is said about it.
struct WrongUsage: Sendable, CustomTestStringConvertible {
    let arguments: [String]
    let words: [String]
    var testDescription: String { "dreamer " + arguments.joined(separator: " ") }

    init(_ line: String, _ words: String...) {
        arguments = line.split(separator: " ").map(String.init)
        self.words = words
    }

    static let all: [WrongUsage] = [
        WrongUsage("frobnicate", "frobnicate"),
        WrongUsage("--frobnicate", "--frobnicate"),
        WrongUsage("pack", "model", "Usage: dreamer pack"),
        WrongUsage("pack model.gguf", "--output"),
        WrongUsage("pack model.gguf -o out --shard-size much", "--shard-size", "much"),
        WrongUsage("pack model.gguf -o out --shard-size 0", "--shard-size", "0"),
        WrongUsage("pack model.gguf -o out --hash md5", "--hash", "md5", "blake3"),
        WrongUsage("pack model.gguf -o out --frobnicate", "--frobnicate"),
        WrongUsage("pack model.gguf -o out --tracker nonsense", "--tracker", "nonsense", "ws://"),
        WrongUsage("inspect", "folder"),
        WrongUsage("inspect a b", "b"),
        WrongUsage("verify", "folder"),
        WrongUsage("verify model --threads many", "--threads", "many"),
        WrongUsage("verify model --threads 0", "--threads", "0"),
        WrongUsage("generate", "folder"),
        WrongUsage("generate model --device gpu", "--device", "gpu"),
        WrongUsage("generate model --prompt a --temperature=-1", "temperature", "-1"),
        WrongUsage("generate model --prompt a --top-p 2", "top-p", "2"),
        WrongUsage("generate model --prompt a --kv-format q4_0", "--kv-format", "q4_0"),
        WrongUsage("generate model --prompt a --threads 0", "--threads", "0"),
        WrongUsage("generate model --prompt a --system b", "--system", "--chat"),
        WrongUsage("generate model --prompt a --threads 2 --device vulkan", "--threads", "vulkan"),
        WrongUsage("generate model --prompt a --tracker ws://127.0.0.1:1/announce", "--tracker", "link"),
        WrongUsage("generate model --prompt a --p2p-only", "--p2p-only", "link"),
        WrongUsage("generate model --prompt a -o copy", "--output", "link"),
        WrongUsage("bench inference model --gguf a", "--llama-bench", "--gguf"),
        WrongUsage("seed", "folder"),
        WrongUsage("seed model --tracker nonsense", "--tracker nonsense", "ws://host:port"),
        WrongUsage("seed model --tracker http://127.0.0.1:1/", "--tracker http://127.0.0.1:1/", "ws://host:port"),
        WrongUsage("seed model --upload-limit 0", "--upload-limit 0"),
        WrongUsage("seed model --upload-limit -5", "--upload-limit"),
        WrongUsage("seed model --max-peers 0", "--max-peers 0"),
        WrongUsage("seed model --max-peers x", "--max-peers", "x"),
        WrongUsage("seed model --http ftp://example.org", "--http", "ftp://example.org"),
        WrongUsage("seed model --bind nowhere", "--bind", "nowhere"),
        WrongUsage("seed model --port-range 9-5", "--port-range", "9-5"),
        WrongUsage("seed model --ice-server nonsense", "--ice-server", "nonsense"),
        WrongUsage("seed model --ice-server turn:127.0.0.1:3478", "--ice-server", "turn:127.0.0.1:3478"),
        WrongUsage("seed model --ice-policy relay", "--ice-policy relay", "--ice-server turn:"),
        WrongUsage("seed model --relay-budget 0", "--relay-budget 0"),
        WrongUsage("seed model --nat nonsense", "--nat nonsense", "no profile of this name"),
        WrongUsage("fetch", "source"),
        WrongUsage("fetch magnet:?xt=nonsense -o out", "xt=urn:blake3"),
        WrongUsage("fetch magnet:?xt=urn:blake3:1234 -o out", "64"),
        WrongUsage("fetch model --http nonsense", "--http", "nonsense"),
        WrongUsage("fetch model --p2p-only --http http://127.0.0.1:1/", "--p2p-only", "--http"),
        WrongUsage("fetch model --experts a,b", "--experts", "a,b"),
        WrongUsage("fetch model --stall-timeout -3", "--stall-timeout"),
        WrongUsage("fetch model --stall-timeout soon", "--stall-timeout", "soon"),
        WrongUsage("fetch model --disk-quota lots", "--disk-quota", "lots"),
        WrongUsage("tracker --listen nowhere", "--listen nowhere", "127.0.0.1:8000"),
        WrongUsage("tracker --listen 127.0.0.1:99999", "--listen 127.0.0.1:99999"),
        WrongUsage("tracker --certificate a.pem", "--key"),
        WrongUsage("serve", "folder"),
        WrongUsage("serve model", "--openai"),
        WrongUsage("serve model --openai --listen nowhere", "--listen nowhere", "127.0.0.1:8080"),
        WrongUsage("serve model --openai --parallel 0", "--parallel 0"),
        WrongUsage("serve model --openai --queue 0", "--queue 0"),
        WrongUsage("serve model --openai --api-key secret", "--api-key"),
        WrongUsage("connect --bind x", "--bind"),
        WrongUsage("bench path --rtt soon", "--rtt", "soon"),
        WrongUsage("bench path --loss 100%", "--loss", "100%"),
        WrongUsage("bench path --rate 5", "--rate", "5"),
        WrongUsage("bench path --queue long", "--queue", "long"),
        WrongUsage("bench path --connections 0", "--connections"),
        WrongUsage("bench path --seconds 0", "--seconds"),
        WrongUsage("bench channel --message 64", "--message", "65"),
        WrongUsage("bench channel --via air", "--via", "air"),
        WrongUsage("bench channel --sizes", "--sizes", "--via veth"),
        WrongUsage("bench channel --peer =", "--peer"),
        WrongUsage("bench connections --count 0", "--count"),
        WrongUsage("bench connections --loops 0", "--loops"),
    ]
}

@Suite("Usage")
struct UsageTests {
    @Suite(.serialized)
    struct Wrong {
        @Test("wrong usage has exit status 2 and says what is wrong", arguments: WrongUsage.all)
        func wrong(_ usage: WrongUsage) async throws {
            let outcome = try await Scene.run(usage.arguments)
            #expect(outcome.status == 2, "\(outcome.errors)")
            #expect(outcome.output.isEmpty, "complaints go to standard error: \(outcome.output)")
            for word in usage.words where !outcome.errors.contains(word) {
                Issue.record("it does not say \(word): \(outcome.errors)")
            }
        }
    }

    @Test(
        "every command explains itself",
        arguments: ["", "pack", "inspect", "verify", "seed", "fetch", "tracker", "connect"])
    func help(command: String) async throws {
        let outcome = try await Scene.run((command.isEmpty ? [] : [command]) + ["--help"])
        #expect(outcome.status == 0)
        #expect(outcome.errors.isEmpty, "\(outcome.errors)")
        #expect(outcome.output.contains("USAGE: dreamer \(command)"), "\(outcome.output)")
    }

    @Test("a program that says that it is ready can be stopped at once, and ends well")
    func stopAtOnce() async throws {
        let scene = try Scene()
        // A shell, for it reads the line and sends the signal without a delay; `timeout` ends what does not end, the
        // program too.
        let script = """
            set -e
            mkfifo "$1"
            for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
                "$0" tracker --listen 127.0.0.1:0 > "$1" &
                read line < "$1"
                kill -TERM $!
                wait $!
            done
            """
        let process = try LineProcess(
            "/usr/bin/timeout",
            ["-s", "KILL", "15", "/bin/sh", "-c", script, Programs.dreamer, scene.path("line")])
        try await process.expectExit()
    }

    @Test("a place to write the trace that is not there is named")
    func trace() async throws {
        let scene = try Scene()
        try scene.copyModel(to: "model")
        let outcome = try await scene.run(
            "seed", scene.path("model"), "--bind", "127.0.0.1", "--trace", scene.path("no/trace"))
        #expect(outcome.status == 1)
        #expect(outcome.errors.contains(scene.path("no/trace")), "\(outcome.errors)")
    }

    @Test("a port that is taken is named")
    func port() async throws {
        let server = try LoopbackServer { $0.readToEnd() }
        defer { server.stop() }
        let outcome = try await Scene.run(["tracker", "--listen", "127.0.0.1:\(server.port)"])
        #expect(outcome.status == 1)
        #expect(outcome.errors.contains("127.0.0.1:\(server.port)"), "\(outcome.errors)")
        #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)")
    }
}
