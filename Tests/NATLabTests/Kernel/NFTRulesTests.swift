// SPDX-License-Identifier: Apache-2.0
import ICE
import NATLab
import Testing
import Wire

@Suite("nft rules")
struct NFTRulesTests {
    private let one = [IPAddress.v4(0xCB00_710A)]
    private let four = (0..<4).map { IPAddress.v4(0xCB00_710A + $0) }

    private func text(_ profile: NATProfile, inside: [IPAddress] = []) throws -> String {
        let count = profile.kind == .nat ? profile.addressCount : 1
        return try NFTRules(profile, addresses: Array(four[..<count]), inside: inside).text
    }

    @Test("an open host needs none")
    func open() throws {
        #expect(try text(.open).isEmpty)
    }

    @Test("what is let in depends on as much of the other end as the profile says")
    func filtering() throws {
        let prefix = "iifname \"wan\" meta l4proto udp"
        #expect(try text(.fullCone).contains("\(prefix) ip daddr . udp dport @open accept"))
        #expect(try text(.addressRestricted).contains("\(prefix) ip daddr . udp dport . ip saddr @open accept"))
        #expect(
            try text(.portRestricted).contains("\(prefix) ip daddr . udp dport . ip saddr . udp sport @open accept"))
        #expect(try text(.portRestricted).contains("\(prefix) drop"))
        #expect(try text(.refusing).contains("\(prefix) reject with icmp port-unreachable"))
    }

    @Test("a mapping is found by as much of the other end as the profile says")
    func mapping() throws {
        let lookup = "snat ip to ip saddr . udp sport"
        #expect(try text(.portRestricted).contains("\(lookup) map @assigned"))
        #expect(try text(.symmetricAddress).contains("\(lookup) . ct original ip daddr map @assigned"))
        #expect(!(try text(.symmetricRandom).contains("@assigned")))
    }

    @Test("ports come by the profile's way")
    func allocation() throws {
        #expect(try text(.portRestricted).contains("udp sport != @taken0 snat ip to 203.0.113.10:1024-65535"))
        #expect(try text(.symmetricRandom).contains("snat ip to 203.0.113.10:1024-65535 fully-random"))
        var profile = NATProfile.symmetricSequential
        profile.ports = 40_000...40_003
        profile.portStep = 3
        #expect(
            try text(profile).contains("numgen inc mod 4 map { 0 : 40000, 1 : 40003, 2 : 40002, 3 : 40001 }"))
        profile.behavior.allocation = .random
        profile.preservesParity = true
        #expect(
            try text(.portRestrictedParity).contains("udp sport 32768-65535 snat ip to 203.0.113.10:udp sport ^ 11610"))
        #expect(
            try text(profile).contains(
                "udp sport & 1 == 0 snat ip to 203.0.113.10:numgen random mod 2 map { 0 : 40000, 1 : 40002 }"))
    }

    @Test("hosts have addresses and blocks of ports of their own")
    func shares() throws {
        let hosts = (2..<5 as Range<UInt32>).map { IPAddress.v4(0x0A01_0000 + $0) }
        let paired = try text(.carrierPairedRange, inside: hosts)
        #expect(paired.contains("10.1.0.2 : goto block2_0, 10.1.0.3 : goto block3_0, 10.1.0.4 : goto block0_0"))
        #expect(paired.contains("203.0.113.12:1024-3071 fully-random"))
        #expect(try text(.carrierArbitrary).contains("numgen random mod 4 vmap"))
    }

    @Test("Linux's own behaviour is plain masquerading, which filters nothing before connection tracking")
    func leaky() throws {
        let rules = try text(.leaky)
        #expect(rules.contains("meta l4proto udp masquerade"))
        #expect(!rules.contains("prerouting priority raw") && !rules.contains("@open"))
    }

    @Test("what the kernel cannot follow is refused with a reason")
    func obstacles() {
        #expect(NFTRules.obstacle(to: .mappingEnding)?.contains("cannot end a mapping") == true)
        var profile = NATProfile.portRestricted
        profile.outboundRefreshes = false
        #expect(NFTRules.obstacle(to: profile) != nil)
        profile = .portRestricted
        profile.maximumSessions = 10
        #expect(NFTRules.obstacle(to: profile) != nil)
        profile = .portRestricted
        profile.portConflict = .overriding
        #expect(NFTRules.obstacle(to: profile) != nil)
        profile = .fullCone
        profile.filteredInbound = .takesPort
        #expect(NFTRules.obstacle(to: profile) != nil)
        profile = .portRestricted
        profile.hairpinning = .internalSource
        #expect(NFTRules.obstacle(to: profile) != nil)
        profile = .portRestricted
        profile.outer = [.mappingEnding]
        #expect(NFTRules.obstacle(to: profile)?.hasPrefix("mapping-ending: ") == true)
        #expect(throws: NFTRules.Unsupported.self) { try NFTRules(.mappingEnding, addresses: one) }
        #expect(throws: NFTRules.Unsupported.self) { try NFTRules(.carrierArbitrary, addresses: one) }
        let refused = NATProfile.standard.filter { NFTRules.obstacle(to: $0) != nil }
        #expect(refused.map(\.name) == ["mapping-ending"], "of the standard profiles there is one")
    }

    @Test("every standard profile's rules are short enough to load in no time")
    func size() throws {
        for profile in NATProfile.standard where NFTRules.obstacle(to: profile) == nil {
            #expect(try text(profile).utf8.count < 200_000)
        }
    }
}
