// SPDX-License-Identifier: Apache-2.0
import ICE
import NATLab
import Testing
import Wire

private let peer = "203.0.113.1:1000"

private func profile(
    _ allocation: NATBehavior.Allocation, mapping: NATBehavior.Dependence = .endpointIndependent,
    ports: ClosedRange<UInt16> = 1024...65_535
) -> NATProfile {
    var profile = NATProfile("any", mapping: mapping, filtering: .addressAndPortDependent, allocation: allocation)
    profile.ports = ports
    return profile
}

@Suite("Virtual NAT: choosing addresses and ports")
struct VirtualNATAllocationTests {
    @Test("a port is preserved where it is free and in the range")
    func preserving() {
        var nat = makeNAT(profile(.preserving))
        #expect(nat.out("10.0.0.2:5000", peer)?.port == 5000)
        #expect(nat.out("10.0.0.2:6001", peer)?.port == 6001)
        let low = nat.out("10.0.0.2:80", peer)?.port
        #expect(low.map { $0 >= 1024 } == true, "80 is not among the ports: \(low as Any)")
    }

    @Test(
        "a preserved port that is taken is dealt with in each of the ways", arguments: NATProfile.PortConflict.allCases)
    func conflicts(_ conflict: NATProfile.PortConflict) {
        var behavior = profile(.preserving)
        behavior.portConflict = conflict
        behavior.addressCount = 2
        // 10.0.0.2 and 10.0.0.4 are paired with the first address.
        var nat = makeNAT(behavior, addresses: ["198.51.100.7", "198.51.100.8"])
        let first = nat.out("10.0.0.2:5000", peer)
        let second = nat.out("10.0.0.4:5000", "203.0.113.2:1000")
        #expect(first == address("198.51.100.7:5000"))
        let firstStillGets = nat.back(peer, first) == address("10.0.0.2:5000")
        let secondGets = nat.back("203.0.113.2:1000", second) == address("10.0.0.4:5000")
        #expect(secondGets)
        switch conflict {
        case .nextPort: #expect(second == address("198.51.100.7:5001"))
        case .randomPort: #expect(second?.ip == first?.ip && second != first && second?.port != 5001)
        case .otherAddress: #expect(second == address("198.51.100.8:5000"))
        case .overriding, .overloading: #expect(second == first)
        }
        #expect(firstStillGets == (conflict != .overriding))
    }

    @Test("an overloaded port is cleared up one mapping after the other")
    func overloading() {
        var behavior = profile(.preserving)
        behavior.portConflict = .overloading
        var nat = makeNAT(behavior)
        for (index, time) in [(2, 0.0), (3, 10), (4, 20)] {
            _ = nat.out("10.0.0.\(index):5000", "203.0.113.\(index):1", at: time)
        }
        let external = address("198.51.100.7:5000")
        #expect(nat.back("203.0.113.2:1", external, at: 30) == address("10.0.0.2:5000"))
        // The middle one is kept, the others end.
        #expect(nat.out("10.0.0.3:5000", "203.0.113.3:1", at: 100) == external)
        #expect(nat.back("203.0.113.2:1", external, at: 145) == nil)
        #expect(nat.back("203.0.113.3:1", external, at: 145) == address("10.0.0.3:5000"))
        #expect(nat.back("203.0.113.4:1", external, at: 145) == nil)
        #expect(nat.mappingCount(now: seconds(145)) == 1)
        #expect(nat.mappingCount(now: seconds(220)) == 0)
    }

    @Test("a symmetric NAT that preserves gives the port away once")
    func symmetricPreserving() {
        var nat = makeNAT(.symmetricPreserving)
        #expect(nat.out("10.0.0.2:5000", "203.0.113.1:1")?.port == 5000)
        #expect(nat.out("10.0.0.2:5000", "203.0.113.1:2")?.port == 5001)
        #expect(nat.out("10.0.0.2:5000", "203.0.113.1:3")?.port == 5002)
    }

