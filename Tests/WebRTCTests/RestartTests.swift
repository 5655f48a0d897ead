// SPDX-License-Identifier: Apache-2.0
import ICE
import SDP
import Testing
import WebRTC
import Wire

/// Descriptions after the first ones: ICE restarts and plain renegotiation.
extension PeerCoreTests {
    /// Two cores that are connected, with an open channel.
    private func connectedPair(_ seed: UInt64) throws -> CorePair {
        var pair = try CorePair(seed: seed)
        pair.channel = try pair.offerer.openChannel(label: "a", options: .init())
        try pair.signal()
        let isConnected = pair.run(for: .seconds(5)) { $0.areConnected }
        try #require(isConnected)
        return pair
    }

    private static func restart(
        _ pair: inout CorePair, byOfferer: Bool, addresses: [SocketAddress] = [CorePair.addresses.0]
    ) throws {
        let now = pair.now
        if byOfferer {
            pair.offerer.restartICE()
            try pair.offerer.offerAgain(localAddresses: addresses, servers: [], now: now)
            try pair.answerer.setRemoteDescription(try pair.offerer.localDescription, now: now)
            try pair.offerer.setRemoteDescription(try pair.answerer.localDescription, now: now)
        } else {
            pair.answerer.restartICE()
            try pair.answerer.offerAgain(localAddresses: [CorePair.addresses.1], servers: [], now: now)
            try pair.offerer.setRemoteDescription(try pair.answerer.localDescription, now: now)
            try pair.answerer.setRemoteDescription(try pair.offerer.localDescription, now: now)
        }
    }

    private static func send(_ count: Int, _ pair: inout CorePair) throws {
        let channel = pair.channel
        let key = try #require(channel)
        try pair.offerer.send(on: key, isText: false, count: count) { room in
            for index in 0..<count { room[index] = UInt8(truncatingIfNeeded: index) }
        }
    }

    private static func states(_ events: [PeerCore.Event]) -> [PeerCore.State] {
        events.compactMap { if case .stateChanged(let state, _) = $0 { state } else { nil } }
    }

    private static func pairs(_ events: [PeerCore.Event]) -> Int {
        events.count { if case .selectedPair = $0 { true } else { false } }
    }

    private static func retired(_ events: [PeerCore.Event]) -> [String] {
        events.compactMap { if case .ufragRetired(let ufrag) = $0 { ufrag } else { nil } }
    }

    @Test("ICE restarts by either side under load, and nothing above it notices", arguments: [true, false])
    func restartICE(byOfferer: Bool) throws {
        var pair = try connectedPair(11)
        let old = (pair.offerer.localUfrag, pair.answerer.localUfrag)
        let certificate = pair.offerer.remoteCertificate
        try Self.send(200_000, &pair)
        let before = (Self.pairs(pair.events.0), Self.pairs(pair.events.1))
        try Self.restart(&pair, byOfferer: byOfferer)
        let new = (pair.offerer.localUfrag, pair.answerer.localUfrag)
        #expect(old.0 != new.0 && old.1 != new.1)
        try Self.send(200_000, &pair)
        let hasSwitched = pair.run(for: .seconds(2)) {
            $0.messages.1.count == 2 && Self.pairs($0.events.0) > before.0 && Self.pairs($0.events.1) > before.1
        }
        #expect(hasSwitched)
        let early = Self.retired(pair.events.0) + Self.retired(pair.events.1)
        #expect(early.isEmpty, "the old agents answer for a while")
        // Three seconds after nomination the old agents are let go.
        _ = pair.run(for: .seconds(4)) { _ in false }
        let retired = (Self.retired(pair.events.0), Self.retired(pair.events.1))
        #expect(retired.0 == [old.0] && retired.1 == [old.1])
        let states = (Self.states(pair.events.0), Self.states(pair.events.1))
        #expect(states.0 == [.connecting, .connected] && states.1 == [.connecting, .connected])
        let roles = (pair.offerer.stats(now: pair.now).transport, pair.answerer.stats(now: pair.now).transport)
        #expect(roles.0.iceRole == "controlling" && roles.1.iceRole == "controlled", "a restart keeps the roles")
        let later = pair.offerer.remoteCertificate
        #expect(later == certificate)
        // Consent goes on with the new credentials.
        _ = pair.run(for: .seconds(60)) { _ in false }
        let areConnected = pair.areConnected
        #expect(areConnected)
        pair.offerer.close(now: pair.now)
        _ = pair.run(for: .milliseconds(50)) { _ in false }
    }

