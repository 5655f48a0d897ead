// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// Looks once whether a mapping is still there.
struct Trial: Sendable {
    /// The socket whose mapping it is.
    let socket: Int
    private let opening: Int
    private var insistence = Insistence()
    /// When something passed through the mapping last.
    private var touched: Timestamp?
    private var renewal: Int?
    private var age: Duration?
    private var reach = Reach()

    /// What was seen.
    enum Outcome: Hashable, Sendable {
        /// It was there at this age at least.
        case survived(Duration)
        /// It was gone at this age at most.
        case expired(Duration)
        case unclear
    }

    /// A trial of the mapping that an answered exchange made.
    init(socket: Int, opening: Int) {
        self.socket = socket
        self.opening = opening
    }

    /// Asks from another socket until an answer reaches this one, or none can. `nil` while that goes on.
    mutating func advance(_ asking: Int, _ probing: inout NATProbing) -> Outcome? {
        guard let made = probing[renewal ?? opening].answer else {
            // The control: without an answer to the socket itself nothing is known.
            guard let renewal, probing[renewal].isOver else { return renewal == nil ? .unclear : nil }
            return .unclear
        }
        if touched == nil { touched = probing.sockets[socket].lastArrival }
        guard let isReachable = reach.check(asking, made.mapped.ip, &probing) else { return nil }
        guard isReachable else { return .unclear }
        let socket = socket
        let state = insistence.advance(&probing, accepts: { $0.socket == socket }) { probing, _ in
            probing.ask(
                .lifetime, from: asking, to: probing.endpoints.primary, responsePort: made.mapped.port, copies: 1)
        }
        switch state {
        case .underWay: return nil
        case .answered where renewal != nil: return age.map { .expired($0) } ?? .unclear
        case .answered:
            // Which of the attempts arrived does not matter: when the first left, the mapping was this old at least.
            guard let touched, let first = insistence.first.flatMap({ probing[$0].sentAt }) else { return .unclear }
            return .survived(first - touched)
        case .silent where renewal == nil:
            guard let sent = probing[opening].lastSentAt, let last = insistence.last.flatMap({ probing[$0].sentAt })
            else {
                return .unclear
            }
            age = last + (probing.roundTripTime ?? .zero) - sent
            // Is it the mapping that is gone, or all that works?
            insistence = Insistence()
            reach = Reach()
            renewal = probing.ask(
                .control, from: socket, to: probing.endpoints.primary, copies: probing.configuration.copies)
            return nil
        default: return .unclear
        }
    }
}

/// Looks whether the asking socket has the external address that answers are to go to: RESPONSE-PORT changes the port
/// alone, and where addresses are given out at random a mapping that was made anew may have another one.
private struct Reach: Sendable {
    private var control: Int?

    /// `nil` while that is not known.
    mutating func check(_ asking: Int, _ address: IPAddress, _ probing: inout NATProbing) -> Bool? {
        guard let control else {
            control = probing.ask(
                .control, from: asking, to: probing.endpoints.primary, copies: probing.configuration.copies)
            return nil
        }
        guard probing[control].isOver else { return nil }
        return probing[control].answer?.mapped.ip == address
    }
}

/// Looks whether packets from outside keep a mapping alive (RFC 4787 §4.3): one comes at seven tenths of its life, and
/// at fourteen it is there only if that one counted.
struct RefreshTrial: Sendable {
    let socket: Int
    private let pause: Duration
    private var opening: Int?
    private var arrived: Timestamp?
    private var insistence = Insistence()
    private var renewal: Int?
    private var reach = Reach()

    /// A trial with a fresh socket.
    init(socket: Int, pause: Duration) {
        self.socket = socket
        self.pause = pause
    }

    /// Goes on; `nil` while that takes.
    mutating func advance(_ asking: Int, _ probing: inout NATProbing) -> NATFact<Bool>? {
        guard let isUsable = probing.isUsable(socket) else { return nil }
        guard isUsable else { return .unknown(.noSocket) }
        guard let opening else {
            self.opening = probing.ask(
                .lifetime, from: socket, to: probing.endpoints.primary, copies: probing.configuration.copies)
            return nil
        }
        guard probing[renewal ?? opening].isOver else { return nil }
        guard let made = probing[renewal ?? opening].answer else { return .unknown(.tooLossy) }
        let due = renewal != nil ? probing.now : (arrived ?? made.time) + pause
        guard probing.now >= due else {
            probing.wakeUp = due
            return nil
        }
        guard let isReachable = reach.check(asking, made.mapped.ip, &probing) else { return nil }
        guard isReachable else { return .unknown(.inconsistent) }
        let socket = socket
        let state = insistence.advance(&probing, accepts: { $0.socket == socket }) { probing, _ in
            probing.ask(
                .lifetime, from: asking, to: probing.endpoints.primary, responsePort: made.mapped.port, copies: 1)
        }
        guard state != .underWay else { return nil }
        reach = Reach()
        probing.giveUp()
        insistence = Insistence()
        switch state {
        case .answered where renewal != nil: return .known(false)
        case .answered where arrived != nil: return .known(true)
        case .answered(let answer):
            arrived = answer.time
            return advance(asking, &probing)
        case .silent where arrived != nil && renewal == nil:
            renewal = probing.ask(
                .control, from: socket, to: probing.endpoints.primary, copies: probing.configuration.copies)
            return nil
        default: return .unknown(.tooLossy)
        }
    }
}
