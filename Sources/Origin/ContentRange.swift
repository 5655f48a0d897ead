// SPDX-License-Identifier: Apache-2.0

/// A `Content-Range` header (RFC 9110 §14.4): which bytes an answer holds, and how many the file has.
struct ContentRange: Hashable, Sendable {
    /// The bytes of the answer; `nil` in a refusal, `bytes */1234`.
    let range: Range<Int64>?
    /// The file's size; `nil` where the server does not say.
    let total: Int64?

    init?(_ text: String) {
        guard text.lowercased().hasPrefix("bytes ") else { return nil }
        let parts = text.dropFirst(6).split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        let (span, size) = (parts[0].trimmed, parts[1].trimmed)
        if size == "*" {
            total = nil
        } else {
            guard let value = Int64(digits: size) else { return nil }
            total = value
        }
        if span == "*" {
            range = nil
            return
        }
        let bounds = span.split(separator: "-", omittingEmptySubsequences: false)
        guard bounds.count == 2, let first = Int64(digits: bounds[0]), let last = Int64(digits: bounds[1]), first <= last,
            last < total ?? .max
        else { return nil }
        range = first..<last + 1
    }
}

extension Int64 {
    /// A number of decimal digits alone.
    init?(digits text: Substring) {
        guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        self.init(text)
    }
}

extension Substring {
    fileprivate var trimmed: Substring {
        var text = drop { $0 == " " }
        while text.last == " " { text = text.dropLast() }
        return text
    }
}
