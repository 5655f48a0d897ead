// SPDX-License-Identifier: Apache-2.0
import ICE
import Wire

/// A discovery, a NAT and a server on virtual time. One seed gives one report.
final class DiscoveryWorld {
    /// What lies between NAT and server.
    struct Link {
        var latency = Duration.milliseconds(10)
        /// Up to so much more, at random.
        var jitter = Duration.milliseconds(2)
        /// The part of packets that is lost, each way.
        var loss = 0.0
    }

    private(set) var now = Timestamp.zero
    private(set) var report: NATReport?
    private(set) var stages: [NATDiscovery.Stage] = []
    private(set) var openSockets: Set<Int> = []
    /// Every packet of the discovery, with the time when it left.
    private(set) var sent: [(time: Timestamp, datagram: Datagram)] = []
    var link = Link()
    var nat: ModelNAT
    var server: ScriptedServer
    /// Changes what arrives at the discovery.
    var mutates: (inout [UInt8], inout Entropy) -> Void = { _, _ in }
    /// Whether everything is lost at a time.
    var loses: (Timestamp) -> Bool = { _ in false }
    /// Whether a socket can be bound.
    var binds: (Int) -> Bool = { _ in true }
    private var discovery: NATDiscovery
    private var entropy: Entropy
    private var locals: Set<SocketAddress> = []
    private var queue: [(time: Timestamp, order: Int, action: () -> Void)] = []
    private var order = 0
    private var deadline: Timestamp?

    init(
        _ profile: ModelNAT.Profile = ModelNAT.Profile(), server: ScriptedServer = ScriptedServer(), loss: Double = 0,
        seed: UInt64, _ configure: (inout NATDiscovery.Configuration) -> Void = { _ in }
    ) {
        entropy = Entropy(seed: seed)
        var configuration = NATDiscovery.Configuration()
        configure(&configuration)
        nat = ModelNAT(profile, seed: seed)
        self.server = server
        discovery = NATDiscovery(
            server: server.primary, configuration: configuration, entropy: entropy.split(), now: .zero)
        link.loss = loss
    }

    /// Runs to the end, and answers the report; `nil` if there is none after so long.
    func run(limit: Duration = .seconds(3600)) -> NATReport? {
        drain()
        while report == nil, now < Timestamp.zero + limit {
            let next = queue.first?.time
            guard let time = [next, deadline].compactMap({ $0 }).min() else { break }
            precondition(time >= now)
            now = time
            if let next, next <= now {
                queue.removeFirst().action()
            } else {
                discovery.handleTimeout(now: now)
            }
            drain()
        }
        return report
    }

    private func after(_ delay: Duration, _ action: @escaping () -> Void) {
        order += 1
        let time = now + delay
        let index = queue.lastIndex { $0.time <= time }.map { $0 + 1 } ?? 0
        queue.insert((time, order, action), at: index)
    }

    private func drain() {
        while true {
            switch discovery.nextOutput() {
            case .transmit(let datagram):
                sent.append((now, datagram))
                leave(datagram)
            case .event(.openSocket(let socket)):
                guard binds(socket) else {
                    discovery.socketFailed(socket, now: now)
                    continue
                }
                discovery.socketOpened(socket, at: freshAddress(), now: now)
                openSockets.insert(socket)
            case .event(.closeSocket(let socket)): openSockets.remove(socket)
            case .event(.stage(let stage)): stages.append(stage)
            case .event(.finished(let report)): self.report = report
            case .wait(let until):
                deadline = until
                return
            }
        }
    }

    private func freshAddress() -> SocketAddress {
        let ip: IPAddress = nat.profile.translates ? .v4(0x0A00_0002) : .v4(0xC633_6401)
        var address: SocketAddress
        repeat {
            address = SocketAddress(ip: ip, port: UInt16.random(in: 32_768...60_999, using: &entropy))
        } while !locals.insert(address).inserted
        return address
    }

    /// A packet of the discovery goes through the NAT and on.
    private func leave(_ datagram: Datagram) {
        let isHairpin = nat.profile.translates && nat.externals.contains(datagram.destination.ip)
        if isHairpin, nat.profile.hairpinning == .none { return }
        guard let outside = nat.outbound(datagram.source, to: datagram.destination, now: now) else { return }
        if isHairpin {
            guard let inside = nat.inbound(outside, to: datagram.destination, now: now) else { return }
            let source = nat.profile.hairpinning == .internalSource ? datagram.source : outside
            deliver(datagram.payload, from: source, to: inside)
            return
        }
        travel { [unowned self] in
            for answer in server.answers(to: datagram.payload, from: outside, at: datagram.destination) {
                travel { [unowned self] in
                    guard let inside = nat.inbound(answer.source, to: answer.destination, now: now) else { return }
                    deliver(answer.payload, from: answer.source, to: inside)
                }
            }
        }
    }

    private func travel(_ arrival: @escaping () -> Void) {
        guard Double.random(in: 0..<1, using: &entropy) >= link.loss, !loses(now) else { return }
        let extra = link.jitter * Double.random(in: 0..<1, using: &entropy)
        after(link.latency + extra, arrival)
    }

    private func deliver(_ payload: [UInt8], from source: SocketAddress, to inside: SocketAddress) {
        var payload = payload
        mutates(&payload, &entropy)
        after(.zero) { [unowned self] in
            payload.withSpan { discovery.receive($0, from: source, to: inside, now: now) }
        }
    }
}
