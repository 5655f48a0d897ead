// SPDX-License-Identifier: Apache-2.0
public import Wire

//   host ▶ link ▶ segment ┬▶ route of the segment ▶ link ▶ host, or outside of a box ▶ (filter, TTL) ▶ segment behind it
//                         └▶ none: inside of the segment's own box ▶ (TTL, mapping) ▶ link ▶ segment further out
//
// A router takes one from the TTL, and drops a packet that has none left. A box does so before it makes a mapping for
// what leaves, and after it has found the mapping of what comes in, as Linux does: a packet that dies in the public
// network opens the own box, and the other's never sees it.

extension VirtualNetwork {
    /// The TTL of a packet whose sender asks for none (RFC 1700: 64).
    public static let defaultTimeToLive: UInt8 = 64

    /// Sends a datagram from a host. Where it arrives, and when, comes out of ``nextArrival(until:)``. Events before
    /// `now` should have been taken out: what is late happens at `now`.
    public mutating func send(
        _ datagram: Datagram, from host: HostID, timeToLive: UInt8 = VirtualNetwork.defaultTimeToLive, now: Timestamp
    ) {
        self.now = max(self.now, now)
        packetsSent += 1
        let packet = VirtualPacket(
            number: UInt64(packetsSent), isError: false, source: datagram.source, destination: datagram.destination,
            timeToLive: Int(timeToLive), payload: datagram.payload)
        observe(packet, at: .host(host), .sent)
        guard hosts[host.index].addresses.contains(datagram.source.ip) else {
            return observe(packet, at: .host(host), .dropped(.foreignSource(datagram.source.ip)))
        }
        travel(packet, from: .link(hosts[host.index].up))
    }

    /// When something happens next; a time that has passed where arrivals wait to be taken out.
    public var nextDeadline: Timestamp? { arrivalHead < arrivals.count ? now : queue.nextTime }

    /// What arrives next, if that is by `limit`. `nil` when nothing more does; then it is `limit` for the network.
    public mutating func nextArrival(until limit: Timestamp) -> Arrival? {
        while arrivalHead == arrivals.count {
            guard let entry = queue.next(by: limit) else {
                if limit != .distantFuture { now = max(now, limit) }
                return nil
            }
            now = max(now, entry.time)
            switch entry.event {
            case .link(let lane): wake(lane, at: entry.time)
            case .stream(let news): deliver(news)
            }
        }
        let arrival = arrivals[arrivalHead]
        arrivalHead += 1
        if arrivalHead == arrivals.count {
            arrivals.removeAll(keepingCapacity: true)
            arrivalHead = 0
        }
        return arrival
    }

    /// Hands every arrival by `limit` to `deliver`, which may send in answer.
    public mutating func run(until limit: Timestamp, deliver: (inout VirtualNetwork, Arrival) -> Void) {
        while let arrival = nextArrival(until: limit) { deliver(&self, arrival) }
    }

    /// Takes away what was observed.
    public mutating func takeObservations() -> [PacketObservation] {
        defer { observations = [] }
        return observations
    }

    // MARK: - On the way

    /// Moves a packet as far as it gets without waiting.
    private mutating func travel(_ start: VirtualPacket, from first: Step) {
        var packet = start
        var step = first
        while true {
            switch step {
            case .link(let lane):
                guard pass(packet, lane) else { return }
                step = lanes[lane].end
            case .segment(let segment, let isInbound):
                guard let next = route(&packet, segment, isInbound: isInbound) else { return }
                step = next
            case .inside(let box):
                guard let next = leave(&packet, box) else { return }
                step = next
            case .outside(let box):
                guard let next = enter(&packet, box) else { return }
                step = next
            case .host(let host):
                return arrive(packet, host)
            }
        }
    }

    /// Puts a packet on a link. Answers whether it is already at the other end.
    private mutating func pass(_ packet: VirtualPacket, _ lane: Int) -> Bool {
        if lanes[lane].isPerfect, lanes[lane].link.packetsUnderway == 0 { return true }
        let before = (lanes[lane].link.counters.overflowed, lanes[lane].link.counters.oversized)
        let copies = lanes[lane].link.enqueue(packets.nextNumber, byteCount: packet.byteCount, now: now)
        if copies > 0 {
            packets.store(packet, copies: copies)
            schedule(lane)
            return false
        }
        let counters = lanes[lane].link.counters
        let drop: PacketDrop =
            if counters.overflowed > before.0 {
                .queueFull
            } else if counters.oversized > before.1 {
                .tooLong(byteCount: packet.byteCount, mtu: lanes[lane].link.conditions.mtu ?? 0)
            } else {
                .lost
            }
        observe(packet, at: lanes[lane].place, .dropped(drop))
        return false
    }

    /// Has the queue look at a link when its next packet arrives.
    private mutating func schedule(_ lane: Int) {
        guard let deadline = lanes[lane].link.nextDeadline, deadline < lanes[lane].wakeUp else { return }
        lanes[lane].wakeUp = deadline
        queue.add(.link(lane), at: deadline)
    }

    private mutating func wake(_ lane: Int, at time: Timestamp) {
        if lanes[lane].wakeUp <= time { lanes[lane].wakeUp = .distantFuture }
        while let number = lanes[lane].link.dequeue(now: now) {
            travel(packets.take(number), from: lanes[lane].end)
        }
        schedule(lane)
    }

