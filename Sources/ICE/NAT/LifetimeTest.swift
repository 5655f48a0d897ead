// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// How long a mapping lives that nothing refreshes, and whether packets from outside refresh it (RFC 5780 §4.6).
///
/// RFC 5780 waits on one socket, again and again, for times that close in on the answer. Here many sockets wait at the
/// same time, each for another time, and the next round closes in between the longest that survived and the shortest
/// that did not: the same answer in a fraction of the time. Each socket is tried once, so that no test refreshes what
/// the next one looks at.
struct LifetimeTest: NATTest {
    let stage = NATDiscovery.Stage.lifetime
    private var begin: Timestamp?
    private var waits: [Wait] = []
    private var survived = Duration.zero
    private var expired: Duration?
    private var trial: Trial?
    private var refresh: RefreshTrial?
    private var isRefreshDone = false

    /// A socket that stays silent for a time.
    private struct Wait: Sendable {
        let time: Duration
        let socket: Int
        var opening: Int?
    }

    /// Ages that are looked at in the first round, in seconds: times that NATs are known to use lie between them.
    private static let ages = [8, 15, 25, 40, 55, 75, 100, 150, 200, 270, 330, 450, 660, 960]
    /// Sockets in each further round.
    private static let width = 4
    /// The answer is good enough when it is this near, or a twentieth.
    private static let precision = Duration.seconds(2)

    mutating func advance(_ probing: inout NATProbing, _ report: inout NATReport) -> NATTestOutcome {
        let begin = begin ?? probing.now
        self.begin = begin
        guard let pair = probing.findings.responsePortPair, probing.findings.responsePortDoubt == nil else {
            let doubt = probing.findings.responsePortDoubt ?? .responsePortUnproven
            (report.mappingLifetime, report.inboundRefreshes) = (.unknown(doubt), .unknown(doubt))
            return .done
        }
        let end = begin + (probing.configuration.lifetimeBudget ?? .zero)
        while true {
            if trial == nil, waits.isEmpty, !prepare(begin: begin, end: end, &probing) {
                return conclude(pair.asking, end: end, &probing, &report)
            }
            guard step(pair.asking, &probing) else { return .underWay }
            if survived == .zero, expired == nil, waits.isEmpty, trial == nil {
                // Not even that worked which should.
                (report.mappingLifetime, report.inboundRefreshes) = (.unknown(.tooLossy), .unknown(.tooLossy))
                return .done
            }
        }
    }

    /// Opens the sockets of the next round; false if there is none.
    private mutating func prepare(begin: Timestamp, end: Timestamp, _ probing: inout NATProbing) -> Bool {
        let left = end - probing.now
        var times: [Duration] = []
        if survived == .zero, expired == nil {
            guard probing.now == begin else { return false }
            times = Self.ages.map { .seconds($0) }.filter { $0 * 9 <= left * 5 }
        } else if let expired, expired - survived > max(Self.precision, survived / 20), expired + .seconds(10) < left {
            let step = (expired - survived) / (Self.width + 1)
            times = (1...Self.width).map { survived + step * $0 }
        }
        waits = times.map { Wait(time: $0, socket: probing.open()) }
        return !waits.isEmpty
    }

    /// Goes on with a round; false while there is nothing to do but wait.
    private mutating func step(_ asking: Int, _ probing: inout NATProbing) -> Bool {
        for index in waits.indices where waits[index].opening == nil && probing.isUsable(waits[index].socket) == true {
            waits[index].opening = probing.ask(
                .lifetime, from: waits[index].socket, to: probing.endpoints.primary,
                copies: probing.configuration.copies)
        }
        waits.removeAll { wait in
            let isLost = wait.opening.map { probing[$0].isOver && probing[$0].answer == nil } ?? false
            return isLost || probing.isUsable(wait.socket) == false
        }
        if trial == nil {
            guard !waits.isEmpty else { return true }
            // The shortest comes first, as the sockets began one after the other.
            guard let opening = waits[0].opening, let answer = probing[opening].answer,
                waits.allSatisfy({ $0.opening != nil })
            else { return false }
            let due = answer.time + waits[0].time
            guard probing.now >= due else {
                probing.wakeUp = due
                return false
            }
            trial = Trial(socket: waits[0].socket, opening: opening)
        }
        guard let state = trial?.advance(asking, &probing) else { return false }
        probing.giveUp()
        let socket = trial?.socket
        trial = nil
        if let socket { probing.close(socket) }
        if !waits.isEmpty { waits.removeFirst() }
        switch state {
        case .survived(let age): survived = max(survived, age)
        case .expired(let age):
            expired = min(expired ?? age, age)
            for wait in waits { probing.close(wait.socket) }
            waits.removeAll()
        case .unclear: break
        }
        return true
    }

    private mutating func conclude(
        _ asking: Int, end: Timestamp, _ probing: inout NATProbing, _ report: inout NATReport
    ) -> NATTestOutcome {
        if survived == .zero, expired == nil {
            (report.mappingLifetime, report.inboundRefreshes) = (.unknown(.timeSpent), .unknown(.timeSpent))
            return .done
        }
        report.mappingLifetime = .known(NATReport.Lifetime(survived: survived, expired: expired))
        guard let expired, expired < survived * 5 / 4, survived * 8 / 5 < end - probing.now || refresh != nil else {
            report.inboundRefreshes = .unknown(.timeSpent)
            return .done
        }
        var trial = refresh ?? RefreshTrial(socket: probing.open(), pause: survived * 7 / 10)
        let fact = trial.advance(asking, &probing)
        refresh = trial
        guard let fact else { return .underWay }
        report.inboundRefreshes = fact
        probing.close(trial.socket)
        return .done
    }
}
