// SPDX-License-Identifier: Apache-2.0

// What Python's strings can do. Parts keep their marks; text that is made anew is trusted if all of its source is.
extension MarkedText {
    /// Where each character begins, and at last where the text ends: Python counts characters.
    var characterOffsets: [Int] { utf8.indices.filter { utf8[$0] & 0xC0 != 0x80 } + [utf8.count] }

    /// How many characters there are.
    var characterCount: Int { utf8.count { $0 & 0xC0 != 0x80 } }

    /// Without the given characters, or without white space, at its ends.
    func trimmed(_ characters: MarkedText? = nil, leading: Bool = true, trailing: Bool = true) -> MarkedText {
        let set = characters.map { Set($0.string.unicodeScalars) }
        func isTrimmed(_ scalar: Unicode.Scalar) -> Bool {
            if let set { return set.contains(scalar) }
            // Python's white space has four control characters more than Unicode's.
            return scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value)
        }
        let scalars = string.unicodeScalars
        var start = 0
        var end = utf8.count
        if leading {
            for scalar in scalars {
                guard isTrimmed(scalar) else { break }
                start += UTF8.width(scalar)
            }
        }
        if trailing {
            for scalar in scalars.reversed() {
                guard end > start, isTrimmed(scalar) else { break }
                end -= UTF8.width(scalar)
            }
        }
        return part(start..<max(start, end))
    }

    /// Where another text begins in this one at or after `start`.
    func firstIndex(of other: [UInt8], from start: Int = 0) -> Int? {
        guard let first = other.first else { return start <= utf8.count ? start : nil }
        var index = start
        while index + other.count <= utf8.count {
            if utf8[index] == first, utf8[index...].starts(with: other) { return index }
            index += 1
        }
        return nil
    }

    /// The places of another text in this one, from the left, without overlaps. The other is not empty.
    private func places(of other: [UInt8], most: Int) -> [Int] {
        var places: [Int] = []
        var start = 0
        while places.count < most, let place = firstIndex(of: other, from: start) {
            places.append(place)
            start = place + other.count
        }
        return places
    }

    /// The parts between the places of a separator, which is not empty.
    func split(_ separator: [UInt8], most: Int = .max) -> [MarkedText] {
        var parts: [MarkedText] = []
        var start = 0
        for place in places(of: separator, most: most) {
            parts.append(part(start..<place))
            start = place + separator.count
        }
        return parts + [part(start..<utf8.count)]
    }

    /// The same with the last places of the separator alone.
    func splitFromEnd(_ separator: [UInt8], most: Int) -> [MarkedText] {
        var parts: [MarkedText] = []
        var end = utf8.count
        var index = end - separator.count
        while index >= 0, parts.count < most {
            if utf8[index...].starts(with: separator), index + separator.count <= end {
                parts.append(part(index + separator.count..<end))
                end = index
                index -= separator.count
            } else {
                index -= 1
            }
        }
        return [part(0..<end)] + parts.reversed()
    }

    /// The words between white space.
    func splitWords(most: Int = .max) -> [MarkedText] {
        var words: [MarkedText] = []
        var rest = trimmed(trailing: false)
        while !rest.utf8.isEmpty {
            guard words.count < most else { return words + [rest.trimmed(leading: false)] }
            var end = 0
            for scalar in rest.string.unicodeScalars {
                if scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value) { break }
                end += UTF8.width(scalar)
            }
            words.append(rest.part(0..<end))
            rest = rest.part(end..<rest.utf8.count).trimmed(trailing: false)
        }
        return words
    }

    /// With a text in place of another, which is not empty.
    func replacing(_ other: [UInt8], with text: MarkedText, most: Int = .max) -> MarkedText {
        var result = MarkedText()
        for (index, part) in split(other, most: most).enumerated() {
            if index > 0 { result.append(text) }
            result.append(part)
        }
        return result
    }

    /// The characters from one to another in steps, by Python's rules.
    func sliced(_ indices: [Int]) -> MarkedText {
        let offsets = characterOffsets
        if let first = indices.first, let last = indices.last, last - first == indices.count - 1 {
            return part(offsets[first]..<offsets[last + 1])
        }
        var result = MarkedText()
        for index in indices { result.append(part(offsets[index]..<offsets[index + 1])) }
        return result
    }

    /// New text from this: trusted if this is.
    func mapped(_ transform: (String) -> String) -> MarkedText { MarkedText(transform(string), isTrusted: isTrusted) }

    /// The first character in upper case, the others in lower case.
    static func capitalized(_ text: String) -> String {
        guard let first = text.unicodeScalars.first else { return text }
        var rest = String.UnicodeScalarView()
        rest.append(contentsOf: text.unicodeScalars.dropFirst())
        return first.properties.titlecaseMapping + String(rest).lowercased()
    }

    /// Each word's first letter in upper case, the others in lower case.
    static func titled(_ text: String) -> String {
        var result = ""
        var isInWord = false
        for scalar in text.unicodeScalars {
            let properties = scalar.properties
            result += isInWord ? properties.lowercaseMapping : properties.titlecaseMapping
            isInWord = properties.isCased
        }
        return result
    }
}

/// The places that a slice takes out of so many, by Python's rules. `nil` for a step of nothing.
func sliceIndices(count: Int, from: Int?, to: Int?, step: Int?) -> [Int]? {
    let step = step ?? 1
    guard step != 0 else { return nil }
    func place(_ value: Int?, _ missing: Int) -> Int {
        guard let value else { return missing }
        let place = value < 0 ? max(value + count, -1) : min(value, count)
        return step > 0 ? max(place, 0) : min(place, count - 1)
    }
    let start = place(from, step > 0 ? 0 : count - 1)
    let end = place(to, step > 0 ? count : -1)
    guard step > 0 ? start < end : start > end else { return [] }
    // A step may be larger than any list: nothing is added past the end.
    var indices: [Int] = []
    var index = start
    while step > 0 ? index < end : index > end {
        indices.append(index)
        let (next, overflow) = index.addingReportingOverflow(step)
        if overflow { break }
        index = next
    }
    return indices
}
