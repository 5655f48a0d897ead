// SPDX-License-Identifier: Apache-2.0
import ICE
import NATLab
import Testing
import Wire

private let host = "10.0.0.2:5000"
private let peer = "203.0.113.1:1000"

@Suite("Virtual NAT: lifetimes, strangers, hairpinning")
struct VirtualNATLifetimeTests {
    @Test("a mapping ends when its time is over, to the nanosecond")
    func lifetime() {
        var nat = makeNAT(.portRestricted)
        let external = nat.out(host, peer)
        let last = Timestamp(nanoseconds: 119_999_999_999)
        #expect(
            nat.inbound(from: address(peer), to: address("198.51.100.7:5000"), now: last)
                == .forwarded(source: address(peer), destination: address(host)))
        #expect(nat.back(peer, external, at: 120) == nil)
    }

    @Test(
        "a mapping is kept alive from the sides that the profile names (RFC 4787 §4.3)",
        arguments: [
            (true, true), (true, false), (false, true), (false, false),
        ])
    func refresh(outbound: Bool, inbound: Bool) {
        var profile = NATProfile.portRestricted
        profile.outboundRefreshes = outbound
        profile.inboundRefreshes = inbound
        var sends = makeNAT(profile)
        let external = sends.out(host, peer)
        _ = sends.out(host, peer, at: 100)
        #expect((sends.back(peer, external, at: 150) != nil) == outbound)
        var receives = makeNAT(profile)
        _ = receives.out(host, peer)
        _ = receives.back(peer, external, at: 100)
        #expect((receives.back(peer, external, at: 150) != nil) == inbound)
    }

    @Test("mappings end in the order of their last packet")
    func order() {
        var nat = makeNAT(.fullCone)
        for port in 1...5 { _ = nat.out("10.0.0.2:\(5000 + port)", peer, at: Double(port)) }
        _ = nat.out("10.0.0.2:5001", peer, at: 50)
        _ = nat.out("10.0.0.2:5003", peer, at: 60)
        let counts = [121.5, 122.5, 124.5, 125.5, 170.5, 180.5].map { nat.mappingCount(now: seconds($0)) }
        #expect(counts == [5, 4, 3, 2, 1, 0])
        #expect(nat.back(peer, address("198.51.100.7:5003"), at: 179) != nil)
        #expect(nat.back(peer, address("198.51.100.7:5001"), at: 179) == nil)
    }

    @Test("a filter can forget before the mapping ends")
    func filterLifetime() {
        var profile = NATProfile.portRestricted
        profile.filterLifetime = .seconds(30)
        profile.inboundRefreshes = true
        var nat = makeNAT(profile)
        let external = nat.out(host, peer)
        _ = nat.out(host, "203.0.113.2:1", at: 20)
        #expect(nat.back(peer, external, at: 29) != nil, "and that refreshes it")
        #expect(nat.back(peer, external, at: 58) != nil)
        #expect(nat.back("203.0.113.2:1", external, at: 58) == nil)
        #expect(nat.back(peer, external, at: 89) == nil)
    }

    @Test("a rebinding forgets every mapping and every stranger")
    func rebinding() {
        var nat = makeNAT(.symmetricRandom)
        let before = nat.out(host, peer)
        nat.rebind()
        #expect(nat.back(peer, before, at: 1) == nil)
        let after = nat.out(host, peer, at: 1)
        #expect(after != nil && after != before)
        nat.rebind(to: [IPAddress.v4(0xC633_6463)])
        #expect(nat.out(host, peer, at: 2)?.ip == .v4(0xC633_6463))
    }

    // MARK: - Packets from strangers

    @Test("what was filtered does what the profile says", arguments: NATProfile.FilteredInbound.allCases)
    func filtered(_ effect: NATProfile.FilteredInbound) {
        var profile = NATProfile.portRestricted
        profile.filteredInbound = effect
        var nat = makeNAT(profile)
        let external = nat.out(host, peer)
        let verdict = nat.inbound(from: address("203.0.113.9:9"), to: address("198.51.100.7:5000"), now: .zero)
        if effect == .refused {
            guard case .refused = verdict else { return #expect(Bool(false), "\(verdict)") }
        } else {
            guard case .dropped = verdict else { return #expect(Bool(false), "\(verdict)") }
        }
        #expect((nat.back(peer, external) != nil) == (effect != .endsMapping))
        let answer = nat.out(host, "203.0.113.9:9")
        #expect((answer == external) == (effect != .takesPort), "\(answer as Any)")
    }

    @Test("a stranger's packet to a leaky NAT takes the port, toward that stranger alone, for half a minute")
    func leaky() {
        var nat = makeNAT(.leaky)
        let external = nat.out(host, "203.0.113.1:3478")
        #expect(external?.port == 5000)
        // The peer's check comes before the own one has opened the filter.
        #expect(nat.back("203.0.113.9:5000", external, at: 1) == nil)
        let toStranger = nat.out(host, "203.0.113.9:5000", at: 2)
        #expect(toStranger?.port != 5000)
        #expect(nat.out(host, "203.0.113.1:3478", at: 2) == external, "others see the port still")
        #expect(nat.out(host, "203.0.113.9:5001", at: 2) == external, "another port of the stranger too")
        #expect(nat.back("203.0.113.9:5000", external, at: 3) == nil)
        #expect(nat.back("203.0.113.9:5000", toStranger, at: 3) == address(host), "who is answered at the new port")
        #expect(nat.back("203.0.113.10:5000", external, at: 3) == nil)
        #expect(nat.out(host, "203.0.113.10:5000", at: 32.5)?.port != 5000)
        #expect(nat.back("203.0.113.11:5000", external, at: 3) == nil)
        #expect(nat.out(host, "203.0.113.11:5000", at: 33.5) == external, "the claim has ended")
        #expect(nat.out(host, "203.0.113.9:5000", at: 40) == toStranger, "a session keeps its port")
    }

    @Test("a leaky NAT that has sent first keeps its port: the way to meet two of them")
    func leakyOpenedFirst() {
        var nat = makeNAT(.leaky)
        let external = nat.out(host, "203.0.113.1:3478")
        #expect(nat.out(host, "203.0.113.9:5000", at: 1) == external)
        #expect(nat.back("203.0.113.9:5000", external, at: 2) == address(host))
    }

    @Test("a port that a stranger took before there was a mapping is not preserved toward it")
    func leakyBefore() {
        var nat = makeNAT(.leaky)
        #expect(nat.back("203.0.113.9:5000", address("198.51.100.7:5000")) == nil)
        #expect(nat.out(host, "203.0.113.1:3478", at: 1)?.port == 5000)
        #expect(nat.out(host, "203.0.113.9:5000", at: 1)?.port != 5000)
    }

    // MARK: - Hairpinning

    @Test(
        "hairpinning shows the source that the profile says (RFC 4787 §6)", arguments: NATProfile.Hairpinning.allCases)
    func hairpinning(_ hairpinning: NATProfile.Hairpinning) {
        var profile = NATProfile.addressRestricted
        profile.hairpinning = hairpinning
        var nat = makeNAT(profile)
        _ = nat.out("10.0.0.2:5000", peer)
        _ = nat.out("10.0.0.3:6000", peer)
        let target = address("198.51.100.7:6000")
        let first = nat.outbound(from: address(host), to: target, now: .zero)
        guard hairpinning != .none else { return #expect(first == .dropped(.notHairpinned(external: target))) }
        guard case .dropped(.filtered) = first else { return #expect(Bool(false), "the filter holds too: \(first)") }
        // The other host sends to the first one's address, which opens its filter.
        _ = nat.outbound(from: address("10.0.0.3:6000"), to: address("198.51.100.7:5000"), now: .zero)
        let source = hairpinning == .externalSource ? "198.51.100.7:5000" : host
        #expect(
            nat.outbound(from: address(host), to: target, now: .zero)
                == .hairpinned(source: address(source), destination: address("10.0.0.3:6000")))
    }

    // MARK: - Bounds

    @Test(
        "a host that opens 100,000 mappings fills the table and no more",
        arguments: [
            NATProfile.symmetricRandom, .leaky, .carrierPairedRange,
        ])
    func hostileInside(_ profile: NATProfile) {
        var profile = profile
        profile.maximumSessions = 20_000
        var nat = makeNAT(profile)
        var refused = 0
        for number in 0..<100_000 {
            let source = SocketAddress(ip: .v4(0x0A00_0002), port: UInt16(1024 + number % 60_000))
            let target = SocketAddress(
                ip: .v4(0xCB00_7100 + UInt32(number / 60_000)), port: UInt16(1 + number % 60_000))
            if case .dropped = nat.outbound(from: source, to: target, now: seconds(Double(number) / 1e5)) {
                refused += 1
            }
        }
        #expect(nat.mappingCount(now: seconds(1)) <= 20_000)
        #expect(refused >= 60_000)
        #expect(nat.out("10.0.0.9:5000", peer, at: 400) != nil, "when they have ended there is room again")
        #expect(nat.mappingCount(now: seconds(400)) == 1)
    }

    @Test("strangers who knock at a leaky NAT 100,000 times do not make it grow, and hinder nobody else")
    func hostileOutside() {
        var nat = makeNAT(.leaky)
        for number in 0..<100_000 {
            let source = SocketAddress(ip: .v4(0xC000_0000 + UInt32(number)), port: 4000)
            _ = nat.inbound(from: source, to: address("198.51.100.7:5000"), now: seconds(Double(number) / 4000))
        }
        #expect(nat.mappingCount(now: seconds(200)) == 0)
        #expect(nat.out(host, peer, at: 200)?.port == 5000)
    }
}
