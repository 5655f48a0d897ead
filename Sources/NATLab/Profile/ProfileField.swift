// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// A value in a profile's file with the path to it, so that whatever is wrong with it can be said with its place.
struct ProfileField {
    /// Where, as in `outer[0].ports`.
    let path: String
    /// What stands there.
    let value: JSON

    /// What stands in a member; the whole document's members are named without a path.
    func member(_ name: String, of value: JSON) -> ProfileField {
        ProfileField(path: path == "profile" ? name : "\(path).\(name)", value: value)
    }

    /// The error for this value.
    func wrong(_ allowed: String) -> NATProfileError {
        let found = value.serialized()
        return .wrongValue(
            member: path, found: found.count > 60 ? "\(found.prefix(60))…" : found, allowed: allowed)
    }

    /// A name of letters, digits and hyphens.
    func name() throws(NATProfileError) -> String {
        guard let name = value.string, (1...64).contains(name.utf8.count),
            name.utf8.allSatisfy({
                (0x30...0x39).contains($0) || (0x61...0x7A).contains($0 | 0x20) || $0 == UInt8(ascii: "-")
            })
        else { throw wrong("1 to 64 letters, digits and hyphens") }
        return name
    }

    /// One of the values of an enumeration.
    func oneOf<Value: RawRepresentable<String> & CaseIterable>() throws(NATProfileError) -> Value {
        guard let text = value.string, let known = Value(rawValue: text) else {
            throw wrong("one of \(Value.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", "))")
        }
        return known
    }

    /// `true` or `false`.
    func truth() throws(NATProfileError) -> Bool {
        guard let truth = value.bool else { throw wrong("true or false") }
        return truth
    }

    /// A whole number in a range.
    func count(_ range: ClosedRange<Int>) throws(NATProfileError) -> Int {
        guard let number = value.integer, let count = Int(exactly: number), range.contains(count) else {
            throw wrong("a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return count
    }

    /// A time in seconds, above 0.
    func seconds(upTo longest: Double) throws(NATProfileError) -> Duration {
        guard let seconds = value.number, seconds > 0, seconds <= longest else {
            throw wrong("a number of seconds above 0 and up to \(Int(longest))")
        }
        return .nanoseconds(Int64((seconds * 1e9).rounded()))
    }

    /// The first and the last of a range of ports.
    func portRange() throws(NATProfileError) -> ClosedRange<UInt16> {
        let numbers = value.array?.compactMap { $0.integer.flatMap(UInt16.init(exactly:)) } ?? []
        guard numbers.count == 2, value.array?.count == 2, numbers[0] >= 1, numbers[0] <= numbers[1] else {
            throw wrong("the first and the last port, as in [1024, 65535]")
        }
        return numbers[0]...numbers[1]
    }
}
