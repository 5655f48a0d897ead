// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@testable import TextService

@Suite("Who may ask, and for what")
struct AccessTests {
    @Test(
        "names and addresses of this machine are known",
        arguments: [
            "localhost", "LocalHost:8080", "localhost.", "a.localhost:1", "127.0.0.1", "127.8.9.1:80", "[::1]",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:1",
        ])
    func loopback(host: String) { #expect(AccessPolicy.isLoopbackHost(host)) }

    @Test(
        "others are not",
        arguments: [
            "", "example.org", "localhost.example.org", "127.0.0.1.example.org", "xlocalhost", "192.168.0.1:80",
            "[::2]", "[::1",
            "[::1]x", "localhost:x", "127.0.0.1:80:80", "::1", "0.0.0.0", "2130706433", "user@localhost",
        ])
    func foreign(host: String) { #expect(!AccessPolicy.isLoopbackHost(host)) }

    private func policy(_ address: IPAddress = .loopbackV4, key: String? = nil, origins: Set<String> = []) throws
        -> AccessPolicy
    {
        try AccessPolicy(listeningAt: address, key: key.flatMap { APIKey($0.utf8) }, allowedOrigins: origins)
    }

    @Test("without a key nothing listens where others can ask")
    func open() throws {
        #expect(throws: StartError.self) { try policy(.anyV4) }
        #expect(throws: StartError.self) { try policy(.anyV6) }
        #expect(throws: StartError.self) { try policy(.v4(0xC0A8_0001)) }
        _ = try policy(.anyV4, key: "a long key".replacing(" ", with: "-"))
        _ = try policy(.loopbackV6)
    }

    @Test("web pages ask where they are allowed to")
    func origins() throws {
        let strict = try policy()
        let visitor = { (host: String?, origin: String?) in AccessPolicy.Visitor(host: host, origin: origin) }
        try strict.checkSource(visitor("localhost:1", nil))
        for (host, origin, status) in [
            ("evil.example:8080", nil, 403), (nil, nil, 400), ("localhost", "https://a.example", 403),
            ("localhost", "null", 403), ("localhost", "http://localhost:3000", 403),
        ] as [(String?, String?, Int)] {
            let error = #expect(throws: APIError.self) { try strict.checkSource(visitor(host, origin)) }
            #expect(error?.status == status)
        }
        let one = try policy(origins: ["https://a.example"])
        try one.checkSource(visitor("localhost", "https://a.example"))
        #expect(throws: APIError.self) { try one.checkSource(visitor("localhost", "https://a.example.org")) }
        #expect(throws: APIError.self) { try one.checkSource(visitor("a.example", "https://a.example")) }
        let all = try policy(.anyV4, key: "12345678", origins: ["*"])
        try all.checkSource(visitor("anything.example", "https://b.example"))
        #expect(all.allows("https://b.example") == "*")
        for wrong in ["a.example", "https://", "https://a.example/", "ftp://a", "null", ""] {
            #expect(throws: StartError.self) { try policy(origins: [wrong]) }
        }
    }

    @Test("older clients need not say whom they ask")
    func old() throws { try policy().checkSource(.init(host: nil, mayLackHost: true)) }

    @Test("the right key opens, on loopback too")
    func keys() throws {
        let policy = try policy(key: "secret-key")
        for header in ["Bearer secret-key", "bearer secret-key", "Bearer  secret-key"] {
            try policy.checkKey(.init(authorization: header))
        }
        for header in [
            nil, "", "secret-key", "Basic secret-key", "Bearer", "Bearer ", "Bearer secret-ke", "Bearer secret-keyx",
            "Bearer secret-kez", "Bearer secret-keysecret-key", "Bearer secret-key ",
        ] as [String?] {
            let error = #expect(throws: APIError.self) { try policy.checkKey(.init(authorization: header)) }
            #expect(error?.status == 401 && error?.code == "invalid_api_key")
        }
        try self.policy().checkKey(.init(authorization: nil))
    }

    @Test("a key is long enough, visible, and not shown")
    func shape() throws {
        let key = try #require(APIKey(" 12345678\r\n".utf8))
        #expect(key.isBrought(by: "Bearer 12345678"))
        #expect(!"\(key)".contains("1234") && !String(reflecting: key).contains("1234"))
        for wrong in ["", "1234567", "1234 5678", "12345678é", String(repeating: "x", count: 4097)] {
            #expect(APIKey(wrong.utf8) == nil)
        }
    }

    @Test(
        "methods and paths stand for what there is",
        arguments: [
            ("GET", "/health", .health), ("HEAD", "/health?x", .health), ("GET", "/v1/models", .models),
            ("GET", "/v1/models/a", .model("a")), ("GET", "/v1/models/a%2Fb/c", .model("a/b/c")),
            ("POST", "/v1/chat/completions", .text(.chat)), ("POST", "/v1/completions?a=b", .text(.completion)),
            ("OPTIONS", "/v1/completions", .preflight),
        ] as [(String, String, Route)])
    func routes(method: String, uri: String, route: Route) throws {
        #expect(try Route(method: method, uri: uri) == route)
    }

    @Test(
        "everything else does not",
        arguments: [
            ("GET", "/", 404), ("GET", "/v1", 404), ("GET", "/v1/models/", 404), ("GET", "/v1/models/%", 404),
            ("GET", "/v1/models/%f", 404), ("GET", "/v1/models/%ff", 404), ("GET", "/v1/models/%+1", 404),
            ("POST", "/v1/embeddings", 404), ("OPTIONS", "/x", 404), ("GET", "/v1/completions", 405),
            ("POST", "/v1/models", 405), ("DELETE", "/v1/models/a", 405), ("PUT", "/v1/chat/completions", 405),
        ])
    func noRoutes(method: String, uri: String, status: Int) {
        let error = #expect(throws: APIError.self) { try Route(method: method, uri: uri) }
        #expect(error?.status == status)
    }
}
