// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@testable import Relay

/// Every state of a 5-tuple against every message that may come on it.
@Suite("States and messages")
struct RelayStateTests {
    /// What a 5-tuple has.
    enum State: CaseIterable {
        case nothing
        case pending
        case v4
        case v6
        case both
        case ofAnother
        case ended
    }

    /// What comes.
    enum Input: CaseIterable {
        case binding
        case allocate
        case refresh
        case end
        case permission
        case permissionV6
        case channel
        case send
        case data
        case unprovenRefresh
    }

    /// The code of the answer, 0 for success, -1 for silence; for data the number of packets that go on.
    private func expected(_ state: State, _ input: Input) -> Int {
        switch (state, input) {
        case (_, .binding): 0
        case (_, .unprovenRefresh): 401
        case (.nothing, .allocate), (.ended, .allocate): 0
        case (_, .allocate): 437
        case (_, .send), (_, .data): -1
        case (.nothing, _), (.ended, _), (.pending, _): 437
        case (.ofAnother, _): 441
        case (_, .refresh), (_, .end): 0
        case (.v4, .permissionV6), (.v6, .permission), (.v6, .channel): 443
        case (_, .permission), (_, .permissionV6), (_, .channel): 0
        }
    }

    private func enter(_ state: State, _ caller: RelayCaller) {
        caller.meet()
        switch state {
        case .nothing: break
        case .pending:
            caller.bench.holdsSockets = true
            caller.allocate()
        case .v4: caller.allocate()
        case .v6: caller.allocate { $0.append(.requestedAddressFamily, UInt32(2 << 24)) }
        case .both: caller.allocate { $0.append(.additionalAddressFamily, UInt32(2 << 24)) }
        case .ofAnother: RelayCaller(caller.bench, caller.client, RelayBench.bob).allocate()
        case .ended:
            caller.allocate()
            caller.bench.pass(.seconds(600))
        }
    }

    private func give(_ input: Input, _ caller: RelayCaller) -> Int {
        func code(_ answer: STUNMessage?) -> Int {
            guard let answer else { return -1 }
            return answer.messageClass == .success ? 0 : answer.code ?? -2
        }
        let bench = caller.bench
        switch input {
        case .binding:
            return code(caller.answer(to: STUNMessage(.request, transactionID: caller.newID()).encoded()))
        case .allocate:
            return code(
                caller.ask(.allocate) { $0.attributes.append(STUNAttribute(.requestedTransport, [17, 0, 0, 0])) })
        case .refresh: return code(caller.ask(.refresh))
        case .end: return code(caller.ask(.refresh) { $0.append(.lifetime, UInt32(0)) })
        case .permission: return code(caller.permit(peerA))
        case .permissionV6: return code(caller.permit(peerV6))
        case .channel: return code(caller.bind(0x4000, to: peerA))
        case .send: return caller.indicate([1], to: peerA).isEmpty ? -1 : 1
        case .data: return bench.send(channelData(0x4000, [1]), from: caller.client).isEmpty ? -1 : 1
        case .unprovenRefresh:
            return code(caller.answer(to: STUNMessage(.request, .refresh, transactionID: caller.newID()).encoded()))
        }
    }

    @Test(
        "each message in each state is answered as it must be, and again when it is repeated",
        arguments: State.allCases, Input.allCases)
    func table(state: State, input: Input) {
        let caller = RelayCaller(RelayBench())
        enter(state, caller)
        let before = caller.bench.core.metrics.allocations
        #expect(give(input, caller) == expected(state, input))
        let after = caller.bench.core.metrics.allocations
        switch (state, input) {
        case (.nothing, .allocate), (.ended, .allocate): #expect(after == before + 1)
        case (.v4, .end), (.v6, .end), (.both, .end): #expect(after == before - 1)
        default: #expect(after == before)
        }
    }
}
