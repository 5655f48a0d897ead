// SPDX-License-Identifier: Apache-2.0
import Wire

//   server ─┐
//   sink ───┤ public segment 203.0.113.0/24 ├─ NAT ─┤ 10.1.0.0/24 ├─ host
//   host ───┘                               └─ NAT ─┤ 100.64.2.0/24 ├─ NAT ─┤ 10.3.0.0/24 ├─ host

/// Which namespaces a network is made of, and what is set in each: everything that can be said before anything is made.
struct NetworkPlan {
    /// What a namespace is there for.
    enum Role {
        /// It holds the public segment, and swallows what is for nobody.
        case publicNetwork
        case server
        case host
        case box(NATProfile)
    }

    /// One namespace.
    struct Node {
        let name: String
        let role: Role
        /// The index of the node whose segment it is attached to; `nil` for the public network's own.
        let parent: Int?
        /// The node of the public segment that it is behind, or is.
        let site: Int
        /// Its addresses on the outer interface.
        var addresses: [IPAddress] = []
        var addressV6: [IPAddress] = []
        /// Behind how many boxes a host's packets get which addresses: those of the outermost one that translates.
        var publicAddresses: [IPAddress] = []
        /// Where packets go that are for elsewhere.
        var gateway: IPAddress?
        var gatewayV6: IPAddress?
        /// Whether its addresses belong to a segment further out, for a firewall is between that translates nothing.
        var isRouted = false
        /// Its own address on the segment behind it.
        var segmentAddress: IPAddress?
        /// What becomes of packets on their way from it and to it.
        var link: KernelNetwork.Link?

        var isBox: Bool { if case .box = role { true } else { false } }
    }

    private(set) var nodes: [Node] = []
    /// Addresses of hosts behind a firewall, which it answers for on the segment outside.
    private(set) var routed: [(box: Int, address: IPAddress)] = []
    let hasIPv6: Bool
    /// How many routers the public segment stands for.
    let coreHops: Int
    private var nextPublic: UInt32 = 10
    private var nextInner: [Int: UInt32] = [:]

    /// 203.0.113.0, documentation addresses (RFC 5737), and 2001:db8:1::, others (RFC 3849).
    static let publicPrefix: UInt32 = 0xCB00_7100
    private static let publicPrefixV6: UInt64 = 0x2001_0DB8_0001_0000
    static let publicNode = 0
    /// What the public segment is called.
    static let publicName = "public"
    static let serverNode = 1

    /// Plans a network for these sites. Throws where names are used twice, a profile cannot be followed, or there is no
    /// room.
    init(_ sites: [KernelNetwork.Site], hasIPv6: Bool = false, coreHops: Int = 0) throws {
        self.hasIPv6 = hasIPv6
        self.coreHops = coreHops
        var own = Node(name: Self.publicName, role: .publicNetwork, parent: nil, site: Self.publicNode)
        own.segmentAddress = Self.publicAddress(1)
        var server = Node(name: KernelNetwork.serverName, role: .server, parent: Self.publicNode, site: Self.serverNode)
        server.addresses = [Self.publicAddress(2), Self.publicAddress(3)]
        server.publicAddresses = server.addresses
        server.gateway = own.segmentAddress
        if hasIPv6 {
            server.addressV6 = [Self.publicAddressV6(2), Self.publicAddressV6(3)]
            server.gatewayV6 = Self.publicAddressV6(1)
        }
        nodes = [own, server]
        for site in sites { try add(site.place, to: Self.publicNode, link: site.link, site: nil, translated: []) }
        var names: Set<String> = []
        for node in nodes where !names.insert(node.name).inserted {
            throw KernelNetwork.Failure("two places of the network are called \(node.name)")
        }
    }

    private static func publicAddress(_ number: UInt32) -> IPAddress { .v4(publicPrefix + number) }
    private static func publicAddressV6(_ number: UInt32) -> IPAddress {
        .v6(high: publicPrefixV6, low: UInt64(number))
    }

    private mutating func add(
        _ place: KernelNetwork.Place, to parent: Int, link: KernelNetwork.Link?, site: Int?, translated: [IPAddress]
    ) throws {
        switch place {
        case .host(let name):
            var node = Node(name: name, role: .host, parent: parent, site: site ?? nodes.count)
            try attach(&node, count: 1)
            node.publicAddresses = translated.isEmpty ? node.addresses : translated
            node.link = link
            if hasIPv6, parent == Self.publicNode, let number = node.addresses.first?.v4Bits {
                node.addressV6 = [Self.publicAddressV6(number - Self.publicPrefix)]
                node.gatewayV6 = Self.publicAddressV6(1)
            }
            nodes.append(node)
        case .behind(let profile, _, let places) where profile.kind == .open:
            for place in places { try add(place, to: parent, link: link, site: site, translated: translated) }
        case .behind(var profile, let name, let places) where !profile.outer.isEmpty:
            // The outermost is the first to be met.
            let outer = profile.outer
            profile.outer = []
            var place = KernelNetwork.Place.behind(profile, name, places)
            for (index, var box) in outer.enumerated() {
                box.outer = []
                place = .behind(box, "\(name)-\(outer.count - index)", [place])
            }
            try add(place, to: parent, link: link, site: site, translated: translated)
        case .behind(let profile, let name, let places):
            var node = Node(name: name, role: .box(profile), parent: parent, site: site ?? nodes.count)
            try attach(&node, count: NFTRules.addressCount(of: profile))
            node.publicAddresses = translated.isEmpty ? node.addresses : translated
            node.link = link
            let index = nodes.count
            guard index < 256 else { throw KernelNetwork.Failure("a network has at most 256 namespaces") }
            // Shared address space where carriers translate (RFC 6598), private addresses at home (RFC 1918).
            let base: UInt32 = places.contains { $0.isTranslated } ? 0x6440_0000 : 0x0A00_0000
            node.segmentAddress = .v4(base + UInt32(index) << 8 + 1)
            nodes.append(node)
            for place in places {
                let seen = profile.kind == .firewall ? translated : node.publicAddresses
                try add(place, to: index, link: nil, site: node.site, translated: seen)
            }
        }
    }

