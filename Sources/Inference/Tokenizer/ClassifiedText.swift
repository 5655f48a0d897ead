// SPDX-License-Identifier: Apache-2.0

/// What a character is to a pre-tokenizer.
struct CharacterClass: OptionSet {
    let rawValue: UInt8

    /// `\p{L}`.
    static let letter = CharacterClass(rawValue: 1)
    /// `\p{N}`.
    static let number = CharacterClass(rawValue: 2)
    /// `\s`: White_Space.
    static let space = CharacterClass(rawValue: 4)
    /// U+000A or U+000D.
    static let lineEnd = CharacterClass(rawValue: 8)
    /// `\p{N}` of the newest Unicode.
    static let anyNumber = CharacterClass(rawValue: 16)
    /// All that a run of marks does not hold.
    static let wordOrSpace: CharacterClass = [.letter, .number, .space]

    /// The version of Unicode in which the tokenizers that models are trained with look categories up. (Their splitter
    /// of digits is newer, hence `anyNumber`.) What was assigned later is neither letter nor number to them.
    private static let unicodeVersion = 16

    private static let ascii: [CharacterClass] = (0..<0x80).map { (code: UInt8) in of(Unicode.Scalar(code)) }

    init(rawValue: UInt8) { self.rawValue = rawValue }

    init(_ scalar: Unicode.Scalar) {
        self = scalar.value < 0x80 ? Self.ascii[Int(scalar.value)] : Self.of(scalar)
    }

    private static func of(_ scalar: Unicode.Scalar) -> CharacterClass {
        let properties = scalar.properties
        if properties.isWhitespace {
            return scalar.value == 0x0A || scalar.value == 0x0D ? [.space, .lineEnd] : .space
        }
        let kind: CharacterClass
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: kind = .letter
        case .decimalNumber, .letterNumber, .otherNumber: kind = .number
        default: return []
        }
        let isKnown = properties.age.map { $0.major <= unicodeVersion } ?? false
        let seen: CharacterClass = isKnown ? kind : []
        return kind == .number ? seen.union(.anyNumber) : seen
    }
}

/// Text with the class of each character, for pre-tokenizers.
struct ClassifiedText {
    private let bytes: [UInt8]
    /// The class of each character.
    private(set) var classes: [CharacterClass] = []
    /// Where each character begins in the bytes, and at last where the text ends.
    private var offsets: [UInt32] = []

    /// How many characters there are.
    var count: Int { classes.count }

    /// The characters of `bytes[range]`, which is valid UTF-8.
    init(_ bytes: [UInt8], _ range: Range<Int>) {
        self.bytes = bytes
        classes.reserveCapacity(range.count)
        offsets.reserveCapacity(range.count + 1)
        var offset = range.lowerBound
        while offset < range.upperBound {
            let lead = bytes[offset]
            let length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
            var code = length == 1 ? UInt32(lead) : UInt32(lead) & (0xFF >> UInt32(length + 1))
            for next in bytes[min(offset + 1, range.upperBound)..<min(offset + length, range.upperBound)] {
                code = code << 6 | UInt32(next & 0x3F)
            }
            classes.append(CharacterClass(Unicode.Scalar(code) ?? "\u{FFFD}"))
            offsets.append(UInt32(offset))
            offset += length
        }
        offsets.append(UInt32(range.upperBound))
    }

    /// Where a character begins.
    func offset(_ index: Int) -> Int { Int(offsets[index]) }

    /// The first byte of a character.
    func byte(_ index: Int) -> UInt8 { bytes[offset(index)] }

    /// Where the run of characters of a class that begins at `start` ends.
    func run(of kind: CharacterClass, _ start: Int, _ end: Int) -> Int {
        var index = start
        while index < end, classes[index].contains(kind) { index += 1 }
        return index
    }

    /// Where the run of characters that are neither letters nor numbers nor white space ends.
    func runOfMarks(_ start: Int, _ end: Int) -> Int {
        var index = start
        while index < end, classes[index].isDisjoint(with: .wordOrSpace) { index += 1 }
        return index
    }

    /// Where an English contraction that begins at `start` ends, `nil` if none does: 's 't 're 've 'm 'll 'd.
    func contraction(_ start: Int, _ end: Int, anyCase: Bool) -> Int? {
        guard byte(start) == UInt8(ascii: "'"), start + 1 < end else { return nil }
        func letter(_ index: Int) -> UInt8 {
            let byte = byte(index)
            guard anyCase else { return byte }
            // Case folding takes the long s for an s: U+017F.
            if byte == 0xC5, bytes[offset(index) + 1] == 0xBF { return UInt8(ascii: "s") }
            return (0x41...0x5A).contains(byte) ? byte | 0x20 : byte
        }
        switch letter(start + 1) {
        case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return start + 2
        case UInt8(ascii: "r"), UInt8(ascii: "v"):
            return start + 2 < end && letter(start + 2) == UInt8(ascii: "e") ? start + 3 : nil
        case UInt8(ascii: "l"):
            return start + 2 < end && letter(start + 2) == UInt8(ascii: "l") ? start + 3 : nil
        default: return nil
        }
    }
}
