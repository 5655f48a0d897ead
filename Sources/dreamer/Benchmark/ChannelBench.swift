// SPDX-License-Identifier: Apache-2.0
import Wire

/// Runs a data channel between two programs and measures it from outside, the same way whoever they are.
struct ChannelBench {
    /// Who sends to whom. The sender offers.
    struct Pairing {
        let sender: Contender
        let receiver: Contender
        /// The programs in whose own pair's terms this pair is told.
        var yardsticks: [String] = []

        var name: String { "\(sender.name) → \(receiver.name)" }
    }

    /// What a pairing showed, round by round.
    struct Results {
        let pairing: Pairing
        var messageBytes = 0
        var figures: [String: Samples] = [:]
        /// Milliseconds from the offer in hand to the open channel, of fresh connections between running programs.
        var openings = Samples()
        /// Why it was given up.
        var failure: String?
    }

    /// How much is sent.
    let bytes: Int
    let messageBytes: Int
    let pings: Int
    let opens: Int
    let isOrdered: Bool
    /// The network between the two; `nil` for loopback.
    let veth: VethPair?

    /// How long a transfer may take, in seconds.
    private static let patience = 900.0

    /// Every order of us and another, and each with itself; ours alone where there is no other.
    static func pairings(_ others: [Contender], isPlain: Bool) -> [Pairing] {
        let ours = Contender.ours(isPlain: isPlain)
        var all = [Pairing(sender: ours, receiver: ours, yardsticks: others.map(\.name))]
        for other in others {
            all.append(Pairing(sender: other, receiver: other))
            all.append(Pairing(sender: ours, receiver: other, yardsticks: [other.name]))
            all.append(Pairing(sender: other, receiver: ours, yardsticks: [other.name]))
        }
        return all
    }

    /// Measures all pairings in turns.
    func run(_ pairings: [Pairing], rounds: Int) -> [Results] {
        var results = pairings.map { Results(pairing: $0) }
        for round in 1...rounds {
            for index in results.indices where results[index].failure == nil {
                do {
                    try measure(&results[index], countsOpenings: round == rounds)
                } catch {
                    // The others are still worth measuring.
                    results[index].failure = "\(error)"
                }
            }
        }
        return results
    }

    private func measure(_ results: inout Results, countsOpenings: Bool) throws {
        let sender = try PeerProgram(
            results.pairing.sender, prefix: veth?.prefix(0) ?? [], address: veth?.address(0) ?? "127.0.0.1")
        let receiver = try PeerProgram(
            results.pairing.receiver, prefix: veth?.prefix(1) ?? [], address: veth?.address(1) ?? "127.0.0.1")
        let pair = Pair(sender: sender, receiver: receiver, isOrdered: isOrdered)
        let size = min(messageBytes, receiver.maxMessageBytes)
        results.messageBytes = size
        var figures: [String: Double] = ["setUpMilliseconds": try pair.open()]
        let roundTrips = try pair.ping(pings)
        figures["pingP50Microseconds"] = roundTrips.quantile(0.5)
        figures["pingP99Microseconds"] = roundTrips.quantile(0.99)
        let count = max(1, bytes / size) * size
        let cost = try pair.send(count, messageBytes: size, within: Self.patience)
        let gigabytes = Double(count) / 1e9
        figures["megabytesPerSecond"] = gigabytes * 1000 / cost.seconds
        figures["cpuSecondsPerGB"] = (cost.sender + cost.receiver) / gigabytes
        figures["senderCPUSecondsPerGB"] = cost.sender / gigabytes
        figures["receiverCPUSecondsPerGB"] = cost.receiver / gigabytes
        figures["senderPeakMegabytes"] = Double(sender.peakBytes) / 1e6
        figures["receiverPeakMegabytes"] = Double(receiver.peakBytes) / 1e6
        for (name, value) in figures { results.figures[name, default: Samples()].add(value) }
        guard countsOpenings else { return }
        for _ in 0..<opens {
            try pair.close()
            results.openings.add(try pair.open())
        }
    }
}

/// Two running programs with a connection between them.
struct Pair {
    let sender: PeerProgram
    let receiver: PeerProgram
    let isOrdered: Bool

    /// What a transfer took: seconds of the wall clock, and of each side's processors.
    struct Cost {
        let seconds: Double
        let sender: Double
        let receiver: Double
    }

    /// Connects; answers the milliseconds from the offer in hand until both sides have the channel open.
    func open() throws -> Double {
        sender.tell("offer", ["ordered": .bool(isOrdered)])
        let offer = try sender.hear("offer")
        let begin = Clock.seconds
        receiver.tell("accept", ["sdp": offer["sdp"] ?? .null])
        let answer = try receiver.hear("answer")
        sender.tell("answer", ["sdp": answer["sdp"] ?? .null])
        try sender.hear("opened")
        try receiver.hear("opened")
        return (Clock.seconds - begin) * 1000
    }

    /// Round trips in microseconds.
    func ping(_ count: Int) throws -> Samples {
        sender.tell("ping", ["count": .integer(Int64(count))])
        let times = try sender.hear("pinged", within: 120)["microseconds"]?.array ?? []
        return Samples(times.compactMap(\.number))
    }

    /// Moves bytes; timed until all have arrived.
    func send(_ bytes: Int, messageBytes: Int, within patience: Double) throws -> Cost {
        receiver.tell("receive", ["bytes": .integer(Int64(bytes))])
        try receiver.hear("receiving")
        let (sending, receiving) = (sender.cpuSeconds, receiver.cpuSeconds)
        let begin = Clock.seconds
        sender.tell("send", ["bytes": .integer(Int64(bytes)), "messageBytes": .integer(Int64(messageBytes))])
        try receiver.hear("received", within: patience)
        let seconds = Clock.seconds - begin
        try sender.hear("sent")
        return Cost(
            seconds: seconds, sender: sender.cpuSeconds - sending, receiver: receiver.cpuSeconds - receiving)
    }

    func close() throws {
        sender.tell("close")
        receiver.tell("close")
        try sender.hear("closed")
        try receiver.hear("closed")
    }
}
