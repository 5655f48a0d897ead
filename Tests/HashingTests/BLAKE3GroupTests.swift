// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Hashing

@Suite("BLAKE3 groups")
struct BLAKE3GroupTests {
    /// The values of an input's groups.
    private func groups(_ bytes: UnsafeRawBufferPointer) -> [BLAKE3.Digest] {
        stride(from: 0, to: bytes.count, by: BLAKE3.groupLength).map { start in
            let end = min(bytes.count, start + BLAKE3.groupLength)
            return BLAKE3.chainingValue(
                ofSubtree: UnsafeRawBufferPointer(rebasing: bytes[start..<end]), chunkCounter: UInt64(start / 1024))
        }
    }

    @Test("group values merge to the hash of the whole")
    func mergeToRoot() {
        let group = BLAKE3.groupLength
        var lengths = [group + 1, group + 1023, group + 1024, group + 1025, 2 * group - 1, 2 * group, 2 * group + 1]
        for count in 3...18 { lengths += [count * group - 1, count * group, count * group + 1] }
        let input = BLAKE3Vectors.input(19 * group)
        input.withUnsafeBytes { bytes in
            for length in lengths {
                let part = UnsafeRawBufferPointer(rebasing: bytes[..<length])
                var hasher = BLAKE3()
                hasher.update(part)
                #expect(BLAKE3.rootFromGroups(groups(part)) == hasher.digest(), "\(length) bytes")
            }
        }
    }

    @Test("a group's value depends on its place and is not its hash")
    func placeMatters() {
        let bytes = BLAKE3Vectors.input(BLAKE3.groupLength)
        let first = BLAKE3.chainingValue(ofSubtree: bytes, chunkCounter: 0)
        #expect(first != BLAKE3.chainingValue(ofSubtree: bytes, chunkCounter: 128))
        #expect(first != BLAKE3.hash(bytes))
    }

    @Test("chunk counters beyond 32 bits count")
    func highCounters() {
        let bytes = BLAKE3Vectors.input(BLAKE3.groupLength)
        let counters: [UInt64] = [0, 1 << 32, 0xFFFF_FF80, 1 << 33]
        let values = counters.map { BLAKE3.chainingValue(ofSubtree: bytes, chunkCounter: $0) }
        #expect(Set(values).count == counters.count)
    }
}
