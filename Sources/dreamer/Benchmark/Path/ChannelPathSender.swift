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
        var opened = 0
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
    private let payload: [UInt8]
    private let state = Mutex(State())

    init(address: IPAddress, connections: Int, message: Int, control: Bool) throws {
        endpoint = try RTCEndpoint(configuration: .init(addresses: [address]))
        connectionCount = connections
        usesControl = control
        payload = (0..<message).map { UInt8(truncatingIfNeeded: $0 &* 167) }
    }

    func run() async throws {
        let connections = (0..<connectionCount).map { _ in PeerConnection(endpoint: endpoint) }
        var offers: [JSON] = []
        for (index, connection) in connections.enumerated() {
            if index == 0, usesControl { try openControl(connection) }
            try openBulk(connection)
            offers.append(try await connection.createOffer().json)
        }
        let message: JSON = ["event": "offers", "offers": .array(offers)]
        Terminal.output(message.serialized())
        for await line in StandardInput.lines {
            switch PathCommand(line: line) {
            case .start: start()
            case .quiet: state.withLock { $0.sendsControl = false }
            case .count: tell()
            case nil:
                guard let answers = (try? JSON(parsing: line))?["answers"]?.array else { continue }
                for (connection, answer) in zip(connections, answers) {
                    try connection.accept(answer: SessionDescription(json: answer))
                }
            }
        }
        for connection in connections { connection.close() }
    }

    private func openBulk(_ connection: PeerConnection) throws {
        let channel = try connection.createDataChannel("bulk")
        state.withLock { $0.bulk.append(channel) }
        channel.setBufferedAmountLowThreshold(Self.lowWater)
        var handler = DataChannel.Handler()
        handler.onOpen = { [self] in didOpen() }
        handler.onBufferedAmountLow = { [weak channel, self] in
            if let channel { pump(channel) }
        }
        handler.onClose = { Terminal.note("a channel closed") }
        channel.setHandler(handler)
    }

    private func openControl(_ connection: PeerConnection) throws {
        let channel = try connection.createDataChannel(ChannelPathReceiver.controlLabel)
        state.withLock { $0.control = channel }
        var handler = DataChannel.Handler()
        handler.onOpen = { [self] in didOpen() }
        handler.onMessage = { [self] _, bytes in
            guard let sent = ChannelPathReceiver.time(in: bytes) else { return }
            let seconds = Double(SharedClock.nanoseconds - sent) * 1e-9
            state.withLock { state in
                state.outstanding.removeAll { $0 == sent }
                state.roundTrips.append(seconds)
            }
        }
        channel.setHandler(handler)
    }

    private func didOpen() {
        let isReady = state.withLock { state in
            state.opened += 1
            return state.opened == connectionCount + (usesControl ? 1 : 0)
        }
        if isReady { Terminal.output(#"{"event":"ready"}"#) }
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
