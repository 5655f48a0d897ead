// SPDX-License-Identifier: Apache-2.0
import Hashing
import RDRR
import Testing
import Wire

@Suite("Links")
struct MagnetLinkTests {
    static let digest = BLAKE3.hash(Array("a manifest".utf8))

    @Test("what is written is read again")
    func roundTrip() throws {
        let link = MagnetLink(
            manifestDigest: Self.digest, name: "Smøl & Co = 100% +1", size: 98_362_432,
            trackers: ["wss://tracker.example:443/announce?key=a&b=c", "ws://[::1]:8000"], webSeeds: ["https://host/m/"])
        let text = link.description
        #expect(text.hasPrefix("magnet:?xt=urn:blake3:\(Self.digest.hex)&dn=Sm%C3%B8l%20%26%20Co"))
        #expect(try MagnetLink(parsing: text) == link)
        #expect(try MagnetLink(parsing: "  \(text)\n") == link)
        #expect(link.infoHash == SHA1.hash(Array(Self.digest.hex.utf8)))
    }

    @Test("links of other writers: order, case, numbers on keys, plus signs, other hashes beside ours")
    func tolerant() throws {
        let link = try MagnetLink(
            parsing: "MAGNET:?tr.1=ws%3A%2F%2Fa&xt=urn:btih:0123&x.pe=1&dn=two+words&tr.2=ws://b&tr.3=ws://b&"
                + "xt.1=urn:BLAKE3:\(Self.digest.hex.uppercased())&&flag")
        #expect(link.trackers == ["ws://a", "ws://b"])
        #expect(link.name == "two words")
        #expect(link.size == nil)
        #expect(link.manifestDigest == Self.digest)
    }

    @Test("bad links are refused", arguments: [
        ("", RDRRError.Code.invalid), ("http://x", .invalid), ("magnet:?dn=x", .missing),
        ("magnet:?xt=urn:blake3:12", .invalid), ("magnet:?xt=urn:btih:12", .missing),
        ("magnet:?xt=urn:blake3:\(String(repeating: "g", count: 64))", .invalid),
        ("magnet:?xt=urn:blake3:\(digest.hex)&xl=-1", .invalid),
        ("magnet:?xt=urn:blake3:\(digest.hex)&xl=1152921504606846976", .invalid),
        ("magnet:?xt=urn:blake3:\(digest.hex)&xl=99999999999999999999", .invalid),
        ("magnet:?xt=urn:blake3:\(digest.hex)&dn=%zz", .invalid), ("magnet:?xt=urn:blake3:\(digest.hex)&dn=%F", .invalid),
        ("magnet:?xt=urn:blake3:\(digest.hex)&dn=%FF", .invalid),
        ("magnet:?xt=urn:blake3:\(digest.hex)&xt=urn:blake3:\(String(repeating: "0", count: 64))", .invalid),
    ])
    func refuses(text: String, code: RDRRError.Code) {
        #expect(failure { () throws(RDRRError) in _ = try MagnetLink(parsing: text) }?.code == code)
    }
}

@Suite("Group values")
struct GroupProofTests {
    private func bytes(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8 &+ $0 >> 17) } }

    private func entry(_ bytes: [UInt8], _ algorithm: HashAlgorithm = .blake3) -> RDRRManifest.Entry {
        let hash = algorithm == .blake3 ? BLAKE3.hash(bytes).bytes : SHA256.hash(bytes)
        return .init(index: 0, name: "s", size: bytes.count, hash: hash, algorithm: algorithm)
    }

    @Test("the values of several groups merge to the hash of the whole", arguments: [
        131_073, 262_144, 262_145, 400_000, 131_072 * 5, 131_072 * 7 + 1025,
    ])
    func merges(size: Int) throws {
        let bytes = bytes(size)
        let entry = entry(bytes)
        let proof = GroupProof(of: bytes)
        #expect(proof.values.count == entry.groupCount)
        #expect(proof.root == BLAKE3.hash(bytes))
        #expect(proof.proves(entry))
        #expect(!GroupProof(of: Array(bytes.dropLast())).proves(entry))
        let again = try GroupProof(parsing: proof.bytes, size: size)
        #expect(again == proof)
        for group in 0..<entry.groupCount {
            var part = Array(bytes[GroupProof.range(ofGroup: group, size: size)])
            #expect(proof.matches(group: group, bytes: part))
            #expect(!proof.matches(group: group + 1, bytes: part))
            #expect(!proof.matches(group: group, bytes: Array(part.dropLast())))
            part[part.count / 2] ^= 1
            #expect(!proof.matches(group: group, bytes: part))
        }
    }

    @Test("pieces of any size give the same values")
    func pieces() {
        let bytes = bytes(300_000)
        var builder = GroupProof.Builder()
        var offset = 0
        for size in [1, 0, 131_071, 5, 131_072, 20_000] {
            bytes[offset..<offset + size].withUnsafeBytes { builder.update($0) }
            offset += size
        }
        bytes[offset...].withUnsafeBytes { builder.update($0) }
        #expect(builder.finish() == GroupProof(of: bytes))
    }

    @Test("one group, or none, needs no proof and proves nothing", arguments: [0, 1, 131_072])
    func single(size: Int) {
        let bytes = bytes(size)
        let proof = GroupProof(of: bytes)
        #expect(proof.root == nil)
        #expect(!proof.proves(entry(bytes)))
        #expect(entry(bytes).matches(whole: bytes))
        #expect(entry(bytes, .sha256).matches(whole: bytes))
        #expect(!entry(bytes).matches(whole: bytes + [0]))
    }

    @Test("values of the wrong number or of another file are refused")
    func refuses() {
        let proof = GroupProof(of: bytes(300_000))
        for bytes in [Array(proof.bytes.dropLast()), proof.bytes + [0], []] {
            #expect(failure { () throws(RDRRError) in
                _ = try GroupProof(parsing: bytes, size: 300_000)
            }?.code == .sizeMismatch)
        }
        #expect(!proof.proves(entry(bytes(300_000), .sha256)))
    }
}