    @Test("restarts follow each other, from both sides in turn")
    func restartAgain() throws {
        var pair = try connectedPair(12)
        for round in 0..<6 {
            try Self.restart(&pair, byOfferer: round % 2 == 0)
            // Every other one overtakes the one before.
            if round % 2 == 1 { _ = pair.run(for: .seconds(1)) { _ in false } }
            try Self.send(1000, &pair)
        }
        let isThere = pair.run(for: .seconds(5)) { $0.messages.1.count == 6 }
        let areConnected = pair.areConnected
        #expect(isThere && areConnected)
        pair.offerer.close(now: pair.now)
        _ = pair.run(for: .milliseconds(50)) { _ in false }
    }

    @Test("when the path dies, a restart finds another, and what was sent meanwhile arrives")
    func otherPath() throws {
        var pair = try connectedPair(13)
        pair.deadAddresses = [CorePair.addresses.0]
        try Self.send(50_000, &pair)
        let hasNoticed = pair.run(for: .seconds(20)) { $0.states.0 == .disconnected && $0.states.1 == .disconnected }
        try #require(hasNoticed)
        try Self.restart(&pair, byOfferer: true, addresses: [CorePair.otherAddress])
        let isBack = pair.run(for: .seconds(30)) { $0.areConnected && $0.messages.1.count == 1 }
        #expect(isBack)
        let selected = pair.offerer.statistics.selectedPair?.localAddress
        #expect(selected == CorePair.otherAddress)
        pair.offerer.close(now: pair.now)
        _ = pair.run(for: .milliseconds(50)) { _ in false }
    }

    @Test("an address that goes is told at once, and a restart from one that came goes on where the old path ended")
    func networkChange() throws {
        var pair = try connectedPair(17)
        let now = pair.now
        // The peer expects no more candidates.
        let isTold = pair.offerer.addLocalAddress(CorePair.otherAddress, now: now)
        let isRestartDue = pair.offerer.removeLocalAddresses([CorePair.addresses.0], now: now)
        #expect(!isTold && isRestartDue)
        let candidates = try pair.offerer.localDescription.candidates
        #expect(candidates.isEmpty)
        pair.deadAddresses = [CorePair.addresses.0]
        let hasNoticed = pair.run(for: .zero) { $0.states.0 == .disconnected }
        #expect(hasNoticed)
        try Self.send(50_000, &pair)
        try Self.restart(&pair, byOfferer: true, addresses: [CorePair.otherAddress])
        let isBack = pair.run(for: .seconds(10)) { $0.areConnected && $0.messages.1.count == 1 }
        #expect(isBack)
        let stillDue = pair.offerer.removeLocalAddresses([CorePair.addresses.0], now: pair.now)
        #expect(!stillDue)
        pair.offerer.close(now: pair.now)
        _ = pair.run(for: .milliseconds(50)) { _ in false }
    }

    @Test("before a check is answered nothing but STUN leaves, whatever there is to send (RFC 7675 §5.1)")
    func onlySTUN() throws {
        var pair = try CorePair(seed: 21)
        _ = try pair.offerer.openChannel(label: "a", options: .init())
        try pair.signal()
        var outbox = PeerOutbox()
        var now = pair.now
        var kinds: Set<UInt8> = []
        var packets = 0
        for _ in 0..<200 {
            outbox.removeAll()
            pair.offerer.drain(into: &outbox, includingEvents: true, readsMessages: true, now: now)
            kinds.formUnion(outbox.datagrams.compactMap(\.payload.first))
            packets += outbox.packets.count
            now = now + .milliseconds(100)
            pair.offerer.handleTimeout(now: now)
        }
        #expect(!kinds.isEmpty && kinds.allSatisfy { $0 < 4 })
        #expect(packets == 0)
        pair.offerer.close(now: now)
    }

