// SPDX-License-Identifier: Apache-2.0
import Foundation
import NATLab
import Synchronization
import Testing
import Wire

/// A program that a test runs and speaks to line by line. It is ended with the test.
final class LineProcess: Sendable {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private struct State {
        var lines: [String] = []
        /// How many of the lines were asked for already.
        var position = 0
        var errors = ""
        var errorsHaveEnded = false
        var partial: [UInt8] = []
        var hasEnded = false
        var status: Int32?
        var peakMemory: Int?
    }

    let name: String
    private let process: Process
    private let input = Pipe()
    private let state = Mutex(State())

    var pid: Int32 { process.processIdentifier }

    /// Everything that the program wrote to standard error so far.
    var errors: String { state.withLock { $0.errors } }

    /// Starts a program, in a network namespace where one is given.
    init(
        _ program: String, _ arguments: [String], environment: [String: String] = [:],
        in namespace: NATLab.NetworkNamespace? = nil
    ) throws {
        name = ([program] + arguments).joined(separator: " ")
        process = Process()
        let entrance = namespace.map { ["/usr/bin/nsenter", "--net=\($0.path)"] } ?? []
        let command = entrance + [program] + arguments
        process.executableURL = URL(filePath: command[0])
        process.arguments = Array(command.dropFirst())
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let output = Pipe()
        let errors = Pipe()
        process.standardInput = input
        process.standardOutput = output
        process.standardError = errors
        process.terminationHandler = { [weak self] process in
            Leash.release(process: process.processIdentifier)
            // Of a program that a signal ended, what a shell tells.
            let status = process.terminationStatus + (process.terminationReason == .uncaughtSignal ? 128 : 0)
            self?.state.withLock { $0.status = status }
        }
        try process.run()
        read(output, errors)
        Leash.hold(process: pid)
        // It may have ended before it was held.
        if !process.isRunning { Leash.release(process: pid) }
    }

    deinit { kill() }

    /// Reads both outputs to their ends, on a thread: Foundation's handlers watch descriptors that others get meanwhile,
    /// which with many programs at a time has crashed the tests.
    private func read(_ output: Pipe, _ errors: Pipe) {
        Thread.detachNewThread { [weak self] in
            let pipes = [output, errors]
            var open = pipes.map {
                pollfd(fd: $0.fileHandleForReading.fileDescriptor, events: Int16(POLLIN), revents: 0)
            }
            var buffer = [UInt8](repeating: 0, count: 65_536)
            while open.contains(where: { $0.fd >= 0 }) {
                poll(&open, nfds_t(open.count), -1)
                for index in open.indices where open[index].fd >= 0 && open[index].revents != 0 {
                    let count = Foundation.read(open[index].fd, &buffer, buffer.count)
                    if count < 0, errno == EINTR { continue }
                    // A negative descriptor is passed over (poll(2)).
                    if count <= 0 { open[index].fd = -1 }
                    let bytes = Array(buffer[..<max(count, 0)])
                    if index == 0 { self?.received(bytes) } else { self?.receivedErrors(bytes) }
                }
            }
            // The pipes' ends are closed with them.
            withExtendedLifetime(pipes) {}
        }
    }

    private func receivedErrors(_ bytes: [UInt8]) {
        state.withLock { state in
            state.errors += String(decoding: bytes, as: UTF8.self)
            if bytes.isEmpty { state.errorsHaveEnded = true }
        }
    }

    /// The most memory that the program ever had resident, in MiB; of one that has ended, when it last wrote a line.
    var peakMemory: Int? {
        let now = residentPeak
        return state.withLock { state in
            state.peakMemory = now ?? state.peakMemory
            return state.peakMemory
        }
    }

    private var residentPeak: Int? {
        guard let status = try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") }),
            let kilobytes = line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Int($0) })
        else { return nil }
        return kilobytes / 1024
    }

    private func received(_ bytes: [UInt8]) {
        let peak = residentPeak
        state.withLock { state in
            state.peakMemory = peak ?? state.peakMemory
            if bytes.isEmpty { state.hasEnded = true }
            state.partial += bytes
            while let end = state.partial.firstIndex(of: 0x0A) {
                state.lines.append(String(decoding: state.partial[..<end], as: UTF8.self))
                state.partial.removeSubrange(...end)
            }
        }
    }

    func send(_ line: String) throws {
        try input.fileHandleForWriting.write(contentsOf: Data((line + "\n").utf8))
    }

    /// The next line that satisfies a condition; lines before it are passed over. Throws after `limit`, or when the
    /// program has ended without.
    func line(within limit: Duration = .seconds(20), where matches: (String) -> Bool = { _ in true }) async throws
        -> String
    {
        let deadline = ContinuousClock.now + limit
        while true {
            let (found, ended): (String?, Bool) = state.withLock { state in
                while state.position < state.lines.count {
                    let line = state.lines[state.position]
                    state.position += 1
                    if matches(line) { return (line, false) }
                }
                return (nil, state.hasEnded)
            }
            if let found { return found }
            if ended { throw Failure(description: "\(name) ended before the awaited line\n\(errors)") }
            if ContinuousClock.now > deadline {
                throw Failure(description: "\(name) did not write the awaited line within \(limit)\n\(errors)")
            }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    /// The next line that is a JSON object with these members.
    func json(
        within limit: Duration = .seconds(20), where members: [String: JSON] = [:]
    ) async throws -> JSON {
        let text = try await line(within: limit) { line in
            guard let object = try? JSON(parsing: line), object.object != nil else { return false }
            return members.allSatisfy { object[$0.key] == $0.value }
        }
        return try JSON(parsing: text)
    }

    /// Waits for the end; answers the exit status.
    @discardableResult
    func exit(within limit: Duration = .seconds(60)) async throws -> Int32 {
        let deadline = ContinuousClock.now + limit
        while true {
            if let status = state.withLock({ $0.status }) { return status }
            if ContinuousClock.now > deadline {
                throw Failure(description: "\(name) did not end within \(limit)\n\(errors)")
            }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    /// Waits for the end and expects an exit status; where it is another, the test's record has what the program wrote.
    func expectExit(
        _ expected: Int32 = 0, within limit: Duration = .seconds(60), sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let status = try await exit(within: limit)
        guard status != expected else { return }
        try await waitForOutputEnd()
        #expect(
            status == expected,
            "\(name)\n\(state.withLock { $0.lines.suffix(5).joined(separator: "\n") })\n\(errors.suffix(4000))",
            sourceLocation: sourceLocation)
    }

    /// Every line that the program wrote to standard output so far.
    var output: String { state.withLock { $0.lines.joined(separator: "\n") } }

    /// Whether it wrote anything to standard output so far, be it less than a line.
    var hasOutput: Bool { state.withLock { !$0.lines.isEmpty || !$0.partial.isEmpty } }

    /// Waits until everything that the program wrote was read, which is after its end.
    func waitForOutputEnd(within limit: Duration = .seconds(10)) async throws {
        let deadline = ContinuousClock.now + limit
        while !state.withLock({ $0.hasEnded && $0.errorsHaveEnded }), ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    /// Asks the program to stop, as Ctrl-C does.
    func interrupt() { if process.isRunning { Foundation.kill(pid, SIGINT) } }

    /// Ends the program without a chance to clean up.
    func kill() { if process.isRunning { Foundation.kill(pid, SIGKILL) } }

    /// Stops the program where it is: for peers that fall silent.
    func pause() { if process.isRunning { Foundation.kill(pid, SIGSTOP) } }
}