    private mutating func route(_ packet: inout VirtualPacket, _ segment: Int, isInbound: Bool) -> Step? {
        let target = segments[segment].routes[packet.destination.ip]
        if segment == 0 {
            guard target != nil else {
                observe(packet, at: .internet, .dropped(.noRoute(packet.destination.ip)))
                return nil
            }
            guard packet.timeToLive > coreHops else {
                packet.timeToLive = 0
                observe(packet, at: .internet, .dropped(.timeToLiveExceeded))
                return nil
            }
            packet.timeToLive -= coreHops
        }
        switch target {
        case .host(let host)?: return .link(hosts[host.index].down)
        case .nat(let nat)?: return .link(boxes[nat.index].down)
        case nil:
            guard let box = segments[segment].box else { return nil }
            guard !isInbound else {
                observe(packet, at: .inside(NATID(index: box)), .dropped(.noRoute(packet.destination.ip)))
                return nil
            }
            return .inside(box)
        }
    }

    /// A box gets a packet from inside.
    private mutating func leave(_ packet: inout VirtualPacket, _ box: Int) -> Step? {
        let id = NATID(index: box)
        guard packet.timeToLive > 1 else {
            observe(packet, at: .inside(id), .dropped(.timeToLiveExceeded))
            return nil
        }
        packet.timeToLive -= 1
        guard !packet.isError else {
            // What it is about was let in before: the other side knows that host by its address outside.
            if let external = boxes[box].nat.mapping(of: packet.source, toward: packet.destination, now: now) {
                packet.source = external
            }
            return .link(boxes[box].up)
        }
        switch boxes[box].nat.outbound(from: packet.source, to: packet.destination, now: now) {
        case .forwarded(let source, let destination):
            observe(packet, at: .inside(id), .passed)
            (packet.source, packet.destination) = (source, destination)
            observe(packet, at: .outside(id), .passed)
            return .link(boxes[box].up)
        case .hairpinned(let source, let destination):
            observe(packet, at: .inside(id), .passed)
            (packet.source, packet.destination) = (source, destination)
            observe(packet, at: .inside(id), .hairpinned)
            return .segment(boxes[box].inside, isInbound: true)
        case .dropped(let drop):
            observe(packet, at: .inside(id), .dropped(drop))
            return nil
        case .refused(let drop):
            observe(packet, at: .inside(id), .refused(drop))
            answerWithError(packet, from: .segment(boxes[box].inside, isInbound: true))
            return nil
        }
    }

    /// A box gets a packet from outside.
    private mutating func enter(_ packet: inout VirtualPacket, _ box: Int) -> Step? {
        let id = NATID(index: box)
        if packet.isError {
            guard let inside = boxes[box].nat.insideForError(about: packet.destination, now: now) else { return nil }
            packet.destination = inside
        } else {
            switch boxes[box].nat.inbound(from: packet.source, to: packet.destination, now: now) {
            case .forwarded(let source, let destination), .hairpinned(let source, let destination):
                observe(packet, at: .outside(id), .passed)
                (packet.source, packet.destination) = (source, destination)
            case .dropped(let drop):
                observe(packet, at: .outside(id), .dropped(drop))
                return nil
            case .refused(let drop):
                observe(packet, at: .outside(id), .refused(drop))
                answerWithError(packet, from: .link(boxes[box].up))
                return nil
            }
        }
        guard packet.timeToLive > 1 else {
            observe(packet, at: .outside(id), .dropped(.timeToLiveExceeded))
            return nil
        }
        packet.timeToLive -= 1
        observe(packet, at: .inside(id), packet.isError ? .error : .passed)
        return .segment(boxes[box].inside, isInbound: true)
    }

    private mutating func arrive(_ packet: VirtualPacket, _ host: Int) {
        let id = HostID(index: host)
        // The address may have gone while the packet was on its way.
        guard hosts[host].addresses.contains(packet.destination.ip) else {
            return observe(packet, at: .host(id), .dropped(.noRoute(packet.destination.ip)))
        }
        let event: Event
        if packet.isError {
            observe(packet, at: .host(id), .error)
            event = .unreachable(source: packet.destination, destination: packet.source)
        } else {
            observe(packet, at: .host(id), .arrived)
            event = .datagram(
                Datagram(source: packet.source, destination: packet.destination, payload: packet.payload))
        }
        arrivals.append(Arrival(time: now, host: id, event: event))
    }

    /// Sends an ICMP error back about a packet: port unreachable (RFC 792, RFC 4443 §3.1).
    private mutating func answerWithError(_ packet: VirtualPacket, from step: Step) {
        guard !packet.isError else { return }
        let error = VirtualPacket(
            number: packet.number, isError: true, source: packet.destination, destination: packet.source,
            timeToLive: Int(VirtualNetwork.defaultTimeToLive), payload: [])
        travel(error, from: step)
    }

    private mutating func observe(
        _ packet: VirtualPacket, at place: PacketObservation.Place, _ action: PacketObservation.Action
    ) {
        guard isObserving else { return }
        observations.append(
            PacketObservation(
                time: now, packet: packet.number, place: place, action: action, source: packet.source,
                destination: packet.destination, timeToLive: packet.timeToLive, payload: packet.payload))
    }
}
