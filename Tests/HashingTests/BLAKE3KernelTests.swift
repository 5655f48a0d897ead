// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@testable import Hashing

@Suite("BLAKE3 kernels")
struct BLAKE3KernelTests {
    static let kernels = BLAKE3Kernel.allCases.filter { kernel in
        if !kernel.isSupported { print("skipped: this processor has no \(kernel)") }
        return kernel.isSupported
    }

    private let key = SIMD8<UInt32>(1, 2, 3, 4, 5, 6, 7, 0xFFFF_FFFF)

    @Test("every kernel gives the chunk values of the scalar one, for every number of chunks", arguments: kernels)
    func chunks(kernel: BLAKE3Kernel) {
        var random = Entropy(seed: 21)
        let input = random.bytes(40 * 1024 + 1)
        // Counters whose low half overflows within a batch, in its first lane and in its last.
        for counter in [0, 1, 0xFFFF_FFF8, 0xFFFF_FFFF, 0xFFFF_FFF1, 0x1_0000_0000, UInt64.max - 3] as [UInt64] {
            for count in 1...40 {
                // One byte off, since no input need be aligned.
                let values = compute(count) { values in
                    input.withUnsafeBytes {
                        guard let base = $0.baseAddress else { return }
                        kernel.chunks(base + 1, count: count, counter: counter, key: key, flags: 16, into: values)
                    }
                }
                let expected = compute(count) { values in
                    input.withUnsafeBytes {
                        guard let base = $0.baseAddress else { return }
                        BLAKE3Kernel.scalar.chunks(
                            base + 1, count: count, counter: counter, key: key, flags: 16, into: values)
                    }
                }
                #expect(values == expected, "\(count) chunks from \(counter)")
            }
        }
    }

    @Test("every kernel gives the parents of the scalar one, also in the children's place", arguments: kernels)
    func parents(kernel: BLAKE3Kernel) {
        var random = Entropy(seed: 22)
        let children = (0..<80).map { _ in SIMD8<UInt32>.random(in: 0...UInt32.max, using: &random) }
        for count in 1...40 {
            let expected = compute(count) {
                BLAKE3Kernel.scalar.parents(children, count: count, key: key, flags: 4, into: $0)
            }
            let apart = compute(count) { kernel.parents(children, count: count, key: key, flags: 4, into: $0) }
            #expect(apart == expected, "\(count) parents")
            var inPlace = children
            inPlace.withUnsafeMutableBufferPointer {
                guard let base = $0.baseAddress else { return }
                kernel.parents(base, count: count, key: key, flags: 4, into: base)
            }
            #expect(Array(inPlace[..<count]) == expected, "\(count) parents in place")
            #expect(inPlace[count...] == children[count...], "what follows \(count) parents is untouched")
        }
    }

    @Test("every official vector, in every mode, with every kernel", arguments: kernels)
    func officialVectors(kernel: BLAKE3Kernel) throws {
        let vectors = try BLAKE3Vectors.load()
        let key = BLAKE3.Digest(bytes: Array(vectors.key.utf8)).words
        for vector in vectors.cases {
            let input = BLAKE3Vectors.input(vector.inputLength)
            let plain = BLAKE3.Mode(key: BLAKE3Constants.iv, flags: 0, kernel: kernel)
            let keyed = BLAKE3.Mode(key: key, flags: BLAKE3Constants.keyedHash, kernel: kernel)
            for (mode, expected) in [(plain, vector.hash), (keyed, vector.keyedHash)] {
                var hasher = BLAKE3(mode: mode)
                hasher.update(input)
                #expect(Hex.encode(hasher.finalize(count: 131)) == expected, "\(vector.inputLength) bytes")
                let root = input.withUnsafeBytes { mode.root(of: $0, threads: 1) }
                #expect(BLAKE3.Digest(words: root.rootDigest()).hex == expected.prefix(64))
            }
        }
    }

    private func compute(
        _ count: Int, _ body: (UnsafeMutablePointer<SIMD8<UInt32>>) -> Void
    ) -> [SIMD8<UInt32>] {
        [SIMD8<UInt32>](unsafeUninitializedCapacity: count) { buffer, initialized in
            if let base = buffer.baseAddress { body(base) }
            initialized = count
        }
    }
}
