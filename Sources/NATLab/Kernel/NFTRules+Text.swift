// SPDX-License-Identifier: Apache-2.0
import ICE
import Wire

/// The text of the rules. `nft` wants a match on the protocol in every rule that speaks of ports, and so most begin
/// with one.
extension NFTRules {
    static func text(_ profile: NATProfile, _ addresses: [IPAddress], _ inside: [IPAddress]) -> String {
        let body =
            switch profile.kind {
            case .open: [String]()
            case .nat: sets(profile, addresses) + translator(profile, addresses, inside)
            case .firewall: sets(profile, addresses) + admit(profile) + firewallLearn(profile)
            case .udpBlocked: counters() + blocked(addresses)
            }
        let lines = profile.kind == .open ? [] : body + own(profile) + across(profile)
        guard !lines.isEmpty else { return "" }
        return (["table \(table) {"] + lines.map { "  " + $0 } + ["}"]).joined(separator: "\n") + "\n"
    }

    /// A chain from its rules.
    private static func chain(_ name: String, _ hook: String? = nil, _ rules: [String]) -> [String] {
        let head = hook.map { ["  type \($0); policy accept;"] } ?? []
        return ["chain \(name) {"] + head + rules.map { "  " + $0 } + ["}"]
    }

    // MARK: Sets

    /// What is counted for those who ask why.
    private static func counters() -> [String] {
        let type = "ipv4_addr . inet_service . ipv4_addr . inet_service"
        return ["dropped", "sent"].map { "set \($0) { type \(type); flags dynamic; size \(capacity); counter; }" }
    }

    private static func sets(_ profile: NATProfile, _ addresses: [IPAddress]) -> [String] {
        let keys = Keys(mapping: profile.behavior.mapping, filtering: profile.behavior.filtering)
        func options(_ lifetime: Duration) -> String {
            "flags dynamic,timeout; timeout \(max(1, lifetime.nanoseconds / 1_000_000))ms; size \(capacity);"
        }
        let life = options(profile.mappingLifetime)
        var lines = counters()
        if filters(profile) {
            // Where nothing is filtered, what is open is the mapping.
            let lifetime = profile.behavior.filtering == .endpointIndependent ? nil : profile.filterLifetime
            lines.append("set open { type \(keys.openType); \(options(lifetime ?? profile.mappingLifetime)) }")
        }
        guard profile.kind == .nat else { return lines }
        let endpoint = "ipv4_addr . inet_service"
        lines.append("map owners { type \(endpoint) : \(endpoint); \(life) }")
        if remembers(profile) { lines.append("map assigned { type \(keys.assignedType) : \(endpoint); \(life) }") }
        if marksTaken(profile) {
            lines += addresses.indices.map { "set taken\($0) { type inet_service; \(life) }" }
        }
        if stepsUp(profile) {
            for step in 1..<ladderSteps {
                let elements = ladderPorts.map { "\($0) : \(Int($0) + step)" }.joined(separator: ", ")
                lines.append("set stepped\(step) { type inet_service; \(life) }")
                lines.append("map step\(step) { type inet_service : inet_service; elements = { \(elements) }; }")
            }
        }
        return lines
    }

    /// Whether inbound packets are looked up in a set of ours: not where connection tracking alone decides.
    private static func filters(_ profile: NATProfile) -> Bool {
        profile.kind == .firewall || profile.filteredInbound != .takesPort
    }

    /// Whether a mapping is found again by a map of ours: not where every connection has its own, nor where connection
    /// tracking alone assigns.
    private static func remembers(_ profile: NATProfile) -> Bool {
        profile.filteredInbound != .takesPort && profile.behavior.mapping != .addressAndPortDependent
    }

    /// Whether external ports in use are noted, so that a port is preserved for one mapping only.
    private static func marksTaken(_ profile: NATProfile) -> Bool {
        profile.filteredInbound != .takesPort && profile.behavior.allocation == .preserving
            && profile.portConflict != .overloading
    }

    // MARK: Inbound

    /// Drops or refuses, before connection tracking sees it, what is not let in.
    private static func admit(_ profile: NATProfile) -> [String] {
        guard filters(profile) else { return [] }
        let keys = Keys(mapping: profile.behavior.mapping, filtering: profile.behavior.filtering)
        let key = keys.open(own: End.destination, remote: End.source)
        let inbound = "iifname \"\(outerInterface)\" meta l4proto udp"
        let refresh = profile.inboundRefreshes ? "update @open { \(key) } " : ""
        let verdict = profile.filteredInbound == .refused ? "reject with icmp port-unreachable" : "drop"
        return chain(
            "admit", "filter hook prerouting priority raw",
            [
                "\(inbound) \(key) @open \(refresh)accept",
                "\(inbound) update @dropped { \(End.source.key) . \(End.destination.key) }",
                "\(inbound) \(verdict)",
            ])
    }

