// SPDX-License-Identifier: Apache-2.0
import ICE
import Wire

/// A NAT as a test wants it, on virtual time and with randomness of a seed.
struct ModelNAT {
    /// What it does.
    struct Profile: CustomStringConvertible {
        var behavior = NATBehavior(mapping: .endpointIndependent, filtering: .endpointIndependent)
        /// Without translation it is a firewall.
        var translates = true
        var blocksUDP = false
        var step = 1
        var ports: ClosedRange<UInt16> = 1024...65_535
        var preservesParity = false
        var addressCount = 1
        var poolsArbitrarily = false
        var hairpinning = NATReport.Hairpinning.none
        var lifetime = Duration.seconds(120)
        var inboundRefreshes = false
        var filteredInbound = NATReport.FilteredInbound.dropped
        /// Mappings toward different destinations may have one external port, as those of Linux do.
        var sharesPorts = false

        var description: String {
            "\(behavior) \(filteredInbound.rawValue) hairpin \(hairpinning.rawValue)"
                + (translates ? "" : " firewall") + (sharesPorts ? " shared" : "")
                + (preservesParity ? " parity" : "") + (poolsArbitrarily ? " pool \(addressCount)" : "")
        }
    }

    private struct Mapping {
        let inside: SocketAddress
        /// What of the destination it is for.
        let key: SocketAddress?
        let outside: SocketAddress
        var permissions: Set<SocketAddress> = []
        var expires: Timestamp
    }

    private struct Pair: Hashable {
        let outside: SocketAddress
        let remote: SocketAddress
    }

    let profile: Profile
    private var entropy: Entropy
    private var mappings: [Mapping] = []
    private var taken: Set<Pair> = []
    private var nextPort: UInt16

    init(_ profile: Profile, seed: UInt64) {
        self.profile = profile
        entropy = Entropy(seed: seed &* 31 &+ 7)
        nextPort = UInt16.random(in: profile.ports, using: &entropy)
    }

    /// The external addresses.
    var externals: [IPAddress] { (0..<profile.addressCount).map { .v4(0xC633_6401 + UInt32($0)) } }

    /// A packet leaves; answers what it looks like outside, `nil` if it does not get there.
    mutating func outbound(_ inside: SocketAddress, to remote: SocketAddress, now: Timestamp) -> SocketAddress? {
        guard !profile.blocksUDP else { return nil }
        mappings.removeAll { $0.expires <= now }
        let index = mapping(of: inside, to: remote, now: now)
        mappings[index].permissions.insert(remote)
        mappings[index].expires = now + profile.lifetime
        return mappings[index].outside
    }

    /// A packet comes; answers where it goes inside, `nil` if it is not let in.
    mutating func inbound(_ remote: SocketAddress, to outside: SocketAddress, now: Timestamp) -> SocketAddress? {
        mappings.removeAll { $0.expires <= now }
        let candidates = mappings.indices.filter { mappings[$0].outside == outside }
        if let index = candidates.first(where: { permits(mappings[$0], remote) }) {
            if profile.inboundRefreshes { mappings[index].expires = now + profile.lifetime }
            return mappings[index].inside
        }
        switch profile.filteredInbound {
        case .dropped: break
        case .takesPort: taken.insert(Pair(outside: outside, remote: remote))
        case .endsMapping: mappings.removeAll { $0.outside == outside }
        }
        return nil
    }

    private func permits(_ mapping: Mapping, _ remote: SocketAddress) -> Bool {
        switch profile.behavior.filtering {
        case .endpointIndependent: true
        case .addressDependent: mapping.permissions.contains { $0.ip == remote.ip }
        case .addressAndPortDependent: mapping.permissions.contains(remote)
        }
    }

    private mutating func mapping(of inside: SocketAddress, to remote: SocketAddress, now: Timestamp) -> Int {
        let key: SocketAddress? =
            switch profile.behavior.mapping {
            case .endpointIndependent: nil
            case .addressDependent: SocketAddress(ip: remote.ip, port: 0)
            case .addressAndPortDependent: remote
            }
        // One that was made for this very destination because its port was taken counts first.
        for wanted in [remote, key] {
            let found = mappings.firstIndex {
                $0.inside == inside && $0.key == wanted
                    && !(!$0.permissions.contains(remote) && taken.contains(Pair(outside: $0.outside, remote: remote)))
            }
            if let found { return found }
        }
        let isTaken = mappings.contains { $0.inside == inside && $0.key == key }
        mappings.append(
            Mapping(
                inside: inside, key: isTaken ? remote : key, outside: allocate(inside, remote),
                expires: now + profile.lifetime))
        return mappings.count - 1
    }

    private mutating func allocate(_ inside: SocketAddress, _ remote: SocketAddress) -> SocketAddress {
        guard profile.translates else { return inside }
        let place = profile.poolsArbitrarily ? Int.random(in: 0..<profile.addressCount, using: &entropy) : 0
        let ip = externals[place]
        func isFree(_ port: UInt16) -> Bool {
            let outside = SocketAddress(ip: ip, port: port)
            return profile.ports.contains(port) && !taken.contains(Pair(outside: outside, remote: remote))
                && !mappings.contains {
                    $0.outside == outside && (!profile.sharesPorts || $0.permissions.contains(remote))
                }
                && (!profile.preservesParity || port & 1 == inside.port & 1)
        }
        var port = inside.port
        switch profile.behavior.allocation {
        case .preserving: while !isFree(port) { port = port == .max ? profile.ports.lowerBound : port + 1 }
        case .random: repeat { port = UInt16.random(in: profile.ports, using: &entropy) } while !isFree(port)
        case .sequential:
            repeat {
                let next = Int(nextPort) + profile.step
                nextPort = next > Int(profile.ports.upperBound) ? profile.ports.lowerBound : UInt16(next)
                port = nextPort
                if profile.preservesParity, port & 1 != inside.port & 1, port < profile.ports.upperBound { port += 1 }
            } while !isFree(port)
            nextPort = port
        }
        return SocketAddress(ip: ip, port: port)
    }
}
