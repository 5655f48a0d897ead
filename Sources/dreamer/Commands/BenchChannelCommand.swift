// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import SDP
import WebRTC
import Wire

/// `dreamer bench channel`
struct BenchChannelCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "channel",
        abstract:
            "Measure one data channel between two processes on this machine: rate, processor time, round trip, set-up.")

    @Option(help: "How much is sent.")
    var size: ByteCount = ByteCount(1 << 30)

    @Option(help: "The size of a message, at most 256 KiB.")
    var message: ByteCount = ByteCount(64 << 10)

    @Option(help: "How many times 64 bytes go there and back.")
    var pings: Int = 2000

    @Option(help: "How often all of it is measured, with fresh processes.")
    var rounds: Int = 3

    @Flag(help: "Let messages overtake each other.")
    var unordered = false

    @Flag(help: .hidden)
    var sender = false

    @Flag(help: "Print the result as JSON.")
    var json = false

    func validate() throws {
        guard (65...262_144).contains(message.value) else {
            throw ValidationError("--message: give 65 bytes to 256 KiB")
        }
        guard size.value >= message.value else { throw ValidationError("--size: give one message at least") }
        guard pings > 0, rounds > 0 else { throw ValidationError("--pings and --rounds: give at least 1") }
    }

    func run() async throws {
        if sender { return try await ChannelSender(self).run() }
        let machine = Machine.current
        var results: [String: Samples] = [:]
        for _ in 0..<rounds {
            for (name, value) in try await ChannelReceiver(self).run() { results[name, default: .init()].add(value) }
        }
        let rows: [(key: String, words: String, digits: Int)] = [
            ("megabytesPerSecond", "MB/s", 1), ("cpuSecondsPerGB", "CPU-s/GB, both processes", 2),
            ("senderCPUSecondsPerGB", "of which the sender", 2), ("pingP50Microseconds", "ping of 64 bytes, p50 µs", 1),
            ("pingP99Microseconds", "p99 µs", 1), ("setUpMilliseconds", "offer to open channel, ms", 1),
        ]
        if json {
            var object: JSON.Object = [
                "benchmark": "channel", "machine": machine.json, "bytes": .integer(Int64(size.value)),
                "messageBytes": .integer(Int64(message.value)), "ordered": .bool(!unordered),
            ]
            for row in rows { object[row.key] = results[row.key]?.json ?? .null }
            Terminal.output(JSON.object(object).serialized())
        } else {
            Terminal.output(machine.description)
            Terminal.output(
                "\(Units.bytes(size.value)) in messages of \(Units.bytes(message.value)), "
                    + "\(unordered ? "unordered" : "ordered"), median of \(rounds)")
            var table = TextTable("", "")
            for row in rows { table.add(row.words, results[row.key]?.text(row.digits) ?? "-") }
            for line in table.lines.dropFirst() { Terminal.output(line) }
        }
    }
}

/// The process that answers: sends pings back, counts the rest, and says when all is there.
private struct ChannelReceiver {
    let options: BenchChannelCommand

    init(_ options: BenchChannelCommand) { self.options = options }

    /// One run with a sender in a process of its own; its figures by name.
    func run() async throws -> [(String, Double)] {
        var arguments = [
            "bench", "channel", "--sender", "--size", "\(options.size.value)", "--message", "\(options.message.value)",
            "--pings", "\(options.pings)",
        ]
        if options.unordered { arguments.append("--unordered") }
        let sender = try MeasuredProcess(MeasuredProcess.ownProgram, arguments)
        let endpoint = try RTCEndpoint(configuration: .init(addresses: [.loopbackV4]))
        defer { endpoint.close() }
        let connection = PeerConnection(endpoint: endpoint)
        let total = options.size.value
        connection.setHandler { event in
            guard case .channel(let channel) = event else { return }
            // Only the loop's thread touches it.
            nonisolated(unsafe) var tally = Tally()
            var handler = DataChannel.Handler()
            handler.onMessage = { [weak channel] _, bytes in
                if bytes.byteCount <= 64 {
                    channel?.trySend(binaryCount: bytes.byteCount) { room in
                        bytes.withUnsafeBytes { room.copyMemory(from: $0) }
                    }
                    return
                }
                if tally.count == 0 { tally.cpuBefore = rusage.own.cpuSeconds }
                tally.count += bytes.byteCount
                if tally.count >= total { channel?.trySend(text: "\(rusage.own.cpuSeconds - tally.cpuBefore)") }
            }
            channel.setHandler(handler)
        }
        let offer = try sender.json(within: 20)
        sender.send(try await connection.accept(offer: SessionDescription(json: offer)).json.serialized())
        let result = try sender.json(event: "result", within: 600)
        connection.close()
        guard try sender.finish().status == 0, let members = result.object else {
            throw CommandFailure("the sender failed")
        }
        return members.compactMap { name, value in value.number.map { (name, $0) } }
    }

