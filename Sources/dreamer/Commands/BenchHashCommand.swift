// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import Hashing
import RDRR
import Wire

/// `dreamer bench hash`
struct BenchHashCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hash", abstract: "Measure BLAKE3 beside b3sum on the same file, and the other hashes.")

    @Option(help: "The size of the file that is made and hashed.")
    var size: ByteCount = ByteCount(1 << 30)

    @Option(help: "Hash this file instead.")
    var file: String?

    @Option(help: "How often each is measured; they take turns.")
    var rounds: Int = 7

    @Option(help: "The program to compare with.")
    var b3sum: String = "b3sum"

    @Option(help: "The folder for the file that is made.")
    var work: String?

    @Flag(help: "Print the result as JSON.")
    var json = false

    func validate() throws {
        guard rounds > 0 else { throw ValidationError("--rounds \(rounds): give at least 1") }
        guard size.value > 0 else { throw ValidationError("--size 0: there is nothing to measure") }
    }

    /// Measurements of one number of threads, in MB/s.
    private struct Duel {
        let threads: Int
        var ours = Samples()
        var theirs = Samples()
    }

    func run() throws {
        let machine = Machine.current
        let scratch = try ScratchFolder(in: work)
        let path = try file ?? makeFile(in: scratch.path)
        // Reads the file into the page cache, and gives the digest that everybody must find.
        let digest = try BLAKE3.hash(file: path, threads: machine.cores).hex
        let bytes = try MappedFile(path: path).count
        guard bytes > 0 else { throw CommandFailure("\(path) is empty: there is nothing to measure") }
        let start = try startTime(in: scratch.path)
        var duels = (machine.cores > 1 ? [1, machine.cores] : [1]).map { Duel(threads: $0) }
        for _ in 0..<rounds {
            for index in duels.indices {
                try measure(&duels[index], path, bytes: bytes, digest: digest, start: start)
            }
        }
        let kernels = try kernelTable(path)
        if json {
            Terminal.output(
                JSON.object([
                    "benchmark": "hash", "machine": machine.json, "bytes": .integer(Int64(bytes)),
                    "digest": .string(digest), "b3sum": start == nil ? .null : .string(b3sum),
                    "b3sumStartSeconds": start.map(JSON.rounded) ?? .null,
                    "blake3": .array(duels.map(Self.json)),
                    "kernels": .array(
                        kernels.map { ["name": .string($0.name), "megabytesPerSecond": .rounded($0.rate)] }),
                ]).serialized())
        } else {
            show(duels, kernels, machine, bytes: bytes, digest: digest, start: start)
        }
    }

    // MARK: - Measuring

    private func measure(_ duel: inout Duel, _ path: String, bytes: Int, digest: String, start: Double?) throws {
        let begin = Clock.seconds
        let ours = try BLAKE3.hash(file: path, threads: duel.threads)
        duel.ours.add(Double(bytes) / 1e6 / (Clock.seconds - begin))
        guard ours.hex == digest else { throw CommandFailure("\(path): two hashes of it differ: it changes") }
        guard let start else { return }
        let arguments = duel.threads == 1 ? ["--num-threads", "1", path] : [path]
        let ending = try MeasuredProcess(b3sum, arguments).finish(within: 600)
        guard ending.status == 0, ending.output.hasPrefix(digest) else {
            throw CommandFailure("\(b3sum) says \(ending.output.prefix(64)) of \(path), we say \(digest)")
        }
        duel.theirs.add(Double(bytes) / 1e6 / max(1e-6, ending.seconds - start))
    }

    /// How long b3sum takes for nothing, which is taken off its times; `nil` where it is absent.
    private func startTime(in folder: String) throws -> Double? {
        let path = "\(folder)/empty"
        close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600))
        var times = Samples()
        for _ in 0..<max(5, rounds) {
            guard let ending = try? MeasuredProcess(b3sum, [path]).finish(), ending.status == 0 else { return nil }
            times.add(ending.seconds)
        }
        return times.median
    }

    /// Each way to hash, on one thread, over memory.
    private func kernelTable(_ path: String) throws -> [(name: String, rate: Double)] {
        let file = try MappedFile(path: path)
        let count = min(file.count, 256 << 20)
        let ways: [(String, (UnsafeRawBufferPointer) -> Void)] =
            BLAKE3Kernel.supported.map { kernel in
                ("BLAKE3 \(kernel.rawValue)", { _ = BLAKE3.hash($0, kernel: kernel) })
            } + [
                (
                    "SHA-1",
                    {
                        var hash = SHA1(); hash.update($0); _ = hash.finalize()
                    }
                ),
                ("SHA-256", { _ = SHA256.hash($0) }),
            ]
        var rates = ways.map { _ in Samples() }
        return file.bytes.extracting(0..<count).withUnsafeBytes { bytes in
            for _ in 0..<min(rounds, 3) {
                for (index, way) in ways.enumerated() {
                    let begin = Clock.seconds
                    way.1(bytes)
                    rates[index].add(Double(count) / 1e6 / (Clock.seconds - begin))
                }
            }
            return zip(ways, rates).map { ($0.0, $1.median ?? 0) }
        }
    }

    private func makeFile(in folder: String) throws -> String {
        let path = "\(folder)/file"
        Terminal.note("making a file of \(Units.bytes(size.value))")
        let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        defer { close(descriptor) }
        // No hash is faster for some bytes than for others; the block changes so that no file system shares it.
        var block = (0..<131_072).map { UInt64(truncatingIfNeeded: $0 &* 0x9E37_79B9) }
        var left = size.value
        while left > 0 {
            block[0] = UInt64(left)
            let written = block.withUnsafeBytes { write(descriptor, $0.baseAddress, min(left, $0.count)) }
            guard written > 0 else { throw CommandFailure("\(path): \(String(cString: strerror(errno)))") }
            left -= written
        }
        return path
    }

    // MARK: - Telling

    private static func json(_ duel: Duel) -> JSON {
        [
            "threads": .integer(Int64(duel.threads)), "dreamer": duel.ours.json, "b3sum": duel.theirs.json,
            "ratio": duel.ours.ratios(to: duel.theirs).json,
        ]
    }

    private func show(
        _ duels: [Duel], _ kernels: [(name: String, rate: Double)], _ machine: Machine, bytes: Int, digest: String,
        start: Double?
    ) {
        Terminal.output("\(machine.description)")
        Terminal.output("\(Units.bytes(bytes)), median of \(rounds) rounds, in MB/s; BLAKE3 \(digest)")
        var table = TextTable("threads", "dreamer", "b3sum", "ratio", "from", "to")
        for duel in duels {
            let ratios = duel.ours.ratios(to: duel.theirs)
            table.add(
                "\(duel.threads)", duel.ours.text(0), duel.theirs.text(0), ratios.text(2),
                ratios.quantile(0).map { Units.fixed($0, 2) } ?? "-",
                ratios.quantile(1).map { Units.fixed($0, 2) } ?? "-")
        }
        for line in table.lines { Terminal.output(line) }
        if let start {
            Terminal.output(
                "b3sum's own start, \(Units.fixed(start * 1000, 1)) ms, is taken off its times; digests equal")
        } else {
            Terminal.output("\(b3sum) is not installed (Debian: b3sum), so there is nothing to compare with")
        }
        Terminal.output("one thread, over memory:")
        var ways = TextTable("hash", "MB/s")
        for kernel in kernels { ways.add(kernel.name, Units.fixed(kernel.rate, 0)) }
        for line in ways.lines { Terminal.output(line) }
    }
}
