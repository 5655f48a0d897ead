// SPDX-License-Identifier: Apache-2.0
public import Wire

/// Who may ask. Three things are looked at: the key; the `Host`, as a web page may have its own name lead to this
/// machine (DNS rebinding); the `Origin`, as a web page may have its visitors' browsers ask.
public struct AccessPolicy: Sendable {
    /// The key that must be brought; `nil` when none is needed.
    public var key: APIKey?
    /// Whether this machine alone can ask, so that it must be asked by a name of its own.
    public var isLoopback: Bool
    /// Web pages that may ask: `https://example.org`; `*` for all of them.
    public var allowedOrigins: Set<String>

    /// A policy for a server at an address.
    ///
    /// - Throws: ``StartError`` where everybody could ask without a key, and for what is no origin.
    public init(
        listeningAt address: IPAddress, key: APIKey?, allowedOrigins: Set<String> = []
    ) throws(StartError) {
        isLoopback = address.unmapped.isLoopback
        guard isLoopback || key != nil else {
            throw StartError(
                "\(address) can be reached from other machines: an API key is needed, or an address of loopback")
        }
        for origin in allowedOrigins where origin != "*" && !Self.isOrigin(origin) {
            throw StartError("\(origin) is no origin: give it as https://example.org, without a path, or *")
        }
        self.key = key
        self.allowedOrigins = allowedOrigins
    }

    /// What is looked at of a request.
    struct Visitor {
        var host: String?
        var origin: String?
        var authorization: String?
        /// HTTP/1.0 knows no `Host`.
        var mayLackHost = false
    }

    /// Refuses a request that may come from a web page which nobody allowed.
    func checkSource(_ visitor: Visitor) throws(APIError) {
        if let host = visitor.host {
            guard !isLoopback || Self.isLoopbackHost(host) else {
                throw APIError(
                    403, "This server is for this machine alone: ask for it as localhost or by an address of loopback.",
                    type: "permission_error", code: "host_not_allowed")
            }
        } else if !visitor.mayLackHost {
            throw APIError(400, "The header Host is missing.", code: "invalid_header")
        }
        guard let origin = visitor.origin, allows(origin) == nil else { return }
        throw APIError(
            403, "Web pages of \(origin.prefix(200)) may not ask: the server's --allow-origin says which may.",
            type: "permission_error", code: "origin_not_allowed")
    }

    /// Refuses a request without the right key.
    func checkKey(_ visitor: Visitor) throws(APIError) {
        guard let key, !key.isBrought(by: visitor.authorization) else { return }
        throw APIError(
            401,
            visitor.authorization == nil
                ? "An API key is needed: send it as “Authorization: Bearer KEY”." : "This is not the API key.",
            type: "authentication_error", code: "invalid_api_key")
    }

    /// What `Access-Control-Allow-Origin` is to say to a page; `nil` where it may not ask.
    func allows(_ origin: String) -> String? {
        if allowedOrigins.contains("*") { return "*" }
        return allowedOrigins.contains(origin) ? origin : nil
    }

    /// Whether a `Host` names this machine: an address of loopback or a name in `localhost` (RFC 6761 §6.3), of any
    /// port.
    static func isLoopbackHost(_ host: String) -> Bool {
        if host.hasPrefix("[") {
            guard let end = host.firstIndex(of: "]"), isPort(host[host.index(after: end)...]) else { return false }
            return IPAddress(String(host[host.index(after: host.startIndex)..<end]))?.unmapped.isLoopback ?? false
        }
        let name = host.prefix { $0 != ":" }
        guard isPort(host[name.endIndex...]) else { return false }
        if let ip = IPAddress(String(name)) { return ip.isLoopback }
        let lowercased = (name.hasSuffix(".") ? name.dropLast() : name).lowercased()
        return lowercased == "localhost" || lowercased.hasSuffix(".localhost")
    }

    private static func isPort(_ text: Substring) -> Bool {
        text.isEmpty || text.first == ":" && text.dropFirst().utf8.allSatisfy { (0x30...0x39).contains($0) }
    }

    private static func isOrigin(_ text: String) -> Bool {
        guard let scheme = ["http://", "https://"].first(where: text.hasPrefix) else { return false }
        let host = text.dropFirst(scheme.count)
        return !host.isEmpty && host.utf8.allSatisfy { (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "/") }
    }
}

/// Why a server does not start.
public struct StartError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What is wrong, in words.
    public let description: String

    init(_ description: String) { self.description = description }
}
