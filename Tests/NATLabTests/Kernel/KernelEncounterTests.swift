// SPDX-License-Identifier: Apache-2.0
import NATLab
import NetIO
import Testing
import Wire

@Suite("Encounters in the kernel", .serialized, .enabled(if: networkObstacle == nil, "no namespaces or no nft here"))
struct KernelEncounterTests {
    /// A shell that plays an agent. After the peer's description it says what is given.
    private func agent(_ events: [String]) -> AgentProgram {
        let description =
            #"{"event":"description","ufrag":"abcd","pwd":"0123456789","candidates":[],"gathering":7000000}"#
        let lines = events.map { "echo '\($0)'" }.joined(separator: "; ")
        return AgentProgram(
            "shell", program: "sh", arguments: ["-c", "echo '\(description)'; read -r peer; \(lines); cat >/dev/null"])
    }

    private func encounter(_ offering: [String], _ answering: [String]) throws -> EncounterResult {
        let network = try KernelNetwork([.host("a", behind: [.portRestricted]), .host("b", behind: [.leaky])])
        var configuration = KernelEncounter.Configuration(
            stunServer: SocketAddress(ip: network.server.addresses[0], port: 3478))
        configuration.limit = .seconds(2)
        return try KernelEncounter(
            network, .init(network.host("a"), .portRestricted, agent(offering)),
            .init(network.host("b"), .leaky, agent(answering)), configuration
        ).run()
    }

    @Test("time counts until data has arrived on both sides, by their own clocks")
    func time() throws {
        // Far enough ahead of this machine's clock that nothing else shows.
        let (early, late) = (Int64(1) << 60, Int64(1) << 61)
        let connected = #"{"event":"connected","time":1,"local":"host","remote":"srflx"}"#
        let result = try encounter(
            [connected, #"{"event":"data","time":\#(early)}"#],
            [#"{"event":"accepted"}"#, connected, #"{"event":"data","time":\#(late)}"#])
        #expect(result.outcome == .direct)
        #expect(result.pair == "host–host")
        #expect(result.gathering == [.milliseconds(7), .milliseconds(7)])
        let time = try #require(result.timeToConnect)
        #expect(time.nanoseconds > late - (1 << 59) && time.nanoseconds < late)
    }

    @Test("an agent that fails ends the encounter at once")
    func failure() throws {
        let began = MonotonicClock.now
        let result = try encounter(
            [#"{"event":"failed"}"#], [#"{"event":"accepted"}"#, #"{"event":"failed"}"#])
        #expect(result.outcome == .failed && result.timeToConnect == nil)
        #expect(MonotonicClock.now - began < .seconds(2))
    }

    @Test("an agent that ends without a word is a failure, not an error")
    func silence() throws {
        let network = try KernelNetwork([.init(.host("a")), .init(.host("b"))])
        let program = AgentProgram("nothing", program: "true")
        let configuration = KernelEncounter.Configuration(
            stunServer: SocketAddress(ip: network.server.addresses[0], port: 3478))
        let result = try KernelEncounter(
            network, .init(network.host("a"), .open, program), .init(network.host("b"), .open, program), configuration
        ).run()
        #expect(result.outcome == .failed)
        #expect(result.causes.map(\.text) == ["an agent did not tell its candidates in time"])
    }

    @Test("several attempts give the median of those that ended as most did")
    func median() throws {
        func result(_ outcome: EncounterResult.Outcome, _ milliseconds: Int) -> EncounterResult {
            var result = EncounterResult(outcome)
            result.timeToConnect = .milliseconds(milliseconds)
            result.gathering = [.milliseconds(milliseconds), .milliseconds(2 * milliseconds)]
            return result
        }
        let median = EncounterResult.median(of: [
            result(.direct, 30), result(.relayed, 1), result(.direct, 10), result(.direct, 20),
        ])
        #expect(median.outcome == .direct && median.timeToConnect == .milliseconds(20))
        #expect(median.gathering == [.milliseconds(20), .milliseconds(40)])
        #expect(median.causes.map(\.text) == ["of 4 times 1 relayed"])
    }
}
