// SPDX-License-Identifier: Apache-2.0

/// Why bytes are no raw deflate stream.
public enum InflateError: Error, Hashable, Sendable {
    /// The stream ends inside a block.
    case truncated
    /// A block type, code or distance that cannot be.
    case malformed
    /// More output than allowed.
    case tooLarge
}

/// Reads raw deflate (RFC 1951): no zlib or gzip wrapping.
public enum Inflate {
    /// The bytes that a stream stands for, at most `limit` of them. Bytes after the last block are ignored.
    public static func decompress(_ input: [UInt8], limit: Int) throws(InflateError) -> [UInt8] {
        var inflater = Inflater(input: input, limit: limit)
        return try inflater.run()
    }
}

private struct Inflater {
    let limit: Int
    private var bits: BitReader
    private var output: [UInt8] = []

    init(input: [UInt8], limit: Int) {
        self.limit = limit
        bits = BitReader(input: input)
    }

    mutating func run() throws(InflateError) -> [UInt8] {
        var isLast = false
        while !isLast {
            isLast = try bits.take(1) == 1
            switch try bits.take(2) {
            case 0: try copyStored()
            case 1: try decode(HuffmanCode.fixedLiterals, HuffmanCode.fixedDistances)
            case 2:
                let (literals, distances) = try readCodes()
                try decode(literals, distances)
            default: throw .malformed
            }
        }
        return output
    }

    /// RFC 1951 §3.2.4: LEN, its complement, bytes.
    private mutating func copyStored() throws(InflateError) {
        bits.alignToByte()
        let count = try bits.take(16)
        guard try bits.take(16) == count ^ 0xFFFF else { throw .malformed }
        for _ in 0..<count { try append(UInt8(try bits.take(8))) }
    }

    private mutating func decode(_ literals: HuffmanCode, _ distances: HuffmanCode) throws(InflateError) {
        while true {
            let symbol = try bits.symbol(literals)
            if symbol < 256 {
                try append(UInt8(symbol))
                continue
            }
            if symbol == 256 { return }
            guard let length = DeflateTables.lengths[checked: symbol - 257] else { throw .malformed }
            let count = length.base + (try bits.take(length.extraBits))
            guard let far = DeflateTables.distances[checked: try bits.symbol(distances)] else { throw .malformed }
            let distance = far.base + (try bits.take(far.extraBits))
            guard distance <= output.count else { throw .malformed }
            // One by one, since a match may overlap what it produces.
            for _ in 0..<count { try append(output[output.count - distance]) }
        }
    }

    /// RFC 1951 §3.2.7: the code lengths of both alphabets, themselves Huffman coded.
    private mutating func readCodes() throws(InflateError) -> (HuffmanCode, HuffmanCode) {
        let literalCount = try bits.take(5) + 257
        let distanceCount = try bits.take(5) + 1
        let lengthCount = try bits.take(4) + 4
        guard literalCount <= 286, distanceCount <= 30 else { throw .malformed }

        var codeLengths = [UInt8](repeating: 0, count: 19)
        for position in DeflateTables.codeLengthOrder.prefix(lengthCount) {
            codeLengths[position] = UInt8(try bits.take(3))
        }
        guard let lengthCode = HuffmanCode(lengths: codeLengths) else { throw .malformed }

        var lengths: [UInt8] = []
        while lengths.count < literalCount + distanceCount {
            let symbol = try bits.symbol(lengthCode)
            switch symbol {
            case 0...15: lengths.append(UInt8(symbol))
            case 16:
                guard let last = lengths.last else { throw .malformed }
                lengths += repeatElement(last, count: try bits.take(2) + 3)
            case 17: lengths += repeatElement(0, count: try bits.take(3) + 3)
            default: lengths += repeatElement(0, count: try bits.take(7) + 11)
            }
        }
        guard lengths.count == literalCount + distanceCount, lengths[256] > 0,
            let literals = HuffmanCode(lengths: Array(lengths[..<literalCount])),
            let distances = HuffmanCode(lengths: Array(lengths[literalCount...]))
        else { throw .malformed }
        return (literals, distances)
    }

    private mutating func append(_ byte: UInt8) throws(InflateError) {
        guard output.count < limit else { throw .tooLarge }
        output.append(byte)
    }
}

/// Bits from the lowest of each byte to the highest (RFC 1951 §3.1.1).
private struct BitReader {
    private let input: [UInt8]
    private var offset = 0
    private var buffer: UInt32 = 0
    private var available = 0

    init(input: [UInt8]) {
        self.input = input
    }

    /// At most 16 bits as a number.
    mutating func take(_ count: Int) throws(InflateError) -> Int {
        while available < count {
            guard offset < input.count else { throw .truncated }
            buffer |= UInt32(input[offset]) << UInt32(available)
            offset += 1
            available += 8
        }
        let value = buffer & ((1 << UInt32(count)) - 1)
        buffer >>= UInt32(count)
        available -= count
        return Int(value)
    }

    mutating func alignToByte() {
        buffer >>= UInt32(available & 7)
        available -= available & 7
    }

    /// The next symbol of a code, whose bits come from the highest down.
    mutating func symbol(_ code: HuffmanCode) throws(InflateError) -> Int {
        var value = 0
        var first = 0
        var index = 0
        for length in 1...HuffmanCode.longest {
            value |= try take(1)
            let count = code.counts[length]
            if value - first < count { return code.symbols[index + value - first] }
            index += count
            first = (first + count) << 1
            value <<= 1
        }
        throw .malformed
    }
}

/// A canonical Huffman code (RFC 1951 §3.2.2): how many symbols there are of each length, and the symbols in order.
private struct HuffmanCode {
    static let longest = 15
    var counts = [Int](repeating: 0, count: HuffmanCode.longest + 1)
    var symbols: [Int] = []

    /// `nil` when more codes are wanted than the lengths leave room for. Fewer are let pass: a code with one symbol is
    /// incomplete, and the bits that it lacks are found when they are read.
    init?(lengths: [UInt8]) {
        for length in lengths { counts[Int(length)] += 1 }
        counts[0] = 0
        var left = 1
        for length in 1...HuffmanCode.longest {
            left = left << 1 - counts[length]
            guard left >= 0 else { return nil }
        }
        for length in 1...HuffmanCode.longest {
            for (symbol, own) in lengths.enumerated() where Int(own) == length { symbols.append(symbol) }
        }
    }

    private init(complete lengths: [UInt8]) {
        guard let code = HuffmanCode(lengths: lengths) else { preconditionFailure("a constant code is impossible") }
        self = code
    }

    /// RFC 1951 §3.2.6.
    static let fixedLiterals = HuffmanCode(
        complete: (0..<288).map { symbol in
            switch symbol {
            case ..<144: 8
            case ..<256: 9
            case ..<280: 7
            default: 8
            }
        })
    static let fixedDistances = HuffmanCode(complete: [UInt8](repeating: 5, count: 30))
}
