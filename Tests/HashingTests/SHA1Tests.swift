// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@testable import Hashing

@Suite("SHA-1, SHA-256 and MD5")
struct SHA1Tests {
    // FIPS 180-4's examples (NIST, "SHA1.pdf" and "SHA256.pdf") and the one of a million bytes.
    static let oneBlock = Array("abc".utf8)
    static let twoBlocks = Array("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8)
    static let fourteenWords = Array(
        ("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
            + "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu")
            .utf8)

    @Test("SHA-1 of the examples of FIPS 180")
    func sha1Examples() {
        #expect(Hex.encode(SHA1.hash(Self.oneBlock)) == "a9993e364706816aba3e25717850c26c9cd0d89d")
        #expect(Hex.encode(SHA1.hash(Self.twoBlocks)) == "84983e441c3bd26ebaae4aa1f95129e5e54670f1")
        #expect(Hex.encode(SHA1.hash(Self.fourteenWords)) == "a49b2446a02c645bf419f995b67091253a04a259")
        #expect(Hex.encode(SHA1.hash([])) == "da39a3ee5e6b4b0d3255bfef95601890afd80709")
        var million = SHA1()
        for _ in 0..<1000 { million.update([UInt8](repeating: UInt8(ascii: "a"), count: 1000)) }
        #expect(Hex.encode(million.finalize()) == "34aa973cd4c4daa4f61eeb2bdbad27316534016f")
    }

    @Test("SHA-256 of the examples of FIPS 180")
    func sha256Examples() {
        #expect(
            Hex.encode(SHA256.hash(Self.oneBlock)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        )
        #expect(
            Hex.encode(SHA256.hash(Self.twoBlocks))
                == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
        #expect(Hex.encode(SHA256.hash([])) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    }

    @Test("MD5 of the examples of RFC 1321")
    func md5Examples() {
        #expect(Hex.encode(MD5.hash([])) == "d41d8cd98f00b204e9800998ecf8427e")
        #expect(Hex.encode(MD5.hash(Array("message digest".utf8))) == "f96b697d7cb7938d525a2f31aaf161d0")
    }

    @Test("pieces of every length around a block give the same hash")
    func pieces() {
        var random = Entropy(seed: 7)
        for length in [0, 1, 54, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 1000] {
            let input = random.bytes(length)
            for piece in [1, 7, 63, 64, 65] {
                var sha1 = SHA1()
                var sha256 = SHA256()
                for start in stride(from: 0, to: length, by: piece) {
                    sha1.update(Array(input[start..<min(length, start + piece)]))
                    sha256.update(Array(input[start..<min(length, start + piece)]))
                }
                #expect(sha1.finalize() == SHA1.hash(input), "\(length) bytes in pieces of \(piece)")
                #expect(sha256.finalize() == SHA256.hash(input), "\(length) bytes in pieces of \(piece)")
            }
        }
    }

    @Test("a copy of a running SHA-256 goes its own way")
    func copies() {
        var first = SHA256()
        first.update([1])
        var second = first
        second.update([2])
        #expect(first.finalize() == SHA256.hash([1]))
        #expect(second.finalize() == SHA256.hash([1, 2]))
    }
}
