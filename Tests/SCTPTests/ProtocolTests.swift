// SPDX-License-Identifier: Apache-2.0
import Testing
import SCTPTestSupport
import Wire

@testable import SCTP

/// A multiplexer against a bare association, through which a test says what it wants.
private final class RawPeer {
    var peer: SCTPAssociation
    var channels: DataChannelMultiplexer
    var events: [DataChannelMultiplexer.Event] = []
    var bytes: [[UInt8]] = []
    /// What the bare side got: stream, payload protocol, bytes.
    var received: [(stream: UInt16, ppid: UInt32, bytes: [UInt8])] = []
    var resets: [UInt16] = []
    var dataChunks: [[UInt8]] = []
    private var buffer = MessageBuffer()
    private var packets = PacketBuffer()

    init(role: DataChannelMultiplexer.Role = .server, streams: UInt16 = 1024) throws {
        Timeline.enter()
        channels = try DataChannelMultiplexer(configuration: .init(role: role))
        var configuration = SCTPAssociation.Configuration()
        configuration.streams = streams
        peer = try SCTPAssociation(configuration: configuration)
        try channels.connect()
        try peer.connect()
        run(5)
    }

    func run(_ ticks: Int = 20) {
        for _ in 0..<ticks {
            for _ in 0..<6 { exchange() }
            _ = Timeline.tick()
            channels.handleTimers()
        }
    }

    func send(_ bytes: [UInt8], _ stream: UInt16, _ ppid: UInt32, unordered: Bool = false) {
        let result = bytes.withUnsafeBytes {
            peer.send($0, stream: stream, ppid: ppid, unordered: unordered, reliability: .reliable)
        }
        #expect(result == .accepted)
        run()
    }

    func isReset(_ stream: UInt16) -> Bool { resets.contains(stream) }

    private func exchange() {
        packets.removeAll()
        channels.takeOutgoing(into: &packets)
        for index in 0..<packets.count { note([UInt8](copying: packets[index])) }
        peer.receive(batch: packets)
        packets.removeAll()
        peer.takeOutgoing(into: &packets)
        channels.receive(batch: packets)
        while let event = channels.nextEvent(into: &buffer) {
            events.append(event)
            if case .message = event { bytes.append([UInt8](copying: buffer.bytes)) }
        }
        read()
    }

    private func note(_ packet: [UInt8]) {
        var offset = 12
        while offset + 16 < packet.count {
            let length = Int(packet[offset + 2]) << 8 | Int(packet[offset + 3])
            if packet[offset] == 0 { dataChunks.append(Array(packet[offset..<min(offset + length, packet.count)])) }
            offset += max(4, (length + 3) & ~3)
        }
    }

    private func read() {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 16)
        defer { memory.deallocate() }
        while true {
            switch peer.read(into: memory) {
            case .message(let length, let stream, let ppid, _):
                received.append((stream, ppid, Array(memory[..<length])))
            case .notification(let length, _):
                let notification = SCTPNotification(UnsafeRawBufferPointer(rebasing: memory[..<length]))
                if case .streamReset(let streams, true, _) = notification { resets += streams }
            case .nothing, .end:
                return
            }
        }
    }
}

