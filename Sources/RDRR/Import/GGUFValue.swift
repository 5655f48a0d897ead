// SPDX-License-Identifier: Apache-2.0

/// A value of a GGUF file's metadata.
public enum GGUFValue: Hashable, Sendable {
    /// Any of the integer types; unsigned 64-bit numbers past the range of `Int64` are clamped.
    case integer(Int64)
    /// A 32-bit floating-point number.
    case float(Float)
    /// A 64-bit floating-point number.
    case double(Double)
    /// A truth value.
    case bool(Bool)
    /// Text; bytes that are no UTF-8 are replaced.
    case string(String)
    /// An array of integers.
    case integers([Int64])
    /// An array of floating-point numbers.
    case floats([Double])
    /// An array of truth values.
    case bools([Bool])
    /// An array of texts.
    case strings([String])
    /// An array of arrays.
    case arrays([GGUFValue])

    /// The integer, `nil` for any other kind.
    public var integer: Int64? { if case .integer(let value) = self { value } else { nil } }
    /// The text, `nil` for any other kind.
    public var string: String? { if case .string(let value) = self { value } else { nil } }
    /// The truth value, `nil` for any other kind.
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    /// The texts, `nil` for any other kind.
    public var strings: [String]? { if case .strings(let value) = self { value } else { nil } }
    /// The integers, a single one included, `nil` for any other kind.
    public var integers: [Int64]? {
        switch self {
        case .integer(let value): [value]
        case .integers(let values): values
        default: nil
        }
    }
    /// The floating-point numbers of an array, `nil` for any other kind.
    public var floats: [Double]? { if case .floats(let value) = self { value } else { nil } }
    /// The number. A `Float` becomes the shortest decimal that means it: 1e-05 rather than 9.999999747378752e-06.
    public var number: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .float(let value): Self.shortest(value)
        case .double(let value): value
        default: nil
        }
    }

    static func shortest(_ value: Float) -> Double { Double("\(value)") ?? Double(value) }
}