    /// What the box itself answers: nothing but echo requests. Without filtering of its own it is as Linux is by
    /// itself, and only counts what comes.
    private static func own(_ profile: NATProfile) -> [String] {
        if profile.kind == .nat, !filters(profile) {
            let rule = "meta l4proto udp update @dropped { \(End.source.key) . \(End.destination.key) }"
            return chain("own", "filter hook input priority filter", ["iifname \"\(outerInterface)\" \(rule)"])
        }
        return chain(
            "own", "filter hook input priority filter",
            ["iifname \"lo\" accept", "ct state established,related accept", "meta l4proto icmp accept", "drop"])
    }

    /// What passes through the box: nothing new from outside that was not translated to go inside.
    private static func across(_ profile: NATProfile) -> [String] {
        let inbound = "iifname \"\(outerInterface)\""
        var rules: [String] = []
        switch profile.kind {
        case .udpBlocked:
            let key = "\(End.source.key) . \(End.destination.key)"
            rules = ["meta l4proto udp update @dropped { \(key) }", "meta l4proto udp drop"]
        case .firewall:
            rules = ["\(inbound) meta l4proto udp accept"]
        case .nat, .open:
            rules = ["\(inbound) ct state new ct status dnat accept"] + inboundRefresh(profile)
        }
        return chain("across", "filter hook forward priority filter", rules + ["\(inbound) ct state new drop"])
    }

    /// Where packets from outside keep a mapping alive, they do so here, already translated.
    private static func inboundRefresh(_ profile: NATProfile) -> [String] {
        guard profile.inboundRefreshes, remembers(profile) || filters(profile) else { return [] }
        let keys = Keys(mapping: profile.behavior.mapping, filtering: profile.behavior.filtering)
        let key = keys.assigned(inner: End.destination, remote: End.source)
        return ["reply", "original"].flatMap { direction in
            let outer = End.tracked(direction, "daddr").key
            let prefix = "iifname \"\(outerInterface)\" meta l4proto udp ct direction \(direction)"
            let assigned = remembers(profile) ? ["\(prefix) update @assigned { \(key) : \(outer) }"] : []
            return assigned + ["\(prefix) update @owners { \(outer) : \(End.destination.key) }"]
        }
    }

    // MARK: Outbound

    /// What marks connections from inside to inside; lower bits tell by which step a port was found.
    private static let turnedMark = 0x100

    /// A NAT's own chains.
    private static func translator(
        _ profile: NATProfile, _ addresses: [IPAddress], _ inside: [IPAddress]
    ) -> [String] {
        let external = "{ \(addresses.map(\.description).joined(separator: ", ")) }"
        let outbound = "oifname \"\(outerInterface)\""
        let hairpins = profile.hairpinning != .none
        let lookup = "dnat ip to \(End.destination.key) map @owners"
        var inward = ["iifname \"\(outerInterface)\" meta l4proto udp \(lookup)"]
        if !filters(profile) { inward = [] }
        if hairpins {
            let turning = "iifname \"\(innerInterface)\" ip daddr \(external) meta l4proto udp"
            inward.append("\(turning) ct mark set \(turnedMark) \(lookup)")
        }
        let turned = "oifname \"\(innerInterface)\" meta l4proto udp ct mark & \(turnedMark) == \(turnedMark)"
        var outward = ["\(outbound) meta l4proto udp goto translate"]
        if profile.hairpinning == .externalSource { outward.append("\(turned) goto translate") }
        outward.append("\(outbound) snat ip to \(addresses[0])")
        var learn = ["\(outbound) meta l4proto udp goto note"]
        if hairpins { learn.append("\(turned) goto turn") }
        return admit(profile)
            + (inward.isEmpty ? [] : chain("inward", "nat hook prerouting priority dstnat", inward))
            + allocation(profile, addresses, inside)
            + chain("translate", nil, translate(profile, addresses, inside))
            + chain("outward", "nat hook postrouting priority srcnat", outward)
            + chain("note", nil, notes(profile, addresses))
            + (hairpins ? chain("turn", nil, turns(profile)) : [])
            // After translation, so that both ends of it are at hand.
            + chain("learn", "filter hook postrouting priority 150", learn)
    }

