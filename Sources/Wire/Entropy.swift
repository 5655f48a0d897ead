// SPDX-License-Identifier: Apache-2.0

/// Randomness that is handed to a core: the ChaCha20 stream (RFC 8439 §2.4) of a key, so that the same seed gives the same
/// bytes, and a key from the system's random source makes them unpredictable. Cores have no other source.
public struct Entropy: RandomNumberGenerator, Sendable {
    private var input: (SIMD4<UInt32>, SIMD4<UInt32>, SIMD4<UInt32>, SIMD4<UInt32>)
    private var block = SIMD16<UInt32>()
    private var used = 16

    /// A stream from a 256-bit key.
    public init(key: SIMD4<UInt64>) {
        func words(_ a: UInt64, _ b: UInt64) -> SIMD4<UInt32> {
            SIMD4(
                UInt32(truncatingIfNeeded: a), UInt32(truncatingIfNeeded: a >> 32),
                UInt32(truncatingIfNeeded: b), UInt32(truncatingIfNeeded: b >> 32))
        }
        // RFC 8439 §2.3: "expand 32-byte k", the key, a block counter and a nonce (zero here).
        input = (
            SIMD4(0x6170_7865, 0x3320_646E, 0x7962_2D32, 0x6B20_6574),
            words(key.x, key.y), words(key.z, key.w), SIMD4(repeating: 0)
        )
    }

    /// A stream for tests and simulations, repeatable from a small number.
    public init(seed: UInt64) {
        self.init(key: SIMD4(seed, 0, 0, 0))
    }

    /// 64 random bits.
    public mutating func next() -> UInt64 {
        if used >= 16 { refill() }
        let low = block[used]
        let high = block[used + 1]
        used += 2
        return UInt64(high) << 32 | UInt64(low)
    }

    /// So many random bytes.
    public mutating func bytes(_ count: Int) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(count)
        while result.count < count {
            var word = next()
            for _ in 0..<min(8, count - result.count) {
                result.append(UInt8(truncatingIfNeeded: word))
                word >>= 8
            }
        }
        return result
    }

    /// An independent stream, for a part that must not disturb the order of this one.
    public mutating func split() -> Entropy {
        Entropy(key: SIMD4(next(), next(), next(), next()))
    }

    private mutating func refill() {
        var (a, b, c, d) = input
        for _ in 0..<10 {
            quarterRounds(&a, &b, &c, &d)
            b = SIMD4(b[1], b[2], b[3], b[0])
            c = SIMD4(c[2], c[3], c[0], c[1])
            d = SIMD4(d[3], d[0], d[1], d[2])
            quarterRounds(&a, &b, &c, &d)
            b = SIMD4(b[3], b[0], b[1], b[2])
            c = SIMD4(c[2], c[3], c[0], c[1])
            d = SIMD4(d[1], d[2], d[3], d[0])
        }
        a = a &+ input.0
        b = b &+ input.1
        c = c &+ input.2
        d = d &+ input.3
        block = SIMD16(lowHalf: SIMD8(lowHalf: a, highHalf: b), highHalf: SIMD8(lowHalf: c, highHalf: d))
        used = 0
        // The counter of RFC 8439 is 32 bits wide; the second word takes the carry.
        input.3[0] &+= 1
        if input.3[0] == 0 { input.3[1] &+= 1 }
    }

    private func quarterRounds(
        _ a: inout SIMD4<UInt32>, _ b: inout SIMD4<UInt32>, _ c: inout SIMD4<UInt32>, _ d: inout SIMD4<UInt32>
    ) {
        a = a &+ b
        d = rotate(d ^ a, 16)
        c = c &+ d
        b = rotate(b ^ c, 12)
        a = a &+ b
        d = rotate(d ^ a, 8)
        c = c &+ d
        b = rotate(b ^ c, 7)
    }

    private func rotate(_ value: SIMD4<UInt32>, _ count: UInt32) -> SIMD4<UInt32> {
        (value &<< count) | (value &>> (32 - count))
    }
}
