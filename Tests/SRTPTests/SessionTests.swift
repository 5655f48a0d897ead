// SPDX-License-Identifier: Apache-2.0
#if SRTP
import DTLS
import SRTP
import TestSupport
import Testing
import Wire

@Suite struct SessionTests {
    /// Two ends with the same keys.
    private static func pair(
        _ profile: SRTPProtectionProfile, seed: UInt64 = 1
    ) throws -> (material: [UInt8], client: Ends) {
        var entropy = Entropy(seed: seed)
        let material = entropy.bytes(2 * (profile.masterKeyLength + profile.masterSaltLength))
        return (material, try Ends(profile, material, material))
    }

    /// Both ends of a path, so that a test can hold them in one variable.
    final class Ends {
        var client: SRTPSession
        var server: SRTPSession

        init(_ profile: SRTPProtectionProfile, _ ours: [UInt8], _ theirs: [UInt8]) throws {
            client = try SRTPSession(profile: profile, role: .client, keyingMaterial: ours)
            server = try SRTPSession(profile: profile, role: .server, keyingMaterial: theirs)
        }

        init(_ client: consuming SRTPSession, _ server: consuming SRTPSession) {
            self.client = client
            self.server = server
        }

        func protect(_ packet: [UInt8]) throws -> [UInt8] {
            var buffer = PacketBuffer()
            try client.protect(packet.span.bytes, into: &buffer)
            return [UInt8](copying: buffer[0])
        }

        /// What the server makes of a packet.
        func unprotect(_ packet: [UInt8]) -> [UInt8]? {
            var buffer = PacketBuffer()
            guard server.unprotect(packet.span.bytes, into: &buffer) != nil else {
                precondition(buffer.isEmpty)
                return nil
            }
            return [UInt8](copying: buffer[0])
        }
    }

    private static func rtp(_ number: Int, ssrc: UInt32 = 7, count: Int = 60) -> [UInt8] {
        let ssrc = withUnsafeBytes(of: ssrc.bigEndian) { [UInt8]($0) }
        return [0x80, 111, UInt8(number >> 8 & 255), UInt8(number & 255), 0, 0, 0, 1] + ssrc
            + (0..<count).map { UInt8(truncatingIfNeeded: $0 * 3 + number) }
    }

    private static func rtcp(ssrc: UInt32 = 7) -> [UInt8] {
        [0x80, 201, 0, 1] + withUnsafeBytes(of: ssrc.bigEndian) { [UInt8]($0) } + [1, 2, 3, 4]
    }

    @Test(
        "two DTLS sessions key two ends that understand each other, both ways",
        arguments: SRTPProtectionProfile.allCases)
    func keyed(profile: SRTPProtectionProfile) throws {
        let certificates = (try DTLSCertificate.generate(), try DTLSCertificate.generate())
        var configuration = DTLSTransport.Configuration()
        configuration.srtpProfiles = [profile]
        var client = try DTLSTransport(
            role: .client, certificate: certificates.0, expectedFingerprints: certificates.1.fingerprints,
            configuration: configuration)
        var server = try DTLSTransport(
            role: .server, certificate: certificates.1, expectedFingerprints: certificates.0.fingerprints,
            configuration: configuration)
        let early = try SRTPSession(client) == nil
        #expect(early)
        client.start(now: .zero)
        server.start(now: .zero)
        var buffer = PacketBuffer()
        var plaintext = PacketBuffer()
        for _ in 0..<3 {
            client.takeOutgoing(into: &buffer)
            for index in 0..<buffer.count { server.receive(buffer[index], now: .zero, plaintext: &plaintext) }
            buffer.removeAll()
            server.takeOutgoing(into: &buffer)
            for index in 0..<buffer.count { client.receive(buffer[index], now: .zero, plaintext: &plaintext) }
            buffer.removeAll()
        }
        guard var ours = try SRTPSession(client), var theirs = try SRTPSession(server) else {
            Issue.record("there are no keys")
            return
        }
        for number in 0..<100 {
            for packet in [Self.rtp(number), Self.rtcp()] {
                buffer.removeAll()
                try ours.protect(packet.span.bytes, into: &buffer)
                try theirs.protect(packet.span.bytes, into: &buffer)
                let sent = ([UInt8](copying: buffer[0]), [UInt8](copying: buffer[1]))
                #expect(sent.0 != sent.1, "each direction has its keys")
                _ = theirs.unprotect(sent.0.span.bytes, into: &buffer)
                _ = ours.unprotect(sent.1.span.bytes, into: &buffer)
                #expect([UInt8](copying: buffer[2]) == packet)
                #expect([UInt8](copying: buffer[3]) == packet)
            }
        }
    }

    @Test("wrong keys are wrong: nothing is delivered, and it is counted", arguments: SRTPProtectionProfile.allCases)
    func wrongKeys(profile: SRTPProtectionProfile) throws {
        let (material, _) = try Self.pair(profile)
        for place in [0, profile.masterKeyLength * 2] {
            var other = material
            other[place] ^= 1  // the client's key, its salt
            let ends = try Ends(profile, material, other)
            #expect(try ends.unprotect(ends.protect(Self.rtp(1))) == nil)
            #expect(try ends.unprotect(ends.protect(Self.rtcp())) == nil)
            #expect(ends.server.counters.unauthentic == 2)
        }
        // What the client sent is not what a client takes.
        let same = try Ends(profile, material, material)
        let packet = try same.protect(Self.rtp(1))
        var buffer = PacketBuffer()
        let taken = same.client.unprotect(packet.span.bytes, into: &buffer)
        #expect(taken == nil)
    }

