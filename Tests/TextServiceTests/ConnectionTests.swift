// SPDX-License-Identifier: Apache-2.0
import Testing
import TextService
import Wire

@Suite("Connections")
struct ConnectionTests {
    @Test("requests that come at once are answered in their order")
    func pipelining() async throws {
        let scene = try await Scene()
        let client = try scene.client()
        try await client.send(
            Client.request("POST", "/v1/completions", body: scene.body(3)) + Client.request("GET", "/health")
                + Client.request("POST", "/v1/completions", body: scene.body(4, #""stream": true"#))
                + Client.request("GET", "/nowhere") + Client.request("GET", "/v1/models", ["Connection: close"]))
        #expect(try await client.response().json?["usage"]?["completion_tokens"] == 3)
        #expect(try await client.response().json == ["status": "ok"])
        _ = try await client.head()
        #expect(try await client.events().last == "[DONE]")
        #expect(try await client.response().status == 404)
        let last = try await client.response()
        #expect(last.json?["object"] == "list" && last.headers["connection"] == "close")
        #expect(try await client.isAtEnd())
        await scene.end()
    }

    @Test("a request in single bytes is a request")
    func bytes() async throws {
        let scene = try await Scene()
        let client = try scene.client()
        try await client.sendBytes(Client.request("POST", "/v1/completions", body: scene.body(1)))
        #expect(try await client.response().status == 200)
        await scene.end()
    }

    @Test("a body in chunks is a body, and whoever waits for leave gets it")
    func chunks() async throws {
        let scene = try await Scene()
        let client = try scene.client()
        try await client.send(
            "POST /v1/completions HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
        )
        #expect(try await client.head().status == 100)
        let body = scene.body(2)
        let middle = body.index(body.startIndex, offsetBy: 10)
        for part in [body[..<middle], body[middle...]] {
            try await client.send("\(String(part.utf8.count, radix: 16))\r\n\(part)\r\n")
        }
        try await client.send("0\r\n\r\n")
        #expect(try await client.response().status == 200)
        await scene.end()
    }

    @Test("clients of HTTP/1.0 are answered, and the end of the connection is that of a stream")
    func old() async throws {
        let scene = try await Scene()
        let client = try scene.client()
        try await client.send("GET /health HTTP/1.0\r\n\r\n")
        #expect(try await client.response().status == 200)
        #expect(try await client.isAtEnd())
        await scene.end()
    }

    @Test(
        "what is no JSON is told so, and the connection goes on",
        arguments: ["", "{", "nonsense", "[1,]", #"{"a": 1, "a": 2}"#, "\u{FF}", String(repeating: "[", count: 200)])
    func badJSON(body: String) async throws {
        let scene = try await Scene()
        let client = try scene.client()
        let response = try await client.post("/v1/completions", body)
        #expect(response.status == 400 && response.error?["code"] == "invalid_json")
        #expect(response.error?["type"] == "invalid_request_error")
        #expect(try await client.get("/health").status == 200)
        await scene.end()
    }

    @Test(
        "what is no HTTP is told so, and the connection ends",
        arguments: ["nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"])
    func badHTTP(text: String) async throws {
        let scene = try await Scene()
        let client = try scene.client()
        try await client.send(text)
        #expect(try await client.response().status == 400)
        #expect(try await client.isAtEnd())
        await scene.end()
    }

    @Test("nonsense behind a request does not take its answer away")
    func badSecond() async throws {
        let scene = try await Scene()
        let client = try scene.client()
        try await client.send(Client.request("POST", "/v1/completions", body: scene.body(2)) + "nonsense\r\n\r\n")
        #expect(try await client.response().status == 200)
        #expect(try await client.response().status == 400)
        #expect(try await client.isAtEnd())
        await scene.end()
    }

    @Test("headers without end are refused")
    func largeHeader() async throws {
        let scene = try await Scene()
        for lines in [
            ["X: " + String(repeating: "x", count: 70_000)],
            (0..<20).map { "X\($0): " + String(repeating: "x", count: 5000) }, (0..<200).map { "X\($0): x" },
        ] {
            let client = try scene.client()
            try await client.send(Client.request("GET", "/health", lines))
            #expect(try await client.response().status == 431)
            #expect(try await client.isAtEnd())
        }
        await scene.end()
    }

    @Test("a body past the limit is refused before it is sent, and while it is")
    func largeBody() async throws {
        var limits = ServerLimits()
        limits.bodyBytes = 100_000
        let scene = try await Scene(limits: limits)
        let announced = try scene.client()
        try await announced.send("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100001\r\n\r\n")
        let refused = try await announced.response()
        #expect(refused.status == 413 && refused.error?["code"] == "request_too_large")
        #expect(try await announced.isAtEnd())
        let chunked = try scene.client()
        try await chunked.send("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        let chunk = "2710\r\n" + String(repeating: " ", count: 10_000) + "\r\n"
        for _ in 0..<11 { try await chunked.send(chunk) }
        #expect(try await chunked.response().status == 413)
        await scene.end()
    }

    @Test("bodies of all together have a limit as well")
    func bodiesTogether() async throws {
        var limits = ServerLimits()
        limits.bodyBytesTogether = 1000
        let scene = try await Scene(limits: limits)
        let (first, second) = (try scene.client(), try scene.client())
        let head =
            "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 900\r\n\r\n"
        try await first.send(head)
        #expect(try await first.head().status == 100)
        try await first.send(String(repeating: " ", count: 899))
        // That much has arrived when less than that does not fit any more.
        try await eventually("the second is refused") {
            let other = try scene.client()
            try await other.send(head)
            _ = try await other.head()
            try await other.send(String(repeating: " ", count: 900))
            let response = try await other.response()
            return response.status == 429 && response.error?["code"] == "queue_full"
        }
        first.close()
        try await eventually("there is room again") {
            try await second.post("/v1/completions", scene.body(1)).status == 200
        }
        await scene.end()
    }

    @Test("whoever sends nothing, or not all, is not waited for")
    func patience() async throws {
        var limits = ServerLimits()
        limits.idleTime = .milliseconds(50)
        limits.bodyTime = .milliseconds(50)
        let scene = try await Scene(limits: limits)
        let silent = try scene.client()
        #expect(try await silent.isAtEnd())
        let slow = try scene.client()
        try await slow.send("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        #expect(try await slow.response().status == 408)
        #expect(try await slow.isAtEnd())
        await scene.end()
    }

    @Test("whoever reads nothing is not written to for ever")
    func stall() async throws {
        var limits = ServerLimits()
        limits.stallTime = .milliseconds(100)
        let scene = try await Scene(parallel: 8, limits: limits)
        let client = try Client(scene.server.port, receiveBuffer: 4096)
        // Some megabytes: more than the system keeps for somebody.
        try await client.send(
            Client.request(
                "POST", "/v1/chat/completions",
                body: scene.chat(90, #""n": 64, "logprobs": true, "top_logprobs": 20, "stream": true"#)))
        try await eventually("it has begun") { scene.engine.active > 0 }
        try await eventually("the connection is given up") { await scene.server.connections() == 0 }
        try await eventually("nothing is generated any more") { scene.engine.active == 0 && scene.engine.waiting == 0 }
        await scene.end()
    }

    @Test("connections past the limit are closed")
    func connections() async throws {
        var limits = ServerLimits()
        limits.connections = 2
        let scene = try await Scene(limits: limits)
        let (first, second) = (try scene.client(), try scene.client())
        #expect(try await first.get("/health").status == 200)
        #expect(try await second.get("/health").status == 200)
        #expect(try await scene.client().isAtEnd())
        first.close()
        try await eventually("there is room") { await scene.server.connections() == 1 }
        #expect(try await scene.client().get("/health").status == 200)
        await scene.end()
    }

    @Test("the key is demanded for all but the server's health")
    func key() async throws {
        let scene = try await Scene(key: "correct-horse")
        let client = try scene.client()
        let right = ["Authorization: Bearer correct-horse"]
        #expect(try await client.get("/health").status == 200)
        let refused = try await client.get("/v1/models")
        #expect(refused.status == 401 && refused.headers["www-authenticate"] == "Bearer")
        #expect(refused.error?["code"] == "invalid_api_key")
        #expect(try await client.get("/v1/models", ["Authorization: Bearer wrong-horse"]).status == 401)
        #expect(try await client.get("/v1/models", right).status == 200)
        #expect(try await client.post("/v1/completions", scene.body(1), right).status == 200)
        // Nobody's body is taken without it.
        try await client.send("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        #expect(try await client.response().status == 401)
        #expect(try await client.isAtEnd())
        await scene.end()
    }

    @Test("web pages ask only where they are allowed to, and not by names of their own")
    func pages() async throws {
        let scene = try await Scene(key: "correct-horse", origins: ["https://page.example"])
        let client = try scene.client()
        let key = "Authorization: Bearer correct-horse"
        let foreign = try await client.get("/v1/models", [key, "Origin: https://other.example"])
        #expect(foreign.status == 403 && foreign.headers["access-control-allow-origin"] == nil)
        let allowed = try await client.get("/v1/models", [key, "Origin: https://page.example"])
        #expect(allowed.status == 200 && allowed.headers["access-control-allow-origin"] == "https://page.example")
        #expect(allowed.headers["vary"] == "Origin")
        try await client.send(
            Client.request(
                "OPTIONS", "/v1/chat/completions",
                ["Origin: https://page.example", "Access-Control-Request-Method: POST"]))
        let preflight = try await client.head()
        #expect(preflight.status == 204 && preflight.headers["access-control-allow-methods"]?.contains("POST") == true)
        #expect(preflight.headers["access-control-allow-headers"]?.contains("Authorization") == true)
        try await client.send("GET /health HTTP/1.1\r\nHost: rebound.example:8080\r\n\r\n")
        #expect(try await client.response().error?["code"] == "host_not_allowed")
        try await client.send("GET /health HTTP/1.1\r\n\r\n")
        #expect(try await client.response().status == 400)
        try await client.send("GET /health HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example\r\n\r\n")
        #expect(try await client.response().status == 400)
        await scene.end()
    }

    @Test("what is asked in the wrong way is told the right one")
    func wrongMethod() async throws {
        let scene = try await Scene()
        let client = try scene.client()
        let get = try await client.get("/v1/completions")
        #expect(get.status == 405 && get.headers["allow"] == "POST")
        let post = try await client.post("/v1/models", "")
        #expect(post.status == 405 && post.headers["allow"] == "GET, HEAD")
        #expect(try await client.get("/").error?["code"] == "unknown_url")
        await scene.end()
    }
}