    private struct Tally {
        var count = 0
        var cpuBefore = 0.0
    }
}

/// The process that offers: pings first, then sends as fast as the channel takes it.
private struct ChannelSender {
    let options: BenchChannelCommand

    init(_ options: BenchChannelCommand) { self.options = options }

    private enum Happening: Sendable { case low, message(text: String?) }

    func run() async throws {
        let endpoint = try RTCEndpoint(configuration: .init(addresses: [.loopbackV4]))
        defer { endpoint.close() }
        let connection = PeerConnection(endpoint: endpoint)
        let begin = Clock.seconds
        let channel = try connection.createDataChannel("bench", options: .init(isOrdered: !options.unordered))
        let bench = SendingBench(options, channel)
        let opened = AsyncStream<Double>.makeStream()
        let ended = AsyncStream<[(String, Double)]>.makeStream()
        var handler = DataChannel.Handler()
        handler.onOpen = {
            opened.continuation.yield(Clock.seconds)
            bench.ping()
        }
        handler.onMessage = { isText, bytes in
            let text = isText ? bytes.withUnsafeBytes { String(decoding: $0, as: UTF8.self) } : nil
            if let results = bench.received(text) { ended.continuation.yield(results) }
        }
        handler.onBufferedAmountLow = { bench.pump() }
        handler.onClose = {
            opened.continuation.finish()
            ended.continuation.finish()
        }
        channel.setBufferedAmountLowThreshold(512 * 1024)
        channel.setHandler(handler)
        Terminal.output(try await connection.createOffer().json.serialized())
        guard let answer = readLine() else { throw CommandFailure("no answer came") }
        // The other side's time to answer is part of it, as it is for every peer.
        try connection.accept(answer: SessionDescription(json: JSON(parsing: answer)))
        var openedAt = opened.stream.makeAsyncIterator()
        var results = ended.stream.makeAsyncIterator()
        guard let time = await openedAt.next(), let figures = await results.next() else {
            throw CommandFailure("the connection failed: \(connection.failure.map { "\($0)" } ?? "closed")")
        }
        var object: JSON.Object = ["event": "result", "setUpMilliseconds": .number((time - begin) * 1000)]
        for (name, value) in figures { object[name] = .number(value) }
        Terminal.output(JSON.object(object).serialized())
        connection.close()
    }
}

/// What the sender does on the event loop's thread, step by step.
private final class SendingBench: @unchecked Sendable {
    // Unchecked: only the event loop's thread calls it.
    private let options: BenchChannelCommand
    private let channel: DataChannel
    private var roundTrips = Samples()
    private var pingedAt = 0.0
    private var sent = 0
    private var bulkBegan = 0.0
    private var cpuBefore = 0.0
    private let bytes: [UInt8]

    init(_ options: BenchChannelCommand, _ channel: DataChannel) {
        self.options = options
        self.channel = channel
        bytes = (0..<options.message.value).map { UInt8(truncatingIfNeeded: $0 &* 167) }
    }

    func ping() {
        pingedAt = Clock.seconds
        send(64)
    }

    /// Takes a message; answers the figures at the end.
    func received(_ text: String?) -> [(String, Double)]? {
        if let text {
            let seconds = Clock.seconds - bulkBegan
            let gigabytes = Double(sent) / 1e9
            let own = rusage.own.cpuSeconds - cpuBefore
            return [
                ("megabytesPerSecond", gigabytes * 1000 / seconds),
                ("cpuSecondsPerGB", (own + (Double(text) ?? 0)) / gigabytes),
                ("senderCPUSecondsPerGB", own / gigabytes),
                ("pingP50Microseconds", (roundTrips.quantile(0.5) ?? 0) * 1e6),
                ("pingP99Microseconds", (roundTrips.quantile(0.99) ?? 0) * 1e6),
            ]
        }
        roundTrips.add(Clock.seconds - pingedAt)
        if roundTrips.values.count < options.pings {
            ping()
        } else {
            cpuBefore = rusage.own.cpuSeconds
            bulkBegan = Clock.seconds
            pump()
        }
        return nil
    }

    /// Keeps about 1 MiB waiting in the channel.
    func pump() {
        guard bulkBegan > 0 else { return }
        while sent < options.size.value, channel.bufferedAmount < 1 << 20, send(options.message.value) {
            sent += options.message.value
        }
    }

    @discardableResult
    private func send(_ count: Int) -> Bool {
        channel.trySend(binaryCount: count) { room in
            bytes.withUnsafeBytes { room.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<count])) }
        }
    }
}
