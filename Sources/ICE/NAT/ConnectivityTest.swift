// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// Whether the server answers, and what it says of itself (RFC 5780 §4.2).
struct ConnectivityTest: NATTest {
    let stage = NATDiscovery.Stage.connectivity
    private var socket: Int?
    private var asked: [Int] = []
    /// How many answers are wanted: so many tell about the round trip and about loss.
    private static let answers = 3

    mutating func advance(_ probing: inout NATProbing, _ report: inout NATReport) -> NATTestOutcome {
        guard let socket else {
            socket = probing.open()
            return .underWay
        }
        guard let isUsable = probing.isUsable(socket) else { return .underWay }
        guard isUsable else { return .hopeless(.noSocket) }
        if let last = asked.last {
            let exchange = probing[last]
            switch exchange.outcome {
            case .pending: return .underWay
            case .refused(let code): return .hopeless(.refused(code))
            case .answered(let answer): note(answer, of: exchange, &probing, &report)
            case .silent, .dropped:
                if report.mappedAddress == nil { return turn(to: asked.count, &probing, &report) }
            }
            if asked.count >= Self.answers + (probing.configuration.otherServers.count) || isSettled(probing) {
                return .done
            }
        }
        ask(probing.endpoints.primary, &probing)
        return .underWay
    }

    private func isSettled(_ probing: NATProbing) -> Bool {
        asked.count(where: { probing[$0].destination == probing.endpoints.primary }) >= Self.answers
    }

    private mutating func ask(_ server: SocketAddress, _ probing: inout NATProbing) {
        guard let socket else { return }
        asked.append(probing.ask(.connectivity, from: socket, to: server, copies: probing.configuration.copies))
    }

    /// The server is silent: asks the next one.
    private mutating func turn(
        to index: Int, _ probing: inout NATProbing, _ report: inout NATReport
    ) -> NATTestOutcome {
        let others = probing.configuration.otherServers.filter { $0 != report.server }
        guard others.indices.contains(index - 1) else {
            // One server may be down; several are not.
            report.kind = others.isEmpty ? .unknown(.noAnswer) : .known(.udpBlocked)
            return .hopeless(.noAnswer)
        }
        probing.note(.silent(probing.endpoints.primary))
        probing.endpoints = NATEndpoints(primary: others[index - 1])
        ask(others[index - 1], &probing)
        return .underWay
    }

    private func note(
        _ answer: NATExchange.Answer, of exchange: NATExchange, _ probing: inout NATProbing, _ report: inout NATReport
    ) {
        guard report.mappedAddress == nil else { return }
        report.localAddress = exchange.source
        report.mappedAddress = answer.mapped
        if let fault = probing.endpoints.set(other: answer.otherAddress) { probing.note(fault) }
    }
}