    @Test("a host that takes its own port over keeps its block", arguments: [nil, 4] as [Int?])
    func overridesItself(block: Int?) {
        var behavior = profile(.preserving, mapping: .addressAndPortDependent, ports: 5000...5003)
        behavior.portConflict = .overriding
        behavior.portBlock = block
        var nat = makeNAT(behavior)
        for port in 1...10 { #expect(nat.out("10.0.0.2:5000", "203.0.113.1:\(port)")?.port == 5000) }
        #expect(nat.mappingCount(now: .zero) == 1)
        #expect((nat.out("10.0.0.3:5001", peer) != nil) == (block == nil), "the only block belongs to the first host")
    }

    @Test("sequential ports follow one another, whoever asks, by the step", arguments: [1, 2, 7])
    func sequential(step: Int) {
        var behavior = profile(.sequential, mapping: .addressAndPortDependent)
        behavior.portStep = step
        var nat = makeNAT(behavior, seed: 3)
        let ports = (1...6).compactMap { nat.out("10.0.0.\(2 + $0 % 2):5000", "203.0.113.1:\($0)")?.port }
        #expect(zip(ports, ports.dropFirst()).allSatisfy { Int($1) - Int($0) == step }, "\(ports)")
        var other = makeNAT(behavior, seed: 4)
        #expect(other.out("10.0.0.2:5000", peer)?.port != ports.first, "where it begins depends on the seed")
    }

    @Test("sequential ports begin anew after the last, and go round those in use")
    func wraps() {
        var nat = makeNAT(profile(.sequential, mapping: .addressAndPortDependent, ports: 2000...2003))
        let ports = (1...4).compactMap { nat.out("10.0.0.2:5000", "203.0.113.1:\($0)", at: 0)?.port }
        #expect(Set(ports) == [2000, 2001, 2002, 2003])
        let full = nat.outbound(from: address("10.0.0.2:5000"), to: address(peer), now: seconds(1))
        #expect(full == .dropped(.noPortFree(external: .v4(0xC633_6407))))
        #expect(nat.out("10.0.0.2:5000", peer, at: 121) != nil, "ports come free when their mappings end")
    }

    @Test("random ports fill the whole range and never come twice")
    func random() {
        var nat = makeNAT(profile(.random, mapping: .addressAndPortDependent, ports: 2000...2255))
        let ports = (1...256).compactMap { nat.out("10.0.0.2:5000", "203.0.113.1:\($0)")?.port }
        #expect(Set(ports) == Set(2000...2255))
        #expect(ports != ports.sorted())
        var same = makeNAT(profile(.random, mapping: .addressAndPortDependent, ports: 2000...2255))
        #expect((1...256).compactMap { same.out("10.0.0.2:5000", "203.0.113.1:\($0)")?.port } == ports)
    }

    @Test("parity is kept while ports of it are left (RFC 4787 §4.2.2)", arguments: NATBehavior.Allocation.allCases)
    func parity(_ allocation: NATBehavior.Allocation) {
        var behavior = profile(allocation, mapping: .addressAndPortDependent, ports: 2000...2099)
        behavior.preservesParity = true
        var nat = makeNAT(behavior)
        let odd = (1...50).compactMap { nat.out("10.0.0.2:2051", "203.0.113.1:\($0)")?.port }
        #expect(odd.count == 50 && odd.allSatisfy { $0 % 2 == 1 })
        let even = nat.out("10.0.0.2:2050", peer)?.port
        #expect(even.map { $0 % 2 == 0 } == true)
        #expect(nat.out("10.0.0.2:2051", "203.0.113.1:51")?.port.isMultiple(of: 2) == true, "better another than none")
    }

    @Test(
        "a host has a block of contiguous ports, and no more than that (RFC 6888)",
        arguments: NATBehavior.Allocation.allCases)
    func blocks(_ allocation: NATBehavior.Allocation) {
        var behavior = profile(allocation, mapping: .addressAndPortDependent, ports: 4000...4031)
        behavior.portBlock = 8
        var nat = makeNAT(behavior)
        func ports(_ host: Int, at time: Double) -> [UInt16] {
            (1...9).compactMap { nat.out("10.0.0.\(host):4001", "203.0.113.1:\($0)", at: time)?.port }
        }
        let all = (2...5).map { ports($0, at: 0) }
        for (index, ports) in all.enumerated() {
            let first = UInt16(4000 + 8 * index)
            #expect(Set(ports) == Set(first...first + 7), "host \(index)")
        }
        let late = nat.outbound(from: address("10.0.0.6:4001"), to: address(peer), now: .zero)
        #expect(late == .dropped(.noBlockFree(external: .v4(0xC633_6407))))
        #expect(ports(6, at: 121).count == 8, "a block comes back when its last mapping ends")
    }

    @Test("paired pooling keeps a host at one address, arbitrary does not (RFC 4787 §4.1)")
    func pooling() {
        let pool = ["198.51.100.7", "198.51.100.8", "198.51.100.9", "198.51.100.10"]
        var behavior = profile(.random, mapping: .addressAndPortDependent)
        behavior.addressCount = 4
        var nat = makeNAT(behavior, addresses: pool)
        func addresses(_ host: Int) -> Set<IPAddress> {
            Set((1...40).compactMap { nat.out("10.0.0.\(host):\(5000 + $0)", "203.0.113.1:\($0)")?.ip })
        }
        let paired = (2...5).map(addresses)
        #expect(paired.allSatisfy { $0.count == 1 })
        #expect(Set(paired).count == 4, "neighbours do not share")
        behavior.pooling = .arbitrary
        nat = makeNAT(behavior, addresses: pool)
        #expect(addresses(2).count == 4)
    }

    @Test("arbitrary pooling uses every port of every address")
    func arbitraryPool() {
        var behavior = profile(.random, mapping: .addressAndPortDependent, ports: 2000...2009)
        behavior.addressCount = 2
        behavior.pooling = .arbitrary
        var nat = makeNAT(behavior, addresses: ["198.51.100.7", "198.51.100.8"])
        #expect(Set((1...30).compactMap { nat.out("10.0.0.2:5000", "203.0.113.1:\($0)") }).count == 20)
    }
}
