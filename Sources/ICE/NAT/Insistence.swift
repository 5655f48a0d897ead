// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// A question that is asked again and again, until an answer comes or silence cannot be chance any more.
///
/// Beside each attempt a control may be asked that must be answered for the attempt to count: what is silent in an
/// outage says nothing.
struct Insistence: Sendable {
    private var attempts: [(test: Int, control: Int?)] = []

    /// Most attempts, those that do not count among them.
    static let maximumAttempts = 64

    enum State: Hashable, Sendable {
        case underWay
        case answered(NATExchange.Answer)
        case refused(Int)
        case silent
        case tooLossy
    }

    /// The exchange of the first attempt.
    var first: Int? { attempts.first?.test }
    /// The exchange of the last attempt.
    var last: Int? { attempts.last?.test }

    /// Looks what came, and asks again where that is needed. `accepts` says whether an answer is one.
    mutating func advance(
        _ probing: inout NATProbing, accepts: (NATExchange.Answer) -> Bool = { _ in true },
        ask: (inout NATProbing, Int) -> Int, control: ((inout NATProbing) -> Int)? = nil
    ) -> State {
        var (failed, pending) = (0, 0)
        for attempt in attempts {
            let test = probing[attempt.test]
            if let answer = test.answer, accepts(answer) { return .answered(answer) }
            if case .refused(let code) = test.outcome { return .refused(code) }
            let control = attempt.control.map { probing[$0] }
            if !test.isOver || control.map({ !$0.isOver }) ?? false {
                pending += 1
            } else if control.map({ $0.answer != nil }) ?? true {
                failed += 1
            }
        }
        guard let needed = probing.loss.attemptsNeeded else { return pending > 0 ? .underWay : .tooLossy }
        if failed >= needed { return .silent }
        while failed + pending < needed, probing.wantsMore {
            guard attempts.count < Self.maximumAttempts else { return pending > 0 ? .underWay : .tooLossy }
            let test = ask(&probing, attempts.count)
            attempts.append((test, control?(&probing)))
            pending += 1
        }
        return .underWay
    }
}
