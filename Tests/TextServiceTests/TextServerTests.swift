// SPDX-License-Identifier: Apache-2.0
import Testing
import TextService
import Wire

@Suite("Texts over HTTP")
struct TextServerTests {
    @Test("a text is answered whole, the same each time, with what it took")
    func whole() async throws {
        let scene = try await Scene()
        let client = try scene.client()
        let first = try await client.post("/v1/completions", scene.body(5))
        #expect(first.status == 200 && first.headers["content-type"] == "application/json")
        #expect(first.headers["access-control-allow-origin"] == nil)
        let json = try #require(first.json)
        #expect(json["object"] == "text_completion" && json["model"] == "tiny/model")
        #expect(json["choices"]?.array?.first?["finish_reason"] == "length")
        #expect(json["usage"]?["completion_tokens"] == 5)
        #expect(json["id"]?.string?.hasPrefix("cmpl-") == true)
        let second = try await client.post("/v1/completions", scene.body(5))
        #expect(second.json?["choices"] == json["choices"], "on one connection, the same text")
        #expect(second.json?["id"] != json["id"])
        #expect(second.json?["system_fingerprint"] == json["system_fingerprint"])
        await scene.end()
    }

    /// Whether two values are the same but for the rounding of numbers: the second of two equal requests finds its prompt
    /// kept, and sums are taken in another order then.
    private static func agree(_ a: JSON, _ b: JSON?) -> Bool {
        guard let b else { return false }
        if let first = a.array, let second = b.array {
            return first.count == second.count && zip(first, second).allSatisfy { agree($0, $1) }
        }
        if let first = a.object, let second = b.object {
            return first.count == second.count && first.allSatisfy { agree($0.value, second[$0.name]) }
        }
        if let first = a.number, let second = b.number { return abs(first - second) < 1e-3 }
        return a == b
    }

