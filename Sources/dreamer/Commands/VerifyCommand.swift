// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import RDRR
import Synchronization
import Wire

/// `dreamer verify DIR`
struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Check every shard and file of a model folder against its manifest.")

    @Argument(help: "The folder with manifest.json.")
    var folder: String

    @Option(help: "How many shards are hashed at the same time.")
    var threads: Int = 2

    @Flag(help: "Print the result as JSON.")
    var json = false

    func validate() throws {
        guard threads > 0 else { throw ValidationError("--threads \(threads): give at least 1") }
    }

    func run() throws {
        let model = try ModelFolder(opening: folder)
        let shown = Mutex((line: ProgressLine(label: "verifying"), meter: Meter()))
        let report = ModelVerifier(model, threads: threads).verify { progress in
            shown.withLock { shown in
                let now = Clock.seconds
                let rate = shown.meter.rate(progress.bytesDone, at: now)
                shown.line.show(.init(done: progress.bytesDone, total: progress.bytesTotal, rate: rate), at: now)
            }
        }
        shown.withLock { $0.line.clear() }
        if json {
            Terminal.output(
                JSON.object([
                    "good": .bool(report.isGood), "entries": .integer(Int64(report.findings.count)),
                    "goodBytes": .integer(Int64(report.goodBytes)),
                    "faults": .array(
                        report.faults.map { ["name": .string($0.entry.name), "fault": .string($0.words)] }),
                ]).serialized())
        } else {
            for fault in report.faults { Terminal.output("\(fault.entry.name): \(fault.words)") }
            if report.isGood {
                Terminal.output(
                    "\(folder): all \(report.findings.count) shards and files are good (\(Units.bytes(report.goodBytes)))"
                )
            }
        }
        guard report.isGood else {
            let bad = report.findings.count { !$0.outcome.isGood }
            throw CommandFailure(
                "\(folder): \(bad) of \(report.findings.count) shards and files are not what the manifest says; "
                    + "fetch into the same folder to replace them")
        }
    }
}

extension ModelVerifier.Finding {
    /// The outcome in words.
    fileprivate var words: String {
        switch outcome {
        case .good: "good"
        case .missing: "missing"
        case .wrongSize(let found): "has \(found) bytes where the manifest says \(entry.size)"
        case .wrongHash(let found, let first):
            "hashes to \(found)" + (first.map { "; the first wrong byte lies at or after byte \($0)" } ?? "")
        case .wrongProof: "is good, but its proof is not its own (pack again, or delete the proof)"
        case .unreadable(let error): "\(error)"
        }
    }
}
