// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

/// `dreamer serve`, asked by a client of which no line is ours.
@Suite("Serving text", .serialized)
struct ServeTests {
    private static let key = "a-key-for-tests"

    private func serve(_ scene: Scene, _ more: String...) throws -> LineProcess {
        try LineProcess(
            Programs.dreamer,
            [
                "serve", SampleModel.shared.get().folder, "--openai", "--listen", "127.0.0.1:0", "--json", "--device",
                "cpu",
            ]
                + ["--context", "4096"] + more,
            environment: ["DREAMER_API_KEY": Self.key])
    }

    @Test(
        "OpenAI's own client is answered, whole and in pieces, and told what is wrong",
        .enabled(if: Programs.python(with: "openai") != nil, "the Python package openai is absent"))
    func client() async throws {
        let scene = try Scene()
        let server = try serve(scene)
        let url = try #require(try await server.json(where: ["event": "listening"])["url"]?.string)
        let python = try #require(Programs.python(with: "openai"))
        let client = try LineProcess(python, [Programs.script("openai_client.py"), url, Self.key])
        let models = try await client.json(within: .seconds(60), where: ["event": "models"])
        #expect(models["same"] == true)
        let chat = try await client.json(within: .seconds(60), where: ["event": "chat"])
        #expect(chat["role"] == "assistant")
        let tokens = try #require(chat["tokens"]?.integer)
        #expect((1...8).contains(tokens) && chat["top"] == 3)
        #expect(try [tokens, tokens - 1].contains(#require(chat["told"]?.integer)), "an end of text is not told")
        let stream = try await client.json(where: ["event": "stream"])
        #expect(stream["text"] == chat["text"] && stream["finish"] == chat["finish"])
        #expect(stream["tokens"] == .integer(tokens))
        let completion = try await client.json(where: ["event": "completion"])
        #expect(completion["choices"] == [0, 1, 2, 3] && completion["told"]?.array?.count == 4)
        _ = try await client.json(where: ["event": "left"])
        let errors = try await client.json(within: .seconds(60), where: ["event": "errors"])
        #expect(
            errors["names"] == [
                "AuthenticationError invalid_api_key", "NotFoundError model_not_found", "NotFoundError model_not_found",
                "BadRequestError invalid_value", "BadRequestError context_length_exceeded",
            ])
        try await client.expectExit()
        server.interrupt()
        try await server.expectExit()
    }

    @Test("nothing is served to other machines without a key, or with one that is none")
    func open() async throws {
        let model = try SampleModel.shared.get().folder
        let arguments = ["serve", model, "--openai", "--listen", "0.0.0.0:0"]
        let outcome = try await Scene.run(arguments)
        #expect(outcome.status == 1 && outcome.errors.contains("--api-key-file"), "\(outcome.errors)")
        let scene = try Scene()
        try scene.write("short\n", to: "key")
        let short = try await Scene.run(arguments + ["--api-key-file", scene.path("key")])
        #expect(short.status == 1 && short.errors.contains(scene.path("key")), "\(short.errors)")
    }
}