    /// Takes addresses of the segment outside, or of the one beyond where a firewall is between.
    private mutating func attach(_ node: inout Node, count: Int) throws {
        guard var owner = node.parent else { return }
        node.gateway = nodes[owner].segmentAddress
        var firewalls: [Int] = []
        while case .box(let profile) = nodes[owner].role, profile.kind == .firewall, let next = nodes[owner].parent {
            firewalls.append(owner)
            owner = next
        }
        node.isRouted = !firewalls.isEmpty
        let taken = owner == Self.publicNode ? nextPublic : nextInner[owner, default: 2]
        guard Int(taken) + count <= 255, let base = nodes[owner].segmentAddress?.v4Bits else {
            throw KernelNetwork.Failure("a segment has room for some 250 addresses")
        }
        node.addresses = (0..<UInt32(count)).map { .v4(base & 0xFFFF_FF00 + taken + $0) }
        if owner == Self.publicNode {
            nextPublic = taken + UInt32(count)
        } else {
            nextInner[owner] = taken + UInt32(count)
        }
        for firewall in firewalls { routed += node.addresses.map { (firewall, $0) } }
    }
}

// MARK: - What is set in a namespace

extension NetworkPlan {
    /// The hardware address of a node's outer interface, or of the bridge of its segment: locally administered.
    private static func hardware(_ node: Int, bridge: Bool) -> String {
        let digits = String(node, radix: 16)
        return "02:00:00:00:0\(bridge ? 1 : 0):" + (digits.count == 1 ? "0" : "") + digits
    }

    /// What a node's outer interface is called: a host's is `eth0`.
    func outerInterface(of node: Int) -> String { nodes[node].isBox ? NFTRules.outerInterface : "eth0" }

    /// What the interface of a segment is called in its node.
    static func port(of node: Int) -> String { "port\(node)" }

    /// The interfaces by which a node is attached, and others to it; those of links excepted, which are up at once.
    func interfaces(of node: Int) -> [String] {
        let ports = children(of: node).filter { nodes[$0].link == nil }.map { Self.port(of: $0) }
        let own = nodes[node].parent != nil && nodes[node].link == nil ? [outerInterface(of: node)] : []
        return ports + (children(of: node).isEmpty ? [] : [NFTRules.innerInterface]) + own
    }

    /// The nodes attached to the segment of another.
    func children(of node: Int) -> [Int] { nodes.indices.filter { nodes[$0].parent == node } }

    /// What `ip -batch` is to do in a node's namespace. `namespace` answers a path of another node's. Interfaces toward
    /// nodes with a link of their own exist already, and so does theirs.
    func commands(for node: Int, namespace: (Int) -> String) -> String {
        var lines: [String] = []
        let own = nodes[node]
        if own.parent != nil { lines += outerCommands(for: node) }
        if let address = own.segmentAddress {
            let bridge = NFTRules.innerInterface
            lines.append("link add name \(bridge) address \(Self.hardware(node, bridge: true)) type bridge")
            lines.append("addr add \(address)/24 dev \(bridge)")
            if hasIPv6, node == Self.publicNode {
                lines.append("addr add \(Self.publicAddressV6(1))/64 dev \(bridge) nodad")
            }
            lines.append("link set dev \(bridge) up")
            for child in children(of: node) {
                let port = Self.port(of: child)
                if nodes[child].link == nil {
                    let peer = "name \(outerInterface(of: child)) address \(Self.hardware(child, bridge: false))"
                    lines.append("link add name \(port) type veth peer \(peer) netns \(namespace(child))")
                }
                lines.append("link set dev \(port) master \(bridge) up")
            }
        }
        for (box, address) in routed where box == node {
            lines.append("route add \(address)/32 dev \(NFTRules.innerInterface)")
            lines.append("neigh add proxy \(address) dev \(NFTRules.outerInterface)")
        }
        lines += neighbours(of: node)
        return lines.map { $0 + "\n" }.joined()
    }

