// SPDX-License-Identifier: Apache-2.0
import Glibc
import NetIO
public import Wire

/// A network of the kernel's own namespaces: hosts, the NATs and firewalls that profiles describe, and between them a
/// public segment with a server that has two addresses.
///
/// Addresses are those of documentation (203.0.113.0/24 outside), and nothing of it reaches the network of the machine.
/// Nothing outlives this process either, however it ends: namespaces and devices have no names that could be left
/// behind, and what runs in them is ended.
///
///     let network = try KernelNetwork([.init(.behind(profile, "home", [.host("a")])), .init(.host("b"))])
///     let program = try network.run("dreamer", ["nat", "probe"], at: network.host("a"))
public final class KernelNetwork: Sendable {
    /// Something on a segment.
    public indirect enum Place: Hashable, Sendable {
        /// A host, and how it is called.
        case host(String)
        /// A NAT or firewall, how it is called, and what is on the segment behind it. An open one is as good as none.
        case behind(NATProfile, String, [Place])
    }

    /// What becomes of packets on their way between a place and the public segment, and back.
    public struct Link: Hashable, Sendable {
        /// From the place.
        public var up: LinkConditions
        /// To the place.
        public var down: LinkConditions
        /// What chance is made from.
        public var seed: UInt64

        /// A link from its parts.
        public init(up: LinkConditions, down: LinkConditions, seed: UInt64 = 1) {
            self.up = up
            self.down = down
            self.seed = seed
        }
    }

    /// A place on the public segment.
    public struct Site: Hashable, Sendable {
        /// What is there.
        public var place: Place
        /// What it is attached by; `nil` for a cable of the kernel's, which adds nothing and loses nothing.
        public var link: Link?

        /// A site from its parts.
        public init(_ place: Place, link: Link? = nil) {
            self.place = place
            self.link = link
        }

        /// A host behind these boxes, the outermost first. They are called after it: `a-nat1`, `a-nat2`.
        public static func host(_ name: String, behind profiles: [NATProfile], link: Link? = nil) -> Site {
            var place = Place.host(name)
            for (index, profile) in profiles.enumerated().reversed() {
                place = .behind(profile, "\(name)-nat\(index + 1)", [place])
            }
            return Site(place, link: link)
        }
    }

    /// A namespace where programs run.
    public struct Host: Sendable {
        /// How it is called.
        public let name: String
        /// Where sockets and programs of it belong.
        public let namespace: NetworkNamespace
        /// The addresses of its own interface.
        public let addresses: [IPAddress]
        /// Those that its packets may come from, seen from the public segment; its own where nothing translates.
        public let publicAddresses: [IPAddress]
    }

    /// What went wrong, in words.
    public struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
        /// What went wrong.
        public let description: String

        init(_ description: String) { self.description = description }
    }

    /// The name of the host with two public addresses that every network has.
    public static let serverName = "server"

    /// How long interfaces may take to come up; they take milliseconds.
    private static let settlingLimit = Duration.seconds(10)

    /// Everything that programs run on, by name.
    public let hosts: [String: Host]
    /// The host with two public addresses, for a server that tells NATs' behaviour (RFC 5780) or relays.
    public let server: Host
    let plan: NetworkPlan
    let namespaces: [NetworkNamespace]
    let links: [KernelLink]
    private let programs: NamespacePrograms

    /// Makes a network of these sites. With IPv6, the server and hosts without a box before them have addresses of both
    /// kinds; those behind one never do, so that it decides which way they find. `coreHops` routers lie between any two
    /// on the public segment: what a packet with a low TTL does not reach.
    ///
    /// Throws ``KernelLabError`` or ``Failure`` where the machine does not let us (``obstacle``), and
    /// ``NFTRules/Unsupported`` where the kernel cannot follow a profile.
    public init(_ sites: [Site], hasIPv6: Bool = false, coreHops: Int = 6) throws {
        guard (0...200).contains(coreHops) else { throw Failure("the public segment has 0 to 200 routers") }
        let plan = try NetworkPlan(sites, hasIPv6: hasIPv6, coreHops: coreHops)
        let rules = try plan.nodes.indices.map { try plan.rules(for: $0) }
        self.plan = plan
        namespaces = try plan.nodes.map { _ in try NetworkNamespace() }
        for (index, namespace) in namespaces.enumerated() {
            // Kernels without IPv6 or bridge filters lack what would turn them off; the rest shows when it is used.
            try namespace.enter {
                for parameter in plan.parameters(for: index) {
                    try? TUNDevice.write(parameter.value, to: parameter.path)
                }
            }
        }
        links = try KernelNetwork.links(plan, namespaces)
        for (index, namespace) in namespaces.enumerated() {
            // A box's sets are there before anything can pass through it.
            if !rules[index].isEmpty { try KernelProgram.run("nft", ["-f", "-"], input: rules[index], in: namespace) }
            let paths = namespaces.map(\.path)
            try KernelProgram.run(
                "ip", ["-batch", "-"], input: plan.commands(for: index) { paths[$0] }, in: namespace)
        }
        for (index, namespace) in namespaces.enumerated() {
            try namespace.waitForInterfaces(plan.interfaces(of: index), within: Self.settlingLimit)
        }
        var hosts: [String: Host] = [:]
        for (node, namespace) in zip(plan.nodes, namespaces) {
            switch node.role {
            case .host, .server:
                hosts[node.name] = Host(
                    name: node.name, namespace: namespace, addresses: node.addresses + node.addressV6,
                    publicAddresses: node.publicAddresses + node.addressV6)
            case .box, .publicNetwork: break
            }
        }
        guard let server = hosts[Self.serverName] else { throw Failure("the network has no server") }
        self.server = server
        self.hosts = hosts
        programs = try NamespacePrograms(namespaces)
    }

    deinit { programs.end() }

    private static func links(_ plan: NetworkPlan, _ namespaces: [NetworkNamespace]) throws -> [KernelLink] {
        var links: [KernelLink] = []
        for (index, node) in plan.nodes.enumerated() {
            guard let link = node.link, let parent = node.parent else { continue }
            let outer = (name: NetworkPlan.port(of: index), namespace: namespaces[parent])
            let inner = (name: plan.outerInterface(of: index), namespace: namespaces[index])
            links.append(try KernelLink(inner: inner, outer: outer, link))
        }
        return links
    }

    /// The host of that name.
    public func host(_ name: String) throws -> Host {
        guard let host = hosts[name] else { throw Failure("no host is called \(name)") }
        return host
    }

    /// Starts a program on a host, with its standard input and output on pipes.
    ///
    /// It ends with what is answered. A change to `environment` is beside what this process has.
    public func run(
        _ program: String, _ arguments: [String] = [], environment: [String: String] = [:],
        standardError: KernelProgram.StandardError = .inherited, at host: Host
    ) throws -> KernelProgram {
        try KernelProgram(
            program, arguments, environment: environment, standardError: standardError, in: host.namespace)
    }

    /// Why no network can be made here, `nil` where one can: rights, tools or parts of the kernel are missing.
    public static var obstacle: String? {
        for tool in ["ip", "nft"] where ProgramStart.path(of: tool) == nil {
            return "the program \(tool) is missing (packages iproute2 and nftables)"
        }
        do {
            let profile = NATProfile(name: "trial")
            _ = try KernelNetwork([.host("trial", behind: [profile])])
            return nil
        } catch {
            return "\(error)"
        }
    }
}
