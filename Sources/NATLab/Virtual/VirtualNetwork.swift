// SPDX-License-Identifier: Apache-2.0
public import Wire

//   host ── up ──▶ ┌─────────┐                       ┌──────────┐ ◀── up ── server
//        ◀─ down ─ │ segment │ ── NAT ── up ───────▶ │ internet │ ── down ─▶
//   host ── up ──▶ │ behind  │         ◀─ down ───── │          │
//        ◀─ down ─ └─────────┘                       └──────────┘
//                       ▲ hosts, and NATs with segments of their own, to any depth
//
// A packet passes everything that takes no time in one go; only what waits on a link stands in the queue of events.

/// Hosts, NATs and links on virtual time: datagrams go in with the time, and come out where and when they would arrive.
///
/// It is a value without I/O, clock or randomness of its own. The same seed and calls give the same packets, and every
/// element has a stream of randomness of its own, from the seed and its name: one element more changes nothing for
/// others. The caller owns the time: it drains ``nextArrival(until:)`` up to a time before it sends at that time.
///
///     var network = VirtualNetwork(seed: 1)
///     let server = network.addHost("server")
///     let home = network.addNAT(.portRestricted, name: "router")
///     let host = network.addHost("laptop", on: home, link: AccessLink(LinkConditions(delay: .milliseconds(10))))
///     network.send(datagram, from: host, now: now)
///     while let arrival = network.nextArrival(until: deadline) { … }
public struct VirtualNetwork: Sendable {
    /// A host.
    public struct HostID: Hashable, Sendable {
        /// Its number, counted from 0 in the order in which hosts were added.
        public let index: Int
    }

    /// A NAT or a firewall.
    public struct NATID: Hashable, Sendable {
        /// Its number, counted from 0 in the order in which boxes were added.
        public let index: Int
    }

    /// What has a link.
    public enum Element: Hashable, Sendable {
        /// A host.
        case host(HostID)
        /// A NAT or a firewall.
        case nat(NATID)
    }

    /// Where hosts and boxes are attached.
    public enum Segment: Hashable, Sendable {
        /// The public network.
        case internet
        /// The inner side of a box.
        case behind(NATID)
    }

    /// What came out at a host.
    public struct Arrival: Hashable, Sendable {
        /// When.
        public let time: Timestamp
        /// Where.
        public let host: HostID
        /// What.
        public let event: Event
    }

    /// What can come out at a host.
    public enum Event: Hashable, Sendable {
        /// A datagram, with the addresses that it has at this host.
        case datagram(Datagram)
        /// An ICMP error about a datagram that the host sent: port unreachable.
        case unreachable(source: SocketAddress, destination: SocketAddress)
        /// Something about a stream.
        case stream(StreamID, StreamEvent)
    }

    struct Host: Sendable {
        let name: String
        let segment: Int
        var addresses: [IPAddress]
        let up: Int
        let down: Int
        /// Ports on which streams are taken.
        var listeners: Set<UInt16> = []
    }

    struct Box: Sendable {
        let name: String
        var nat: VirtualNAT
        let segment: Int
        /// The segment behind it.
        let inside: Int
        let up: Int
        let down: Int
        /// Parts of streams' external ports.
        var nextStreamPort: UInt16 = 32_768
    }

    /// Where a packet is on its way.
    enum Step: Hashable, Sendable {
        case link(Int)
        case segment(Int, isInbound: Bool)
        case inside(Int)
        case outside(Int)
        case host(Int)
    }

    /// One direction of a link. It carries numbers that name packets.
    struct Lane: Sendable {
        var link: EmulatedLink<Int>
        let end: Step
        let place: PacketObservation.Place
        /// Whether packets pass without delay or loss.
        var isPerfect: Bool
        /// When the queue of events looks at the link next.
        var wakeUp = Timestamp.distantFuture
    }

    struct SegmentState: Sendable {
        /// The box it lies behind; `nil` for the public network.
        let box: Int?
        /// Who has an address: a host of the segment, or a box whose outer or untranslated address it is.
        var routes: [IPAddress: Element] = [:]
        var hostsNumbered = 0
    }

    enum Wakening: Sendable {
        case link(Int)
        case stream(Int)
    }

    /// Whether ``observations`` are kept. Off, they cost nothing.
    public var isObserving = false
    /// What was seen since it was last taken away; grows without bound while ``isObserving``.
    public internal(set) var observations: [PacketObservation] = []
    /// How many routers the public network has between any two that are attached to it.
    public let coreHops: Int
    /// How many packets hosts have sent.
    public internal(set) var packetsSent = 0
    /// The time of the latest call or event.
    public internal(set) var now = Timestamp.zero
    private let seed: UInt64
    var hosts: [Host] = []
    var boxes: [Box] = []
    var lanes: [Lane] = []
    var segments = [SegmentState(box: nil)]
    var publicAddressesGiven = 0
    var queue = EventQueue<Wakening>()
    var packets = PacketStore()
    var arrivals: [Arrival] = []
    var arrivalHead = 0
    var streams: [Stream] = []
    var streamNews: [StreamNews] = []
    var freeStreamNews: [Int] = []

    /// A public network with nothing attached. `coreHops` routers lie between any two that are: what a packet with a
    /// low TTL does not reach.
    public init(seed: UInt64, coreHops: Int = 6) {
        precondition((0...200).contains(coreHops), "the public network has 0 to 200 routers")
        self.seed = seed
        self.coreHops = coreHops
    }

