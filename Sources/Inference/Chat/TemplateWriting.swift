// SPDX-License-Identifier: Apache-2.0

extension TemplateValue {
    /// The value as text, as Python's `str` writes it. `nil` for what has no text here.
    var written: MarkedText? {
        switch self {
        case .undefined: MarkedText()
        case .string(let text): text
        case .list, .map:
            represented.map { MarkedText(repairing: $0, isTrusted: isTrusted) }
        default: represented.map { MarkedText(repairing: $0, isTrusted: true) }
        }
    }

    /// Whether all strings in it are trusted.
    var isTrusted: Bool {
        switch self {
        case .string(let text): text.isTrusted
        case .list(let values): values.allSatisfy { $0.isTrusted }
        case .map(let map): map.members.allSatisfy { $0.key.isTrusted && $0.value.isTrusted }
        default: true
        }
    }

    /// As Python's `repr` writes it.
    private var represented: [UInt8]? {
        switch self {
        case .none: return Array("None".utf8)
        case .bool(let value): return Array((value ? "True" : "False").utf8)
        case .integer(let value): return Array("\(value)".utf8)
        case .number(let value): return Array(Self.decimal(value).utf8)
        case .string(let text): return Self.quoted(text.utf8)
        case .list(let values):
            var bytes: [UInt8] = [UInt8(ascii: "[")]
            for (index, value) in values.enumerated() {
                guard let item = value.represented else { return nil }
                bytes += (index > 0 ? Array(", ".utf8) : []) + item
            }
            return bytes + [UInt8(ascii: "]")]
        case .map(let map):
            var bytes: [UInt8] = [UInt8(ascii: "{")]
            for (index, member) in map.members.enumerated() {
                guard let item = member.value.represented else { return nil }
                bytes += (index > 0 ? Array(", ".utf8) : []) + Self.quoted(member.key.utf8) + Array(": ".utf8) + item
            }
            return bytes + [UInt8(ascii: "}")]
        case .undefined: return Array("Undefined".utf8)
        case .namespace, .macro, .function, .loop: return nil
        }
    }

    private static func decimal(_ value: Double) -> String {
        if value.isNaN { return "nan" }
        if value.isInfinite { return value < 0 ? "-inf" : "inf" }
        return "\(value)"
    }

    /// In single quotes, or in double ones if there are only single ones inside.
    private static func quoted(_ text: [UInt8]) -> [UInt8] {
        let single = UInt8(ascii: "'")
        let quote = text.contains(single) && !text.contains(UInt8(ascii: "\"")) ? UInt8(ascii: "\"") : single
        var bytes = [quote]
        for byte in text {
            switch byte {
            case quote, UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
            case 0x0A: bytes += Array("\\n".utf8)
            case 0x0D: bytes += Array("\\r".utf8)
            case 0x09: bytes += Array("\\t".utf8)
            case 0..<0x20, 0x7F: bytes += Array("\\x\(byte < 16 ? "0" : "")\(String(byte, radix: 16))".utf8)
            default: bytes.append(byte)
            }
        }
        return bytes + [quote]
    }

    /// As Python's `json.dumps` writes it with `ensure_ascii=False`; `nil` for what JSON cannot say.
    func json(indent: Int?, separators: (item: String, key: String), sorted: Bool) -> MarkedText? {
        var bytes: [UInt8] = []
        guard writeJSON(&bytes, indent, separators, sorted, level: 0) else { return nil }
        return MarkedText(repairing: bytes, isTrusted: isTrusted)
    }

    private func writeJSON(
        _ bytes: inout [UInt8], _ indent: Int?, _ separators: (item: String, key: String), _ sorted: Bool, level: Int
    ) -> Bool {
        func lineEnd(_ level: Int, _ bytes: inout [UInt8]) {
            guard let indent else { return }
            bytes.append(0x0A)
            bytes += [UInt8](repeating: 0x20, count: indent * level)
        }
        switch self {
        case .none: bytes += Array("null".utf8)
        case .bool(let value): bytes += Array((value ? "true" : "false").utf8)
        case .integer(let value): bytes += Array("\(value)".utf8)
        case .number(let value):
            if value.isNaN {
                bytes += Array("NaN".utf8)
            } else if value.isInfinite {
                bytes += Array((value < 0 ? "-Infinity" : "Infinity").utf8)
            } else {
                bytes += Array("\(value)".utf8)
            }
        case .string(let text): Self.writeJSONString(text.utf8, &bytes)
        case .list(let values):
            bytes.append(UInt8(ascii: "["))
            for (index, value) in values.enumerated() {
                if index > 0 { bytes += Array(separators.item.utf8) }
                lineEnd(level + 1, &bytes)
                guard value.writeJSON(&bytes, indent, separators, sorted, level: level + 1) else { return false }
            }
            if !values.isEmpty { lineEnd(level, &bytes) }
            bytes.append(UInt8(ascii: "]"))
        case .map(let map):
            bytes.append(UInt8(ascii: "{"))
            let members =
                sorted ? map.members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) } : map.members
            for (index, member) in members.enumerated() {
                if index > 0 { bytes += Array(separators.item.utf8) }
                lineEnd(level + 1, &bytes)
                Self.writeJSONString(member.key.utf8, &bytes)
                bytes += Array(separators.key.utf8)
                guard member.value.writeJSON(&bytes, indent, separators, sorted, level: level + 1) else { return false }
            }
            if !members.isEmpty { lineEnd(level, &bytes) }
            bytes.append(UInt8(ascii: "}"))
        case .undefined, .namespace, .macro, .function, .loop: return false
        }
        return true
    }

    private static func writeJSONString(_ text: [UInt8], _ bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
            case 0x0A: bytes += Array("\\n".utf8)
            case 0x0D: bytes += Array("\\r".utf8)
            case 0x09: bytes += Array("\\t".utf8)
            case 0x08: bytes += Array("\\b".utf8)
            case 0x0C: bytes += Array("\\f".utf8)
            case 0..<0x20: bytes += Array("\\u00\(byte < 16 ? "0" : "")\(String(byte, radix: 16))".utf8)
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}
