// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// The sockets and requests of a discovery: opens, sends, repeats, matches answers, and keeps what came of each
/// request. Knows nothing of NATs.
struct NATProbing: Sendable {
    /// A socket of the driver.
    struct Socket: Sendable {
        /// Where it is bound; `nil` until the driver says.
        var local: SocketAddress?
        var isClosed = false
        /// When an answer came to it last.
        var lastArrival: Timestamp?
    }

    /// A request on its way.
    private struct Request: Sendable {
        let exchange: Int
        let id: STUNTransactionID
        let payload: [UInt8]
        let copies: Int
        var deadline: Timestamp
    }

    let configuration: NATDiscovery.Configuration
    private var entropy: Entropy
    private(set) var now: Timestamp

    private(set) var sockets: [Socket] = []
    private(set) var exchanges: [NATExchange] = []
    private var requests: [Request] = []
    /// Exchanges whose first copy has to wait for its turn, and how many copies they may send.
    private var waiting: [(exchange: Int, copies: Int)] = []
    private var nextStart: Timestamp
    private(set) var outputs: [Output<NATDiscovery.Event>] = []
    private var head = 0

    /// When a test wants to be asked again though nothing comes.
    var wakeUp: Timestamp?

    /// The server's addresses.
    var endpoints: NATEndpoints
    /// What tests leave for later ones and for the report.
    var findings = NATFindings()
    private(set) var loss = LossEstimate()
    private var roundTrip: (smoothed: Duration, variation: Duration)?
    private(set) var faults: [NATServerFault] = []
    private(set) var dropped = 0

    /// Most faults that are kept: a server that invents addresses could name any number.
    private static let maximumFaults = 16

    init(server: SocketAddress, configuration: NATDiscovery.Configuration, entropy: Entropy, now: Timestamp) {
        self.configuration = configuration
        self.entropy = entropy
        self.now = now
        nextStart = now
        endpoints = NATEndpoints(primary: server)
    }
}

// MARK: - What tests call

extension NATProbing {
    /// Asks the driver for a fresh socket.
    mutating func open() -> Int {
        sockets.append(Socket())
        outputs.append(.event(.openSocket(sockets.count - 1)))
        return sockets.count - 1
    }

    /// Lets a socket go.
    mutating func close(_ socket: Int) {
        guard !sockets[socket].isClosed else { return }
        sockets[socket].isClosed = true
        outputs.append(.event(.closeSocket(socket)))
    }

    /// Whether a socket can be used: `nil` while the driver has not said.
    func isUsable(_ socket: Int) -> Bool? {
        sockets[socket].isClosed ? false : sockets[socket].local == nil ? nil : true
    }

    /// Starts a request from a socket that can be used, as soon as it is its turn; answers its place in ``exchanges``.
    mutating func ask(
        _ purpose: NATExchange.Purpose, from socket: Int, to destination: SocketAddress,
        changes: NATExchange.Changes = [], responsePort: UInt16? = nil, copies: Int
    ) -> Int {
        exchanges.append(
            NATExchange(
                purpose: purpose, socket: socket, source: sockets[socket].local ?? .unspecified,
                destination: destination, changes: changes, responsePort: responsePort))
        waiting.append((exchanges.count - 1, copies))
        return exchanges.count - 1
    }

    /// What came of a request.
    subscript(exchange: Int) -> NATExchange { exchanges[exchange] }

    /// Whether so few requests wait for their turn that the next turn could find none.
    var wantsMore: Bool { waiting.count < 2 }

    /// Gives up what is on its way and what waits.
    mutating func giveUp() {
        for request in requests { exchanges[request.exchange].outcome = .dropped }
        for (exchange, _) in waiting { exchanges[exchange].outcome = .dropped }
        requests.removeAll()
        waiting.removeAll()
    }

    mutating func note(_ fault: NATServerFault) {
        guard faults.count < Self.maximumFaults, !faults.contains(fault) else { return }
        faults.append(fault)
    }

