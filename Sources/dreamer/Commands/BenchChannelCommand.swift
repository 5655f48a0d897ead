// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Wire

/// `dreamer bench channel`
struct BenchChannelCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "channel",
        abstract: "Measure a data channel between two processes: rate, processor time, round trip, set-up, memory.",
        discussion: """
            A program to compare with is measured with itself, and with us in both directions; all take turns. It is
            told what to do in lines of JSON on its standard input: Benchmarks/README.md has the protocol and programs
            that speak it.
            """)

    enum Network: String, ExpressibleByArgument {
        case loopback, veth
    }

    @Option(help: "How much is sent.")
    var size: ByteCount = ByteCount(1 << 30)

    @Option(help: "The size of a message, at most 256 KiB; less where a program cannot receive it.")
    var message: ByteCount = ByteCount(64 << 10)

    @Option(help: "How many times 64 bytes go there and back.")
    var pings: Int = 2000

    @Option(help: "How often all of it is measured, with fresh processes.")
    var rounds: Int = 3

    @Option(help: "How many more connections are opened to measure set-up.")
    var opens: Int = 0

    @Flag(help: "Let messages overtake each other.")
    var unordered = false

    @Option(help: ArgumentHelp("A program to compare with, with its arguments.", valueName: "[name=]program"))
    var peer: [String] = []

    @Option(
        help: """
            loopback, or veth: a cable between two network namespaces, segmentation offload switched off (needs root,
            ip and ethtool).
            """)
    var via: Network = .loopback

    @Flag(help: "With --via veth: also capture a transfer of 64 MiB with tcpdump, and tell the sizes of datagrams.")
    var sizes = false

    @Flag(help: .hidden)
    var asPeer = false

    @Flag(help: "Leave the recovery of losses to SCTP, as toward every peer but our own.")
    var plain = false

    @Flag(help: "Print the result as JSON.")
    var json = false

    func validate() throws {
        guard (65...262_144).contains(message.value) else {
            throw ValidationError("--message: give 65 bytes to 256 KiB")
        }
        guard size.value >= message.value else { throw ValidationError("--size: give one message at least") }
        guard pings > 0, rounds > 0, opens >= 0 else {
            throw ValidationError("--pings and --rounds: give at least 1; --opens: 0 or more")
        }
        guard !sizes || via == .veth else {
            throw ValidationError("--sizes: on loopback the kernel never cuts trains; give --via veth")
        }
        guard peer.allSatisfy({ Contender($0) != nil }) else { throw ValidationError("--peer: give a program") }
    }

    func run() async throws {
        if asPeer {
            var peer = ChannelPeer(isPlain: plain)
            return try await peer.run()
        }
        let machine = Machine.current
        let veth = via == .veth ? try VethPair() : nil
        let bench = bench(size.value, pings: pings, opens: opens, veth)
        let results = bench.run(ChannelBench.pairings(peer.compactMap(Contender.init), isPlain: plain), rounds: rounds)
        let report = ChannelReport(results: results)
        let capture = try sizes ? veth.map(measureSizes) : nil
        if json {
            var object: JSON.Object = [
                "benchmark": "channel", "machine": machine.json, "network": .string(via.rawValue),
                "bytes": .integer(Int64(size.value)), "ordered": .bool(!unordered), "pairs": report.json,
            ]
            object["datagrams"] = capture?.json
            Terminal.output(JSON.object(object).serialized())
        } else {
            Terminal.output(machine.description)
            Terminal.output(
                "\(Units.bytes(size.value)) in messages of \(Units.bytes(message.value)), "
                    + "\(unordered ? "unordered" : "ordered"), over \(via.rawValue), median of \(rounds)")
            for line in report.lines { Terminal.output(line) }
            if let capture { Terminal.output(capture.description) }
        }
        if results.contains(where: { $0.failure != nil }) { throw CommandFailure("not every pair could be measured") }
    }

    private func bench(_ bytes: Int, pings: Int, opens: Int, _ veth: VethPair?) -> ChannelBench {
        ChannelBench(
            bytes: bytes, messageBytes: message.value, pings: pings, opens: opens, isOrdered: !unordered, veth: veth)
    }

    /// A transfer of its own, since capturing takes processor time.
    private func measureSizes(over veth: VethPair) throws -> PacketCapture {
        let scratch = try ScratchFolder(in: nil)
        return try PacketCapture(over: veth, in: scratch.path) {
            let results = bench(64 << 20, pings: 1, opens: 0, veth).run(
                ChannelBench.pairings([], isPlain: plain), rounds: 1)
            if let failure = results.first?.failure { throw CommandFailure(failure) }
        }
    }
}
