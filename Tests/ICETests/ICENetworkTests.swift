// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@Suite("A network that changes under an agent")
struct ICENetworkTests {
    private let second = address("192.0.2.9:5000")

    /// Two local addresses, both known to work; the first is better.
    private func twoWays(_ role: ICEAgent.Role = .controlled) -> ScriptedPeer {
        let peer = ScriptedPeer(role: role)
        peer.agent.addLocalAddress(second, now: peer.now)
        peer.start()
        for _ in 0..<4 {
            for entry in peer.sent {
                guard let message = try? decode(entry.datagram.payload), message.messageClass == .request else {
                    continue
                }
                peer.receive(peer.response(to: message, mapped: entry.datagram.source), to: entry.datagram.source)
            }
            _ = peer.takeMessages()
            peer.advance(.milliseconds(50))
        }
        return peer
    }

    @Test("an address that goes takes its pairs with it, and another way is used at once")
    func otherWay() {
        let peer = twoWays()
        #expect(peer.pair?.localAddress == peer.local)
        peer.agent.removeLocalAddress(peer.local, now: peer.now)
        peer.drain()
        #expect(peer.pair?.localAddress == second)
        #expect(peer.state == .connected)
        #expect(peer.localCandidates.allSatisfy { $0.address == second })
        #expect(!peer.needsRestart)
        _ = peer.takeMessages()
        peer.advance(.seconds(8))
        #expect(!peer.sent.isEmpty && peer.sent.allSatisfy { $0.datagram.source == second })
        // What still comes to it is not ours.
        let ignored = peer.counters.ignored
        peer.receive(peer.check(), to: peer.local)
        #expect(peer.counters.ignored == ignored + 1)
    }

    @Test("the nominated pair's address gone is told at once, nothing is sent from it, and consent runs out")
    func restart() {
        let peer = ScriptedPeer()
        peer.complete()
        peer.agent.removeLocalAddress(peer.local, now: peer.now)
        peer.drain()
        #expect(peer.state == .disconnected)
        #expect(peer.needsRestart)
        #expect(peer.actions.contains(.localAddressGone(peer.local)))
        _ = peer.takeMessages()
        peer.advance(.seconds(29))
        #expect(peer.sent.isEmpty && peer.state == .disconnected)
        peer.advance(.seconds(2))
        #expect(peer.state == .failed)
        #expect(!peer.needsRestart)
    }

    @Test("an address that comes while gathering runs is told and checked, and later there is none to tell")
    func newAddress() throws {
        let server = address("198.51.100.1:3478")
        let peer = ScriptedPeer { $0.stunServers = [server] }
        peer.start(ended: false)
        #expect(peer.takesLocalAddresses)
        peer.agent.addLocalAddress(second, now: peer.now)
        peer.drain()
        peer.advance(.milliseconds(200))
        #expect(peer.localCandidates.contains { $0.address == second })
        #expect(peer.sent.contains { $0.datagram.source == second && $0.datagram.destination == peer.remote })
        #expect(peer.sent.contains { $0.datagram.source == second && $0.datagram.destination == server })
        peer.advance(.seconds(3))
        #expect(!peer.takesLocalAddresses)
        peer.agent.addLocalAddress(address("192.0.2.10:5000"), now: peer.now)
        #expect(peer.localCandidates.count == 2)
    }

    @Test("an address that goes while a server is asked from it leaves gathering to the others")
    func goneWhileGathering() {
        let server = address("198.51.100.1:3478")
        let peer = ScriptedPeer { $0.stunServers = [server] }
        peer.agent.addLocalAddress(second, now: peer.now)
        peer.agent.gather(now: peer.now)
        peer.drain()
        peer.advance(.milliseconds(100))
        peer.agent.removeLocalAddress(peer.local, now: peer.now)
        peer.drain()
        for entry in peer.sent {
            guard let message = try? decode(entry.datagram.payload), entry.datagram.destination == server else {
                continue
            }
            var response = STUNMessage(.success, transactionID: message.transactionID)
            response.append(xorAddress: address("203.0.113.9:5"))
            peer.receive(response.encoded(), from: server, to: entry.datagram.source)
        }
        #expect(peer.isGatheringComplete)
        #expect(peer.localCandidates.map(\.kind) == [.host, .serverReflexive])
        // It comes back, as new as any.
        let other = ScriptedPeer { $0.stunServers = [server] }
        other.agent.gather(now: other.now)
        other.agent.removeLocalAddress(other.local, now: other.now)
        other.agent.addLocalAddress(other.local, now: other.now)
        #expect(other.localCandidates.count == 1)
    }

