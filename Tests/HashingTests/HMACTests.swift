// SPDX-License-Identifier: Apache-2.0
import Hashing
import Testing

@Suite("HMAC")
struct HMACTests {
    struct Vector: Sendable {
        let key: [UInt8]
        let message: [UInt8]
        let code: String
    }

    /// RFC 2202 §3.
    static let sha1Vectors: [Vector] = [
        Vector(
            key: [UInt8](repeating: 0x0B, count: 20), message: Array("Hi There".utf8),
            code: "b617318655057264e28bc0b6fb378c8ef146be00"),
        Vector(
            key: Array("Jefe".utf8), message: Array("what do ya want for nothing?".utf8),
            code: "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        Vector(
            key: [UInt8](repeating: 0xAA, count: 20), message: [UInt8](repeating: 0xDD, count: 50),
            code: "125d7342b9ac11cd91a39af48aa17b4f63f175d3"),
        Vector(
            key: Array(1...25), message: [UInt8](repeating: 0xCD, count: 50),
            code: "4c9007f4026250c6bc8414f9bf50c86c2d7235da"),
        Vector(
            key: [UInt8](repeating: 0x0C, count: 20), message: Array("Test With Truncation".utf8),
            code: "4c1a03424b55e07fe7f27be1d58bb9324a9a5a04"),
        Vector(
            key: [UInt8](repeating: 0xAA, count: 80),
            message: Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8),
            code: "aa4ae5e15272d00e95705637ce8a3b55ed402112"),
        Vector(
            key: [UInt8](repeating: 0xAA, count: 80),
            message: Array("Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data".utf8),
            code: "e8e99d0f45237d786d6bbaa7965c7808bbff1a91"),
    ]

    /// RFC 4231 §4.
    static let sha256Vectors: [Vector] = [
        Vector(
            key: [UInt8](repeating: 0x0B, count: 20), message: Array("Hi There".utf8),
            code: "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        Vector(
            key: Array("Jefe".utf8), message: Array("what do ya want for nothing?".utf8),
            code: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        Vector(
            key: [UInt8](repeating: 0xAA, count: 20), message: [UInt8](repeating: 0xDD, count: 50),
            code: "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        Vector(
            key: Array(1...25), message: [UInt8](repeating: 0xCD, count: 50),
            code: "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        Vector(
            key: [UInt8](repeating: 0xAA, count: 131),
            message: Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8),
            code: "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
        Vector(
            key: [UInt8](repeating: 0xAA, count: 131),
            message: Array(
                ("This is a test using a larger than block-size key and a larger than block-size data. "
                    + "The key needs to be hashed before being used by the HMAC algorithm.").utf8),
            code: "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
    ]

    @Test("HMAC-SHA1 of RFC 2202's cases", arguments: sha1Vectors)
    func sha1Cases(vector: Vector) {
        #expect(Hex.encode(HMAC.sha1(key: vector.key, message: vector.message)) == vector.code)
        #expect(Hex.encode(HMAC.sha1(key: vector.key, message: vector.message.span.bytes)) == vector.code)
    }

    @Test("HMAC-SHA256 of RFC 4231's cases", arguments: sha256Vectors)
    func sha256Cases(vector: Vector) {
        #expect(Hex.encode(HMAC.sha256(key: vector.key, message: vector.message)) == vector.code)
        #expect(Hex.encode(HMAC.sha256(key: vector.key, message: vector.message.span.bytes)) == vector.code)
    }

    @Test("codes are equal only when every byte is")
    func equality() {
        #expect(HMAC.isEqual([1, 2, 3], [1, 2, 3]))
        #expect(!HMAC.isEqual([1, 2, 3], [1, 2, 4]))
        #expect(!HMAC.isEqual([1, 2, 3], [1, 2]))
        #expect(HMAC.isEqual([], []))
    }
}