    // MARK: - Building

    /// Adds a host. Without `addresses` it gets one IPv4 address that fits the segment, and with `ipv6` one of IPv6
    /// beside it. Names are unique: its randomness comes from the name.
    @discardableResult
    public mutating func addHost(
        _ name: String, on segment: Segment = .internet, addresses: [IPAddress] = [], ipv6: Bool = false,
        link: AccessLink = AccessLink()
    ) -> HostID {
        let id = HostID(index: hosts.count)
        let place = index(of: segment)
        let (up, down) = addLanes(
            of: .host(id), name, link, up: .segment(place, isInbound: false), down: .host(id.index))
        hosts.append(Host(name: name, segment: place, addresses: [], up: up, down: down))
        for address in addresses.isEmpty ? freeAddresses(on: place, ipv6: ipv6) : addresses {
            addAddress(address, to: id)
        }
        return id
    }

    /// Adds a box and answers the segment behind it. Without `externalAddresses` a box that translates gets as many as
    /// its profile says. The boxes that the profile names further out are added first, as `name-1` and so on from the
    /// outermost.
    @discardableResult
    public mutating func addNAT(
        _ profile: NATProfile, name: String, on segment: Segment = .internet, externalAddresses: [IPAddress] = [],
        link: AccessLink = AccessLink()
    ) -> Segment {
        var segment = segment
        for (number, outer) in profile.outer.reversed().enumerated() {
            var outer = outer
            outer.outer = []
            segment = addNAT(outer, name: "\(name)-\(number + 1)", on: segment)
        }
        let id = NATID(index: boxes.count)
        let place = index(of: segment)
        let (up, down) = addLanes(
            of: .nat(id), name, link, up: .segment(place, isInbound: false), down: .outside(id.index))
        let addresses =
            !profile.translates || !externalAddresses.isEmpty
            ? externalAddresses : (0..<profile.addressCount).map { _ in freeAddress(on: place) }
        let nat = VirtualNAT(profile, externalAddresses: addresses, entropy: entropy(of: name, purpose: 0))
        boxes.append(Box(name: name, nat: nat, segment: place, inside: segments.count, up: up, down: down))
        segments.append(SegmentState(box: id.index))
        for address in addresses { route(address, to: .nat(id), from: place) }
        return .behind(id)
    }

    /// What a host or a box is called.
    public func name(of element: Element) -> String {
        switch element {
        case .host(let id): hosts[id.index].name
        case .nat(let id): boxes[id.index].name
        }
    }

    /// Sets what the links of a host or a box do from now on. Packets that are on their way keep their times.
    public mutating func setLink(of element: Element, to link: AccessLink) {
        let (up, down) = lanes(of: element)
        for (lane, conditions) in [(up, link.up), (down, link.down)] {
            lanes[lane].link.conditions = conditions
            lanes[lane].isPerfect = conditions == LinkConditions()
        }
    }

    /// What happened on the links of a host or a box.
    public func linkCounters(of element: Element) -> (up: LinkCounters, down: LinkCounters) {
        let (up, down) = lanes(of: element)
        return (lanes[up].link.counters, lanes[down].link.counters)
    }

    /// A box, to ask it for its mappings.
    public func nat(_ id: NATID) -> VirtualNAT { boxes[id.index].nat }

    /// Where a host is attached.
    public func segment(of host: HostID) -> Segment {
        segments[hosts[host.index].segment].box.map { .behind(NATID(index: $0)) } ?? .internet
    }

    /// The boxes between a segment and the public network, the innermost first.
    public func boxes(outwardFrom segment: Segment) -> [NATID] {
        var path: [NATID] = []
        var place = index(of: segment)
        while let box = segments[place].box {
            path.append(NATID(index: box))
            place = boxes[box].segment
        }
        return path
    }

    // MARK: - Parts

    func index(of segment: Segment) -> Int {
        switch segment {
        case .internet: 0
        case .behind(let id): boxes[id.index].inside
        }
    }

    func lanes(of element: Element) -> (up: Int, down: Int) {
        switch element {
        case .host(let id): (hosts[id.index].up, hosts[id.index].down)
        case .nat(let id): (boxes[id.index].up, boxes[id.index].down)
        }
    }

    private mutating func addLanes(
        of element: Element, _ name: String, _ link: AccessLink, up: Step, down: Step
    ) -> (up: Int, down: Int) {
        precondition(
            !hosts.contains { $0.name == name } && !boxes.contains { $0.name == name }, "names in a network are unique")
        return (
            addLane(link.up, to: up, entropy(of: name, purpose: 1), at: .uplink(element)),
            addLane(link.down, to: down, entropy(of: name, purpose: 2), at: .downlink(element))
        )
    }

    private mutating func addLane(
        _ conditions: LinkConditions, to end: Step, _ entropy: Entropy, at place: PacketObservation.Place
    ) -> Int {
        lanes.append(
            Lane(
                link: EmulatedLink(conditions, entropy: entropy), end: end, place: place,
                isPerfect: conditions == LinkConditions()))
        return lanes.count - 1
    }

    /// A stream of randomness that depends on the seed, a name and what it is for, and on nothing else.
    private func entropy(of name: String, purpose: UInt64) -> Entropy {
        // FNV-1a (Fowler, Noll, Vo) with 64 bits: names differ, and need not be hidden.
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        return Entropy(key: SIMD4(seed, hash, purpose, 0))
    }
}
