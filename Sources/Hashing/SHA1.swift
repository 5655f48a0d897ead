// SPDX-License-Identifier: Apache-2.0

/// SHA-1 (FIPS 180-4 §6.1), for names and old protocols: info hashes, STUN's MESSAGE-INTEGRITY, WebSocket handshakes.
public struct SHA1: Sendable {
    /// How many bytes a hash has.
    public static let byteCount = 20

    private static let blockLength = 64

    private var state = State()
    /// What has come of a block that is not whole, in memory order.
    private var block = SIMD64<UInt8>()
    private var blockCount = 0
    private var length: UInt64 = 0

    /// The hash of nothing yet.
    public init() {}

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
        if blockCount > 0 {
            fill(from: &rest)
            if blockCount < Self.blockLength { return }
            withUnsafeBytes(of: block) { state.compress($0) }
            blockCount = 0
        }
        while rest.count >= Self.blockLength {
            state.compress(rest)
            rest = UnsafeRawBufferPointer(rebasing: rest[Self.blockLength...])
        }
        fill(from: &rest)
    }

    /// The 20-byte hash of what was taken so far; more may be taken after it.
    public func finalize() -> [UInt8] {
        // §5.1.1: one bit, zeros, and the length in bits as the last eight bytes of a block.
        var padded = self
        let spare = Self.blockLength - blockCount
        let count = spare >= 9 ? spare : spare + Self.blockLength
        withUnsafeTemporaryAllocation(byteCount: count, alignment: 8) { padding in
            padding.initializeMemory(as: UInt8.self, repeating: 0)
            padding[0] = 0x80
            padding.storeBytes(of: (length &* 8).bigEndian, toByteOffset: count - 8, as: UInt64.self)
            padded.update(UnsafeRawBufferPointer(padding))
        }
        return padded.state.bytes
    }

    private mutating func fill(from rest: inout UnsafeRawBufferPointer) {
        let take = min(rest.count, Self.blockLength - blockCount)
        withUnsafeMutableBytes(of: &block) { block in
            UnsafeMutableRawBufferPointer(rebasing: block[blockCount..<blockCount + take]).copyMemory(
                from: UnsafeRawBufferPointer(rebasing: rest[..<take]))
        }
        blockCount += take
        rest = UnsafeRawBufferPointer(rebasing: rest[take...])
    }
}

extension SHA1 {
    /// The five words of §6.1, and the rounds that change them.
    private struct State: Sendable {
        // §5.3.1.
        var a: UInt32 = 0x6745_2301
        var b: UInt32 = 0xEFCD_AB89
        var c: UInt32 = 0x98BA_DCFE
        var d: UInt32 = 0x1032_5476
        var e: UInt32 = 0xC3D2_E1F0

        var bytes: [UInt8] {
            [UInt8](unsafeUninitializedCapacity: SHA1.byteCount) { buffer, initialized in
                let raw = UnsafeMutableRawBufferPointer(buffer)
                for (index, word) in [a, b, c, d, e].enumerated() {
                    raw.storeBytes(of: word.bigEndian, toByteOffset: index * 4, as: UInt32.self)
                }
                initialized = SHA1.byteCount
            }
        }

        /// §6.1.2 over the first 64 of `bytes`.
        ///
        /// Five steps at a time bring every variable back to its own name, so that none has to be moved.
        mutating func compress(_ bytes: UnsafeRawBufferPointer) {
            withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 80) { schedule in
                for t in 0..<16 {
                    schedule[t] = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: t &* 4, as: UInt32.self))
                }
                for t in 16..<80 {
                    let mixed = schedule[t &- 3] ^ schedule[t &- 8] ^ schedule[t &- 14] ^ schedule[t &- 16]
                    schedule[t] = mixed &<< 1 | mixed &>> 31
                }
                var (a, b, c, d, e) = (self.a, self.b, self.c, self.d, self.e)
                for t in stride(from: 0, to: 20, by: 5) {
                    SHA1.choose(a, &b, c, d, &e, schedule[t])
                    SHA1.choose(e, &a, b, c, &d, schedule[t &+ 1])
                    SHA1.choose(d, &e, a, b, &c, schedule[t &+ 2])
                    SHA1.choose(c, &d, e, a, &b, schedule[t &+ 3])
                    SHA1.choose(b, &c, d, e, &a, schedule[t &+ 4])
                }
                for t in stride(from: 20, to: 40, by: 5) {
                    SHA1.parity1(a, &b, c, d, &e, schedule[t])
                    SHA1.parity1(e, &a, b, c, &d, schedule[t &+ 1])
                    SHA1.parity1(d, &e, a, b, &c, schedule[t &+ 2])
                    SHA1.parity1(c, &d, e, a, &b, schedule[t &+ 3])
                    SHA1.parity1(b, &c, d, e, &a, schedule[t &+ 4])
                }
                for t in stride(from: 40, to: 60, by: 5) {
                    SHA1.majority(a, &b, c, d, &e, schedule[t])
                    SHA1.majority(e, &a, b, c, &d, schedule[t &+ 1])
                    SHA1.majority(d, &e, a, b, &c, schedule[t &+ 2])
                    SHA1.majority(c, &d, e, a, &b, schedule[t &+ 3])
                    SHA1.majority(b, &c, d, e, &a, schedule[t &+ 4])
                }
                for t in stride(from: 60, to: 80, by: 5) {
                    SHA1.parity2(a, &b, c, d, &e, schedule[t])
                    SHA1.parity2(e, &a, b, c, &d, schedule[t &+ 1])
                    SHA1.parity2(d, &e, a, b, &c, schedule[t &+ 2])
                    SHA1.parity2(c, &d, e, a, &b, schedule[t &+ 3])
                    SHA1.parity2(b, &c, d, e, &a, schedule[t &+ 4])
                }
                self.a &+= a
                self.b &+= b
                self.c &+= c
                self.d &+= d
                self.e &+= e
            }
        }
    }
}

// The steps of §6.1.2 with the functions and constants of §4.1.1 and §4.2.1.
extension SHA1 {
    @inline(__always)
    private static func choose(
        _ a: UInt32, _ b: inout UInt32, _ c: UInt32, _ d: UInt32, _ e: inout UInt32, _ word: UInt32
    ) {
        step(a, &b, &e, (b & c) | (~b & d), 0x5A82_7999 &+ word)
    }

    @inline(__always)
    private static func parity1(
        _ a: UInt32, _ b: inout UInt32, _ c: UInt32, _ d: UInt32, _ e: inout UInt32, _ word: UInt32
    ) {
        step(a, &b, &e, b ^ c ^ d, 0x6ED9_EBA1 &+ word)
    }

    @inline(__always)
    private static func majority(
        _ a: UInt32, _ b: inout UInt32, _ c: UInt32, _ d: UInt32, _ e: inout UInt32, _ word: UInt32
    ) {
        step(a, &b, &e, (b & c) | (d & (b | c)), 0x8F1B_BCDC &+ word)
    }

    @inline(__always)
    private static func parity2(
        _ a: UInt32, _ b: inout UInt32, _ c: UInt32, _ d: UInt32, _ e: inout UInt32, _ word: UInt32
    ) {
        step(a, &b, &e, b ^ c ^ d, 0xCA62_C1D6 &+ word)
    }

    /// What the standard calls T goes to `e`, which is the next step's `a`.
    @inline(__always)
    private static func step(_ a: UInt32, _ b: inout UInt32, _ e: inout UInt32, _ mixed: UInt32, _ word: UInt32) {
        e = (a &<< 5 | a &>> 27) &+ mixed &+ e &+ word
        b = b &<< 30 | b &>> 2
    }
}
