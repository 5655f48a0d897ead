// SPDX-License-Identifier: Apache-2.0
import Foundation
import FuzzTargets
import TestSupport
import Testing
import Wire

/// What fuzzers found once, and a short search of its own. `scripts/fuzz` searches longer.
@Suite("Bytes of strangers", .serialized)
struct FuzzTests {
    @Test("what was found once is harmless now", arguments: FuzzTarget.allCases)
    func findings(target: FuzzTarget) throws {
        let folder = Fixtures.path("fuzz/\(target.rawValue)")
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        for name in names.sorted() { target.run(try Fixtures.bytes("fuzz/\(target.rawValue)/\(name)")) }
    }

    @Test("input with bytes changed, lost, doubled and joined does no harm", arguments: FuzzTarget.allCases)
    func mutations(target: FuzzTarget) throws {
        let seeds = target.seeds
        var entropy = Entropy(seed: 1)
        // A handshake each makes these two slower.
        let rounds = target == .dtls ? 150 : target == .sctp ? 300 : 1500
        for seed in seeds { target.run(seed) }
        let before = try residentBytes()
        for _ in 0..<rounds {
            guard var bytes = seeds.randomElement(using: &entropy) else { break }
            for _ in 0..<Int.random(in: 0...6, using: &entropy) {
                guard !bytes.isEmpty else { break }
                let place = Int.random(in: 0..<bytes.count, using: &entropy)
                switch Int.random(in: 0..<6, using: &entropy) {
                case 0: bytes[place] = UInt8.random(in: 0...255, using: &entropy)
                case 1: bytes[place] ^= 1 << UInt8.random(in: 0...7, using: &entropy)
                case 2: bytes.removeSubrange(place..<min(place + Int.random(in: 1...20, using: &entropy), bytes.count))
                case 3: bytes.insert(contentsOf: bytes[place..<min(place + 30, bytes.count)], at: place)
                case 4: bytes[place] = [0, 0x7F, 0x80, 0xFF].randomElement(using: &entropy) ?? 0
                default: bytes += seeds.randomElement(using: &entropy) ?? []
                }
            }
            target.run(bytes)
        }
        // What each input costs is given back. (A trap would end the whole run.)
        #expect(try residentBytes() - before < 64 << 20)
    }

    @Test("seeds are input that does no harm", arguments: FuzzTarget.allCases)
    func seeds(target: FuzzTarget) throws {
        for seed in target.seeds { target.run(seed) }
    }
}