    /// Finds the mapping, or makes one at one of the addresses.
    private static func translate(
        _ profile: NATProfile, _ addresses: [IPAddress], _ inside: [IPAddress]
    ) -> [String] {
        var rules: [String] = []
        if remembers(profile) {
            let keys = Keys(mapping: profile.behavior.mapping, filtering: profile.behavior.filtering)
            // The packet's own destination is another one already where it is hairpinned.
            let key = keys.assigned(inner: End.source, remote: End.tracked("original", "daddr"))
            rules.append("meta l4proto udp snat ip to \(key) map @assigned")
        }
        let fixed = shares(profile, addresses, inside)
        if !fixed.isEmpty {
            let targets = fixed.map { "\($0.inside) : goto \($0.chain)" }.joined(separator: ", ")
            rules.append("ip saddr vmap { \(targets) }")
        }
        guard addresses.count > 1, profile.pooling == .arbitrary, profile.portBlock == nil else {
            return rules + ["goto at0"]
        }
        let targets = addresses.indices.map { "\($0) : goto at\($0)" }.joined(separator: ", ")
        return rules + ["numgen random mod \(addresses.count) vmap { \(targets) }"]
    }

    /// Which hosts have an address, or a block of its ports, for themselves.
    private static func shares(
        _ profile: NATProfile, _ addresses: [IPAddress], _ inside: [IPAddress]
    ) -> [(inside: IPAddress, address: IPAddress, ports: ClosedRange<UInt16>, chain: String)] {
        let isPaired = addresses.count > 1 && profile.pooling == .paired
        guard isPaired || profile.portBlock != nil else { return [] }
        var blocks = Array(repeating: 0, count: addresses.count)
        return inside.compactMap { host in
            // Neighbours get different addresses, and a host the same each time.
            let index = Int(host.low % UInt64(addresses.count))
            guard let size = profile.portBlock else { return (host, addresses[index], profile.ports, "at\(index)") }
            let first = Int(profile.ports.lowerBound) + blocks[index] * size
            blocks[index] += 1
            // A host that no block is left for shares with all.
            guard first + size - 1 <= Int(profile.ports.upperBound) else { return nil }
            let ports = UInt16(first)...UInt16(first + size - 1)
            return (host, addresses[index], ports, "block\(index)_\(blocks[index] - 1)")
        }
    }

    /// One chain for each address, and each block of its ports, which chooses a port.
    private static func allocation(
        _ profile: NATProfile, _ addresses: [IPAddress], _ inside: [IPAddress]
    ) -> [String] {
        let common = addresses.indices.flatMap { index in
            chain("at\(index)", nil, choice(profile, addresses, index, profile.ports))
        }
        guard profile.portBlock != nil else { return common }
        return common
            + shares(profile, addresses, inside).flatMap { share in
                let index = addresses.firstIndex(of: share.address) ?? 0
                return chain(share.chain, nil, choice(profile, addresses, index, share.ports))
            }
    }

    private static func choice(
        _ profile: NATProfile, _ addresses: [IPAddress], _ index: Int, _ ports: ClosedRange<UInt16>
    ) -> [String] {
        let range = "\(ports.lowerBound)-\(ports.upperBound)"
        let target = "snat ip to \(addresses[index])"
        var any = ["meta l4proto udp \(target):\(range) fully-random"]
        if profile.preservesParity {
            // Which port is used nobody checks where one is named. Turning some bits over gives each port another, of
            // its parity, and none twice; only hosts that choose among few ports meet the table.
            any = tabled(profile, target, ports, counting: "random")
            if ports.contains(upperHalf.lowerBound), ports.contains(upperHalf.upperBound) {
                let usual = "udp sport \(upperHalf.lowerBound)-\(upperHalf.upperBound)"
                any.insert("\(usual) \(target):udp sport ^ \(turnedBits)", at: 0)
            }
        }
        switch profile.behavior.allocation {
        case .random: return any
        case .sequential: return tabled(profile, target, ports, counting: "inc")
        case .preserving where marksTaken(profile):
            var rules = ["udp sport \(range) udp sport != @taken\(index) \(target):\(range)"]
            if profile.portConflict == .otherAddress, profile.portBlock == nil {
                rules += addresses.indices.filter { $0 != index }.map {
                    "udp sport \(range) udp sport != @taken\($0) snat ip to \(addresses[$0]):\(range)"
                }
            }
            if stepsUp(profile) {
                let usual = "udp sport \(ladderPorts.lowerBound)-\(ladderPorts.upperBound)"
                rules += (1..<ladderSteps).map { step in
                    // Noted at once: where another connection has the port toward the same end, this packet is lost,
                    // and the next one takes the next step.
                    let rule = "\(usual) udp sport != @stepped\(step) update @stepped\(step) { udp sport }"
                    return "\(rule) ct mark set ct mark | \(step) \(target):udp sport map @step\(step)"
                }
            }
            return rules + any
        case .preserving where ports == NATProfile(name: "").ports && addresses.count == 1:
            return ["meta l4proto udp masquerade"]
        case .preserving: return ["meta l4proto udp \(target):\(range)"]
        }
    }

    /// Ports whose highest bit is set, where hosts choose theirs.
    private static let upperHalf: ClosedRange<UInt16> = 0x8000...0xFFFF
    /// Any number below that keeps the lowest bit.
    private static let turnedBits = 0x2D5A

