// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// Whether the server answers to another port (RFC 5780 §7.5), which lets one socket have packets sent to another that
/// stays silent; and with that, whether packets that are not let in end a mapping.
struct ResponsePortTest: NATTest {
    let stage = NATDiscovery.Stage.filteredInbound
    private var opened: [Int] = []
    private var asked: [Int] = []
    private var step = Step.pair
    private var insistence = Insistence()
    private var mapped: SocketAddress?
    private var renewal: Int?
    /// How old the mapping was that did not survive.
    private var age = Duration.zero

    /// pair ──▶ works ──▶ filtered ──▶ survives ──no──▶ renewed
    private enum Step: Hashable, Sendable {
        /// Finds two sockets with one external address.
        case pair
        /// An answer must reach the second socket.
        case works
        /// Packets come that are not let in.
        case filtered
        /// An answer reaches the second socket if its mapping is still there.
        case survives
        /// It did not: on a new mapping it must.
        case renewed
    }

    /// Most sockets that are tried where external addresses are given out at random.
    private static let maximumSockets = 8

    mutating func advance(_ probing: inout NATProbing, _ report: inout NATReport) -> NATTestOutcome {
        while true {
            switch step {
            case .pair:
                guard let outcome = pair(&probing) else { continue }
                return outcome
            case .works, .survives, .renewed:
                guard let outcome = reach(&probing) else { continue }
                return outcome
            case .filtered:
                guard let outcome = provoke(&probing) else { continue }
                return outcome
            }
        }
    }

    private mutating func pair(_ probing: inout NATProbing) -> NATTestOutcome? {
        guard let last = opened.last else {
            opened.append(probing.open())
            return .underWay
        }
        guard let isUsable = probing.isUsable(last) else { return .underWay }
        guard isUsable else { return end(.noSocket, &probing) }
        guard asked.count == opened.count else {
            asked.append(
                probing.ask(
                    .responsePort, from: last, to: probing.endpoints.primary, copies: probing.configuration.copies))
            return .underWay
        }
        guard probing[asked[asked.count - 1]].isOver else { return .underWay }
        let seen = asked.map { probing[$0].answer?.mapped }
        if let newest = seen[seen.count - 1], let asking = seen.dropLast().firstIndex(where: { $0?.ip == newest.ip }) {
            probing.findings.responsePortPair = (opened[asking], last)
            mapped = newest
            step = .works
            return nil
        }
        guard opened.count < Self.maximumSockets else { return end(.tooLossy, &probing) }
        opened.append(probing.open())
        return .underWay
    }

    /// Has answers sent to the second socket until one arrives.
    private mutating func reach(_ probing: inout NATProbing) -> NATTestOutcome? {
        guard let pair = probing.findings.responsePortPair else { return end(.tooLossy, &probing) }
        if step == .renewed {
            guard let begin = renew(pair.receiving, &probing) else { return .underWay }
            // As old as the mapping was that did not survive: was it just its age?
            guard probing.now >= begin + age else {
                probing.wakeUp = begin + age
                return .underWay
            }
        }
        guard let mapped else { return end(nil, &probing) }
        let primary = probing.endpoints.primary
        let purpose = step == .works ? NATExchange.Purpose.responsePort : .ending
        let state = insistence.advance(&probing, accepts: { $0.socket == pair.receiving }) { probing, _ in
            probing.ask(purpose, from: pair.asking, to: primary, responsePort: mapped.port, copies: 1)
        }
        guard state != .underWay else { return .underWay }
        insistence = Insistence()
        probing.giveUp()
        switch (step, state) {
        case (.works, .answered):
            probing.findings.responsePortDoubt = nil
            guard probing.findings.otherHost == .filtered || probing.findings.otherPort == .filtered else {
                return end(nil, &probing)
            }
            step = .filtered
            return nil
        case (.works, .refused(let code)): return end(.refused(code), &probing)
        case (.works, _): return end(.responsePortUnproven, &probing)
        case (.survives, .answered):
            probing.findings.endsMapping = false
            return end(nil, &probing)
        case (.survives, .silent):
            age = renew(pair.receiving, &probing).map { probing.now - $0 } ?? .zero
            renewal = nil
            step = .renewed
            return nil
        case (.renewed, .answered):
            probing.findings.endsMapping = true
            return end(nil, &probing)
        default: return end(nil, &probing)
        }
    }

    /// Has the server send from where the second socket has sent nothing, without that socket sending anything.
    private mutating func provoke(_ probing: inout NATProbing) -> NATTestOutcome? {
        guard let pair = probing.findings.responsePortPair else { return end(nil, &probing) }
        guard renew(pair.receiving, &probing) != nil else { return .underWay }
        guard let mapped else { return end(nil, &probing) }
        let primary = probing.endpoints.primary
        let isOtherHost = probing.findings.otherHost == .filtered
        let changes: NATExchange.Changes =
            isOtherHost ? (probing.endpoints.hasTwoPorts ? [.address, .port] : .address) : .port
        let state = insistence.advance(&probing) { probing, _ in
            probing.ask(
                .ending, from: pair.asking, to: primary, changes: changes, responsePort: mapped.port, copies: 1)
        }
        guard state != .underWay else { return .underWay }
        insistence = Insistence()
        guard state == .silent else { return end(nil, &probing) }
        step = .survives
        return nil
    }

    /// Has the second socket send once itself; answers when that was answered, `nil` while it is not. Without an answer
    /// its mapping is not known any more.
    private mutating func renew(_ socket: Int, _ probing: inout NATProbing) -> Timestamp? {
        guard let renewal else {
            renewal = probing.ask(
                .control, from: socket, to: probing.endpoints.primary, copies: probing.configuration.copies)
            return nil
        }
        guard probing[renewal].isOver else { return nil }
        mapped = probing[renewal].answer?.mapped
        return probing[renewal].answer?.time ?? probing.now
    }

    private func end(_ doubt: NATUncertainty?, _ probing: inout NATProbing) -> NATTestOutcome {
        if let doubt { probing.findings.responsePortDoubt = doubt }
        let pair = probing.findings.responsePortPair
        for socket in opened where socket != pair?.asking && socket != pair?.receiving { probing.close(socket) }
        return .done
    }
}