extension SCTPSuite {
    @Suite(.serialized)
    struct ProtocolTests {
        /// RFC 8832 §5.1, written out by hand.
        static func open(_ type: UInt8, _ parameter: UInt32 = 0, label: String = "l", protocol name: String = "")
            -> [UInt8]
        {
            [3, type, 1, 0] + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: parameter >> $0) }
                + [UInt8(label.utf8.count >> 8), UInt8(label.utf8.count & 255)]
                + [UInt8(name.utf8.count >> 8), UInt8(name.utf8.count & 255)] + Array(label.utf8) + Array(name.utf8)
        }

        @Test(
            "each channel type of RFC 8832 is accepted and acknowledged",
            arguments: [
                (0x00, 77, true, .reliable), (0x80, 0, false, .reliable), (0x01, 5, true, .maxRetransmits(5)),
                (0x81, 0, false, .maxRetransmits(0)), (0x02, 300, true, .maxPacketLifeTime(300)),
                (0x82, 70_000, false, .maxPacketLifeTime(70_000)),
            ] as [(UInt8, UInt32, Bool, SCTPAssociation.Reliability)])
        func accepts(type: UInt8, parameter: UInt32, ordered: Bool, reliability: SCTPAssociation.Reliability) throws {
            let raw = try RawPeer()
            raw.send(Self.open(type, parameter, protocol: "soap"), 4, 50)
            let info = DataChannelInfo(label: "l", protocol: "soap", ordered: ordered, reliability: reliability)
            #expect(raw.events == [.associationUp, .incoming(ChannelID(rawValue: 4), info)])
            #expect(raw.received.map(\.stream) == [4] && raw.received.map(\.ppid) == [50])
            #expect(raw.received.map(\.bytes) == [[2]])
            // The U bit is set as the peer chose, and never on DCEP.
            try raw.channels.send(ChannelID(rawValue: 4), text: "x")
            raw.run()
            #expect(raw.dataChunks.map { $0[1] & 4 } == [0, ordered ? 0 : 4])
        }

        @Test("what we say is what RFC 8832 says, and everything before the ACK goes ordered")
        func opens() throws {
            let raw = try RawPeer()
            let id = try raw.channels.open(label: "lé", protocol: "p", ordered: false, reliability: .maxRetransmits(9))
            try raw.channels.send(id, text: "early")
            raw.run()
            #expect(id.rawValue == 1)
            #expect(raw.received.map(\.ppid) == [50, 51])
            #expect(raw.received.first?.bytes == Self.open(0x81, 9, label: "lé", protocol: "p"))
            #expect(raw.dataChunks.allSatisfy { $0[1] & 4 == 0 })
            #expect(!raw.events.contains(.opened(id)))
            raw.send([2], 1, 50)
            #expect(raw.events.contains(.opened(id)))
            try raw.channels.send(id, text: "late")
            raw.run()
            #expect(raw.dataChunks.last.map { $0[1] & 4 } == 4)
        }

        @Test("an ACK with bytes behind it, as Pion sends them, opens the channel")
        func opensByLongAck() throws {
            let raw = try RawPeer()
            let id = try raw.channels.open(label: "x")
            raw.run()
            raw.send([2, 0, 0, 0], 1, 50)
            #expect(raw.events == [.associationUp, .opened(id)])
            #expect(raw.channels.counters.badDCEP == 0)
        }

        @Test("a message before the ACK opens the channel as well")
        func opensByData() throws {
            let raw = try RawPeer()
            let id = try raw.channels.open(label: "x", ordered: false)
            raw.run()
            raw.send([9, 9], 1, 53)
            #expect(raw.events == [.associationUp, .opened(id), .message(id, isText: false)])
            #expect(raw.bytes == [[9, 9]])
        }

        @Test(
            "a bad DATA_CHANNEL_OPEN is not acknowledged and its stream is reset",
            arguments: [
                (7, open(0)), (4, open(0x7F)), (4, open(0x03)), (4, [3]), (4, []), (4, [4]), (4, open(0) + [0]),
                (4, Array(open(0, label: "long").dropLast())), (4, [2, 2]), (510, [2]),
            ] as [(UInt16, [UInt8])])
        func refuses(stream: UInt16, message: [UInt8]) throws {
            let raw = try RawPeer()
            raw.send(message.isEmpty ? [0] : message, stream, 50)
            raw.run()
            #expect(raw.events == [.associationUp])
            #expect(raw.received.isEmpty)
            #expect(raw.isReset(stream))
            #expect(raw.channels.counters.badDCEP == 1)
            // After both sides reset it, the stream is as good as new.
            guard stream % 2 == 0 else { return }
            #expect(raw.peer.resetOutgoing(stream: stream) == 0)
            raw.run()
            raw.send(Self.open(0), stream, 50)
            #expect(raw.received.last?.bytes == [2])
        }

        @Test("a second DATA_CHANNEL_OPEN on a channel's stream closes the channel")
        func opensTwice() throws {
            let raw = try RawPeer()
            raw.send(Self.open(0), 4, 50)
            raw.send(Self.open(0), 4, 50)
            #expect(raw.received.count == 1)
            #expect(raw.isReset(4))
            #expect(raw.events.last == .closing(ChannelID(rawValue: 4)))
        }

        @Test("the longest label and protocol are taken")
        func longest() throws {
            let raw = try RawPeer()
            let label = String(repeating: "a", count: 65_535)
            raw.send(Self.open(0, label: label, protocol: label), 0, 50)
            raw.run(100)
            let info = DataChannelInfo(label: label, protocol: label)
            #expect(raw.events.last == .incoming(ChannelID(rawValue: 0), info))
            #expect(throws: SCTPError.nameTooLong) { _ = try raw.channels.open(label: label + "b") }
        }

        @Test("user data on a stream without a channel, or under an unknown identifier, resets the stream")
        func strays() throws {
            let raw = try RawPeer()
            raw.send([1], 6, 51)
            #expect(raw.isReset(6))
            raw.send(Self.open(0), 4, 50)
            raw.send([1], 4, 99)
            #expect(raw.isReset(4))
            #expect(raw.channels.counters.strayMessages == 2)
        }

        @Test(
            "payload identifiers mean what RFC 8831 §8 says, the empty ones whatever the byte",
            arguments: [
                (51, [65], true, [65]), (53, [65], false, [65]), (56, [0x41], true, []), (57, [0x41], false, []),
            ] as [(UInt32, [UInt8], Bool, [UInt8])])
        func identifiers(ppid: UInt32, bytes: [UInt8], isText: Bool, expected: [UInt8]) throws {
            let raw = try RawPeer()
            raw.send(Self.open(0), 4, 50)
            raw.send(bytes, 4, ppid)
            #expect(raw.events.last == .message(ChannelID(rawValue: 4), isText: isText))
            #expect(raw.bytes == [expected])
            try raw.channels.send(ChannelID(rawValue: 4), isText: isText, expected.span.bytes)
            raw.run()
            #expect(raw.received.last?.ppid == ppid)
            #expect(raw.received.last?.bytes == (expected.isEmpty ? [0] : expected))
        }

        @Test("messages in deprecated parts are put together")
        func parts() throws {
            let raw = try RawPeer()
            raw.send(Self.open(0), 4, 50)
            raw.send([1, 2], 4, 52)
            raw.send([3], 4, 52)
            raw.send([4], 4, 53)
            raw.send([65], 4, 54)
            raw.send([66], 4, 51)
            #expect(raw.bytes == [[1, 2, 3, 4], [65, 66]])
            #expect(
                raw.events.suffix(2) == [
                    .message(ChannelID(rawValue: 4), isText: false), .message(ChannelID(rawValue: 4), isText: true),
                ])
            for _ in 0..<5 { raw.send(pattern(60_000), 4, 52) }
            #expect(raw.isReset(4))
            #expect(raw.channels.counters.oversizedMessages == 1)
        }

        @Test("a reset instead of an ACK is a failed open, after which the stream is free")
        func resetBeforeAck() throws {
            let raw = try RawPeer()
            let id = try raw.channels.open(label: "x")
            raw.run()
            #expect(raw.peer.resetOutgoing(stream: id.rawValue) == 0)
            raw.run()
            #expect(raw.events == [.associationUp, .closing(id), .closed(id)])
            #expect(raw.isReset(id.rawValue))
            _ = try raw.channels.open(label: "again", negotiatedID: id.rawValue)
        }

        @Test("streams that the peer does not have are not used")
        func streamLimit() throws {
            let raw = try RawPeer(streams: 4)
            #expect(throws: SCTPError.streamUnavailable(4)) { _ = try raw.channels.open(label: "x", negotiatedID: 4) }
            _ = try raw.channels.open(label: "1")
            _ = try raw.channels.open(label: "3")
            #expect(throws: SCTPError.noStreamLeft) { _ = try raw.channels.open(label: "5") }
        }
    }
}
