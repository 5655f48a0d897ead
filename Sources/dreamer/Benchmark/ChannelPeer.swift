// SPDX-License-Identifier: Apache-2.0
import Glibc
import NetIO
import SDP
import WebRTC
import Wire

/// Our own end of a measured data channel: does what is asked on standard input. Benchmarks/README.md has the commands.
struct ChannelPeer {
    /// A message of at most so many bytes is a ping and goes back.
    static let pingBytes = 64

    private let isPlain: Bool
    private var endpoint: RTCEndpoint?
    private var connection: PeerConnection?
    private var traffic: ChannelTraffic?

    /// An end that has or has not the recovery of losses below SCTP.
    init(isPlain: Bool) {
        self.isPlain = isPlain
    }

    /// Serves until the input ends.
    mutating func run() async throws {
        while let line = readLine() {
            let command = try JSON(parsing: line)
            do {
                try await serve(command["command"]?.string ?? "", command)
            } catch {
                Self.say("error", ["message": .string("\(error)")])
            }
        }
        connection?.close()
        endpoint?.close()
    }

    static func say(_ event: String, _ members: JSON.Object = [:]) {
        var object: JSON.Object = ["event": .string(event)]
        for (name, value) in members { object[name] = value }
        Terminal.output(JSON.object(object).serialized())
    }

    private mutating func serve(_ command: String, _ members: JSON) async throws {
        func count(_ name: String) -> Int { Int(members[name]?.integer ?? 0) }
        switch command {
        case "start":
            guard let address = IPAddress(members["address"]?.string ?? "") else {
                throw CommandFailure("start: no address")
            }
            endpoint = try RTCEndpoint(configuration: .init(addresses: [address]))
            Self.say("ready", ["name": "dreamer", "maxMessageBytes": 262_144])
        case "offer":
            let connection = try connect(isOfferer: true)
            let ordered = members["ordered"]?.bool ?? true
            traffic?.use(try connection.createDataChannel("bench", options: .init(isOrdered: ordered)))
            Self.say("offer", ["sdp": .string(try await connection.createOffer().description)])
        case "accept":
            let connection = try connect(isOfferer: false)
            connection.setHandler { [traffic] event in
                if case .channel(let channel) = event { traffic?.use(channel) }
            }
            let offer = try SessionDescription(parsing: members["sdp"]?.string ?? "", type: .offer)
            Self.say("answer", ["sdp": .string(try await connection.accept(offer: offer).description)])
        case "answer":
            try connection?.accept(answer: SessionDescription(parsing: members["sdp"]?.string ?? "", type: .answer))
        case "ping": onLoop { [count = count("count")] in $0.ping(count) }
        case "receive": onLoop { [count = count("bytes")] in $0.expect(count) }
        case "send":
            onLoop { [count = count("bytes"), size = count("messageBytes")] in $0.send(count, messageBytes: size) }
        case "close":
            connection?.close()
            Self.say("closed")
        default:
            throw CommandFailure("unknown command \(command)")
        }
    }

    private mutating func connect(isOfferer: Bool) throws -> PeerConnection {
        guard let endpoint else { throw CommandFailure("start comes first") }
        var settings = PeerConnection.Configuration()
        settings.recoversLosses = !isPlain
        let connection = PeerConnection(endpoint: endpoint, configuration: settings)
        self.connection = connection
        traffic = ChannelTraffic(isOfferer: isOfferer)
        return connection
    }

    private func onLoop(_ work: @escaping @Sendable (ChannelTraffic) -> Void) {
        guard let traffic else { return }
        endpoint?.loop.execute { work(traffic) }
    }
}

/// What goes over one channel, step by step, on the event loop's thread.
private final class ChannelTraffic: @unchecked Sendable {
    // Unchecked: after `use` only the event loop's thread calls it.
    private let isOfferer: Bool
    private weak var channel: DataChannel?
    private var pingsLeft = 0
    private var pingedAt = 0.0
    private var roundTrips: [Double] = []
    private var expected = 0
    private var toSend = 0
    private var message: [UInt8] = []

    init(isOfferer: Bool) {
        self.isOfferer = isOfferer
    }

    func use(_ channel: DataChannel) {
        self.channel = channel
        var handler = DataChannel.Handler()
        handler.onOpen = { ChannelPeer.say("opened") }
        handler.onMessage = { [self] _, bytes in received(bytes) }
        handler.onBufferedAmountLow = { [self] in pump() }
        channel.setBufferedAmountLowThreshold(512 * 1024)
        channel.setHandler(handler)
    }

    func ping(_ count: Int) {
        pingsLeft = count
        roundTrips.removeAll()
        message = (0..<ChannelPeer.pingBytes).map { UInt8($0) }
        pingOnce()
    }

    func expect(_ bytes: Int) {
        expected = bytes
        ChannelPeer.say("receiving")
    }

    func send(_ bytes: Int, messageBytes: Int) {
        toSend = bytes
        message = (0..<messageBytes).map { UInt8(truncatingIfNeeded: $0 &* 167) }
        pump()
    }

    private func pingOnce() {
        pingedAt = Clock.seconds
        write()
    }

    /// Keeps about 1 MiB waiting in the channel.
    private func pump() {
        guard toSend > 0, let channel else { return }
        while toSend > 0, channel.bufferedAmount < 1 << 20, write() { toSend -= message.count }
        if toSend <= 0 { ChannelPeer.say("sent") }
    }

    @discardableResult
    private func write() -> Bool {
        channel?.trySend(binaryCount: message.count) { room in
            message.withUnsafeBytes { room.copyMemory(from: $0) }
        } ?? false
    }

    private func received(_ bytes: RawSpan) {
        if bytes.byteCount > ChannelPeer.pingBytes {
            guard expected > 0 else { return }
            expected -= bytes.byteCount
            if expected <= 0 { ChannelPeer.say("received") }
        } else if !isOfferer {
            channel?.trySend(binaryCount: bytes.byteCount) { room in
                bytes.withUnsafeBytes { room.copyMemory(from: $0) }
            }
        } else if pingsLeft > 0 {
            roundTrips.append((Clock.seconds - pingedAt) * 1e6)
            pingsLeft -= 1
            if pingsLeft > 0 { return pingOnce() }
            ChannelPeer.say("pinged", ["microseconds": .array(roundTrips.map(JSON.rounded))])
        }
    }
}
