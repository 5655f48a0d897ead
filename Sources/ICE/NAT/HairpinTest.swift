// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// Whether two sockets reach each other at their external addresses (RFC 4787 §6, RFC 5780 §3.4).
///
/// Both send, by turns, so that a filter that treats such packets like those from outside is opened.
struct HairpinTest: NATTest {
    let stage = NATDiscovery.Stage.hairpinning
    private var sockets: [Int] = []
    private var asked: [Int] = []
    private var insistence = Insistence()
    private var round = 0
    private static let rounds = 2

    mutating func advance(_ probing: inout NATProbing, _ report: inout NATReport) -> NATTestOutcome {
        guard report.translates != false else {
            report.hairpinning = .unknown(.noTranslation)
            return .done
        }
        while sockets.count < 2 { sockets.append(probing.open()) }
        for socket in sockets {
            guard let isUsable = probing.isUsable(socket) else { return .underWay }
            guard isUsable else { return end(.unknown(.noSocket), &probing, &report) }
        }
        if asked.isEmpty {
            for socket in sockets {
                asked.append(
                    probing.ask(
                        .control, from: socket, to: probing.endpoints.primary, copies: probing.configuration.copies))
            }
        }
        guard asked.allSatisfy({ probing[$0].isOver }) else { return .underWay }
        let mapped = asked.compactMap { probing[$0].answer?.mapped }
        guard mapped.count >= 2 else { return end(.unknown(.tooLossy), &probing, &report) }
        if asked.count == 2 {
            let sockets = sockets
            let state = insistence.advance(&probing) { probing, attempt in
                probing.ask(.hairpin, from: sockets[attempt % 2], to: mapped[1 - attempt % 2], copies: 1)
            }
            switch state {
            case .underWay: return .underWay
            case .tooLossy, .refused: return end(.unknown(.tooLossy), &probing, &report)
            case .answered(let answer):
                let inside = sockets.compactMap { probing.sockets[$0].local }
                let isInside = inside.contains(answer.source)
                return end(.known(isInside ? .internalSource : .externalSource), &probing, &report)
            case .silent:
                // The first packets of each side may only have opened the way for the other's.
                round += 1
                guard round == Self.rounds else {
                    insistence = Insistence()
                    return advance(&probing, &report)
                }
            }
            // Nothing came: are the mappings still those that were sent to?
            for socket in sockets {
                asked.append(
                    probing.ask(
                        .control, from: socket, to: probing.endpoints.primary, copies: probing.configuration.copies))
            }
            return .underWay
        }
        guard mapped.count == 4, mapped[0] == mapped[2], mapped[1] == mapped[3] else {
            return end(.unknown(.inconsistent), &probing, &report)
        }
        probing.findings.isHairpinSilent = true
        return end(.unknown(.notTested), &probing, &report)
    }

    private func end(
        _ fact: NATFact<NATReport.Hairpinning>, _ probing: inout NATProbing, _ report: inout NATReport
    ) -> NATTestOutcome {
        report.hairpinning = fact
        for socket in sockets { probing.close(socket) }
        return .done
    }
}
