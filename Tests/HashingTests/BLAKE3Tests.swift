// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@testable import Hashing

@Suite("BLAKE3")
struct BLAKE3Tests {
    @Test("every official vector, in every mode, with the kernel that this processor gets")
    func officialVectors() throws {
        let vectors = try BLAKE3Vectors.load()
        #expect(vectors.cases.count == 35)
        for vector in vectors.cases {
            let input = BLAKE3Vectors.input(vector.inputLength)
            var plain = BLAKE3()
            plain.update(input)
            #expect(Hex.encode(plain.finalize(count: 131)) == vector.hash, "\(vector.inputLength) bytes")
            #expect(plain.digest().hex == vector.hash.prefix(64), "\(vector.inputLength) bytes")
            #expect(BLAKE3.hash(input).hex == vector.hash.prefix(64), "\(vector.inputLength) bytes")

            var keyed = BLAKE3(key: Array(vectors.key.utf8))
            keyed.update(input)
            #expect(Hex.encode(keyed.finalize(count: 131)) == vector.keyedHash, "\(vector.inputLength) bytes")

            var derived = BLAKE3(deriveKeyContext: vectors.contextString)
            derived.update(input)
            #expect(Hex.encode(derived.finalize(count: 131)) == vector.deriveKey, "\(vector.inputLength) bytes")
        }
    }

    @Test("the split of the input into pieces does not change the result", arguments: [1 as UInt64, 2, 3, 4])
    func oddSplits(seed: UInt64) throws {
        var random = Entropy(seed: seed)
        for vector in try BLAKE3Vectors.load().cases {
            let input = BLAKE3Vectors.input(vector.inputLength)
            var hasher = BLAKE3()
            var done = 0
            while done < input.count {
                // Pieces around the lengths at which the code takes another path.
                let piece =
                    [1, 63, 64, 65, 1023, 1024, 1025, 2048, 4097, 16384, 40000].randomElement(using: &random) ?? 1
                let end = min(input.count, done + piece)
                hasher.update(Array(input[done..<end]))
                done = end
            }
            #expect(hasher.digest().hex == vector.hash.prefix(64), "seed \(seed), \(vector.inputLength) bytes")
        }
    }

    @Test("a hash read in the middle does not disturb what follows")
    func readInTheMiddle() {
        let input = BLAKE3Vectors.input(8192)
        var hasher = BLAKE3()
        for start in stride(from: 0, to: input.count, by: 512) {
            hasher.update(Array(input[start..<start + 512]))
            #expect(hasher.digest() == BLAKE3.hash(Array(input[..<(start + 512)])))
        }
    }

    @Test("extended output can be read from any byte on")
    func extendedOutputFromOffset() {
        var hasher = BLAKE3()
        hasher.update(BLAKE3Vectors.input(1025))
        let whole = hasher.finalize(count: 400)
        for offset in [0, 1, 31, 63, 64, 65, 127, 128, 200] {
            var part = [UInt8](repeating: 0, count: 130)
            part.withUnsafeMutableBytes { hasher.finalize(into: $0, from: UInt64(offset)) }
            #expect(part == Array(whole[offset..<offset + 130]))
        }
        #expect(hasher.finalize(count: 0).isEmpty)
    }

    @Test("one-shot and incremental agree around segment and group borders, on one core and several")
    func bordersOfSegments() {
        let lengths = [131_071, 131_072, 131_073, 1_048_575, 1_048_576, 1_048_577, 2_097_153, 3_000_000]
        let input = BLAKE3Vectors.input(3_000_000)
        input.withUnsafeBytes { bytes in
            for length in lengths {
                let part = UnsafeRawBufferPointer(rebasing: bytes[..<length])
                var hasher = BLAKE3()
                for start in stride(from: 0, to: length, by: 50_001) {
                    hasher.update(UnsafeRawBufferPointer(rebasing: part[start..<min(length, start + 50_001)]))
                }
                for threads in [1, 2, 5] {
                    #expect(
                        BLAKE3.hash(part, threads: threads) == hasher.digest(), "\(length) bytes, \(threads) threads")
                }
            }
        }
    }
}

@Suite("BLAKE3 digests")
struct BLAKE3DigestTests {
    @Test("bytes and hexadecimal digits survive the way there and back")
    func roundTrip() {
        let digest = BLAKE3.hash([1, 2, 3])
        #expect(BLAKE3.Digest(bytes: digest.bytes) == digest)
        #expect(BLAKE3.Digest(bytes: digest.bytes.span.bytes) == digest)
        #expect(BLAKE3.Digest(hex: digest.hex) == digest)
        #expect(BLAKE3.Digest(hex: digest.hex.uppercased()) == digest)
        #expect(digest.bytes.count == 32)
        #expect(digest.withUnsafeBytes { Array($0) } == digest.bytes)
        #expect(Set([digest, BLAKE3.hash([1, 2, 3]), BLAKE3.hash([])]).count == 2)
    }

    @Test(
        "a text that is no digest is refused",
        arguments: [
            "", "00", String(repeating: "0", count: 63), String(repeating: "g", count: 64),
            String(repeating: "0", count: 66),
        ])
    func badText(text: String) {
        #expect(BLAKE3.Digest(hex: text) == nil)
    }
}
