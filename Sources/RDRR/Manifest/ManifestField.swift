// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// A JSON value and the path to it, so that whatever is wrong with it can be said with its place.
struct ManifestField {
    /// Where, as in `shards[3].size`; empty for the whole document.
    let path: String
    /// The value.
    let value: JSON

    /// The largest integer that every JSON reader keeps exactly (RFC 8259 §6): 2^53.
    static let largestInteger: Int64 = 1 << 53

    static let manifestAdvice = "the manifest is damaged or was not written for RDRR; get it again from its source"

    /// The member, `nil` when it is absent or `null`.
    func member(_ name: String) -> ManifestField? {
        guard let value = value[name], !value.isNull else { return nil }
        return ManifestField(path: childPath(name), value: value)
    }

    /// The first of several members that is there, for a field that was renamed.
    func member(_ names: [String]) -> ManifestField? {
        for name in names { if let field = member(name) { return field } }
        return nil
    }

    /// The member, which must be there.
    func required(_ names: String...) throws(RDRRError) -> ManifestField {
        guard let field = member(names) else {
            throw RDRRError(.missing, at: childPath(names[0]), "the field is missing", advice: Self.manifestAdvice)
        }
        return field
    }

    /// The string.
    func string() throws(RDRRError) -> String {
        guard let string = value.string else { throw wrongKind("text") }
        return string
    }

    /// The string, which must not be empty.
    func text() throws(RDRRError) -> String {
        let string = try string()
        guard !string.isEmpty else { throw fault(.invalid, "the text is empty") }
        return string
    }

    /// An integer from 0 to 2^53.
    func count() throws(RDRRError) -> Int {
        let integer: Int64
        switch value {
        case .integer(let exact): integer = exact
        case .number(let number):
            guard let exact = Int64(exactly: number) else {
                throw fault(.invalid, "\(number) is no whole number up to 2^53")
            }
            integer = exact
        default: throw wrongKind("a whole number")
        }
        guard integer >= 0 else { throw fault(.invalid, "\(integer) is negative") }
        guard integer <= Self.largestInteger else { throw fault(.invalid, "\(integer) is larger than 2^53") }
        return Int(integer)
    }

    /// An integer from 1 to 2^53.
    func positive() throws(RDRRError) -> Int {
        let number = try count()
        guard number > 0 else { throw fault(.invalid, "0 is not allowed here") }
        return number
    }

    /// The elements of an array.
    func elements() throws(RDRRError) -> [ManifestField] {
        guard let array = value.array else { throw wrongKind("an array") }
        return array.enumerated().map { ManifestField(path: "\(path)[\($0.offset)]", value: $0.element) }
    }

    /// The members of an object, in order.
    func members() throws(RDRRError) -> [(name: String, field: ManifestField)] {
        guard let object = value.object else { throw wrongKind("an object") }
        return object.map { ($0.name, ManifestField(path: childPath($0.name), value: $0.value)) }
    }

    /// An error about this field.
    func fault(_ code: RDRRError.Code, _ message: String, advice: String = manifestAdvice) -> RDRRError {
        RDRRError(code, at: path, message, advice: advice)
    }

    /// The error for a value of another kind than `wanted`.
    func wrongKind(_ wanted: String) -> RDRRError {
        let found =
            switch value {
            case .null: "null"
            case .bool: "a truth value"
            case .integer, .number: "a number"
            case .string: "text"
            case .array: "an array"
            case .object: "an object"
            }
        return fault(.wrongKind, "\(found) stands where \(wanted) belongs")
    }

    private func childPath(_ name: String) -> String {
        // A tensor's name has dots of its own: it is quoted, so that the path can be read.
        let plain = name.utf8.allSatisfy {
            ($0 | 0x20 >= 0x61 && $0 | 0x20 <= 0x7A) || $0 == 0x5F || (0x30...0x39).contains($0)
        }
        if plain { return path.isEmpty ? name : "\(path).\(name)" }
        return "\(path)[\"\(name.count > 120 ? String(name.prefix(120)) + "…" : name)\"]"
    }
}
