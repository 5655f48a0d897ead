// SPDX-License-Identifier: Apache-2.0
import Wire

#if SRTP
import DTLS
import SRTP

/// The first byte chooses the profile, the second a byte to change. What is protected comes back the same; what is changed
/// on the way, or was never protected, does not.
enum SRTPFuzz {
    static func run(_ bytes: [UInt8]) {
        guard bytes.count > 3 else { return }
        let profile = SRTPProtectionProfile.allCases[Int(bytes[0]) % SRTPProtectionProfile.allCases.count]
        let material = [UInt8](repeating: 3, count: 2 * (profile.masterKeyLength + profile.masterSaltLength))
        guard
            var sender = try? SRTPSession(profile: profile, role: .client, keyingMaterial: material),
            var receiver = try? SRTPSession(profile: profile, role: .server, keyingMaterial: material)
        else { return }
        let packet = Array(bytes[3...])
        var out = PacketBuffer()
        precondition(receiver.unprotect(packet.span.bytes, into: &out) == nil && out.isEmpty, "a forged packet")
        guard (try? sender.protect(packet.span.bytes, into: &out)) != nil else { return }
        var changed = [UInt8](copying: out[0])
        changed[(Int(bytes[1]) << 8 | Int(bytes[2])) % changed.count] ^= 0x20
        var back = PacketBuffer()
        precondition(receiver.unprotect(changed.span.bytes, into: &back) == nil && back.isEmpty, "a changed packet")
        let header = receiver.unprotect(out[0], into: &back)
        precondition(header != nil && [UInt8](copying: back[0]) == packet, "a packet that does not come back")
        precondition(receiver.unprotect(out[0], into: &back) == nil && back.count == 1, "a packet that comes twice")
    }

    static var seeds: [[UInt8]] {
        let rtp: [UInt8] = [0x90, 111, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7, 0xBE, 0xDE, 0, 1, 0x10, 1, 0, 0, 9, 9, 9, 9]
        let rtcp: [UInt8] = [0x80, 201, 0, 1, 0, 0, 0, 7, 1, 2, 3, 4]
        return (UInt8(0)..<UInt8(SRTPProtectionProfile.allCases.count)).flatMap {
            [[$0, 0, 20] + rtp, [$0, 0, 9] + rtcp]
        }
    }
}
#else
/// Empty without the package trait `SRTP`.
enum SRTPFuzz {
    static func run(_ bytes: [UInt8]) {}
    static var seeds: [[UInt8]] { [] }
}
#endif