    @Test(
        "relays that were reached from it are gone too, and the state tells it",
        arguments: [TURNServer.Transport.udp, .tcp])
    func relayed(transport: TURNServer.Transport) {
        let net = Simulation(seed: 3)
        net.relays = [TURNServerDouble(.v4(0xC633_6409))]
        let server = TURNServer(
            address: address("198.51.100.9:3478"), transport: transport,
            credentials: LongTermCredentials(username: "user", password: "pass"))
        let alice = net.addPeer("alice", addresses: [address("192.0.2.1:5000")]) {
            $0.turnServers = [server]
            $0.transportPolicy = .relay
        }
        let bob = net.addPeer("bob", addresses: [address("192.0.2.2:6000")])
        net.connect(alice, bob)
        #expect(net.run(for: .seconds(10)) { alice.state == .completed && bob.state == .completed })
        alice.agent.removeLocalAddress(alice.addresses[0], now: net.now)
        net.run(for: .zero)
        #expect(alice.state == .disconnected)
        #expect(alice.needsRestart)
        net.run(for: .seconds(40))
        #expect(alice.state == .failed)
    }

    @Test("names stand for the host's addresses, in candidates and beside them, and a server's view is told still")
    func hidden() throws {
        let server = address("198.51.100.1:3478")
        let net = Simulation(seed: 4)
        net.servers = [server: .answers]
        let alice = net.addPeer("alice", addresses: [address("192.0.2.1:5000"), address("[2001:db8::1]:5000")]) {
            $0.hidesHostAddresses = true
            $0.stunServers = [server]
        }
        alice.agent.gather(now: .zero)
        net.run(for: .seconds(3))
        let text = alice.candidates.map(\.description).joined(separator: "\n")
        // The address is public: a server sees it as it is, which the peer may know, but not that it is the host's.
        #expect(alice.candidates.map(\.kind) == [.host, .host, .serverReflexive])
        #expect(!text.contains("raddr 192.0.2.1") && !text.contains("2001:db8"))
        #expect(text.contains("raddr 0.0.0.0 rport 9"))
        let names = alice.hostNames
        #expect(names.map(\.address) == alice.addresses.map(\.ip))
        #expect(Set(names.map(\.name)).count == 2)
        for (name, candidate) in zip(names, alice.candidates) {
            #expect(candidate.host == .name(name.name))
            let parts = name.name.split(separator: "-").map(\.utf8.count)
            #expect(parts == [8, 4, 4, 4, 12 + ".local".utf8.count])
            #expect(ICECandidate(sdp: candidate.description) == candidate)
        }
        // It connects as ever, with who can resolve them.
        let bob = net.addPeer("bob", addresses: [address("192.0.2.2:6000")])
        bob.agent.setRole(.controlled)
        bob.agent.gather(now: net.now)
        net.run(for: .zero)
        alice.take(descriptionOf: bob, now: net.now)
        try bob.agent.setRemote(credentials: alice.agent.localCredentials, now: net.now)
        #expect(net.run(for: .seconds(3)) { alice.pair != nil && bob.pair != nil })
    }
}

// The macros of Testing cannot look into what is not copyable.
extension ScriptedPeer {
    fileprivate var needsRestart: Bool { agent.needsRestart }
    fileprivate var takesLocalAddresses: Bool { agent.takesLocalAddresses }
    fileprivate var isGatheringComplete: Bool { agent.isGatheringComplete }
}

extension SimulatedPeer {
    fileprivate var needsRestart: Bool { agent.needsRestart }
    fileprivate var hostNames: [HostName] { agent.hostNames }
}
