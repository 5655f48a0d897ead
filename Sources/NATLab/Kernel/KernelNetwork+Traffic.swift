// SPDX-License-Identifier: Apache-2.0
public import Wire

/// What happened on the wire, told by the kernel's counters and not by the programs at its ends.
extension KernelNetwork {
    /// Which way bytes of UDP and TCP took between two hosts.
    public struct Paths: Hashable, Sendable {
        /// Bytes that crossed the public segment between their sites without the server.
        public var direct = 0
        /// Bytes that crossed it between either's site and the server, those of other business with it included.
        public var throughServer = 0
        /// Bytes that stayed on a segment which both are behind.
        public var inside = 0

        /// Nothing was seen.
        public init() {}
    }

    /// A mapping of a NAT that was used.
    public struct Mapping: Hashable, Sendable {
        /// The end behind it; `nil` where the mapping is over.
        public let inner: SocketAddress?
        /// What others see.
        public let outer: SocketAddress
        /// Whom packets went to.
        public let remote: SocketAddress
        /// How many packets left.
        public let packets: Int
    }

    /// What a NAT or firewall did.
    public struct BoxReport: Hashable, Sendable {
        /// Every translation that packets left by, in the order of their ends.
        public var mappings: [Mapping] = []
        /// What it did not let in (or out, where UDP is blocked).
        public var dropped: [KernelFlow] = []

        /// It did nothing.
        public init() {}
    }

    /// What crossed the public segment since the network was made, or since ``resetTraffic()``, in the order of its
    /// ends.
    public func publicTraffic() throws -> [KernelFlow] { try traffic(of: NetworkPlan.publicNode) }

    /// What crossed the segment behind a NAT or firewall.
    public func traffic(behind box: String) throws -> [KernelFlow] { try traffic(of: index(ofBox: box)) }

    private func traffic(of node: Int) throws -> [KernelFlow] {
        let text = try KernelProgram.run("nft", ["-j", "-f", "-"], input: SegmentCounters.list, in: namespaces[node])
        return try NFTListing.flows(text).sorted { "\($0)" < "\($1)" }
    }

    /// Forgets what crossed segments and what boxes counted; mappings and permissions stay. With names, on the public
    /// segment and at these boxes alone.
    public func resetTraffic(boxes names: [String]? = nil) throws {
        for (index, node) in plan.nodes.enumerated() where node.segmentAddress != nil {
            if let names, index != NetworkPlan.publicNode, !names.contains(node.name) { continue }
            let own = node.isBox ? ["dropped", "sent"].map { "flush set \(NFTRules.table) \($0)\n" }.joined() : ""
            try KernelProgram.run("nft", ["-f", "-"], input: SegmentCounters.flush + own, in: namespaces[index])
        }
    }

    /// Which way bytes took between two hosts, by the ends that were seen on the wire.
    public func paths(between first: Host, and second: Host) throws -> Paths {
        var paths = Paths()
        let (a, b) = (Set(first.publicAddresses), Set(second.publicAddresses))
        let relays = Set(server.addresses)
        for flow in try publicTraffic() {
            let ends: Set = [flow.source.ip, flow.destination.ip]
            if !ends.isDisjoint(with: relays) {
                if !ends.isDisjoint(with: a.union(b)) { paths.throughServer += flow.bytes }
            } else if a.contains(flow.source.ip) && b.contains(flow.destination.ip)
                || b.contains(flow.source.ip) && a.contains(flow.destination.ip)
            {
                paths.direct += flow.bytes
            }
        }
        for box in commonBoxes(first, second) {
            let own = plan.nodes[box]
            let local = Set(plan.children(of: box).flatMap { plan.nodes[$0].addresses } + own.addresses)
            for flow in try traffic(of: box) where local.isSuperset(of: [flow.source.ip, flow.destination.ip]) {
                paths.inside += flow.bytes
            }
        }
        return paths
    }