    @Test("a stream says what the whole answer says", arguments: ["/v1/completions", "/v1/chat/completions"])
    func stream(path: String) async throws {
        let scene = try await Scene()
        let client = try scene.client()
        let isChat = path.contains("chat")
        let make = isChat ? scene.chat : scene.body
        let chances = isChat ? #""logprobs": true, "top_logprobs": 2"# : #""logprobs": 2"#
        let whole = try #require(try await client.post(path, make(9, chances)).json)
        try await client.send(
            Client.request(
                "POST", path, body: make(9, chances + #", "stream": true, "stream_options": {"include_usage": true}"#)))
        let head = try await client.head()
        #expect(head.status == 200 && head.headers["content-type"] == "text/event-stream; charset=utf-8")
        let events = try await client.events()
        #expect(events.last == "[DONE]")
        let pieces = try events.dropLast().map { try JSON(parsing: $0) }
        #expect(Set(pieces.map { $0["id"] }).count == 1)
        let ending = try #require(pieces.last)
        #expect(ending["choices"] == [] && ending["usage"]?["completion_tokens"] == 9)
        let texts = pieces.dropLast().compactMap { $0["choices"]?.array?.first }
        #expect(texts.last?["finish_reason"] == "length")
        let choice = try #require(whole["choices"]?.array?.first)
        if isChat {
            #expect(texts.first?["delta"]?["role"] == "assistant")
            let text = texts.compactMap { $0["delta"]?["content"]?.string }.joined()
            #expect(.string(text) == choice["message"]?["content"])
            let told = texts.flatMap { $0["logprobs"]?["content"]?.array ?? [] }
            #expect(told.count == 9 && Self.agree(.array(told), choice["logprobs"]?["content"]))
            #expect(told.allSatisfy { $0["top_logprobs"]?.array?.count == 2 })
        } else {
            #expect(.string(texts.compactMap { $0["text"]?.string }.joined()) == choice["text"])
            for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
                let told = texts.flatMap { $0["logprobs"]?[name]?.array ?? [] }
                #expect(told.count == 9 && Self.agree(.array(told), choice["logprobs"]?[name]), "\(name)")
            }
        }
        // The connection goes on after a stream.
        #expect(try await client.get("/health").status == 200)
        await scene.end()
    }

    @Test("several prompts with several texts each are told apart by their numbers")
    func several() async throws {
        let scene = try await Scene()
        let client = try scene.client()
        let more = #""temperature": 1.5, "seed": 7, "n": 2, "max_tokens": 12, \#(scene.endless)"#
        let response = try await client.post("/v1/completions", #"{"prompt": ["he", [70, 71, 72]], \#(more)}"#)
        let choices = try #require(response.json?["choices"]?.array)
        #expect(choices.map { $0["index"] } == [0, 1, 2, 3])
        let texts = choices.map { $0["text"]?.string ?? "" }
        #expect(texts[0] != texts[1] && texts[2] != texts[3], "texts of one prompt differ")
        #expect(response.json?["usage"]?["completion_tokens"] == 48)
        let alone = try await client.post("/v1/completions", #"{"prompt": [70, 71, 72], \#(more)}"#)
        #expect(alone.json?["choices"]?.array?.map { $0["text"]?.string } == Array(texts[2...]))
        #expect(alone.json?["usage"]?["prompt_tokens"] == 3, "a prompt counts once")
        try await client.send(
            Client.request(
                "POST", "/v1/completions", body: #"{"prompt": ["he", [70, 71, 72]], "stream": true, \#(more)}"#))
        _ = try await client.head()
        var streamed = ["", "", "", ""]
        for event in try await client.events().dropLast() {
            let choice = try #require(JSON(parsing: event)["choices"]?.array?.first)
            streamed[try #require(choice["index"]?.integer.map { Int($0) })] += choice["text"]?.string ?? ""
        }
        #expect(streamed == texts)
        await scene.end()
    }

    @Test("a text that ends the generation is not told, and ends it")
    func stop() async throws {
        let scene = try await Scene()
        let client = try scene.client()
        let full = try await client.post("/v1/completions", scene.body(20)).json?["choices"]?.array?.first?["text"]?
            .string
        let text = try #require(full)
        let stop = String(text.dropFirst(4).prefix(2))
        try #require(stop.count == 2)
        let quoted = JSON.string(stop).serialized()
        let cut = try await client.post("/v1/completions", scene.body(20, "\"stop\": \(quoted)")).json
        let choice = cut?["choices"]?.array?.first
        #expect(choice?["finish_reason"] == "stop")
        let range = try #require(text.firstRange(of: stop))
        #expect(choice?["text"] == .string(String(text[..<range.lowerBound])))
        await scene.end()
    }

    @Test("the model is told about, by its name")
    func models() async throws {
        let scene = try await Scene()
        let client = try scene.client()
        let list = try await client.get("/v1/models").json
        #expect(list?["object"] == "list" && list?["data"]?.array?.count == 1)
        let model = list?["data"]?.array?.first
        #expect(model?["id"] == "tiny/model" && model?["object"] == "model" && model?["context_length"] == 128)
        for path in ["/v1/models/tiny/model", "/v1/models/tiny%2Fmodel"] {
            #expect(try await client.get(path).json == model)
        }
        #expect(try await client.get("/v1/models/other").error?["code"] == "model_not_found")
        #expect(try await client.get("/health").json == ["status": "ok"])
        try await client.send(Client.request("HEAD", "/health"))
        let head = try await client.head()
        #expect(head.status == 200 && head.headers["content-length"] != nil)
        #expect(try await client.get("/health").status == 200, "a HEAD brings no body")
        let other = try await client.post("/v1/completions", scene.body(2, #""model": "other""#))
        #expect(other.status == 404 && other.error?["code"] == "model_not_found")
        #expect(try await client.post("/v1/completions", scene.body(2, #""model": "tiny/model""#)).status == 200)
        await scene.end()
    }

    @Test("a prompt without end, and one past the context, are told what is wrong")
    func tooLong() async throws {
        let scene = try await Scene()
        let client = try scene.client()
        let long = String(repeating: "many words ", count: 100_000)
        for (path, body) in [
            ("/v1/completions", #"{"prompt": "\#(long)"}"#),
            ("/v1/chat/completions", #"{"messages": [{"role": "user", "content": "\#(long)"}]}"#),
            ("/v1/completions", #"{"prompt": [\#(Array(repeating: "5", count: 128).joined(separator: ","))]}"#),
        ] {
            let response = try await client.post(path, body)
            #expect(response.status == 400 && response.error?["code"] == "context_length_exceeded")
        }
        for prompt in ["[512]", "[2147483647]"] {
            #expect(try await client.post("/v1/completions", #"{"prompt": \#(prompt)}"#).status == 400)
        }
        let bias = try await client.post("/v1/completions", #"{"prompt": "x", "logit_bias": {"512": 1}}"#)
        #expect(bias.status == 400)
        let full = try await client.post("/v1/completions", scene.body(1000))
        #expect(full.json?["choices"]?.array?.first?["finish_reason"] == "length", "the context is full")
        await scene.end()
    }

    @Test("whoever leaves is not generated for any longer", arguments: [true, false])
    func leaving(isStreamed: Bool) async throws {
        let scene = try await Scene(isOpen: false)
        let client = try scene.client()
        try await client.send(
            Client.request("POST", "/v1/completions", body: scene.body(100, #""stream": \#(isStreamed)"#)))
        if isStreamed {
            scene.gate.allow(8)
            _ = try await client.head()
            _ = try await client.event()
        }
        try await eventually("the text is being generated") { scene.engine.active == 1 }
        try await eventually("all permits are used") { scene.gate.runs == (isStreamed ? 8 : 0) }
        client.close()
        try await eventually("the server has noticed") { await scene.server.connections() == 0 }
        // A token at a time, as a model that takes its time: the engine hears of it a little later than the server.
        let runs = scene.gate.runs
        var more = 0
        while scene.engine.active > 0, more < 50 {
            more += 1
            scene.gate.allow(1)
            try await eventually("a token, or the end") { scene.gate.runs == runs + more || scene.engine.active == 0 }
        }
        #expect(scene.engine.active == 0, "of 100 tokens \(scene.gate.runs) came")
        scene.gate.open()
        #expect(try await scene.client().get("/health").status == 200)
        await scene.end()
    }

    @Test("whoever leaves while waiting gives up the place; where none is left, it is said so at once")
    func queue() async throws {
        let scene = try await Scene(parallel: 1, queue: 1, isOpen: false)
        let (first, second, third) = (try scene.client(), try scene.client(), try scene.client())
        try await first.send(Client.request("POST", "/v1/completions", body: scene.body(4)))
        try await eventually("the first has its turn") { scene.engine.active == 1 }
        try await second.send(Client.request("POST", "/v1/completions", body: scene.body(4)))
        try await eventually("the second waits") { scene.engine.waiting == 1 }
        let refused = try await third.post("/v1/chat/completions", scene.chat(4))
        #expect(refused.status == 429 && refused.headers["retry-after"] == "1")
        #expect(refused.error?["code"] == "queue_full" && refused.error?["type"] == "rate_limit_error")
        let many = try await third.post("/v1/completions", scene.body(4, #""n": 2"#))
        #expect(many.status == 400 && many.error?["param"] == "n", "that many never find room")
        second.close()
        try await eventually("the server has noticed") { await scene.server.connections() == 2 }
        try await third.send(Client.request("POST", "/v1/chat/completions", body: scene.chat(4)))
        scene.gate.open()
        #expect(try await first.response().status == 200)
        #expect(try await third.response().status == 200)
        await scene.end()
    }

    @Test("a fault of the device is told to whoever asked, and to all who ask later")
    func fault() async throws {
        let scene = try await Scene(parallel: 1, isOpen: false)
        let (first, second, third) = (try scene.client(), try scene.client(), try scene.client())
        try await first.send(Client.request("POST", "/v1/completions", body: scene.body(4, #""stream": true"#)))
        #expect(try await first.head().status == 200)
        try await second.send(Client.request("POST", "/v1/completions", body: scene.body(4)))
        try await eventually("the second waits") { scene.engine.waiting == 1 }
        scene.gate.fail()
        let events = try await first.events()
        #expect(try JSON(parsing: events.last ?? "")["error"]?["code"] == "service_unavailable")
        #expect(try await second.response().status == 503)
        #expect(try await third.post("/v1/completions", scene.body(4)).status == 503)
        #expect(try await third.get("/health").status == 503)
        #expect(scene.engine.active == 0 && scene.engine.waiting == 0)
        await scene.end()
    }

    @Test("a server that is stopped tells those it answers, and closes")
    func stopping() async throws {
        let scene = try await Scene(isOpen: false)
        let (streaming, waiting, idle) = (try scene.client(), try scene.client(), try scene.client())
        scene.gate.allow(3)
        try await streaming.send(Client.request("POST", "/v1/completions", body: scene.body(100, #""stream": true"#)))
        #expect(try await streaming.head().status == 200)
        try await waiting.send(Client.request("POST", "/v1/completions", body: scene.body(100)))
        try await eventually("both are there") { scene.engine.active + scene.engine.waiting == 2 }
        #expect(try await idle.get("/health").status == 200)
        await scene.server.stop()
        #expect(try JSON(parsing: try await streaming.events().last ?? "")["error"]?["code"] == "service_unavailable")
        #expect(try await waiting.response().status == 503)
        #expect(try await idle.isAtEnd())
        #expect(throws: Client.Failure.self) { try scene.client() }
    }
}
