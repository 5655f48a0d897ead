// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// The fields of a request, each checked as it is read. `null` is as good as nothing, and what nobody asks for is
/// ignored.
struct RequestFields {
    private let object: JSON.Object

    init(_ json: JSON) throws(APIError) {
        guard case .object(let object) = json else {
            throw APIError(400, "The body is no JSON object.", code: "invalid_json")
        }
        self.object = object
    }

    subscript(name: String) -> JSON? {
        guard let value = object[name], !value.isNull else { return nil }
        return value
    }

    func bool(_ name: String) throws(APIError) -> Bool {
        guard let value = self[name] else { return false }
        guard let bool = value.bool else { throw .invalid(name, "true or false was expected") }
        return bool
    }

    func string(_ name: String) throws(APIError) -> String? {
        guard let value = self[name] else { return nil }
        guard let string = value.string else { throw .invalid(name, "a text was expected") }
        return string
    }

    /// A whole number; `4.0` is one, as some languages write no other.
    func integer(_ name: String, in range: ClosedRange<Int>) throws(APIError) -> Int? {
        guard let value = self[name] else { return nil }
        let integer = value.integer.flatMap { Int(exactly: $0) } ?? value.number.flatMap { Int(exactly: $0) }
        guard let integer, range.contains(integer) else {
            throw .invalid(
                name,
                "a whole number was expected, from \(range.lowerBound)"
                    + (range.upperBound == .max ? " on" : " to \(range.upperBound)"))
        }
        return integer
    }

    func number(_ name: String, in range: ClosedRange<Double>) throws(APIError) -> Float? {
        guard let value = self[name] else { return nil }
        guard let number = value.number, range.contains(number) else {
            throw .invalid(name, "a number was expected, from \(range.lowerBound) to \(range.upperBound)")
        }
        return Float(number)
    }

    /// Refuses a field unless it says what would happen without it.
    func refuse(_ name: String, unless isHarmless: (JSON) -> Bool, _ message: String) throws(APIError) {
        guard let value = self[name] else { return }
        guard isHarmless(value) else { throw .unsupported(name, message) }
    }
}
