// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@testable import NATLab

@Suite("Network plan")
struct NetworkPlanTests {
    private func node(_ plan: NetworkPlan, _ name: String) throws -> NetworkPlan.Node {
        try #require(plan.nodes.first { $0.name == name })
    }

    private func addresses(_ plan: NetworkPlan, _ name: String) throws -> [String] {
        try node(plan, name).addresses.map(\.description)
    }

    @Test("hosts have addresses where they are attached, and public ones where their packets come from")
    func addressing() throws {
        let plan = try NetworkPlan([
            .host("a", behind: [.portRestricted]), .host("b", behind: []), .host("c", behind: [.carrierArbitrary]),
        ])
        #expect(try addresses(plan, "server") == ["203.0.113.2", "203.0.113.3"])
        #expect(try addresses(plan, "a-nat1") == ["203.0.113.10"])
        #expect(try addresses(plan, "a") == ["10.0.2.2"])
        #expect(try node(plan, "a").publicAddresses.map(\.description) == ["203.0.113.10"])
        #expect(try node(plan, "a").gateway?.description == "10.0.2.1")
        #expect(try addresses(plan, "b") == ["203.0.113.11"])
        #expect(try addresses(plan, "c-nat1").count == 4)
        #expect(try node(plan, "c").publicAddresses.count == 4)
    }

    @Test(
        "a home router behind an operator's NAT has a shared address, and a profile may bring its operator's NAT along")
    func nesting() throws {
        let plan = try NetworkPlan([.host("a", behind: [.carrierPairedRange, .portRestricted])])
        #expect(plan.nodes.map(\.name) == ["public", "server", "a-nat1", "a-nat2", "a"])
        #expect(try addresses(plan, "a-nat2") == ["100.64.2.2"])
        let same = try NetworkPlan([.init(.behind(.doubleNAT, "nat", [.host("a")]))])
        #expect(same.nodes.map(\.name) == ["public", "server", "nat-1", "nat", "a"])
        #expect(try addresses(same, "nat") == ["100.64.2.2"])
        #expect(try node(same, "a").publicAddresses.count == 4)
    }

    @Test("a host behind a firewall keeps a public address, for which the firewall answers")
    func firewall() throws {
        let plan = try NetworkPlan([.host("a", behind: [.firewall])])
        #expect(try addresses(plan, "a-nat1") == ["203.0.113.10"])
        #expect(try addresses(plan, "a") == ["203.0.113.11"])
        let commands = plan.commands(for: 2) { "/ns/\($0)" }
        #expect(commands.contains("route add 203.0.113.11/32 dev lan\nneigh add proxy 203.0.113.11 dev wan\n"))
        #expect(plan.commands(for: 3) { "/ns/\($0)" }.contains("addr add 203.0.113.11/32 dev eth0"))
    }

    @Test("an open box is none")
    func open() throws {
        let plan = try NetworkPlan([.host("a", behind: [.open])])
        #expect(plan.nodes.map(\.name) == ["public", "server", "a"])
        #expect(try addresses(plan, "a") == ["203.0.113.10"])
    }

    @Test("neighbours are told to each other, and a link makes its own device")
    func neighbours() throws {
        let link = KernelNetwork.Link(up: LinkConditions(loss: .random(0.5)), down: LinkConditions())
        let plan = try NetworkPlan([.host("a", behind: [], link: link), .host("b", behind: [.firewall])])
        let told = "lladdr 02:00:00:00:00:03 dev eth0 nud permanent\n"
        #expect(plan.commands(for: 2) { "/ns/\($0)" }.contains("neigh replace 203.0.113.11 \(told)"))
        #expect(
            plan.commands(for: 2) { "/ns/\($0)" }.contains("neigh replace 203.0.113.12 \(told)"),
            "it answers for its host")
        #expect(
            plan.commands(for: 4) { "/ns/\($0)" }.contains("neigh replace 10.0.3.1 lladdr 02:00:00:00:01:03 dev eth0"))
        #expect(plan.commands(for: 0) { "/ns/\($0)" }.contains("link add name port3 type veth"))
        #expect(!plan.commands(for: 0) { "/ns/\($0)" }.contains("link add name port2"))
    }

    @Test("names are used once, and segments are not overfull")
    func refusals() throws {
        #expect(throws: KernelNetwork.Failure.self) {
            try NetworkPlan([.host("a", behind: []), .host("a", behind: [])])
        }
        #expect(throws: KernelNetwork.Failure.self) { try NetworkPlan([.host("server", behind: [])]) }
        let many = (0..<250).map { KernelNetwork.Site.host("h\($0)", behind: []) }
        #expect(throws: KernelNetwork.Failure.self) { try NetworkPlan(many) }
    }

    @Test("listings of nft are read back as flows, and what is no flow is passed over")
    func listing() throws {
        let text = """
            {"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": {"name": "flows", "elem": [
            {"elem": {"val": {"concat": ["udp", "203.0.113.2", 3478, "203.0.113.10", 40000]}, "counter": {"packets": 2, "bytes": 58}}},
            {"elem": {"val": {"concat": ["icmp", "203.0.113.2", 0, "203.0.113.10", 0]}, "counter": {"packets": 1, "bytes": 9}}},
            {"elem": {"val": {"concat": ["tcp", "2001:db8::1", 1, "x", 99999]}}}, 7, null]}}]}
            """.split(separator: "\n").joined()
        let other = #"{"nftables": [{"set": {"name": "flows6"}}]}"#
        let flow = KernelFlow(
            .udp, from: SocketAddress("203.0.113.2:3478") ?? .unspecified,
            to: SocketAddress("203.0.113.10:40000") ?? .unspecified, packets: 2, bytes: 58)
        #expect(try NFTListing.flows(text + "\n" + other + "\n") == [flow])
        let map =
            #"{"nftables": [{"map": {"elem": [[{"elem": {"val": {"concat": ["203.0.113.10", 1]}, "expires": 9}}, {"concat": ["10.0.2.2", 2]}]]}}]}"#
        let elements = try NFTListing.elements(map)
        #expect(elements.count == 1 && elements[0].key == ["203.0.113.10", 1] && elements[0].value == ["10.0.2.2", 2])
    }
}
