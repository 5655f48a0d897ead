// SPDX-License-Identifier: Apache-2.0
import SCTP
import SCTPTestSupport
import Wire

/// What happens to packets on their way.
struct Weather {
    /// Probabilities of a packet to be lost, sent twice, and held back.
    var loss = 0.0
    var duplication = 0.0
    var reorder = 0.0
    /// Ticks that every packet travels.
    var delay = 0
    /// Nothing gets through.
    var isDown = false
    /// A byte of the packet is changed, with this probability.
    var corruption = 0.0
}

/// Two multiplexers, joined in memory.
final class ChannelPair {
    enum Side: Int { case a, b }
    struct Received: Equatable {
        var id: ChannelID
        var isText: Bool
        var bytes: [UInt8]
    }
    /// One direction.
    private struct Link {
        var flying: [(arrives: Int, packet: [UInt8])] = []
    }

    var a: DataChannelMultiplexer
    var b: DataChannelMultiplexer
    var weather = Weather()
    var events: [[DataChannelMultiplexer.Event]] = [[], []]
    var messages: [[Received]] = [[], []]
    /// The longest packet seen.
    var longestPacket = 0
    var packetsSeen = 0
    /// Sees each packet before the weather does; may drop it.
    var filter: ((Side, [UInt8]) -> Bool)?
    private(set) var ticks = 0
    private var links = [Link(), Link()]
    private var random: Entropy
    private var buffer = MessageBuffer()
    private var outgoing = PacketBuffer()

    init(
        seed: UInt64 = 1, weather: Weather = Weather(), connect: Bool = true,
        configure: (inout DataChannelMultiplexer.Configuration) -> Void = { _ in }
    ) throws {
        Timeline.enter()
        var client = DataChannelMultiplexer.Configuration(role: .client)
        client.remoteMaxMessageSize = 256 * 1024
        configure(&client)
        var server = client
        server.role = .server
        var a = try DataChannelMultiplexer(configuration: client)
        var b = try DataChannelMultiplexer(configuration: server)
        if connect {
            try a.connect()
            try b.connect()
        }
        self.a = a
        self.b = b
        self.weather = weather
        random = Entropy(seed: seed)
    }

    /// Moves packets and events until nothing moves within this tick.
    func settle() {
        var moved = true
        while moved {
            moved = false
            for side in [Side.a, .b] {
                drainEvents(side)
                if collect(side) { moved = true }
                if deliver(side) { moved = true }
            }
        }
    }

    /// Passes ticks until `done`, `limit` at most. Answers whether it was done.
    func run(ticks limit: Int = 1000, until done: (ChannelPair) -> Bool = { _ in false }) -> Bool {
        settle()
        for _ in 0..<limit {
            if done(self) { return true }
            tick()
        }
        return done(self)
    }

    func tick() {
        ticks += 1
        let touched = Timeline.tick()
        if touched.contains(a.handle) { a.handleTimers() }
        if touched.contains(b.handle) { b.handleTimers() }
        settle()
    }

    func has(_ event: DataChannelMultiplexer.Event, at side: Side) -> Bool { events[side.rawValue].contains(event) }

    func inject(_ packet: [UInt8], to side: Side) {
        if side == .a { a.receive(packet.span.bytes) } else { b.receive(packet.span.bytes) }
    }

    private func drainEvents(_ side: Side) {
        while let event = side == .a ? a.nextEvent(into: &buffer) : b.nextEvent(into: &buffer) {
            events[side.rawValue].append(event)
            if case .message(let id, let isText) = event {
                messages[side.rawValue].append(.init(id: id, isText: isText, bytes: [UInt8](copying: buffer.bytes)))
            }
        }
    }

    private func collect(_ side: Side) -> Bool {
        outgoing.removeAll()
        if side == .a { a.takeOutgoing(into: &outgoing) } else { b.takeOutgoing(into: &outgoing) }
        for index in 0..<outgoing.count {
            var packet = [UInt8](copying: outgoing[index])
            longestPacket = max(longestPacket, packet.count)
            packetsSeen += 1
            if let filter, !filter(side, packet) { continue }
            if weather.isDown || chance(weather.loss) { continue }
            if chance(weather.corruption) { packet[Int.random(in: 0..<packet.count, using: &random)] ^= 0x40 }
            let copies = chance(weather.duplication) ? 2 : 1
            for _ in 0..<copies {
                let late = chance(weather.reorder) ? Int.random(in: 1...3, using: &random) : 0
                links[side.rawValue].flying.append((ticks + weather.delay + late, packet))
            }
        }
        return !outgoing.isEmpty
    }

    private func deliver(_ side: Side) -> Bool {
        let due = links[side.rawValue].flying.filter { $0.arrives <= ticks }
        guard !due.isEmpty else { return false }
        links[side.rawValue].flying.removeAll { $0.arrives <= ticks }
        var batch = PacketBuffer()
        for (_, packet) in due { batch.append(packet.span.bytes) }
        if side == .a { b.receive(batch: batch) } else { a.receive(batch: batch) }
        return true
    }

    private func chance(_ probability: Double) -> Bool {
        probability > 0 && Double.random(in: 0..<1, using: &random) < probability
    }
}

/// Bytes that differ from message to message.
func pattern(_ count: Int, _ salt: Int = 0) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count) { bytes, initialized in
        for index in 0..<count { bytes[index] = UInt8(truncatingIfNeeded: index &* 31 &+ index >> 8 &+ salt &* 7) }
        initialized = count
    }
}
