// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@testable import NATLab

@Suite("Sessions that have it hard")
struct SessionAdversityTests {
    private func begin(
        _ offerer: NATProfile = .portRestricted, _ answerer: NATProfile = .portRestricted, seed: UInt64 = 1,
        relays: [TURNServer.Transport] = [], link: LinkConditions = LinkConditions(delay: .milliseconds(10))
    ) -> EncounterRun {
        var configuration = Encounter.Configuration()
        configuration.seed = seed
        configuration.link = AccessLink(link)
        configuration.relays = relays
        let run = EncounterRun(
            Encounter(offerer, answerer, configuration: configuration), isObserving: false)
        run.run()
        return run
    }

    private func pass(_ duration: Duration, _ run: EncounterRun) { run.proceed(until: run.now + duration) }

    @Test(
        "agents meet however packets fare",
        arguments: [
            LinkConditions(delay: .milliseconds(10), loss: .random(0.05)),
            LinkConditions(delay: .milliseconds(10), duplication: 0.2, reorder: 0.2, reorderDelay: .milliseconds(30)),
            LinkConditions(delay: .milliseconds(10), jitter: .milliseconds(20), loss: .random(0.05), duplication: 0.1),
            LinkConditions(delay: .milliseconds(300)),
        ])
    func weather(link: LinkConditions) {
        for seed in 1...5 as ClosedRange<UInt64> {
            #expect(begin(seed: seed, link: link).result.outcome == .direct)
            let relayed = begin(.symmetricRandom, .symmetricRandom, seed: seed, relays: [.udp, .tcp], link: link)
            #expect(relayed.result.outcome == .relayed)
        }
    }

    @Test("30 % of packets lost each way: agents meet all the same, directly and over a relay")
    func heavyLoss() {
        // Two links on the way of each packet: 1 - (1 - 0.163)² is 0.3.
        let link = LinkConditions(delay: .milliseconds(10), loss: .random(0.163))
        for seed in 1...5 as ClosedRange<UInt64> {
            #expect(begin(seed: seed, link: link).result.outcome == .direct, "seed \(seed)")
            let relayed = begin(.symmetricRandom, .symmetricRandom, seed: seed, relays: [.udp, .tcp], link: link)
            #expect(relayed.result.outcome == .relayed, "seed \(seed)")
        }
    }

    @Test("an outage of twenty seconds is told, and the session goes on after it", arguments: [false, true])
    func outage(relayed: Bool) {
        let run =
            relayed ? begin(.symmetricRandom, .symmetricRandom, relays: [.udp]) : begin()
        #expect(run.agents.allSatisfy { $0.state == .completed })
        pass(.seconds(20), run)
        let host = VirtualNetwork.Element.host(run.agents[0].host)
        let start = run.now
        run.wire.network.setLink(of: host, to: AccessLink(LinkConditions(loss: .random(1))))
        pass(.seconds(20), run)
        #expect(run.agents.allSatisfy { $0.state == .disconnected })
        run.wire.network.setLink(of: host, to: run.configuration.link)
        pass(.seconds(10), run)
        #expect(run.agents.allSatisfy { $0.state == .completed })
        #expect(run.agents.allSatisfy { $0.states.contains { $0.state == .disconnected && $0.since > start } })
        pass(.seconds(60), run)
        #expect(run.agents.allSatisfy { $0.state == .completed })
    }

    @Test("a NAT that forgets everything is not noticed where it gives the same port again")
    func rebinding() throws {
        let run = begin()
        pass(.seconds(20), run)
        for agent in run.agents {
            let box = try #require(
                run.wire.network.boxes(outwardFrom: run.wire.network.segment(of: agent.host)).first)
            run.wire.network.rebind(box)
            pass(.seconds(40), run)
            #expect(run.agents.allSatisfy { $0.state == .completed })
        }
    }

    @Test("a NAT that comes back with another address makes both sides tell within 16 seconds that nothing comes")
    func renumbering() throws {
        let run = begin()
        pass(.seconds(20), run)
        let box = try #require(
            run.wire.network.boxes(outwardFrom: run.wire.network.segment(of: run.agents[0].host)).first)
        run.wire.network.rebind(box, newAddresses: true)
        let start = run.now
        pass(.seconds(16), run)
        // The other side still sends to the old address; what this side asks comes from a new one.
        #expect(run.agents[1].states.contains { $0.state == .disconnected && $0.since > start })
    }
}