    /// The time that a round trip takes, smoothed as RFC 6298 §2 does; `nil` before the first.
    var roundTripTime: Duration? { roundTrip?.smoothed }

    /// The wait for an answer before a request is repeated (RFC 8489 §6.2.1: 500 ms at first, then by what was
    /// measured).
    var retransmissionTimeout: Duration {
        guard let roundTrip else { return configuration.initialRTO }
        return min(max(roundTrip.smoothed + roundTrip.variation * 4, .milliseconds(50)), .seconds(3))
    }

    /// How long the answer to the last copy is waited for: what comes later is of no use.
    var finalWait: Duration { max(retransmissionTimeout * 4, .milliseconds(800)) }
}

// MARK: - What the machine calls

extension NATProbing {
    mutating func setTime(_ time: Timestamp) { now = max(now, time) }

    mutating func opened(_ socket: Int, at local: SocketAddress) {
        guard sockets.indices.contains(socket), sockets[socket].local == nil else { return }
        sockets[socket].local = local
    }

    mutating func failed(_ socket: Int) {
        guard sockets.indices.contains(socket) else { return }
        sockets[socket].isClosed = true
    }

    mutating func report(_ event: NATDiscovery.Event) { outputs.append(.event(event)) }

    mutating func nextOutput() -> Output<NATDiscovery.Event>? {
        guard head < outputs.count else {
            outputs.removeAll(keepingCapacity: true)
            head = 0
            return nil
        }
        defer { head += 1 }
        return outputs[head]
    }

    var nextDeadline: Timestamp? {
        let start = waiting.isEmpty ? nil : nextStart
        return ([start, wakeUp] + requests.map(\.deadline)).compactMap { $0 }.min()
    }

    /// Repeats what is due, ends what got no answer, and starts what is next.
    mutating func pump() {
        var index = 0
        while index < requests.count {
            guard requests[index].deadline <= now else {
                index += 1
                continue
            }
            let exchange = requests[index].exchange
            guard exchanges[exchange].copies < requests[index].copies else {
                requests.remove(at: index)
                end(exchange, .silent)
                continue
            }
            transmit(index)
            index += 1
        }
        while let next = waiting.first, nextStart <= now {
            waiting.removeFirst()
            start(next.exchange, copies: next.copies)
            // RFC 5780 §5: at most ten new transactions a second, spread so that repetitions do not fall together.
            let spread = configuration.pacing.nanoseconds / 4
            nextStart = now + configuration.pacing + .nanoseconds(Int64.random(in: 0...max(spread, 0), using: &entropy))
        }
    }

    private mutating func start(_ exchange: Int, copies: Int) {
        let id = STUNTransactionID(using: &entropy)
        var message = STUNMessage(.request, transactionID: id)
        let changes = exchanges[exchange].changes
        if !changes.isEmpty { message.append(.changeRequest, changes.rawValue) }
        if let port = exchanges[exchange].responsePort {
            // RFC 5780 §7.5: the port, then two bytes of padding.
            message.append(.responsePort, UInt32(port) << 16)
        }
        exchanges[exchange].sentAt = now
        requests.append(
            Request(exchange: exchange, id: id, payload: message.encoded(), copies: copies, deadline: now))
        transmit(requests.count - 1)
    }

    private mutating func transmit(_ index: Int) {
        let exchange = requests[index].exchange
        exchanges[exchange].copies += 1
        exchanges[exchange].lastSentAt = now
        let sent = exchanges[exchange].copies
        // The interval doubles (RFC 8489 §6.2.1).
        let wait = sent < requests[index].copies ? retransmissionTimeout * (1 << min(sent - 1, 6)) : finalWait
        requests[index].deadline = now + wait
        outputs.append(
            .transmit(
                Datagram(
                    source: exchanges[exchange].source, destination: exchanges[exchange].destination,
                    payload: requests[index].payload)))
    }

