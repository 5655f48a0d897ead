// SPDX-License-Identifier: Apache-2.0
#if SRTP
import DTLS
import SRTP
import TestSupport
import Testing
import Wire

/// The RFCs' vectors give session keys, which no session takes: they check the reference, and the reference the session.
@Suite struct VectorTests {
    @Test("the reference derives keys as RFC 3711 appendix B.3 and RFC 6188 §7.2 do")
    func keyDerivation() {
        let short = ReferenceSRTP(
            masterKey: bytes(hex: "E1F97A0D3E018BE0D64FA32C06DE4139"),
            masterSalt: bytes(hex: "0EC675AD498AFEEBB6960B3AABE6"))
        #expect(short.derive(.cipher, count: 16) == bytes(hex: "C61E7A93744F39EE10734AFE3FF7A087"))
        #expect(short.derive(.salt, count: 14) == bytes(hex: "30CBBC08863D8C85D49DB34A9AE1"))
        #expect(
            short.derive(.authentication, count: 94)
                == bytes(
                    hex: """
                        CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE E049646C43D9327AD175578EF7227098
                        6371C10C9A369AC2F94A8C5FBCDDDC25 6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2
                        """))
        let long = ReferenceSRTP(
            masterKey: bytes(hex: "f0f04914b513f2763a1b1fa130f10e29 98f6f6e43e4309d1e622a0e332b9f1b6"),
            masterSalt: bytes(hex: "3b04803de51ee7c96423ab5b78d2"))
        #expect(
            long.derive(.cipher, count: 32)
                == bytes(hex: "5ba1064e30ec51613cad926c5a28ef73 1ec7fb397f70a960653caf06554cd8c4"))
        #expect(long.derive(.salt, count: 14) == bytes(hex: "fa31791685ca444a9e07c6c64e93"))
        #expect(long.derive(.authentication, count: 20) == bytes(hex: "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"))
    }

    @Test("the reference makes the key stream of RFC 3711 appendix B.2")
    func keyStream() {
        let stream = ReferenceSRTP.counterMode(
            key: bytes(hex: "2B7E151628AED2A6ABF7158809CF4F3C"),
            counter: bytes(hex: "F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000"), [UInt8](repeating: 0, count: 48))
        #expect(
            stream
                == bytes(
                    hex: """
                        E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0
                        """))
    }

    /// RFC 7714 §16 and §17: the salt is "Quid pro quo", the keys count up from 0.
    private static func keys(_ count: Int) -> ReferenceSRTP.SessionKeys {
        .init(cipher: (0..<UInt8(count)).map { $0 }, authentication: [], salt: Array("Quid pro quo".utf8))
    }

    @Test("the reference protects the packets of RFC 7714 §16 and §17 as they stand there")
    func packets() {
        let rtp = bytes(
            hex: """
                8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465
                73207472 6573
                """)
        #expect(
            ReferenceSRTP.protect(rtp: rtp, headerCount: 12, Self.keys(16))
                == bytes(
                    hex: """
                        8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a
                        51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce
                        """))
        #expect(
            ReferenceSRTP.protect(rtp: rtp, headerCount: 12, Self.keys(32))
                == bytes(
                    hex: """
                        8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02
                        76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13
                        """))
        let rtcp = bytes(
            hex: """
                81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef
                deadbeef deadbeef
                """)
        #expect(
            ReferenceSRTP.protect(rtcp: rtcp, index: 0x5D4, Self.keys(16))
                == bytes(
                    hex: """
                        81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda
                        4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4
                        """))
        #expect(
            ReferenceSRTP.protect(rtcp: rtcp, index: 0x5D4, Self.keys(32))
                == bytes(
                    hex: """
                        81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be
                        8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4
                        """))
    }

    @Test("a session protects and unprotects like the reference", arguments: SRTPProtectionProfile.allCases)
    func agrees(profile: SRTPProtectionProfile) throws {
        var entropy = Entropy(seed: 11)
        let (key, salt) = (profile.masterKeyLength, profile.masterSaltLength)
        let material = entropy.bytes(2 * (key + salt))
        let references = [DTLSTransport.Role.client, .server].enumerated().map { index, _ in
            ReferenceSRTP(
                masterKey: Array(material[(index * key)..<(index * key + key)]),
                masterSalt: Array(material[(2 * key + index * salt)..<(2 * key + index * salt + salt)]))
        }
        for role in [DTLSTransport.Role.client, .server] {
            var session = try SRTPSession(profile: profile, role: role, keyingMaterial: material)
            let (own, other) = role == .client ? (references[0], references[1]) : (references[1], references[0])
            for number in UInt8(1)...40 {
                let headers: [[UInt8]] = [
                    [0x80, 111, 0x12, number, 0, 0, 0, 9, 1, 2, 3, 4],
                    [0x82, 111, 0x12, number, 0, 0, 0, 9, 1, 2, 3, 5, 0, 0, 0, 1, 0, 0, 0, 2],
                    [0x90, 239, 0x12, number, 0, 0, 0, 9, 1, 2, 3, 6, 0xBE, 0xDE, 0, 1, 0x10, 7, 0, 0],
                ]
                for header in headers {
                    let packet = header + entropy.bytes(Int(number) * 7 - 7)
                    var out = PacketBuffer()
                    try session.protect(packet.span.bytes, into: &out)
                    #expect(
                        [UInt8](copying: out[0])
                            == ReferenceSRTP.protect(rtp: packet, headerCount: header.count, own.rtpKeys))
                    let incoming = ReferenceSRTP.protect(rtp: packet, headerCount: header.count, other.rtpKeys)
                    let read = session.unprotect(incoming.span.bytes, into: &out)
                    #expect(read?.byteCount == header.count)
                    #expect([UInt8](copying: out[1]) == packet)
                }
                let report = [0x81, 201, 0, 7, 1, 2, 3, 4] + entropy.bytes(24)
                var out = PacketBuffer()
                // libsrtp counts from 1.
                try session.protect(report.span.bytes, into: &out)
                #expect(
                    [UInt8](copying: out[0])
                        == ReferenceSRTP.protect(rtcp: report, index: UInt32(number), own.rtcpKeys))
                let incoming = ReferenceSRTP.protect(rtcp: report, index: UInt32(number) + 7, other.rtcpKeys)
                let kind = session.unprotect(incoming.span.bytes, into: &out)?.kind
                #expect(kind == .rtcp)
                #expect([UInt8](copying: out[1]) == report)
            }
            let counters = session.counters
            #expect(counters.rtpReceived == 120 && counters.rtcpReceived == 40)
            #expect(counters.rtpSent == 120 && counters.rtcpSent == 40)
        }
    }
}
#endif