    /// Writes packets to a file as libpcap does, until what is answered gets SIGINT: those on the public segment,
    /// behind a NAT or firewall (by its name), or at a host's interface. Runs tcpdump.
    public func capture(at place: String = "public", to path: String) throws -> KernelProgram {
        guard let index = plan.nodes.firstIndex(where: { $0.name == place }) else {
            throw Failure("nothing is called \(place)")
        }
        let hasSegment = plan.nodes[index].segmentAddress != nil
        let interface = hasSegment ? NFTRules.innerInterface : plan.outerInterface(of: index)
        // Without -Z it would give up the right to write where we do.
        let program = try KernelProgram(
            "tcpdump", ["-i", interface, "-U", "--immediate-mode", "-Z", "root", "-w", path], standardError: .merged,
            in: namespaces[index])
        while let line = try program.line(within: .seconds(10)) {
            if line.contains("listening on") { return program }
        }
        throw Failure("tcpdump ended: \(try program.finish().output)")
    }

    /// The names of the boxes that a host is behind, outer ones first.
    public func boxes(before host: Host) -> [String] {
        boxIndices(host.name).sorted().map { plan.nodes[$0].name }
    }

    /// The boxes that both hosts are behind.
    private func commonBoxes(_ first: Host, _ second: Host) -> [Int] {
        boxIndices(first.name).intersection(boxIndices(second.name)).sorted()
    }

    private func boxIndices(_ name: String) -> Set<Int> {
        var result: Set<Int> = []
        var next = plan.nodes.firstIndex { $0.name == name }.flatMap { plan.nodes[$0].parent }
        while let index = next {
            if plan.nodes[index].isBox { result.insert(index) }
            next = plan.nodes[index].parent
        }
        return result
    }

    private func index(ofBox name: String) throws -> Int {
        guard let index = plan.nodes.firstIndex(where: { $0.name == name && $0.isBox }) else {
            throw Failure("no NAT or firewall is called \(name)")
        }
        return index
    }

    /// The names of all NATs and firewalls, outer ones first.
    public var boxes: [String] { plan.nodes.filter(\.isBox).map(\.name) }

    /// What a NAT or firewall did since the network was made, or since ``resetTraffic()``.
    public func report(ofBox name: String) throws -> BoxReport {
        let index = try index(ofBox: name)
        func list(_ kind: String, _ set: String) throws -> String {
            try KernelProgram.run(
                "nft", ["-j", "-f", "-"], input: "list \(kind) \(NFTRules.table) \(set)\n", in: namespaces[index])
        }
        var report = BoxReport()
        report.dropped = try NFTListing.flows(list("set", "dropped")).sorted { "\($0)" < "\($1)" }
        var owners: [SocketAddress: SocketAddress] = [:]
        if case .box(let profile) = plan.nodes[index].role, profile.kind == .nat {
            for (key, value, _) in try NFTListing.elements(list("map", "owners"))
            where key.count == 2 && value.count == 2 {
                guard let outer = NFTListing.address(key[0], key[1]) else { continue }
                owners[outer] = NFTListing.address(value[0], value[1])
            }
        }
        report.mappings = try NFTListing.flows(list("set", "sent")).map { flow in
            Mapping(
                inner: owners[flow.source], outer: flow.source, remote: flow.destination, packets: flow.packets)
        }.sorted { ("\($0.outer)", "\($0.remote)") < ("\($1.outer)", "\($1.remote)") }
        return report
    }

    /// Forgets every mapping and permission of a box, as one does that was switched off and on: what its hosts send
    /// next gets new external ports where they are not preserved.
    public func rebind(box name: String) throws {
        let index = try index(ofBox: name)
        // Rules are loaded anew, and with no entries left connection tracking has nothing to go on with.
        let rules = try plan.rules(for: index)
        try KernelProgram.run("nft", ["-f", "-"], input: "flush ruleset\n" + rules, in: namespaces[index])
        try namespaces[index].enter { try ConnectionTracking.forgetAll() }
    }

    /// Changes what becomes of packets between a site and the public segment, from now on; the site must have a link.
    public func setConditions(ofLink name: String, up: LinkConditions, down: LinkConditions) throws {
        let linked = plan.nodes.indices.filter { plan.nodes[$0].link != nil }
        guard let index = linked.firstIndex(where: { plan.nodes[$0].name == name }) else {
            throw Failure("\(name) is not attached by a link")
        }
        links[index].setConditions(up: up, down: down)
    }
}