    @Test("a proposal for Ta stands in both descriptions, and holds where both make it")
    func pacing() throws {
        var pair = try CorePair(seed: 18) { $0.checkInterval = .milliseconds(5) }
        try pair.signal()
        let told = (try pair.offerer.localDescription.icePacing, try pair.answerer.localDescription.icePacing)
        #expect(told.0 == 5 && told.1 == 5)
        var usual = try CorePair(seed: 19)
        try usual.signal()
        let silent = try usual.offerer.localDescription
        #expect(silent.icePacing == nil)
        pair.offerer.close(now: pair.now)
        usual.offerer.close(now: usual.now)
    }

    @Test("names stand for our addresses in the description where that is wanted, and peers still meet")
    func hiddenAddresses() throws {
        var pair = try CorePair(seed: 20) { $0.hidesHostAddresses = true }
        try pair.offerer.start(as: .offerer, localAddresses: [CorePair.addresses.0], servers: [], now: pair.now)
        try pair.answerer.start(as: .answerer, localAddresses: [CorePair.addresses.1], servers: [], now: pair.now)
        let offer = try pair.offerer.localDescription
        #expect(!offer.description.contains("10.0.0.1"))
        try pair.answerer.setRemoteDescription(offer, now: pair.now)
        try pair.offerer.setRemoteDescription(try pair.answerer.localDescription, now: pair.now)
        let names = (pair.offerer.hostNames, pair.answerer.hostNames)
        #expect(names.0.map(\.address) == [CorePair.addresses.0.ip])
        pair.answerer.resolved(names.0[0].name, as: [names.0[0].address], now: pair.now)
        pair.offerer.resolved(names.1[0].name, as: [names.1[0].address], now: pair.now)
        let isConnected = pair.run(for: .seconds(5)) { $0.areConnected }
        #expect(isConnected)
        pair.offerer.close(now: pair.now)
        _ = pair.run(for: .milliseconds(50)) { _ in false }
    }

    @Test("consent that ends on the old path during a restart is no failure while the new one is looked for")
    func oldPathEnds() throws {
        var pair = try connectedPair(14)
        pair.deadAddresses = [CorePair.addresses.0, CorePair.otherAddress]
        _ = pair.run(for: .seconds(20)) { _ in false }
        try Self.restart(&pair, byOfferer: true, addresses: [CorePair.otherAddress])
        _ = pair.run(for: .seconds(15)) { _ in false }
        let states = pair.states
        #expect(states.0 == .disconnected && states.1 == .disconnected)
        try Self.send(1000, &pair)
        pair.deadAddresses = []
        let isBack = pair.run(for: .seconds(60)) { $0.areConnected && $0.messages.1.count == 1 }
        #expect(isBack)
        pair.offerer.close(now: pair.now)
        _ = pair.run(for: .milliseconds(50)) { _ in false }
    }

    @Test("descriptions without new credentials change nothing, and count up")
    func renegotiation() throws {
        var pair = try connectedPair(15)
        let ufrag = pair.offerer.localUfrag
        let version = try pair.offerer.localDescription.sessionVersion
        try pair.offerer.offerAgain(localAddresses: [], servers: [], now: pair.now)
        let offer = try pair.offerer.localDescription
        #expect(offer.setup == .actpass && offer.sessionVersion == version + 1 && offer.iceUfrag == ufrag)
        try pair.answerer.setRemoteDescription(offer, now: pair.now)
        let answer = try pair.answerer.localDescription
        #expect(answer.setup == .active, "the roles stay")
        try pair.offerer.setRemoteDescription(answer, now: pair.now)
        // The other way: the DTLS server answers.
        try pair.answerer.offerAgain(localAddresses: [], servers: [], now: pair.now)
        try pair.offerer.setRemoteDescription(try pair.answerer.localDescription, now: pair.now)
        let reverse = try pair.offerer.localDescription
        #expect(reverse.type == .answer && reverse.setup == .passive)
        try pair.answerer.setRemoteDescription(reverse, now: pair.now)
        try Self.send(1000, &pair)
        let isThere = pair.run(for: .seconds(2)) { $0.messages.1.count == 1 }
        #expect(isThere)
        pair.offerer.close(now: pair.now)
        _ = pair.run(for: .milliseconds(50)) { _ in false }
    }

