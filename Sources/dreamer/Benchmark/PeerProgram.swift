// SPDX-License-Identifier: Apache-2.0
import Wire

/// A program that can be one end of a measured data channel: our own, or a foreign one.
struct Contender {
    /// How it is called in reports.
    let name: String
    /// The program and its first arguments.
    let command: [String]

    /// This very program, with or without the recovery of losses below SCTP.
    static func ours(isPlain: Bool) -> Contender {
        Contender(
            name: isPlain ? "dreamer, plain SCTP" : "dreamer",
            command: [MeasuredProcess.ownProgram, "bench", "channel", "--as-peer"] + (isPlain ? ["--plain"] : []))
    }

    init(name: String, command: [String]) {
        self.name = name
        self.command = command
    }

    /// From `NAME=PROGRAM ARGUMENT …`, or without the name, which then is the program's.
    init?(_ text: String) {
        var words = text.split(separator: " ").map(String.init)
        guard let first = words.first else { return nil }
        let end = first.firstIndex(of: "=")
        if let end { words[0] = String(first[first.index(after: end)...]) }
        guard !words[0].isEmpty else { return nil }
        name = end.map { String(first[..<$0]) } ?? String(words[0].split(separator: "/").last ?? "")
        command = words
    }
}

/// A running contender and what is said to it: lines of JSON on its standard input and output. Benchmarks/README.md
/// defines them.
final class PeerProgram {
    let contender: Contender
    /// The longest message that it receives.
    let maxMessageBytes: Int
    private let process: MeasuredProcess

    /// Starts it behind `prefix`, a command that runs others, and has it get ready to connect from `address`.
    init(_ contender: Contender, prefix: [String], address: String) throws {
        self.contender = contender
        let words = prefix + contender.command
        process = try MeasuredProcess(words[0], Array(words.dropFirst()))
        process.send(Self.line("start", ["address": .string(address)]))
        let ready = try Self.event("ready", of: process, within: 30)
        maxMessageBytes = ready["maxMessageBytes"]?.integer.map { Int($0) } ?? 65_536
    }

    /// Processor time so far.
    var cpuSeconds: Double { process.cpuSeconds }

    /// The most memory it had resident so far.
    var peakBytes: Int { process.peakBytes }

    /// Gives it a command.
    func tell(_ command: String, _ members: JSON.Object = [:]) {
        process.send(Self.line(command, members))
    }

    /// Waits until it tells an event; other events before it are passed over.
    @discardableResult
    func hear(_ event: String, within seconds: Double = 45) throws -> JSON {
        try Self.event(event, of: process, within: seconds)
    }

    private static func line(_ command: String, _ members: JSON.Object) -> String {
        var object: JSON.Object = ["command": .string(command)]
        for (name, value) in members { object[name] = value }
        return JSON.object(object).serialized()
    }

    private static func event(_ event: String, of process: MeasuredProcess, within seconds: Double) throws -> JSON {
        var complaint: String?
        do {
            return try process.json(event: event, within: seconds) { other in
                if other["event"]?.string == "error" { complaint = other["message"]?.string ?? "an error" }
            }
        } catch {
            throw complaint.map { CommandFailure("\(process.name): \($0)") } ?? error
        }
    }
}
