// SPDX-License-Identifier: Apache-2.0

/// What is asked for.
enum Route: Hashable, Sendable {
    case health
    case models
    case model(String)
    case text(TextRequest.Kind)
    /// A browser asks whether a page may ask.
    case preflight

    /// What a method and a path stand for.
    init(method: String, uri: String) throws(APIError) {
        let path = String(uri.prefix { $0 != "?" && $0 != "#" })
        let (route, methods): (Route, [String])
        switch path {
        case "/health": (route, methods) = (.health, ["GET", "HEAD"])
        case "/v1/models": (route, methods) = (.models, ["GET", "HEAD"])
        case "/v1/chat/completions": (route, methods) = (.text(.chat), ["POST"])
        case "/v1/completions": (route, methods) = (.text(.completion), ["POST"])
        default:
            let prefix = "/v1/models/"
            guard path.hasPrefix(prefix), path.utf8.count > prefix.utf8.count,
                let name = Self.decoded(path.dropFirst(prefix.count))
            else {
                throw APIError(
                    404,
                    "There is nothing at \(path.prefix(200)): there are /v1/chat/completions, /v1/completions, "
                        + "/v1/models and /health.", code: "unknown_url")
            }
            (route, methods) = (.model(name), ["GET", "HEAD"])
        }
        if method == "OPTIONS" {
            self = .preflight
            return
        }
        guard methods.contains(method) else {
            var error = APIError(
                405, "\(method.prefix(20)) is not for \(path.prefix(200)): use \(methods[0]).",
                code: "method_not_allowed")
            error.allowedMethods = methods
            throw error
        }
        self = route
    }

    /// Whether anybody may ask.
    var isPublic: Bool { self == .health || self == .preflight }

    /// Text with `%2F` and the like (RFC 3986 §2.1) put as what they stand for; `nil` where they stand for no text.
    private static func decoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            let digits = rest.prefix(2)
            guard digits.count == 2, digits.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
            else { return nil }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}
