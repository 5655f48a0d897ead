// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// Whether answers are let in from an address that the socket never sent to (RFC 5780 §4.4).
///
/// Nothing but the known address of the server may have been sent to before, from any socket: some NATs open doors for
/// a whole host. So it comes before all tests that send elsewhere.
struct FilteringTest: NATTest {
    let stage = NATDiscovery.Stage.filtering
    /// What of the answers' source is new: the host, or the port alone.
    private let isOtherHost: Bool
    private var socket: Int?
    private var opening: Int?
    private var insistence = Insistence()

    /// A test with answers from another address (or, where the server has one host only, port).
    init(changes: NATExchange.Changes) {
        isOtherHost = changes.contains(.address)
    }

    mutating func advance(_ probing: inout NATProbing, _ report: inout NATReport) -> NATTestOutcome {
        let endpoints = probing.endpoints
        guard endpoints.other != nil else { return end(.unknown(.noOtherAddress), &probing) }
        if isOtherHost {
            guard endpoints.hasTwoAddresses else { return end(.unknown(.oneAddress), &probing) }
        } else {
            // Who lets in any host lets in any port.
            guard probing.findings.otherHost != .passed else { return .done }
            guard endpoints.hasTwoPorts else { return end(.unknown(.onePort), &probing) }
        }
        guard let socket else {
            socket = probing.open()
            return .underWay
        }
        guard let isUsable = probing.isUsable(socket) else { return .underWay }
        guard isUsable else { return end(.unknown(.noSocket), &probing) }
        guard let opening else {
            opening = probing.ask(
                .control, from: socket, to: endpoints.primary, copies: probing.configuration.copies)
            return .underWay
        }
        guard probing[opening].isOver else { return .underWay }
        guard probing[opening].answer != nil else { return end(.unknown(.tooLossy), &probing) }
        return insist(socket, &probing)
    }

    private mutating func insist(_ socket: Int, _ probing: inout NATProbing) -> NATTestOutcome {
        let primary = probing.endpoints.primary
        let changes: NATExchange.Changes =
            isOtherHost ? (probing.endpoints.hasTwoPorts ? [.address, .port] : .address) : .port
        let state = insistence.advance(&probing) { probing, _ in
            probing.ask(.filtering, from: socket, to: primary, changes: changes, copies: 1)
        } control: { probing in
            probing.ask(.control, from: socket, to: primary, copies: 2)
        }
        switch state {
        case .underWay: return .underWay
        case .tooLossy: return end(.unknown(.tooLossy), &probing)
        case .refused(let code): return end(.unknown(.refused(code)), &probing)
        case .silent:
            if isOtherHost { probing.findings.filteredSocket = socket }
            return end(.filtered, &probing)
        case .answered(let answer) where answer.source == primary:
            probing.note(.ignoresChangeRequest)
            return end(.unknown(.changeRequestIgnored), &probing)
        case .answered(let answer) where answer.source != probing.endpoints.origin(of: changes):
            probing.note(.answersFromElsewhere(answer.source))
            return end(.unknown(.inconsistent), &probing)
        case .answered: return end(.passed, &probing)
        }
    }

    private func end(_ result: NATFindings.Filter, _ probing: inout NATProbing) -> NATTestOutcome {
        if isOtherHost { probing.findings.otherHost = result } else { probing.findings.otherPort = result }
        // The leak test needs the socket that packets came to in vain.
        if let socket, probing.findings.filteredSocket != socket { probing.close(socket) }
        return .done
    }
}

/// Whether packets that were not let in took the port: the way of a Linux router that masquerades without a filter.
///
/// There such a packet becomes a connection of the router itself, so that what leaves for its source afterwards finds
/// the port taken and gets another, though the mapping toward everyone else stays. No other test of RFC 5780 sees it,
/// as in all of them the host sends first; hole punching fails by it.
struct LeakTest: NATTest {
    let stage = NATDiscovery.Stage.filteredInbound
    private var asked: [Int] = []

    mutating func advance(_ probing: inout NATProbing, _ report: inout NATReport) -> NATTestOutcome {
        guard let socket = probing.findings.filteredSocket, let other = probing.endpoints.other else { return .done }
        if let last = asked.last, !probing[last].isOver { return .underWay }
        // The other host, then the known one, twice: what differs both times, and in the same way, was made by the
        // packets.
        guard asked.count == 4 else {
            let destination = asked.count % 2 == 0 ? other : probing.endpoints.primary
            asked.append(
                probing.ask(.leak, from: socket, to: destination, copies: probing.configuration.copies))
            return .underWay
        }
        let seen = asked.compactMap { probing[$0].answer?.mapped }
        if seen.count == 4, seen[0] == seen[2], seen[1] == seen[3] { probing.findings.takesPort = seen[0] != seen[1] }
        probing.close(socket)
        return .done
    }
}
