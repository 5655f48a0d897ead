// SPDX-License-Identifier: Apache-2.0
import Foundation
import TestSupport
import Testing
import Wire

@testable import Compute

@Suite("Formats of weights")
struct BlockFormatTests {
    private func values(_ format: BlockFormat, _ hex: String, count: Int) throws -> [Float] {
        var values = [Float](repeating: .nan, count: count)
        var span = values.mutableSpan
        try format.dequantize(bytes(hex: hex).span.bytes, into: &span)
        return values
    }

    @Test("plain numbers are widened exactly")
    func plain() throws {
        #expect(try values(.f32, "0000803F 000000C0", count: 2) == [1, -2])
        #expect(try values(.bf16, "803F 00C0 807F", count: 3) == [1, -2, .infinity])
        // One, minus two, the largest, the smallest subnormal, the largest subnormal, infinity.
        let halves = try values(.f16, "003C 00C0 FF7B 0100 FF03 007C 0080", count: 7)
        #expect(halves == [1, -2, 65504, 0x1p-24, 1023 * 0x1p-24, .infinity, -0.0])
        #expect(try values(.f16, "017E", count: 1)[0].isNaN)
    }

    @Test("halves survive being widened and narrowed")
    func halves() {
        for bits in UInt16.min...UInt16.max {
            let value = Half.widened(bits)
            if value.isNaN {
                #expect(Half.widened(Half.narrowed(value)).isNaN)
            } else if Half.narrowed(value) != bits {
                Issue.record("\(bits) became \(Half.narrowed(value))")
            }
        }
        // Between two halves: the nearest, and of two equally near the even one.
        #expect(Half.narrowed(1 + 0x1p-11) == 0x3C00)
        #expect(Half.narrowed(1 + 0x1p-11 + 0x1p-20) == 0x3C01)
        #expect(Half.narrowed(1 + 3 * 0x1p-11) == 0x3C02)
        #expect(Half.narrowed(65519) == 0x7BFF)
        #expect(Half.narrowed(65520) == 0x7C00)
        #expect(Half.narrowed(0x1p-25) == 0)
        #expect(Half.narrowed(0x1.8p-25) == 1)
    }

    @Test("nibbles lie low ones first")
    func nibbles() throws {
        // d = 2; byte j holds j in its low and 15 − j in its high nibble.
        let packed = (0..<16).map { (i: Int) -> String in String(format: "%02X", i | (15 - i) << 4) }.joined()
        let low = (0..<16).map(Float.init)
        let high = low.reversed()
        let quants: [Float] = low + high
        let eights: [Float] = quants.map { 2 * ($0 - 8) }
        #expect(try values(.q4_0, "0040" + packed, count: 32) == eights)
        // m = −1
        let ones: [Float] = quants.map { 2 * $0 - 1 }
        #expect(try values(.q4_1, "0040 00BC" + packed, count: 32) == ones)
        // Fifth bits of weights 0, 9 and 31.
        var fives: [Float] = quants.map { 2 * ($0 - 16) }
        for i in [0, 9, 31] { fives[i] += 32 }
        #expect(try values(.q5_0, "0040 01020080" + packed, count: 32) == fives)
    }

    @Test("bytes are signed")
    func signedBytes() throws {
        let quants = (0..<32).map { String(format: "%02X", $0 * 8) }.joined()
        let expected = (0..<32).map { i -> Float in Float(i < 16 ? i * 8 : i * 8 - 256) * 0.5 }
        #expect(try values(.q8_0, "0038" + quants, count: 32) == expected)
    }

    @Test("scales and minima of six bits are put together")
    func sixBits() throws {
        // d = 1, dmin = 0.5. Scales 1 2 3 4 and 53 38 23 8; minima 5 6 7 8 and 59 41 26 11.
        let scales: [UInt8] = [1, 2, 3, 4, 53, 38, 23, 8]
        let minima: [UInt8] = [5, 6, 7, 8, 59, 41, 26, 11]
        var packed = [UInt8](repeating: 0, count: 12)
        for i in 0..<4 {
            packed[i] = scales[i] | (scales[i + 4] >> 4) << 6
            packed[i + 4] = minima[i] | (minima[i + 4] >> 4) << 6
            packed[i + 8] = scales[i + 4] & 15 | minima[i + 4] << 4
        }
        let head = "003C 0038" + packed.map { String(format: "%02X", $0) }.joined()
        // Low nibbles 2, high nibbles 3.
        let nibbles = String(repeating: "32", count: 128)
        let four = (0..<256).map { i -> Float in
            let nibble: Float = i / 32 % 2 == 0 ? 2 : 3
            return Float(scales[i / 32]) * nibble - 0.5 * Float(minima[i / 32])
        }
        #expect(try values(.q4_K, head + nibbles, count: 256) == four)
        // Bit b of byte l is the fifth bit of weight l of run b: here of runs 1 and 6.
        let five = (0..<256).map { i -> Float in
            four[i] + ([1, 6].contains(i / 32) ? 16 * Float(scales[i / 32]) : 0)
        }
        #expect(try values(.q5_K, head + String(repeating: "42", count: 32) + nibbles, count: 256) == five)
    }