    private func outerCommands(for node: Int) -> [String] {
        let own = nodes[node]
        let interface = outerInterface(of: node)
        var lines: [String] = []
        if own.link != nil { lines.append("link set dev \(interface) address \(Self.hardware(node, bridge: false))") }
        lines += own.addresses.map { "addr add \($0)/\(own.isRouted ? 32 : 24) dev \(interface)" }
        lines += own.addressV6.map { "addr add \($0)/64 dev \(interface) nodad" }
        lines.append("link set dev \(interface) up")
        if let gateway = own.gateway { lines.append("route add default via \(gateway) dev \(interface) onlink") }
        if let gateway = own.gatewayV6 { lines.append("route add default via \(gateway) dev \(interface)") }
        return lines
    }

    /// Nobody on a segment has to ask for anybody's hardware address: a lost question is asked again a second later,
    /// which is not what is measured, and the kernel has room for a thousand answers in all namespaces together
    /// (net.ipv4.neigh.default.gc_thresh3), but for any number that were given.
    private func neighbours(of node: Int) -> [String] {
        var lines: [String] = []
        func note(_ member: Int, bridge: Bool, on interface: String) {
            var addresses = bridge ? [nodes[member].segmentAddress].compactMap { $0 } : nodes[member].addresses
            if usesIPv6(node) {
                addresses +=
                    bridge ? (member == Self.publicNode ? [Self.publicAddressV6(1)] : []) : nodes[member].addressV6
            }
            if !bridge { addresses += routed.filter { $0.box == member }.map(\.address) }
            let target = Self.hardware(member, bridge: bridge)
            lines += addresses.map { "neigh replace \($0) lladdr \(target) dev \(interface) nud permanent" }
        }
        if let parent = nodes[node].parent {
            note(parent, bridge: true, on: outerInterface(of: node))
            for other in children(of: parent) where other != node {
                note(other, bridge: false, on: outerInterface(of: node))
            }
        }
        for child in children(of: node) { note(child, bridge: false, on: NFTRules.innerInterface) }
        return lines
    }

    private func usesIPv6(_ node: Int) -> Bool {
        hasIPv6 && (node == Self.publicNode || !nodes[node].addressV6.isEmpty)
    }

    /// Kernel parameters of a node's namespace, set before anything else; those that a kernel lacks are left out.
    func parameters(for node: Int) -> [(path: String, value: String)] {
        let off = usesIPv6(node) ? "0" : "1"
        var result = [
            ("net/ipv6/conf/all/disable_ipv6", off),
            ("net/ipv6/conf/default/disable_ipv6", off),
            ("net/ipv6/conf/default/router_solicitations", "0"),
            ("net/ipv4/conf/all/rp_filter", "0"), ("net/ipv4/conf/default/rp_filter", "0"),
            ("net/ipv4/conf/all/send_redirects", "0"), ("net/ipv4/conf/default/send_redirects", "0"),
            // What crosses a segment is not to be translated on the way.
            ("net/bridge/bridge-nf-call-iptables", "0"), ("net/bridge/bridge-nf-call-ip6tables", "0"),
        ]
        if case .box(let profile) = nodes[node].role {
            let seconds = max(1, Int(profile.mappingLifetime.seconds.rounded(.up)))
            result += [
                ("net/ipv4/ip_forward", "1"),
                ("net/netfilter/nf_conntrack_udp_timeout", "\(seconds)"),
                ("net/netfilter/nf_conntrack_udp_timeout_stream", "\(seconds)"),
                // Refusals are not to be rationed, nor answers for others delayed.
                ("net/ipv4/icmp_ratelimit", "0"), ("net/ipv4/neigh/default/proxy_delay", "0"),
            ]
        }
        if behindLadder(node) {
            let ports = NFTRules.ladderPorts
            result.append(("net/ipv4/ip_local_port_range", "\(ports.lowerBound) \(ports.upperBound)"))
        }
        return result.map { (path: "/proc/sys/" + $0.0, value: $0.1) }
    }

    /// Whether a box before the node gives away the ports after a taken one, of which it knows only some.
    private func behindLadder(_ node: Int) -> Bool {
        var next = nodes[node].parent
        while let index = next {
            if case .box(let profile) = nodes[index].role, NFTRules.stepsUp(profile) { return true }
            next = nodes[index].parent
        }
        return false
    }

    /// What `nft` is to load in a node's namespace; empty for nothing.
    func rules(for node: Int) throws -> String {
        var text = ""
        if nodes[node].segmentAddress != nil {
            text = SegmentCounters.rules(hops: node == Self.publicNode ? coreHops : 0)
        }
        if case .box(let profile) = nodes[node].role {
            let inside = children(of: node).flatMap { nodes[$0].addresses }
            text += try NFTRules(profile, addresses: nodes[node].addresses, inside: inside).text
        }
        return text
    }
}

extension KernelNetwork.Place {
    /// Whether something here translates.
    fileprivate var isTranslated: Bool {
        switch self {
        case .host: false
        case .behind(let profile, _, let places):
            profile.kind == .nat || profile.kind == .udpBlocked || places.contains { $0.isTranslated }
        }
    }
}
