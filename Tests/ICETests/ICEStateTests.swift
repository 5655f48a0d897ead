// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@Suite("Every state and every input")
struct ICEStateTests {
    enum Start: CaseIterable { case new, checking, connected, completed, disconnected, failed, closed }
    enum Input: CaseIterable {
        case localAddress, gather, setRole, credentials, otherCredentials, candidate, end, timeout, close
        case check, nomination, conflict, badCheck, answers, refusal, forbidden, forged, noise, unreachable, silence
    }

    private func make(_ start: Start, _ role: ICEAgent.Role) -> ScriptedPeer {
        let peer = ScriptedPeer(role: role)
        switch start {
        case .new: break
        case .checking: peer.start()
        case .connected:
            peer.start(candidates: [peer.candidate("192.0.2.2:6000", kind: .serverReflexive)], ended: false)
            if let request = peer.takeRequests().first { peer.receive(peer.response(to: request)) }
        case .completed: peer.complete()
        case .disconnected:
            peer.complete()
            peer.advance(.seconds(12))
        case .failed:
            peer.complete()
            peer.advance(.seconds(31))
        case .closed:
            peer.start()
            peer.agent.close()
            peer.drain()
        }
        return peer
    }

    private func apply(_ input: Input, to peer: ScriptedPeer) {
        switch input {
        case .localAddress: peer.agent.addLocalAddress(address("192.0.2.7:7"), now: peer.now)
        case .gather: peer.agent.gather(now: peer.now)
        case .setRole: peer.agent.setRole(.controlled)
        case .credentials: try? peer.agent.setRemote(credentials: peer.credentials, now: peer.now)
        case .otherCredentials:
            var entropy = Entropy(seed: 4)
            try? peer.agent.setRemote(credentials: ICECredentials(using: &entropy), now: peer.now)
        case .candidate: peer.agent.addRemoteCandidate(peer.candidate("192.0.2.9:9"), now: peer.now)
        case .end: peer.agent.endOfRemoteCandidates(now: peer.now)
        case .timeout: peer.agent.handleTimeout(now: peer.now)
        case .close: peer.agent.close()
        case .check: peer.receive(peer.check())
        case .nomination: peer.receive(peer.check { $0.append(.useCandidate) }, from: address("192.0.2.9:10"))
        case .conflict: peer.receive(peer.check(role: peer.role))
        case .badCheck: peer.receive(peer.check(password: "wrongwrongwrongwrongwrong"))
        case .answers: peer.answerAll()
        case .refusal:
            for request in peer.takeRequests() { peer.receive(peer.response(to: request, error: .roleConflict)) }
        case .forbidden:
            for request in peer.takeRequests() { peer.receive(peer.response(to: request, error: .forbidden)) }
        case .forged:
            for request in peer.takeRequests() { peer.receive(peer.response(to: request, integrity: false)) }
        case .noise: peer.receive([0, 1, 0, 0])
        case .unreachable: peer.agent.receiveUnreachable(peer.remote, from: peer.local, now: peer.now)
        case .silence: peer.advance(.seconds(35))
        }
        peer.drain()
    }

    /// What may follow a state directly or by way of others.
    private static let successors: [ICEAgent.State: Set<ICEAgent.State>] = [
        .new: [.new, .checking, .connected, .completed, .failed, .closed, .disconnected],
        .checking: [.checking, .connected, .completed, .failed, .closed, .disconnected],
        .connected: [.checking, .connected, .completed, .disconnected, .failed, .closed],
        .completed: [.completed, .disconnected, .failed, .closed],
        .disconnected: [.disconnected, .connected, .completed, .failed, .closed],
        .failed: [.failed, .closed],
        .closed: [.closed],
    ]

    @Test("leads to a state that may follow", arguments: Start.allCases, [ICEAgent.Role.controlling, .controlled])
    func table(start: Start, role: ICEAgent.Role) throws {
        for input in Input.allCases {
            let peer = make(start, role)
            let before = peer.state
            #expect("\(before)" == "\(start)")
            let isOver = before == .failed || before == .closed
            if isOver { _ = peer.takeMessages() }
            apply(input, to: peer)
            let allowed = try #require(Self.successors[before])
            #expect(allowed.contains(peer.state), "\(before) + \(input) gave \(peer.state)")
            if isOver {
                #expect(peer.deadline == nil, "\(input)")
                #expect(peer.sent.isEmpty, "\(input)")
            }
            // Asked again at the same time, nothing more is due.
            let count = peer.sent.count
            peer.agent.handleTimeout(now: peer.now)
            peer.drain()
            #expect(peer.sent.count == count, "\(start) + \(input)")
        }
    }

    @Test("any sequence of inputs keeps to the states and the bounds", arguments: UInt64(0)..<60)
    func sequences(seed: UInt64) throws {
        var entropy = Entropy(seed: seed)
        let peer = ScriptedPeer(role: seed % 2 == 0 ? .controlling : .controlled, seed: seed)
        for _ in 0..<150 {
            let before = peer.state
            let input = Input.allCases[Int(entropy.next() % UInt64(Input.allCases.count))]
            // Ends are rare, or nothing else would be tried.
            if [.close, .forbidden, .silence].contains(input), entropy.next() % 8 != 0 { continue }
            apply(input, to: peer)
            peer.advance(.milliseconds(Int64(entropy.next() % 700)))
            #expect(try #require(Self.successors[before]).contains(peer.state), "seed \(seed), \(input)")
            #expect(peer.pairs.count <= 100)
            #expect(Set(peer.pairs.map(\.name.id)).count == peer.pairs.count)
            #expect(peer.pairs.map(\.priority) == peer.pairs.map(\.priority).sorted(by: >))
            if peer.state == .completed { #expect(peer.pair?.isNominated == true, "seed \(seed)") }
        }
    }

    @Test("damaged messages never stop an agent", arguments: UInt64(0)..<40)
    func fuzz(seed: UInt64) throws {
        var entropy = Entropy(seed: seed)
        let peer = ScriptedPeer(role: seed % 2 == 0 ? .controlling : .controlled, seed: seed)
        if seed % 3 == 1 { peer.start(ended: false) }
        if seed % 3 == 2 { peer.complete() }
        for _ in 0..<200 {
            var bytes: [UInt8]
            switch entropy.next() % 3 {
            case 0: bytes = peer.check { if seed % 2 == 1 { $0.append(.useCandidate) } }
            case 1:
                let request = peer.takeRequests().last
                bytes = request.map { peer.response(to: $0) } ?? entropy.bytes(40)
            default: bytes = entropy.bytes(Int(entropy.next() % 120))
            }
            for _ in 0..<entropy.next() % 4 where !bytes.isEmpty {
                bytes[Int(entropy.next() % UInt64(bytes.count))] ^= 1 << UInt8(entropy.next() % 8)
            }
            if entropy.next() % 4 == 0 { bytes = Array(bytes.prefix(Int(entropy.next() % UInt64(bytes.count + 1)))) }
            let port = UInt16(truncatingIfNeeded: entropy.next() % 4 + 6000)
            peer.receive(bytes, from: SocketAddress(ip: peer.remote.ip, port: port))
            peer.advance(.milliseconds(Int64(entropy.next() % 100)))
        }
        #expect(peer.state != .closed)
        #expect(peer.remoteCandidates.count <= 132)
    }
}