    private mutating func end(_ exchange: Int, _ outcome: NATExchange.Outcome) {
        exchanges[exchange].outcome = outcome
        let ended = exchanges[exchange]
        guard ended.changes.isEmpty, ended.responsePort == nil, ended.destination == endpoints.primary,
            ended.purpose != .hairpin
        else { return }
        loss.note(copies: ended.copies, isAnswered: ended.answer != nil)
        // Karn: only what was sent once tells a round trip (RFC 8489 §6.2.1).
        if let answer = ended.answer, let sent = ended.sentAt, ended.copies == 1 { measure(answer.time - sent) }
    }

    /// RFC 6298 §2.
    private mutating func measure(_ sample: Duration) {
        guard let (smoothed, variation) = roundTrip else {
            roundTrip = (sample, sample / 2)
            return
        }
        let error = smoothed > sample ? smoothed - sample : sample - smoothed
        roundTrip = ((smoothed * 7 + sample) / 8, (variation * 3 + error) / 4)
    }
}

// MARK: - What came

extension NATProbing {
    /// Takes a datagram; what answers no request is counted and dropped.
    mutating func take(_ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress) {
        guard !accept(bytes, from: source, to: destination) else { return }
        dropped += 1
    }

    private mutating func accept(
        _ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress
    ) -> Bool {
        guard let id = STUNMessage.transactionID(in: bytes), let index = requests.firstIndex(where: { $0.id == id }),
            let socket = sockets.lastIndex(where: { $0.local == destination && !$0.isClosed }),
            let message = try? STUNMessage(decoding: bytes), message.method == .binding, message.fingerprint != .invalid
        else { return false }
        let exchange = exchanges[requests[index].exchange]
        if exchange.purpose == .hairpin {
            // What comes back in is the request itself, at another socket.
            guard message.messageClass == .request, socket != exchange.socket else { return false }
            let answer = NATExchange.Answer(time: now, socket: socket, source: source, mapped: source)
            return finish(index, .answered(answer), at: socket)
        }
        guard message.messageClass == .success || message.messageClass == .error,
            socket == exchange.socket || exchange.responsePort != nil
        else { return false }
        guard source == exchange.destination || !exchange.changes.isEmpty else {
            note(.answersFromElsewhere(source))
            return false
        }
        if message.messageClass == .error {
            guard let error = message.errorCode else { return false }
            return finish(index, .refused(error.code), at: socket)
        }
        guard let mapped = message.xorMappedAddress ?? message.mappedAddress, isPossible(mapped, for: destination)
        else {
            note(.noMappedAddress)
            return false
        }
        let origin = message.plainAddress(.responseOrigin)
        if let origin, origin != source { note(.responseOriginDiffers(origin)) }
        let answer = NATExchange.Answer(
            time: now, socket: socket, source: source, mapped: mapped, plainMapped: message.mappedAddress,
            otherAddress: message.plainAddress(.otherAddress), responseOrigin: origin)
        return finish(index, .answered(answer), at: socket)
    }

    private mutating func finish(_ index: Int, _ outcome: NATExchange.Outcome, at socket: Int) -> Bool {
        sockets[socket].lastArrival = now
        end(requests.remove(at: index).exchange, outcome)
        return true
    }

    private func isPossible(_ mapped: SocketAddress, for local: SocketAddress) -> Bool {
        mapped.port != 0 && mapped.ip.family == local.ip.family && !mapped.ip.isUnspecified && !mapped.ip.isMulticast
    }
}

extension STUNMessage {
    /// An address that is written as in MAPPED-ADDRESS (RFC 5780 §7.1).
    func plainAddress(_ kind: STUNAttribute.Kind) -> SocketAddress? {
        first(kind).flatMap {
            STUNMessage(.success, transactionID: transactionID, attributes: [STUNAttribute(.mappedAddress, $0)])
                .mappedAddress
        }
    }
}