    /// Ports from tables: one of all, or one of the even and one of the odd.
    private static func tabled(
        _ profile: NATProfile, _ target: String, _ ports: ClosedRange<UInt16>, counting: String
    ) -> [String] {
        func rule(_ match: String, _ ports: [UInt16]) -> String {
            let elements = ports.enumerated().map { "\($0) : \($1)" }.joined(separator: ", ")
            return "\(match) \(target):numgen \(counting) mod \(ports.count) map { \(elements) }"
        }
        func some(parity: UInt16?) -> [UInt16] {
            let fitting = ports.filter { parity == nil || $0 % 2 == parity }
            let count = min(fitting.count, sequenceLength)
            // At random from all over the range; in sequence with the profile's steps.
            let step = counting == "random" ? fitting.count / max(count, 1) : max(1, profile.portStep)
            return (0..<count).map { fitting[$0 * step % fitting.count] }
        }
        let (even, odd) = (some(parity: 0), some(parity: 1))
        guard profile.preservesParity, !even.isEmpty, !odd.isEmpty else {
            return [rule("meta l4proto udp", some(parity: nil))]
        }
        return [rule("udp sport & 1 == 0", even), rule("meta l4proto udp", odd)]
    }

    // MARK: What leaves is remembered

    /// After a packet was translated: opens the filter for answers, and remembers the mapping.
    private static func notes(_ profile: NATProfile, _ addresses: [IPAddress]) -> [String] {
        let keys = Keys(mapping: profile.behavior.mapping, filtering: profile.behavior.filtering)
        let udp = "meta l4proto udp"
        var rules = ["\(udp) update @sent { \(End.source.key) . \(End.destination.key) }"]
        if filters(profile) {
            // Here the destination is the other end as seen from outside, but for what is hairpinned, which opened it
            // before.
            let key = keys.open(own: End.source, remote: End.destination)
            rules.append("oifname \"\(outerInterface)\" \(udp) update @open { \(key) }")
        }
        if marksTaken(profile) {
            rules += addresses.enumerated().map { "\(udp) ip saddr \($1) update @taken\($0) { udp sport }" }
        }
        if stepsUp(profile) {
            rules += (1..<ladderSteps).map { step in
                "\(udp) ct direction original ct mark & \(turnedMark - 1) == \(step) update @stepped\(step) { ct original proto-src }"
            }
        }
        for direction in ["original", "reply"] {
            let inner = End.tracked(direction, "saddr")
            let prefix = "\(udp) ct direction \(direction)"
            if remembers(profile) {
                let key = keys.assigned(inner: inner, remote: End.tracked(direction, "daddr"))
                rules.append("\(prefix) update @assigned { \(key) : \(End.source.key) }")
            }
            rules.append("\(prefix) update @owners { \(End.source.key) : \(inner.key) }")
        }
        return rules
    }

    /// A packet from inside to inside: its sender's filter opens toward the receiver's external end, and the receiver's
    /// must be open toward the sender's (RFC 4787 §6: as if it came from outside).
    private static func turns(_ profile: NATProfile) -> [String] {
        let keys = Keys(mapping: profile.behavior.mapping, filtering: profile.behavior.filtering)
        let udp = "meta l4proto udp"
        let rules = ["original", "reply"].flatMap { direction in
            let remote = End.tracked(direction, "daddr")
            let sender = keys.open(own: End.source, remote: remote)
            let receiver = keys.open(own: remote, remote: End.source)
            let prefix = "\(udp) ct direction \(direction)"
            return [
                "\(prefix) update @open { \(sender) }",
                "\(prefix) \(receiver) != @open update @dropped { \(End.source.key) . \(remote.key) }",
                "\(prefix) \(receiver) != @open drop",
            ]
        }
        guard profile.hairpinning == .externalSource else {
            // The internal source is no external end: only the receiver's filter counts, which asks for no other.
            let receiver = End.tracked("original", "daddr").key
            return ["\(udp) ct direction original \(receiver) != @open drop"]
        }
        return rules + ["goto note"]
    }

    // MARK: Other kinds

    private static func firewallLearn(_ profile: NATProfile) -> [String] {
        let keys = Keys(mapping: profile.behavior.mapping, filtering: profile.behavior.filtering)
        let outbound = "oifname \"\(outerInterface)\" meta l4proto udp"
        return chain(
            "learn", "filter hook postrouting priority 150",
            [
                "\(outbound) update @sent { \(End.source.key) . \(End.destination.key) }",
                "\(outbound) update @open { \(keys.open(own: End.source, remote: End.destination)) }",
            ])
    }

    private static func blocked(_ addresses: [IPAddress]) -> [String] {
        chain(
            "outward", "nat hook postrouting priority srcnat",
            ["oifname \"\(outerInterface)\" snat ip to \(addresses[0])"])
    }
}