    @Test("keying material of another length is refused", arguments: SRTPProtectionProfile.allCases)
    func wrongLength(profile: SRTPProtectionProfile) throws {
        let count = 2 * (profile.masterKeyLength + profile.masterSaltLength)
        for wrong in [0, 1, count - 1, count + 1] {
            #expect(throws: SRTPError.wrongKeyLength(expected: count, actual: wrong)) {
                _ = try SRTPSession(
                    profile: profile, role: .client, keyingMaterial: [UInt8](repeating: 0, count: wrong))
            }
        }
    }

    @Test("a packet that comes again is dropped, late ones are taken", arguments: SRTPProtectionProfile.allCases)
    func replay(profile: SRTPProtectionProfile) throws {
        let (_, ends) = try Self.pair(profile)
        let sent = try (0..<3000).map { try ends.protect(Self.rtp($0)) }
        let reports = try (0..<200).map { _ in try ends.protect(Self.rtcp()) }
        #expect(ends.unprotect(sent[1]) != nil)
        #expect(ends.unprotect(sent[0]) != nil)
        #expect(ends.unprotect(sent[1000]) != nil)
        for number in [0, 1, 1000] { #expect(ends.unprotect(sent[number]) == nil) }
        #expect(ends.unprotect(sent[500]) != nil)
        #expect(ends.unprotect(sent[2999]) != nil)
        #expect(ends.unprotect(sent[600]) == nil, "older than the window")
        #expect(ends.server.counters.replayed == 4)
        for report in reports { #expect(ends.unprotect(report) != nil) }
        for report in reports { #expect(ends.unprotect(report) == nil) }
        #expect(ends.server.counters.replayed == 204)
        #expect(throws: SRTPError.self) { try ends.protect(Self.rtp(5)) }
    }

    @Test("sequence numbers roll over", arguments: SRTPProtectionProfile.allCases)
    func rollOver(profile: SRTPProtectionProfile) throws {
        let (_, ends) = try Self.pair(profile)
        for number in 65_000..<66_000 {
            #expect(try ends.unprotect(ends.protect(Self.rtp(number & 0xFFFF))) == Self.rtp(number & 0xFFFF))
        }
    }

    @Test(
        "packets that are cut, changed in any byte, or invented are dropped", arguments: SRTPProtectionProfile.allCases)
    func malformed(profile: SRTPProtectionProfile) throws {
        let (_, ends) = try Self.pair(profile)
        let extended: [UInt8] =
            [0x91, 111, 0, 9, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 1] + [0xBE, 0xDE, 0, 1, 0x10, 7, 0, 0, 5]
        var dropped: UInt64 = 0
        for packet in [Self.rtp(1), Self.rtp(2, count: 0), extended, Self.rtcp()] {
            let sent = try ends.protect(packet)
            for count in 0..<sent.count {
                #expect(ends.unprotect(Array(sent.prefix(count))) == nil)
                dropped += 1
            }
            for place in sent.indices {
                for bit in 0..<8 {
                    var changed = sent
                    changed[place] ^= 1 << UInt8(bit)
                    #expect(ends.unprotect(changed) == nil)
                    dropped += 1
                }
            }
            #expect(ends.unprotect(sent + [0]) == nil)
            dropped += 1
            #expect(ends.unprotect(sent) == packet)
        }
        var entropy = Entropy(seed: 3)
        for _ in 0..<20_000 {
            var packet = entropy.bytes(Int.random(in: 0...120, using: &entropy))
            if !packet.isEmpty { packet[0] = packet[0] & 0x3F | 0x80 }
            #expect(ends.unprotect(packet) == nil)
            dropped += 1
        }
        let counters = ends.server.counters
        #expect(
            counters.malformed + counters.unauthentic + counters.replayed + counters.overLimit + counters.refused
                == dropped)
    }

    @Test("so many sources are followed and no more, and those that are forged do not count")
    func sources() throws {
        let (_, ends) = try Self.pair(.aeadAES128GCM)
        let limit = UInt32(SRTPSession.maximumSources)
        for ssrc in 1_000_000..<1_001_000 {
            var forged = Self.rtp(1, ssrc: UInt32(ssrc))
            forged += [UInt8](repeating: 0, count: 16)
            #expect(ends.unprotect(forged) == nil)
        }
        for ssrc in 1...limit { #expect(try ends.unprotect(ends.protect(Self.rtp(1, ssrc: ssrc))) != nil) }
        #expect(throws: SRTPError.tooManySources(limit: Int(limit))) { try ends.protect(Self.rtp(1, ssrc: limit + 1)) }
        #expect(ends.unprotect(Self.rtp(1, ssrc: limit + 1) + [UInt8](repeating: 0, count: 16)) == nil)
        #expect(ends.server.counters.overLimit == 1)
        for ssrc in 1...limit { #expect(try ends.unprotect(ends.protect(Self.rtp(2, ssrc: ssrc))) != nil) }
    }

    @Test("what is no packet is not protected, and the longest is")
    func misuse() throws {
        let (_, ends) = try Self.pair(.aes128CMHMACSHA1_80)
        for packet in [[], [0x80], [0, 111] + [UInt8](repeating: 0, count: 40)] as [[UInt8]] {
            #expect(throws: SRTPError.malformedPacket) { try ends.protect(packet) }
        }
        let limit = SRTPSession.longestPacket - SRTPSession.maximumOverhead
        #expect(throws: SRTPError.packetTooLong(limit: limit)) { try ends.protect(Self.rtp(1, count: limit - 11)) }
        let longest = Self.rtp(1, count: limit - 12)
        #expect(try ends.unprotect(ends.protect(longest)) == longest)
    }
}
#endif
