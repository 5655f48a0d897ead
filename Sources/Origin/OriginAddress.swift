// SPDX-License-Identifier: Apache-2.0

/// The address of a folder on a web server: `http://host[:port][/path][?query]` or `https://…`.
struct OriginAddress: Hashable, Sendable {
    /// Scheme, authority and path, without a slash at the end.
    let prefix: String
    /// The query with its question mark, which signed addresses need on every file; else empty.
    let query: String

    /// Reads an address; `nil` for anything that is no `http` or `https` one. A slash at the end makes no difference, nor does
    /// naming the folder's manifest.json.
    init?(_ text: String) {
        guard text.utf8.count <= 4096, text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else { return nil }
        let lower = text.lowercased()
        guard let scheme = ["http://", "https://"].first(where: { lower.hasPrefix($0) }) else { return nil }
        let rest = text.dropFirst(scheme.count).prefix { $0 != "#" }
        var path = rest.prefix { $0 != "?" }
        query = String(rest[path.endIndex...])
        let authority = path.prefix { $0 != "/" }
        guard !authority.isEmpty, authority.first != ":" else { return nil }
        if path.hasSuffix("/manifest.json") { path = path.dropLast("manifest.json".count) }
        while path.hasSuffix("/") { path = path.dropLast() }
        guard path.count >= authority.count else { return nil }
        prefix = scheme + path
    }

    /// The address of a file in the folder, its name a single component, or two.
    func file(_ components: String...) -> String {
        prefix + components.map { "/" + Self.encode($0) }.joined() + query
    }

    /// RFC 3986 §2.1: everything but unreserved characters as percent and two digits.
    private static func encode(_ name: String) -> String {
        var text = ""
        for byte in name.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                text.unicodeScalars.append(Unicode.Scalar(byte))
            default: text += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
        return text
    }
}
