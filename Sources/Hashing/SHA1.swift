// SPDX-License-Identifier: Apache-2.0

/// SHA-1 (FIPS 180-4 §6.1), for names and old protocols: info hashes, STUN's MESSAGE-INTEGRITY, WebSocket handshakes.
public struct SHA1: Sendable {
    /// How many bytes a hash has.
    public static let byteCount = 20

    private var state = State()
    private var block: [UInt8] = []
    private var length: UInt64 = 0

    /// The hash of nothing yet.
    public init() {
        block.reserveCapacity(State.blockLength)
    }

    /// The hash of `bytes`, 20 bytes.
    public static func hash(_ bytes: [UInt8]) -> [UInt8] {
        var hasher = SHA1()
        hasher.update(bytes)
        return hasher.finalize()
    }

    /// The hash of `bytes`, 20 bytes.
    public static func hash(_ bytes: RawSpan) -> [UInt8] {
        var hasher = SHA1()
        hasher.update(bytes)
        return hasher.finalize()
    }

    /// Takes the next bytes of the input.
    public mutating func update(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { update($0) }
    }

    /// Takes the next bytes of the input.
    public mutating func update(_ bytes: RawSpan) {
        bytes.withUnsafeBytes { update($0) }
    }

    /// Takes the next bytes of the input.
    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        length &+= UInt64(bytes.count)
        var rest = bytes
        if !block.isEmpty {
            let take = min(rest.count, State.blockLength - block.count)
            block.append(contentsOf: rest[..<take])
            rest = UnsafeRawBufferPointer(rebasing: rest[take...])
            guard block.count == State.blockLength else { return }
            block.withUnsafeBytes { state.compress($0) }
            block.removeAll(keepingCapacity: true)
        }
        while rest.count >= State.blockLength {
            state.compress(rest)
            rest = UnsafeRawBufferPointer(rebasing: rest[State.blockLength...])
        }
        block.append(contentsOf: rest)
    }

    /// The 20-byte hash of what was taken so far; more may be taken after it.
    public func finalize() -> [UInt8] {
        // §5.1.1: one bit, zeros, and the length in bits as the last eight bytes of a block.
        var padded = self
        var padding: [UInt8] = [0x80]
        let zeros = (2 * State.blockLength - 9 - block.count) % State.blockLength
        padding.append(contentsOf: repeatElement(0, count: zeros))
        withUnsafeBytes(of: (length &* 8).bigEndian) { padding.append(contentsOf: $0) }
        padded.update(padding)
        return padded.state.bytes
    }
}

extension SHA1 {
    /// The five words of §6.1, and the round that changes them.
    private struct State: Sendable {
        static let blockLength = 64

        // §5.3.1.
        var a: UInt32 = 0x6745_2301
        var b: UInt32 = 0xEFCD_AB89
        var c: UInt32 = 0x98BA_DCFE
        var d: UInt32 = 0x1032_5476
        var e: UInt32 = 0xC3D2_E1F0

        var bytes: [UInt8] {
            [a, b, c, d, e].flatMap { word in withUnsafeBytes(of: word.bigEndian) { Array($0) } }
        }

        /// §6.1.2 over the first 64 of `bytes`; the schedule is kept as a window of sixteen words (§6.1.3).
        mutating func compress(_ bytes: UnsafeRawBufferPointer) {
            withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 16) { window in
                for index in 0..<16 {
                    window[index] = UInt32(
                        bigEndian: bytes.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self))
                }
                var next = self
                for index in 0..<20 {
                    next.step(window.word(index), 0x5A82_7999, next.d ^ (next.b & (next.c ^ next.d)))
                }
                for index in 20..<40 { next.step(window.word(index), 0x6ED9_EBA1, next.b ^ next.c ^ next.d) }
                for index in 40..<60 {
                    next.step(window.word(index), 0x8F1B_BCDC, (next.b & next.c) | (next.d & (next.b | next.c)))
                }
                for index in 60..<80 { next.step(window.word(index), 0xCA62_C1D6, next.b ^ next.c ^ next.d) }
                a &+= next.a
                b &+= next.b
                c &+= next.c
                d &+= next.d
                e &+= next.e
            }
        }

        @inline(__always)
        private mutating func step(_ word: UInt32, _ constant: UInt32, _ mixed: UInt32) {
            let sum = (a &<< 5 | a &>> 27) &+ mixed &+ e &+ constant &+ word
            e = d
            d = c
            c = b &<< 30 | b &>> 2
            b = a
            a = sum
        }
    }
}

extension UnsafeMutableBufferPointer<UInt32> {
    /// Word `index` of the message schedule (§6.1.3), computed in the place of the one sixteen before it.
    @inline(__always)
    fileprivate func word(_ index: Int) -> UInt32 {
        guard index >= 16 else { return self[index] }
        let mixed =
            self[(index &- 3) & 15] ^ self[(index &- 8) & 15] ^ self[(index &- 14) & 15] ^ self[index & 15]
        let word = mixed &<< 1 | mixed &>> 31
        self[index & 15] = word
        return word
    }
}