    @Test("weights of six bits lie in quarters of halves")
    func sixBitWeights() throws {
        // Low nibbles 1, high nibbles 2; pairs of bits 0, 1, 2, 3 from the lowest; scales 0 to 15, of which the last is −1.
        let scales = (0..<15).map { String(format: "%02X", $0) }.joined() + "FF"
        let hex = String(repeating: "21", count: 128) + String(repeating: "E4", count: 64) + scales + "003C"
        let expected = (0..<256).map { i -> Float in
            let quarter = i % 128 / 32
            let scale = i / 16 == 15 ? -1 : Float(i / 16)
            return scale * Float((quarter < 2 ? 1 : 2) + 16 * quarter - 32)
        }
        #expect(try values(.q6_K, hex, count: 256) == expected)
    }

    @Test("what the gguf package makes of blocks is what we make of them")
    func vectors() throws {
        let text = try String(decoding: Fixtures.bytes("compute/blocks.txt"), as: UTF8.self)
        try check(text)
    }

    @Test("what the gguf package makes of other random blocks is what we make of them")
    func oracle() throws {
        let python = Fixtures.checkout.appending(path: ".venv/bin/python3").path
        guard FileManager.default.fileExists(atPath: python) else {
            print("skipped: no .venv with the package gguf")
            return
        }
        let seed = Int.random(in: 0..<1_000_000)
        let script = Fixtures.checkout.appending(path: "Tests/ComputeTests/oracle/blocks.py").path
        let process = Process()
        process.executableURL = URL(filePath: python)
        process.arguments = [script, String(seed), "20"]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus != 77 else {
            print("skipped: the Python of .venv lacks the package gguf")
            return
        }
        #expect(process.terminationStatus == 0)
        print("blocks of seed \(seed)")
        try check(String(decoding: output, as: UTF8.self))
    }

    private func check(_ text: String) throws {
        let lines = text.split(separator: "\n")
        #expect(lines.count == 9)
        for line in lines {
            let words = line.split(separator: " ").map(String.init)
            let format = try #require(BlockFormat(named: words[0]))
            let expected = bytes(hex: words[2])
            let found = try values(format, words[1], count: expected.count / 4)
            for i in found.indices {
                let bits = (0..<4).reduce(UInt32(0)) { $0 | UInt32(expected[i * 4 + $1]) << (8 * $1) }
                guard found[i] == Float(bitPattern: bits) else {
                    Issue.record("\(words[0]), weight \(i): \(found[i]), not \(Float(bitPattern: bits))")
                    return
                }
            }
        }
    }

    @Test("what a cache stores does not depend on the instructions", arguments: InstructionSet.supported)
    func encoding(_ instructions: InstructionSet) {
        var entropy = Entropy(seed: 50)
        var x = randomNumbers(32 * 12, from: &entropy)
        let factors: [Float] = [0, 1e-37, 1e-30, 1e-9, 1e-6, 0x1p-17, 60_000, 1e6, 8e6, 1e30]
        for (block, factor) in factors.enumerated() {
            for i in 0..<32 { x[block * 32 + i] *= factor }
        }
        x[10 * 32 + 3] = .nan
        x[11 * 32 + 20] = -.infinity
        for format in BlockFormat.allCases where format.isEncodable {
            let size = format.byteCount(of: x.count) ?? 0
            var expected = [UInt8](repeating: 0xAA, count: size)
            var found = expected
            expected.withUnsafeMutableBytes { if let p = $0.baseAddress { format.encode(x, count: x.count, into: p) } }
            found.withUnsafeMutableBytes {
                if let p = $0.baseAddress { instructions.encode(format, x, count: x.count, into: p) }
            }
            #expect(found == expected)
        }
    }

    @Test("sizes that do not fit are refused", arguments: BlockFormat.allCases)
    func sizes(_ format: BlockFormat) throws {
        #expect(BlockFormat(named: format.name) == format)
        #expect(format.byteCount(of: format.blockLength * 3) == format.blockSize * 3)
        #expect(format.byteCount(of: -format.blockLength) == nil)
        var values = [Float](repeating: 0, count: format.blockLength)
        let short = [UInt8](repeating: 0, count: format.blockSize - 1)
        #expect(throws: ComputeError.self) {
            var span = values.mutableSpan
            try format.dequantize(short.span.bytes, into: &span)
        }
        var none: [Float] = []
        var span = none.mutableSpan
        try format.dequantize([UInt8]().span.bytes, into: &span)
        guard format.isQuantized else { return }
        var odd = [Float](repeating: 0, count: format.blockLength + 1)
        let long = [UInt8](repeating: 0, count: format.blockSize * 2)
        #expect(throws: ComputeError.self) {
            var span = odd.mutableSpan
            try format.dequantize(long.span.bytes, into: &span)
        }
    }
}
