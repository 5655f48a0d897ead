// SPDX-License-Identifier: Apache-2.0
import SDP
import Testing
import Wire

@Suite struct CompressionTests {
    @Test(
        "what zlib compressed is read, whatever kind of block it chose",
        arguments: [
            "nothing", "run", "dynamic", "fixed", "stored", "blocks", "far",
        ])
    func readsZlib(name: String) throws {
        let expected: [UInt8]
        switch name {
        case "nothing": expected = []
        case "run": expected = [UInt8](repeating: UInt8(ascii: "a"), count: 1000)
        case "far":
            var state: UInt32 = 1
            let noise = (0..<32_506).map { _ in
                state = state &* 1_664_525 &+ 1_013_904_223
                return UInt8(state >> 24)
            }
            expected = noise + noise[..<300]
        default: expected = try Fixture.bytes("sdp/chrome-media-offer.sdp")
        }
        let compressed = try Fixture.bytes("deflate/\(name).deflate")
        #expect(try Inflate.decompress(compressed, limit: expected.count) == expected)
        if !expected.isEmpty {
            #expect(throws: InflateError.tooLarge) { try Inflate.decompress(compressed, limit: expected.count - 1) }
        }
    }

    @Test("every stream that is cut short is found out")
    func truncation() throws {
        let compressed = try Fixture.bytes("deflate/dynamic.deflate")
        for count in 0..<compressed.count - 1 {
            #expect(throws: InflateError.self, "\(count) bytes") {
                try Inflate.decompress(Array(compressed[..<count]), limit: 65_536)
            }
        }
    }

    @Test(
        "impossible streams are refused by name",
        arguments: [
            ([0b111], InflateError.malformed),  // block type 3
            ([0x01, 1, 0, 0, 0], .malformed),  // length and its complement differ
            ([0x01, 1, 0, 0xFE, 0xFF], .truncated),  // stored byte missing
            ([0x03, 0x02], .malformed),  // fixed code, match before anything was written
            ([], .truncated),
        ] as [([UInt8], InflateError)])
    func impossible(stream: [UInt8], error: InflateError) {
        #expect(throws: error) { try Inflate.decompress(stream, limit: 100) }
    }

    @Test("any bytes are read or refused within the bound", arguments: 1...4)
    func anyBytes(seed: Int) throws {
        var entropy = Entropy(seed: UInt64(seed))
        let genuine = try Fixture.bytes("deflate/blocks.deflate")
        for _ in 0..<2000 {
            var bytes = Bool.random(using: &entropy) ? genuine : entropy.bytes(Int.random(in: 0...60, using: &entropy))
            for _ in 0..<3 where !bytes.isEmpty {
                bytes[Int.random(in: 0..<bytes.count, using: &entropy)] = UInt8.random(in: 0...255, using: &entropy)
            }
            if let output = try? Inflate.decompress(bytes, limit: 4096) { #expect(output.count <= 4096) }
        }
    }

    @Test("what is compressed is read back, and text shrinks")
    func roundTrip() throws {
        var entropy = Entropy(seed: 3)
        var inputs: [[UInt8]] = [[], [0], [1, 2], [9, 9, 9], [UInt8](repeating: 0, count: 5000)]
        inputs.append(try Fixture.bytes("sdp/chrome-media-offer.sdp"))
        for count in [10, 1000, 40_000] { inputs.append(entropy.bytes(count)) }
        inputs.append((0..<70_000).map { UInt8(truncatingIfNeeded: $0 / 300 ^ $0 % 7) })
        for input in inputs {
            let compressed = Deflate.compress(input)
            #expect(try Inflate.decompress(compressed, limit: input.count) == input)
        }
        let offer = try Fixture.bytes("sdp/chrome-media-offer.sdp")
        #expect(Deflate.compress(offer).count < offer.count / 2)
    }
}
