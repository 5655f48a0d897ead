// SPDX-License-Identifier: Apache-2.0
import Glibc
import NetIO
import SDP
import Synchronization
import WebRTC
import Wire

/// The end of a path that offers: sends as much as the channels take, and a small message now and then.
final class ChannelPathSender: Sendable {
    private struct State {
        var bulk: [DataChannel] = []
        var control: DataChannel?
        var isSending = false
        var sendsControl = false
        /// When small messages went that have not come back.
        var outstanding: [Int64] = []
        var roundTrips: [Double] = []
    }

    /// Between two small messages.
    private static let controlInterval = Duration.milliseconds(50)
    /// As much as ``DataChannel/send(_:)-([UInt8])`` lets wait, and half of it: what bulk data is sent by everywhere.
    private static let highWater = DataChannel.highWaterMark
    private static let lowWater = DataChannel.highWaterMark / 2

    private let endpoint: RTCEndpoint
    private let connectionCount: Int
    private let usesControl: Bool
    private let isPlain: Bool
    private let payload: [UInt8]
    private let state = Mutex(State())

    init(address: IPAddress, connections: Int, message: Int, control: Bool, plain: Bool) throws {
        endpoint = try RTCEndpoint(configuration: .init(addresses: [address]))
        connectionCount = connections
        usesControl = control
        isPlain = plain
        payload = (0..<message).map { UInt8(truncatingIfNeeded: $0 &* 167) }
    }

    func run() async throws {
        var lines = StandardInput.lines.makeAsyncIterator()
        var connections: [PeerConnection] = []
        // One after the other: the other end takes a socket for each only where it knows of the ones before.
        for index in 0..<connectionCount {
            var settings = PeerConnection.Configuration()
            settings.recoversLosses = !isPlain
            let connection = PeerConnection(endpoint: endpoint, configuration: settings)
            connections.append(connection)
            var channels = [try openBulk(connection)]
            if index == 0, usesControl { channels.append(try openControl(connection)) }
            let offer: JSON = ["event": "offer", "offer": try await connection.createOffer().json]
            Terminal.output(offer.serialized())
            guard let line = await lines.next(), let answer = try? JSON(parsing: line)["answer"] else {
                throw CommandFailure("no answer came")
            }
            try connection.accept(answer: SessionDescription(json: answer))
            for channel in channels { try await channel.opened() }
        }
        Terminal.output(#"{"event":"ready"}"#)
        while let line = await lines.next() {
            switch PathCommand(line: line) {
            case .start: start()
            case .quiet: state.withLock { $0.sendsControl = false }
            case .count: tell()
            case nil: break
            }
        }
        for connection in connections { connection.close() }
    }

    private func openBulk(_ connection: PeerConnection) throws -> DataChannel {
        let channel = try connection.createDataChannel("bulk")
        state.withLock { $0.bulk.append(channel) }
        channel.setBufferedAmountLowThreshold(Self.lowWater)
        var handler = DataChannel.Handler()
        handler.onBufferedAmountLow = { [weak channel, self] in
            if let channel { pump(channel) }
        }
        handler.onClose = { [weak connection] in
            Terminal.note("a channel closed: \(connection?.failure.map { "\($0)" } ?? "the peer closed it")")
        }
        channel.setHandler(handler)
        return channel
    }

    private func openControl(_ connection: PeerConnection) throws -> DataChannel {
        let channel = try connection.createDataChannel(
            ChannelPathReceiver.controlLabel, options: .init(priority: .high))
        state.withLock { $0.control = channel }
        var handler = DataChannel.Handler()
        handler.onMessage = { [self] _, bytes in
            guard let sent = ChannelPathReceiver.time(in: bytes) else { return }
            let seconds = Double(SharedClock.nanoseconds - sent) * 1e-9
            state.withLock { state in
                state.outstanding.removeAll { $0 == sent }
                state.roundTrips.append(seconds)
            }
        }
        channel.setHandler(handler)
        return channel
    }

    private func start() {
        let channels = state.withLock { state in
            state.isSending = true
            state.sendsControl = usesControl
            return state.bulk
        }
        endpoint.loop.execute { [self] in
            for channel in channels { pump(channel) }
            sendControl()
        }
    }

    private func pump(_ channel: DataChannel) {
        guard state.withLock({ $0.isSending }) else { return }
        while channel.bufferedAmount < Self.highWater,
            channel.trySend(
                binaryCount: payload.count,
                fill: { room in payload.withUnsafeBytes { room.copyMemory(from: $0) } })
        {}
    }

    private func sendControl() {
        let now = SharedClock.nanoseconds
        let channel: DataChannel? = state.withLock { state in
            guard state.sendsControl else { return nil }
            state.outstanding.append(now)
            return state.control
        }
        guard let channel else { return }
        channel.trySend(binaryCount: ChannelPathReceiver.controlMessageSize) { room in
            room.initializeMemory(as: UInt8.self, repeating: 0)
            room.storeBytes(of: now, as: Int64.self)
        }
        endpoint.loop.schedule(at: endpoint.loop.now + Self.controlInterval) { [self] in sendControl() }
    }

    /// Tells what small messages took; those that did not come back count with their age.
    private func tell() {
        let now = SharedClock.nanoseconds
        let (done, missing) = state.withLock { ($0.roundTrips, $0.outstanding) }
        let delays = done + missing.map { Double(now - $0) * 1e-9 }
        let report: JSON = [
            "event": "count", "delays": .array(delays.map { .number($0) }), "missing": .integer(Int64(missing.count)),
        ]
        Terminal.output(report.serialized())
    }
}
