// SPDX-License-Identifier: Apache-2.0

/// A description cut into sections and attributes, before anything is known about what they mean (RFC 8866 §5).
struct SDPLines {
    /// One `a=` line.
    struct Attribute {
        /// What stands before the colon, in lower case.
        var name: Substring
        /// What stands after it, empty without one.
        var value: Substring
        /// The line, counted from 1.
        var line: Int
    }

    /// Everything from an `m=` line to the next.
    struct Section {
        var media: Substring
        var port: Int
        var proto: Substring
        var formats: [Substring]
        var line: Int
        var attributes: [Attribute] = []

        /// The value of the first attribute of a name.
        func value(_ name: String) -> Attribute? { attributes.first { $0.name == name } }
        /// All attributes of a name, in order.
        func all(_ name: String) -> [Attribute] { attributes.filter { $0.name == name } }
    }

    var sessionID: UInt64 = 0
    var sessionVersion: UInt64 = 0
    /// The attributes before the first section.
    var session: [Attribute] = []
    var sections: [Section] = []

    /// What is read at most. The largest real offers, a browser's with audio and video, have some 10 KB and 200 lines.
    static let longestText = 65_536
    static let mostLines = 4096
    static let mostSections = 128

    init(_ text: String) throws(SDPError) {
        guard text.utf8.count <= Self.longestText else { throw SDPError(.tooLarge) }
        var number = 0
        var hasVersion = false
        // RFC 8866 §5: lines end with CRLF, and LF alone is accepted. To Swift CRLF is one character, hence the bytes.
        for bytes in text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            number += 1
            guard number <= Self.mostLines else { throw SDPError(.tooLarge, line: number) }
            let line = SDPLines.trimmed(Substring(bytes))
            guard !line.isEmpty else { continue }
            // A lone CR or a NUL inside a value would forge lines in what is written from it.
            guard !line.utf8.contains(where: { $0 == 0 || $0 == 13 }) else { throw SDPError(.malformed, line: number) }
            guard let kind = line.first, let equals = line.dropFirst().first, equals == "=" else {
                throw SDPError(.malformed, line: number)
            }
            let value = SDPLines.trimmed(line.dropFirst(2))
            if !hasVersion {
                guard kind == "v", value == "0" else { throw SDPError(.malformed, line: number) }
                hasVersion = true
                continue
            }
            try take(kind, value, line: number)
        }
        guard hasVersion else { throw SDPError(.malformed) }
    }

    private mutating func take(_ kind: Character, _ value: Substring, line: Int) throws(SDPError) {
        switch kind {
        case "m":
            guard sections.count < Self.mostSections else { throw SDPError(.tooLarge, line: line) }
            sections.append(try SDPLines.section(value, line: line))
        case "a":
            let parts = value.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            let attribute = Attribute(
                name: Substring((parts.first ?? "").lowercased()), value: parts.count > 1 ? parts[1] : "", line: line)
            if sections.isEmpty {
                session.append(attribute)
            } else {
                sections[sections.count - 1].attributes.append(attribute)
            }
        case "o" where sections.isEmpty:
            // o=<username> <sess-id> <sess-version> …; nothing depends on it, so a strange one is let pass.
            let words = value.split(separator: " ")
            sessionID = words.count > 1 ? UInt64(words[1]) ?? 0 : 0
            sessionVersion = words.count > 2 ? UInt64(words[2]) ?? 0 : 0
        default: break
        }
    }

    /// `m=<media> <port>[/<count>] <proto> <fmt> …` (RFC 8866 §5.14).
    private static func section(_ value: Substring, line: Int) throws(SDPError) -> Section {
        let words = value.split(separator: " ")
        guard words.count >= 4, let digits = words[1].split(separator: "/").first, let port = Int(digits),
            (0...65_535).contains(port)
        else { throw SDPError(.malformed, line: line) }
        return Section(media: words[0], port: port, proto: words[2], formats: Array(words.dropFirst(3)), line: line)
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text
        while let last = text.unicodeScalars.last, last == " " || last == "\t" || last == "\r" {
            text.unicodeScalars.removeLast()
        }
        while let first = text.unicodeScalars.first, first == " " || first == "\t" { text.unicodeScalars.removeFirst() }
        return text
    }
}
