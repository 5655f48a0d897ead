// SPDX-License-Identifier: Apache-2.0
import ICE
import NATLab
import Testing
import Wire

/// RFC 4787 written down as slowly and plainly as it can be: lists that are searched from end to end at every packet.
private struct PlainNAT {
    struct Mapping {
        let inside: SocketAddress
        /// The destination that it was made for.
        let first: SocketAddress
        let external: SocketAddress
        var end: Timestamp
        var answers: [(destination: SocketAddress, until: Timestamp)] = []
    }

    let profile: NATProfile
    var mappings: [Mapping] = []

    private static func match(_ a: SocketAddress, _ b: SocketAddress, _ rule: NATBehavior.Dependence) -> Bool {
        switch rule {
        case .endpointIndependent: true
        case .addressDependent: a.ip == b.ip
        case .addressAndPortDependent: a == b
        }
    }

    /// Tells that a packet left as `external`. Answers what is wrong with that, `nil` where it is right.
    mutating func left(
        from inside: SocketAddress, to destination: SocketAddress, as external: SocketAddress, now: Timestamp
    ) -> String? {
        mappings.removeAll { $0.end <= now }
        var index = mappings.firstIndex {
            $0.inside == inside && PlainNAT.match($0.first, destination, profile.behavior.mapping)
        }
        if let index {
            guard mappings[index].external == external else { return "\(external), not \(mappings[index].external)" }
            if profile.outboundRefreshes { mappings[index].end = now + profile.mappingLifetime }
        } else {
            guard !mappings.contains(where: { $0.external == external }) else { return "\(external) is in use" }
            guard profile.ports.contains(external.port) else { return "\(external) is out of range" }
            index = mappings.count
            mappings.append(
                Mapping(inside: inside, first: destination, external: external, end: now + profile.mappingLifetime))
        }
        guard let index else { return nil }
        let until = profile.filterLifetime.map { now + $0 } ?? .distantFuture
        mappings[index].answers.append((destination, until))
        return nil
    }

    /// Who gets a packet from outside.
    mutating func receiver(
        from source: SocketAddress, to external: SocketAddress, now: Timestamp
    ) -> SocketAddress? {
        mappings.removeAll { $0.end <= now }
        guard let index = mappings.firstIndex(where: { $0.external == external }) else { return nil }
        let rule = profile.behavior.filtering
        let admits =
            rule == .endpointIndependent
            || mappings[index].answers.contains { PlainNAT.match($0.destination, source, rule) && $0.until > now }
        guard admits else {
            if profile.filteredInbound == .endsMapping { mappings.remove(at: index) }
            return nil
        }
        if profile.inboundRefreshes {
            mappings[index].end = now + profile.mappingLifetime
            if let filterLifetime = profile.filterLifetime {
                mappings[index].answers.append((source, now + filterLifetime))
            }
        }
        return mappings[index].inside
    }
}

@Suite("Virtual NAT beside a plain model")
struct VirtualNATModelTests {
    /// A profile that a seed chooses, among all that translate and take no ports.
    private func profile(_ entropy: inout Entropy) -> NATProfile {
        func pick<Value>(_ values: [Value]) -> Value { values[Int(entropy.next() % UInt64(values.count))] }
        var profile = NATProfile(
            "any", mapping: pick(NATBehavior.Dependence.allCases), filtering: pick(NATBehavior.Dependence.allCases),
            allocation: pick(NATBehavior.Allocation.allCases))
        profile.ports = pick([1024...65_535, 5000...5063, 4000...4100])
        profile.preservesParity = pick([true, false])
        profile.portConflict = pick([.nextPort, .randomPort, .otherAddress])
        profile.addressCount = pick([1, 3])
        profile.pooling = pick(NATProfile.Pooling.allCases)
        profile.portBlock = pick([nil, nil, 16])
        profile.portStep = pick([1, 3])
        profile.mappingLifetime = .seconds(pick([5, 30]))
        profile.filterLifetime = pick([nil, .seconds(3)])
        profile.outboundRefreshes = pick([true, true, false])
        profile.inboundRefreshes = pick([true, false])
        profile.filteredInbound = pick([.dropped, .endsMapping, .refused])
        return profile
    }

    @Test(
        "both agree on every packet, whatever the profile and the order of packets",
        arguments: 1...150 as ClosedRange<UInt64>)
    func agreement(seed: UInt64) {
        var entropy = Entropy(seed: seed)
        let profile = profile(&entropy)
        let addresses = ["198.51.100.7", "198.51.100.8", "198.51.100.9"].prefix(profile.addressCount)
        var nat = makeNAT(profile, addresses: Array(addresses), seed: seed)
        var plain = PlainNAT(profile: profile)
        var seen: [SocketAddress] = []
        var now = Timestamp.zero
        func pick(_ count: UInt64) -> UInt64 { entropy.next() % count }
        func remote() -> SocketAddress {
            SocketAddress(ip: .v4(0xCB00_7101 + UInt32(pick(3))), port: UInt16(1 + pick(3)))
        }
        for step in 0..<400 {
            now += .milliseconds(Int64(pick(400)))
            let destination = remote()
            if pick(2) == 0 || seen.isEmpty {
                let inside = SocketAddress(ip: .v4(0x0A00_0002 + UInt32(pick(3))), port: UInt16(5000 + pick(3)))
                switch nat.outbound(from: inside, to: destination, now: now) {
                case .forwarded(let external, destination):
                    let fault = plain.left(from: inside, to: destination, as: external, now: now)
                    #expect(fault == nil, "seed \(seed), step \(step): \(profile)")
                    if !seen.contains(external) { seen.append(external) }
                case .dropped(.noPortFree), .dropped(.noBlockFree):
                    #expect(plain.mappings.count > 15, "seed \(seed), step \(step): \(profile)")
                case let other: Issue.record("seed \(seed), step \(step): \(other)")
                }
            } else {
                let external = seen[Int(pick(UInt64(seen.count)))]
                let verdict = nat.inbound(from: destination, to: external, now: now)
                let expected = plain.receiver(from: destination, to: external, now: now)
                if let expected {
                    #expect(
                        verdict == .forwarded(source: destination, destination: expected), "seed \(seed), step \(step)")
                } else if case .forwarded = verdict {
                    Issue.record("seed \(seed), step \(step): let in \(verdict): \(profile)")
                }
            }
            #expect(nat.mappingCount(now: now) == plain.mappings.count { $0.end > now })
        }
    }
}