    @Test("what would need a new association, or fits no offer, is refused and changes nothing")
    func refusals() throws {
        var pair = try connectedPair(16)
        let now = pair.now
        pair.offerer.restartICE()
        try pair.offerer.offerAgain(localAddresses: [CorePair.addresses.0], servers: [], now: now)
        let offer = try pair.offerer.localDescription
        #expect(throws: PeerConnectionError(.invalidState, "")) {
            try pair.offerer.offerAgain(localAddresses: [], servers: [], now: now)
        }
        var other = offer
        other.fingerprints = [.init(algorithm: "sha-256", bytes: [UInt8](repeating: 7, count: 32))]
        #expect(throws: PeerConnectionError(.invalidDescription, "")) {
            try pair.answerer.setRemoteDescription(other, now: now)
        }
        try pair.answerer.setRemoteDescription(offer, now: now)
        var answer = try pair.answerer.localDescription
        let right = answer
        (answer.iceUfrag, answer.icePwd) = ("abcdefgh", "abcdefghijklmnopqrstuvwx")
        answer.fingerprints = other.fingerprints
        #expect(throws: PeerConnectionError(.invalidDescription, "")) {
            try pair.offerer.setRemoteDescription(answer, now: now)
        }
        // Firefox answers so.
        var answered = right
        answered.setup = .active
        try pair.offerer.setRemoteDescription(answered, now: now)
        #expect(throws: PeerConnectionError(.invalidState, "")) {
            try pair.offerer.setRemoteDescription(right, now: now)
        }
        // New credentials in an answer to an offer that asked for none.
        try pair.offerer.offerAgain(localAddresses: [], servers: [], now: now)
        (answered.iceUfrag, answered.icePwd) = ("abcdefgh", "abcdefghijklmnopqrstuvwx")
        #expect(throws: PeerConnectionError(.invalidDescription, "")) {
            try pair.offerer.setRemoteDescription(answered, now: now)
        }
        try Self.send(1000, &pair)
        let isThere = pair.run(for: .seconds(5)) { $0.messages.1.count == 1 }
        let areConnected = pair.areConnected
        #expect(isThere && areConnected)
        pair.offerer.close(now: pair.now)
        _ = pair.run(for: .milliseconds(50)) { _ in false }
    }

    @Test("of two offers that cross, the one that is taken stands, and the other's restart comes with the next")
    func glare() throws {
        var pair = try connectedPair(17)
        let now = pair.now
        pair.offerer.restartICE()
        try pair.offerer.offerAgain(localAddresses: [CorePair.addresses.0], servers: [], now: now)
        let abandoned = pair.offerer.localUfrag
        try pair.answerer.offerAgain(localAddresses: [], servers: [], now: now)
        try pair.offerer.setRemoteDescription(try pair.answerer.localDescription, now: now)
        let kept = pair.offerer.localUfrag
        #expect(kept != abandoned)
        try pair.answerer.setRemoteDescription(try pair.offerer.localDescription, now: now)
        try pair.offerer.offerAgain(localAddresses: [CorePair.addresses.0], servers: [], now: now)
        let offer = try pair.offerer.localDescription
        try pair.answerer.setRemoteDescription(offer, now: now)
        try pair.offerer.setRemoteDescription(try pair.answerer.localDescription, now: now)
        try Self.send(1000, &pair)
        _ = pair.run(for: .seconds(5)) { _ in false }
        let retired = Self.retired(pair.events.0)
        #expect(retired.count == 2 && retired.first == abandoned)
        let (messages, areConnected) = (pair.messages.1.count, pair.areConnected)
        #expect(messages == 1 && areConnected)
        pair.offerer.close(now: pair.now)
        _ = pair.run(for: .milliseconds(50)) { _ in false }
    }

    // MARK: - Names instead of addresses

    /// A pair whose offerer has a name of multicast DNS for its only candidate.
    private func namedPair(_ seed: UInt64, name: String, isComplete: Bool = true) throws -> CorePair {
        var pair = try CorePair(seed: seed)
        _ = try pair.offerer.openChannel(label: "a", options: .init())
        let now = pair.now
        try pair.offerer.start(as: .offerer, localAddresses: [CorePair.addresses.0], servers: [], now: now)
        try pair.answerer.start(as: .answerer, localAddresses: [CorePair.addresses.1], servers: [], now: now)
        var offer = try pair.offerer.localDescription
        offer.candidates = ["candidate:1 1 udp 2113937151 \(name) 1001 typ host"]
        offer.endOfCandidates = isComplete
        try pair.answerer.setRemoteDescription(offer, now: now)
        try pair.offerer.setRemoteDescription(try pair.answerer.localDescription, now: now)
        return pair
    }

    private static func names(_ events: [PeerCore.Event]) -> [String] {
        events.compactMap { if case .nameToResolve(let name) = $0 { name } else { nil } }
    }

    @Test("a candidate's name is asked for and takes its address")
    func name() throws {
        var pair = try namedPair(18, name: "8D3A1AF2-b2c3.LOCAL")
        _ = pair.run(for: .zero) { _ in false }
        let names = Self.names(pair.events.1)
        #expect(names == ["8d3a1af2-b2c3.local"])
        pair.answerer.resolved("8d3a1af2-b2c3.local", as: [CorePair.addresses.0.ip], now: pair.now)
        pair.answerer.resolved("8d3a1af2-b2c3.local", as: [CorePair.addresses.0.ip], now: pair.now)
        let isConnected = pair.run(for: .seconds(5)) { $0.areConnected }
        #expect(isConnected)
        let candidates = pair.answerer.stats(now: pair.now).remoteCandidates
        #expect(candidates.map(\.candidateType) == ["host"])
        pair.offerer.close(now: pair.now)
        _ = pair.run(for: .milliseconds(50)) { _ in false }
    }

    @Test("a name that nobody knows does no harm: the peer's checks tell the address")
    func unknownName() throws {
        var pair = try namedPair(19, name: "unknown.local")
        pair.answerer.resolved("unknown.local", as: [], now: pair.now)
        let isConnected = pair.run(for: .seconds(5)) { $0.areConnected }
        #expect(isConnected)
        pair.offerer.close(now: pair.now)
        _ = pair.run(for: .milliseconds(50)) { _ in false }
    }

    @Test(
        "names outside of the link are not asked for",
        arguments: ["example.com", "a.b.local", "local", ".local", "\(String(repeating: "a", count: 64)).local"])
    func foreignNames(name: String) throws {
        var pair = try namedPair(20, name: name)
        _ = pair.run(for: .zero) { _ in false }
        let names = Self.names(pair.events.1)
        #expect(names.isEmpty)
        pair.offerer.close(now: pair.now)
        pair.answerer.close(now: pair.now)
        _ = pair.run(for: .milliseconds(50)) { _ in false }
    }

    @Test("a peer with many names has sixteen of them asked for")
    func manyNames() throws {
        var pair = try namedPair(21, name: "x.local", isComplete: false)
        for index in 0..<100 {
            let line = "candidate:1 1 udp 2113937151 n\(index).local 1001 typ host"
            pair.answerer.addRemoteCandidate(ICECandidate(sdp: line), now: pair.now)
        }
        _ = pair.run(for: .zero) { _ in false }
        let asked = Self.names(pair.events.1)
        #expect(asked.count == 16)
        // The end of candidates waits for the last of them.
        pair.answerer.addRemoteCandidate(nil, now: pair.now)
        for name in asked.dropLast() { pair.answerer.resolved(name, as: [], now: pair.now) }
        pair.answerer.resolved(asked[15], as: [CorePair.addresses.0.ip], now: pair.now)
        let isConnected = pair.run(for: .seconds(5)) { $0.areConnected }
        #expect(isConnected)
        pair.offerer.close(now: pair.now)
        pair.answerer.close(now: pair.now)
        _ = pair.run(for: .milliseconds(50)) { _ in false }
    }
}
