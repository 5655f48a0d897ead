// SPDX-License-Identifier: Apache-2.0
import ICE
import NATLab
import Testing
import Wire

//   1. Each host sends to a server, which sees its mapping; each is told the other's.
//   2. By turns they send to what they were told, and to whatever else something came from.
//   3. They have met when an answer to what one of them sent has come back.

/// Two hosts, each behind a box, that try to meet as UDP hole punching does.
private struct HolePunching {
    var network: VirtualNetwork
    let hosts: [VirtualNetwork.HostID]
    let sources: [SocketAddress]
    private static let probe: UInt8 = 0
    private static let answer: UInt8 = 1

    init(_ profiles: [NATProfile], seed: UInt64 = 1) {
        var network = VirtualNetwork(seed: seed)
        var hosts: [VirtualNetwork.HostID] = []
        for (index, profile) in profiles.enumerated() {
            let segment = network.addNAT(profile, name: "nat\(index)")
            hosts.append(network.addHost("host\(index)", on: segment))
        }
        sources = hosts.map { [network] host in SocketAddress(ip: network.addresses(of: host)[0], port: 5000) }
        self.hosts = hosts
        self.network = network
    }

    /// Whether they meet within `rounds` packets of each.
    mutating func meet(rounds: Int = 6, timeToLiveOfFirst: UInt8 = VirtualNetwork.defaultTimeToLive) -> Bool {
        let server = network.addHost("server")
        let serverAddress = SocketAddress(ip: network.addresses(of: server)[0], port: 3478)
        var targets: [[SocketAddress]] = [[], []]
        var now = Timestamp.zero
        for index in 0...1 {
            send(index, to: serverAddress, HolePunching.probe, now: now)
            while let arrival = network.nextArrival(until: now) {
                if case .datagram(let datagram) = arrival.event { targets[1 - index].append(datagram.source) }
            }
        }
        for round in 0..<rounds {
            for index in 0...1 {
                now += .milliseconds(50)
                let timeToLive = round == 0 ? timeToLiveOfFirst : VirtualNetwork.defaultTimeToLive
                for target in targets[index] {
                    send(index, to: target, HolePunching.probe, timeToLive: timeToLive, now: now)
                }
                while let arrival = network.nextArrival(until: now) {
                    guard let receiver = hosts.firstIndex(of: arrival.host),
                        case .datagram(let datagram) = arrival.event
                    else { continue }
                    if datagram.payload == [HolePunching.answer] { return true }
                    if !targets[receiver].contains(datagram.source) { targets[receiver].append(datagram.source) }
                    send(receiver, to: datagram.source, HolePunching.answer, now: now)
                }
            }
        }
        return false
    }

    private mutating func send(
        _ index: Int, to target: SocketAddress, _ kind: UInt8, timeToLive: UInt8 = VirtualNetwork.defaultTimeToLive,
        now: Timestamp
    ) {
        let datagram = Datagram(source: sources[index], destination: target, payload: [kind])
        network.send(datagram, from: hosts[index], timeToLive: timeToLive, now: now)
    }
}

/// Whether hosts behind two boxes meet.
private func meet(
    _ a: NATProfile, _ b: NATProfile, timeToLiveOfFirst: UInt8 = VirtualNetwork.defaultTimeToLive
) -> Bool {
    var attempt = HolePunching([a, b])
    return attempt.meet(timeToLiveOfFirst: timeToLiveOfFirst)
}

/// What RFC 4787's definitions make of two NATs that choose ports at random, thought through packet by packet.
private func canMeet(_ a: NATBehavior, _ b: NATBehavior) -> Bool {
    /// Whether what `sender` sends to the address that the server saw of `receiver` gets in, and the answer back.
    func reaches(_ sender: NATBehavior, _ receiver: NATBehavior) -> Bool {
        let getsIn =
            switch receiver.filtering {
            case .endpointIndependent: true
            // The mapping that the server saw must be the one that sends to the peer,
            case .addressDependent: receiver.mapping == .endpointIndependent
            // and the peer's packets must come from where it sends to.
            case .addressAndPortDependent:
                receiver.mapping == .endpointIndependent && sender.mapping == .endpointIndependent
            }
        // The answer leaves from the same port, or from another that the filter must not mind.
        return getsIn && (receiver.mapping == .endpointIndependent || sender.filtering != .addressAndPortDependent)
    }
    return reaches(a, b) || reaches(b, a)
}

@Suite("Hole punching through virtual NATs")
struct HolePunchingTests {
    @Test("two NATs meet exactly where RFC 4787's definitions let them", arguments: everyBehavior, everyBehavior)
    func everyPair(_ a: NATBehavior, _ b: NATBehavior) {
        let profiles = [a, b].map { behavior in
            NATProfile("any", mapping: behavior.mapping, filtering: behavior.filtering, allocation: .random)
        }
        #expect(meet(profiles[0], profiles[1]) == canMeet(a, b), "\(a) with \(b)")
    }

    @Test("the known classes meet as is known of them")
    func knownTable() {
        let classes: [NATProfile] = [.fullCone, .addressRestricted, .portRestricted, .symmetricRandom]
        for (row, first) in classes.enumerated() {
            for (column, second) in classes.enumerated() {
                // A symmetric NAT meets all but symmetric and port-restricted ones.
                let expected = max(row, column) < 3 || min(row, column) < 2
                #expect(meet(first, second) == expected, "\(first.name) with \(second.name)")
            }
        }
    }

    @Test("two leaky NATs do not meet, unless the first packets die on the way")
    func leaky() {
        #expect(!meet(.leaky, .leaky))
        // One hop to the own NAT, and some of those of the public network.
        #expect(meet(.leaky, .leaky, timeToLiveOfFirst: 4))
        // A packet that dies in the own NAT opens nothing.
        #expect(!meet(.leaky, .leaky, timeToLiveOfFirst: 1))
    }

    @Test("a leaky NAT meets one that filters as much and leaks nothing")
    func leakyWithOthers() {
        for other in [NATProfile.fullCone, .addressRestricted, .open] {
            #expect(meet(.leaky, other), "\(other.name)")
        }
    }

    @Test(
        "boxes in a row, firewalls and operators' NATs meet a port-restricted one",
        arguments: [
            NATProfile.doubleNAT, .firewall, .carrierPairedRange, .shortLived, .refusing, .portRestrictedParity,
            .rfc4787, .open,
        ])
    func others(_ profile: NATProfile) {
        #expect(meet(profile, .portRestricted))
    }

    @Test("nothing meets anything through a box that blocks UDP")
    func blocked() {
        #expect(!meet(.udpBlocked, .open))
    }
}
