// SPDX-License-Identifier: Apache-2.0
import SCTP
import SCTPTestSupport
import TestSupport
import Testing
import Wire

extension SCTPSuite {
    /// What a peer costs that keeps to no rule: so much memory and no more, and no other connection.
    @Suite("Hostile peers", .serialized)
    struct HostilePeerTests {
        /// A victim, its attacker, and what the victim said.
        private struct Scene: ~Copyable {
            var victim: DataChannelMultiplexer
            var attacker: RawPeer
            var events = 0
            var incoming = 0
            var lastDown: DataChannelMultiplexer.DownReason?
            private var message = MessageBuffer()
            private var packets = PacketBuffer()

            init() throws {
                Timeline.enter()
                var configuration = DataChannelMultiplexer.Configuration(role: .server)
                configuration.remoteMaxMessageSize = 0
                var victim = try DataChannelMultiplexer(configuration: configuration)
                guard let attacker = RawPeer(connecting: &victim) else { throw SCTPError.notConnected }
                self.attacker = attacker
                self.victim = victim
            }

            /// Hands a packet in and takes what comes of it.
            mutating func hear(_ packet: [UInt8], reads: Bool = true) {
                victim.receive(packet.span.bytes)
                while reads, let event = victim.nextEvent(into: &message) {
                    events += 1
                    if case .incoming = event { incoming += 1 }
                    if case .associationDown(let reason) = event { lastDown = reason }
                }
                packets.removeAll()
                victim.takeOutgoing(into: &packets)
                attacker.note(packets)
            }
        }

        /// How much more memory this process holds after `attack`; a connection beside it goes on.
        private func growth(_ attack: (inout Scene) throws -> Void) throws -> Int {
            let bystanders = try ChannelPair(seed: 1)
            let id = try bystanders.a.open(label: "bystander")
            #expect(bystanders.run { $0.has(.opened(id), at: .a) })
            var scene = try Scene()
            let before = try residentBytes()
            try attack(&scene)
            let grown = try residentBytes() - before
            try bystanders.a.send(id, text: "still here")
            #expect(bystanders.run { $0.messages[1].last?.bytes == Array("still here".utf8) })
            scene.victim.abort()
            bystanders.a.abort()
            bystanders.b.abort()
            return grown
        }

        private static let open: [UInt8] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0x61]

        @Test("a peer that opens a channel on every stream there could be gets those that there are")
        func everyStream() throws {
            let grown = try growth { scene in
                for stream in UInt16(0)...0xFFFF {
                    let packet = scene.attacker.message(stream: stream, flags: 7, ppid: 50, Self.open)
                    scene.hear(packet)
                }
                let (incoming, isUp) = (scene.incoming, scene.victim.isUp)
                #expect(incoming <= 256 && incoming > 0)
                #expect(isUp || incoming == 256)
            }
            #expect(grown < 16 << 20, "\(grown)")
        }

        @Test("messages that never end, each part a byte with a hole before it, fill a window and no more")
        func neverWhole() throws {
            let grown = try growth { scene in
                for number in UInt32(0)..<100_000 {
                    let chunk = scene.attacker.data(
                        tsn: scene.attacker.nextTSN &+ 2 &* number &+ 1, flags: 4 | UInt8(number & 1) << 1,
                        stream: UInt16(number % 500), ppid: 53, [1])
                    scene.hear(scene.attacker.packet(chunk))
                }
            }
            #expect(grown < 32 << 20, "\(grown)")
        }

        @Test("messages in deprecated parts on every channel are kept up to a bound for all of them")
        func deprecatedParts() throws {
            let part = [UInt8](repeating: 9, count: 16_000)
            let grown = try growth { scene in
                for stream in stride(from: UInt16(0), to: 512, by: 2) {
                    scene.hear(scene.attacker.message(stream: stream, ppid: 50, Self.open))
                    for sequence in UInt16(1)...8 {
                        scene.hear(scene.attacker.message(stream: stream, sequence: sequence, ppid: 52, part))
                    }
                }
                let oversized = scene.victim.counters.oversizedMessages
                #expect(oversized > 0)
            }
            // All of them are 32 MB.
            #expect(grown < 12 << 20, "\(grown)")
        }

        @Test("a peer that acknowledges but opens no window is told of by the buffered amount")
        func neverReads() throws {
            let message = [UInt8](repeating: 5, count: 65_536)
            var scene = try Scene()
            let id = try scene.victim.open(label: "x")
            var sent = 0
            for _ in 0..<200 {
                try scene.victim.send(id, message.span.bytes)
                sent += message.count
                scene.hear(scene.attacker.acknowledgement(window: 0))
            }
            let buffered = scene.victim.bufferedAmount(id)
            // What went out before the window closed is not buffered any more: the initial window, and probes of it.
            #expect(buffered <= sent && buffered > sent - (256 << 10), "\(buffered) of \(sent)")
            scene.victim.close(id)
            scene.victim.abort()
        }

        @Test("streams reset at random, open or not, are reset, and nothing piles up", arguments: UInt64(1)...3)
        func resets(seed: UInt64) throws {
            var entropy = Entropy(seed: seed)
            let grown = try growth { scene in
                for _ in 0..<8000 {
                    let stream = UInt16.random(in: 0..<600, using: &entropy)
                    switch Int.random(in: 0..<4, using: &entropy) {
                    case 0: scene.hear(scene.attacker.message(stream: stream & ~1, flags: 7, ppid: 50, Self.open))
                    case 1: scene.hear(scene.attacker.message(stream: stream, flags: 7, ppid: 53, [1, 2, 3]))
                    default:
                        let count = Int.random(in: 0...4, using: &entropy)
                        let streams = (0..<count).map { _ in UInt16.random(in: 0..<600, using: &entropy) }
                        scene.hear(scene.attacker.reset(streams: streams))
                    }
                    if entropy.next() % 16 == 0 { scene.hear(scene.attacker.acknowledgement(window: 1 << 20)) }
                }
                let events = scene.events
                #expect(events < 24_000, "seed \(seed)")
            }
            #expect(grown < 24 << 20, "seed \(seed): \(grown)")
        }
    }
}
