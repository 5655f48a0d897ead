// SPDX-License-Identifier: Apache-2.0
import ICE
import NATLab
import Testing
import Wire

private let host = "10.0.0.2:5000"

@Suite("Virtual NAT: mapping and filtering")
struct VirtualNATTests {
    @Test("a mapping is used again as RFC 4787 §4.1 defines", arguments: everyBehavior)
    func mapping(_ behavior: NATBehavior) {
        var nat = makeNAT(
            NATProfile("any", mapping: behavior.mapping, filtering: behavior.filtering, allocation: .random))
        let first = nat.out(host, "203.0.113.1:1000")
        #expect(first?.ip == IPAddress("198.51.100.7"))
        #expect(nat.out(host, "203.0.113.1:1000") == first, "the same destination always sees the same")
        let samePort = nat.out(host, "203.0.113.1:1001") == first
        let sameAddress = nat.out(host, "203.0.113.2:1000") == first
        #expect(samePort == (behavior.mapping != .addressAndPortDependent))
        #expect(sameAddress == (behavior.mapping == .endpointIndependent))
        #expect(nat.out("10.0.0.2:5001", "203.0.113.1:1000") != first, "another port inside has another mapping")
        #expect(nat.out("10.0.0.3:5000", "203.0.113.1:1000") != first, "another host inside has another mapping")
    }

    @Test("a mapping lets in as RFC 4787 §5 defines", arguments: everyBehavior)
    func filtering(_ behavior: NATBehavior) {
        var nat = makeNAT(
            NATProfile("any", mapping: behavior.mapping, filtering: behavior.filtering, allocation: .random))
        let external = nat.out(host, "203.0.113.1:1000")
        #expect(nat.back("203.0.113.1:1000", external) == address(host), "who was sent to may answer")
        let otherPort = nat.back("203.0.113.1:1001", external) != nil
        let otherAddress = nat.back("203.0.113.2:1000", external) != nil
        #expect(otherPort == (behavior.filtering != .addressAndPortDependent))
        #expect(otherAddress == (behavior.filtering == .endpointIndependent))
    }

    @Test(
        "with an endpoint-independent mapping every destination sent to may answer at the one port",
        arguments: [
            NATBehavior.Dependence.addressDependent, .addressAndPortDependent,
        ])
    func filterGrows(_ filtering: NATBehavior.Dependence) {
        var nat = makeNAT(NATProfile("any", mapping: .endpointIndependent, filtering: filtering))
        let external = nat.out(host, "203.0.113.1:1000")
        #expect(nat.back("203.0.113.2:1000", external) == nil)
        #expect(nat.out(host, "203.0.113.2:1000") == external)
        #expect(nat.back("203.0.113.2:1000", external) == address(host))
    }

    @Test("a drop names the filter, the mapping, whom it knows and who sent")
    func explains() {
        var nat = makeNAT(.portRestricted)
        _ = nat.out("10.0.0.2:51022", "203.0.113.8:3478")
        _ = nat.out("10.0.0.2:51022", "203.0.113.9:3478")
        let verdict = nat.inbound(
            from: address("203.0.113.20:40312"), to: address("198.51.100.7:51022"), now: .zero)
        guard case .dropped(let drop) = verdict else {
            Issue.record("let in: \(verdict)")
            return
        }
        #expect(
            drop.description
                == "address-and-port-dependent filter: mapping 198.51.100.7:51022 has sent to 203.0.113.9:3478 and 1 more, "
                + "not to 203.0.113.20:40312")
        let nowhere = nat.inbound(from: address("203.0.113.20:1"), to: address("198.51.100.7:9"), now: .zero)
        #expect(
            nowhere
                == .dropped(.unmapped(external: address("198.51.100.7:9"), source: address("203.0.113.20:1"))))
    }

    @Test(
        "a firewall translates nothing and lets in only answers",
        arguments: [
            ("198.51.100.20:5000", "203.0.113.1:1000", "203.0.113.1:1001"),
            ("[2001:db8::2]:5000", "[2001:db8:1::1]:1000", "[2001:db8:1::1]:1001"),
        ])
    func firewall(inside: String, known: String, stranger: String) {
        var box = makeNAT(.firewall, addresses: [])
        #expect(box.back(known, address(inside)) == nil)
        #expect(box.out(inside, known) == address(inside))
        #expect(box.back(known, address(inside)) == address(inside))
        #expect(box.back(stranger, address(inside)) == nil)
    }

    @Test("a NAT passes IPv6 untranslated and filters it in the same way", arguments: everyBehavior)
    func ipv6(_ behavior: NATBehavior) {
        var nat = makeNAT(NATProfile("any", mapping: behavior.mapping, filtering: behavior.filtering))
        let inside = "[2001:db8::2]:5000"
        #expect(nat.back("[2001:db8:1::1]:1", address(inside)) == nil)
        #expect(nat.out(inside, "[2001:db8:1::1]:1") == address(inside))
        #expect(nat.out(inside, "[2001:db8:1::2]:1") == address(inside))
        let stranger = nat.back("[2001:db8:1::3]:1", address(inside)) != nil
        #expect(stranger == (behavior.filtering == .endpointIndependent))
    }

    @Test("what is open passes all, and what blocks UDP nothing")
    func extremes() {
        var open = makeNAT(.open, addresses: [])
        #expect(open.back("203.0.113.1:1000", address("198.51.100.20:5000")) == address("198.51.100.20:5000"))
        #expect(open.out("198.51.100.20:5000", "203.0.113.1:1000") == address("198.51.100.20:5000"))
        var blocked = makeNAT(.udpBlocked)
        let outward = blocked.outbound(from: address(host), to: address("203.0.113.1:1000"), now: .zero)
        #expect(outward == .dropped(.udpBlocked))
        let inward = blocked.inbound(from: address("203.0.113.1:1000"), to: address("198.51.100.7:5000"), now: .zero)
        #expect(inward == .dropped(.udpBlocked))
    }

    @Test("ICMP errors find the host inside while the mapping lives")
    func errors() {
        var nat = makeNAT(.portRestricted)
        let external = nat.out(host, "203.0.113.1:1000") ?? .unspecified
        #expect(nat.insideForError(about: external, now: seconds(119)) == address(host))
        #expect(nat.insideForError(about: external, now: seconds(120)) == nil)
        #expect(nat.insideForError(about: address("198.51.100.7:9"), now: .zero) == nil)
    }

    @Test("a mapping can be asked for toward a destination")
    func question() {
        var nat = makeNAT(.symmetricRandom)
        let external = nat.out(host, "203.0.113.1:1000")
        let now = Timestamp.zero
        #expect(nat.mapping(of: address(host), toward: address("203.0.113.1:1000"), now: now) == external)
        #expect(nat.mapping(of: address(host), toward: address("203.0.113.1:1001"), now: now) == nil)
        #expect(nat.mappingCount(now: now) == 1)
        #expect(nat.mappingCount(now: seconds(120)) == 0)
    }
}
