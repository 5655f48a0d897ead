// SPDX-License-Identifier: Apache-2.0
internal import NIOCore
internal import NIOHTTP1
internal import Wire

/// A request's head as it was judged, and the way to answer it.
struct Exchange: Sendable {
    /// What is asked for; `nil` if nothing that there is.
    let route: Route?
    /// Why it is not answered, if it is not.
    var refusal: APIError?
    /// Whether the connection ends with the answer.
    var isLast = false

    private let channel: any Channel
    private let version: HTTPVersion
    private let hasBody: Bool
    /// What `Access-Control-Allow-Origin` says; `nil` when no page asks.
    private let page: String?

    init(_ head: HTTPRequestHead, _ channel: any Channel, _ access: AccessPolicy) {
        self.channel = channel
        version = head.version
        hasBody = head.method != .HEAD
        let origin = head.headers.first(name: "origin")
        let visitor = AccessPolicy.Visitor(
            // Of two the server could look at the one and a proxy before it at the other.
            host: head.headers["host"].count == 1 ? head.headers.first(name: "host") : nil, origin: origin,
            authorization: head.headers.first(name: "authorization"), mayLackHost: head.version != .http1_1)
        page = origin.flatMap { access.allows($0) }
        var found: Route?
        do throws(APIError) {
            try access.checkSource(visitor)
            let route = try Route(method: head.method.rawValue, uri: head.uri)
            if !route.isPublic { try access.checkKey(visitor) }
            found = route
        } catch {
            refusal = error
        }
        route = found
    }

    // MARK: Answering

    /// Answers with a value.
    func send(_ json: JSON, status: Int = 200, _ more: [(String, String)] = []) async throws {
        let body = ByteBuffer(string: json.serialized() + "\n")
        var headers = headers(
            [("Content-Type", "application/json"), ("Content-Length", "\(body.readableBytes)")] + more)
        if isLast { headers.add(name: "Connection", value: "close") }
        channel.write(HTTPServerResponsePart.head(head(status, headers)), promise: nil)
        if hasBody { channel.write(HTTPServerResponsePart.body(.byteBuffer(body)), promise: nil) }
        try await channel.writeAndFlush(HTTPServerResponsePart.end(nil))
    }

    /// Answers with an error.
    func send(_ error: APIError) async throws {
        var more: [(String, String)] = []
        if let seconds = error.retryAfter { more.append(("Retry-After", "\(seconds)")) }
        if error.status == 401 { more.append(("WWW-Authenticate", "Bearer")) }
        if let methods = error.allowedMethods { more.append(("Allow", methods.joined(separator: ", "))) }
        try await send(error.json, status: error.status, more)
    }

    /// Answers a browser that asks whether a page may ask (Fetch Standard §3.3).
    func sendPreflight() async throws {
        let methods = [
            ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
            ("Access-Control-Allow-Headers", "Authorization, Content-Type"), ("Access-Control-Max-Age", "600"),
            ("Allow", "GET, HEAD, POST, OPTIONS"),
        ]
        var headers = headers(page == nil ? [methods[3]] : methods)
        if isLast { headers.add(name: "Connection", value: "close") }
        channel.write(HTTPServerResponsePart.head(head(204, headers)), promise: nil)
        try await channel.writeAndFlush(HTTPServerResponsePart.end(nil))
    }

    /// Begins a stream of events (HTML Standard §9.2).
    func beginEvents() async throws {
        var headers = headers([("Content-Type", "text/event-stream; charset=utf-8"), ("X-Accel-Buffering", "no")])
        if isLast { headers.add(name: "Connection", value: "close") }
        try await channel.writeAndFlush(HTTPServerResponsePart.head(head(200, headers)))
    }

    /// Sends an event, which JSON without line ends is; returns when the system has taken it.
    func sendEvent(_ data: String) async throws {
        try await channel.writeAndFlush(
            HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(string: "data: \(data)\n\n"))))
    }

    /// Ends a stream of events.
    func endEvents() async throws { try await channel.writeAndFlush(HTTPServerResponsePart.end(nil)) }

    /// Ends the connection in the middle of an answer, or after one that cannot be given.
    func abort() { channel.close(promise: nil) }

    private func head(_ status: Int, _ headers: HTTPHeaders) -> HTTPResponseHead {
        HTTPResponseHead(version: version, status: HTTPResponseStatus(statusCode: status), headers: headers)
    }

    private func headers(_ list: [(String, String)]) -> HTTPHeaders {
        var headers = HTTPHeaders(list + [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")])
        if let page {
            headers.add(name: "Access-Control-Allow-Origin", value: page)
            headers.add(name: "Vary", value: "Origin")
        }
        return headers
    }
}
