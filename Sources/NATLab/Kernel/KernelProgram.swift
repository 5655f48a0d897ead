// SPDX-License-Identifier: Apache-2.0
import CNATLab
import Glibc
import NetIO
import Wire

/// A program that runs in a namespace of a ``KernelNetwork``, with its standard input and output at hand.
///
/// It ends with this object at the latest, and with this process, however that ends.
public final class KernelProgram {
    /// How a program ended.
    public struct Ending: Hashable, Sendable {
        /// The exit status, or 128 and the signal's number.
        public let status: Int32
        /// What it wrote to standard output that nobody read before.
        public let output: String
    }

    /// Where a program's standard error goes.
    public enum StandardError: Hashable, Sendable {
        /// To this process's.
        case inherited
        /// Nowhere.
        case discarded
        /// To where its standard output goes.
        case merged
    }

    /// The program and what it was given, for messages.
    public let name: String
    /// Its process.
    public let pid: Int32
    private var input: Int32
    private let output: Int32
    private var pending: [UInt8] = []
    private var ending: Ending?
    /// Whether the guard was told of it.
    private let isGuarded: Bool

    /// Starts a program in a namespace, searched for where commands are, and where those of the system's administrator
    /// are.
    ///
    /// `environment` is added to this process's. What is in `inputText` is its whole standard input; without it there is
    /// ``send(_:)``.
    init(
        _ program: String, _ arguments: [String], environment: [String: String] = [:], inputText: String? = nil,
        standardError: StandardError = .inherited, in namespace: NetworkNamespace
    ) throws {
        name = ([program] + arguments).joined(separator: " ")
        // A socket for input: writing to one that nobody reads any more fails, where a pipe would end this process.
        var inputs: [Int32] = [-1, -1]
        if let inputText {
            inputs[0] = try Self.file(of: inputText)
        } else if socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &inputs) != 0 {
            throw KernelLabError.last("making a pair of sockets")
        }
        var outputs: [Int32] = [-1, -1]
        guard cnatlab_pipe(&outputs) == 0 else {
            let error = KernelLabError.last("making a pipe")
            for end in inputs where end >= 0 { close(end) }
            throw error
        }
        input = inputs[1]
        output = outputs[0]
        let errors: Int32? =
            switch standardError {
            case .inherited: nil
            case .discarded: -1
            case .merged: outputs[1]
            }
        var descriptors: [(Int32, Int32)] = [(inputs[0], STDIN_FILENO), (outputs[1], STDOUT_FILENO)]
        if let errors { descriptors.append((errors, STDERR_FILENO)) }
        defer {
            close(inputs[0])
            close(outputs[1])
        }
        // What is given all of its input ends by itself.
        isGuarded = inputText == nil
        do {
            if isGuarded { try ProgramGuard.shared.prepare() }
            pid = try namespace.enter { [isGuarded] in
                let pid = try ProgramStart.start(
                    program, arguments, environment: environment, descriptors: descriptors,
                    group: isGuarded ? .separate : .own)
                if isGuarded { ProgramGuard.shared.add(pid) }
                return pid
            }
        } catch {
            if input >= 0 { close(input) }
            close(output)
            throw error
        }
    }

    deinit {
        if ending == nil {
            kill(pid, SIGKILL)
            _ = waitForEnd()
        }
        if input >= 0 { close(input) }
        close(output)
    }

    /// Waits for the process; what is answered is what `waitpid` tells.
    private func waitForEnd() -> Int32 {
        if isGuarded {
            // Its number is its own until it is waited for.
            var info = siginfo_t()
            while waitid(P_PID, id_t(pid), &info, WEXITED | WNOWAIT) < 0, errno == EINTR {}
            ProgramGuard.shared.remove(pid)
        }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        return status
    }

    private static func file(of text: String) throws -> Int32 {
        let file = cnatlab_memory_file()
        guard file >= 0 else { throw KernelLabError.last("making a file in memory") }
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
            guard count > 0 else {
                let error = KernelLabError.last("writing a file in memory")
                close(file)
                throw error
            }
            rest = rest.dropFirst(count)
        }
        lseek(file, 0, SEEK_SET)
        return file
    }

    /// Writes a line to its standard input; one that reads no more misses it.
    public func send(_ line: String) {
        var rest = Array((line + "\n").utf8)[...]
        while input >= 0, !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.send(input, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }

    /// Ends its standard input.
    public func closeInput() {
        if input >= 0 { close(input) }
        input = -1
    }

    /// Sends it a signal, while it runs.
    public func signal(_ number: Int32) {
        if ending == nil { kill(pid, number) }
    }

    /// The next line of its output, `nil` at the end. Throws after so long.
    public func line(within limit: Duration) throws -> String? {
        let deadline = MonotonicClock.now + limit
        while true {
            if let end = pending.firstIndex(of: 0x0A) {
                defer { pending.removeSubrange(...end) }
                return String(decoding: pending[..<end], as: UTF8.self)
            }
            guard try readMore(until: deadline) else { return nil }
        }
    }

    /// Waits for its end. Throws after so long.
    public func finish(within limit: Duration = .seconds(60)) throws -> Ending {
        if let ending { return ending }
        let deadline = MonotonicClock.now + limit
        while try readMore(until: deadline) {}
        let status = waitForEnd()
        let signal = status & 0x7F
        let ending = Ending(
            status: signal == 0 ? (status >> 8) & 0xFF : 128 + signal, output: String(decoding: pending, as: UTF8.self))
        self.ending = ending
        return ending
    }

    /// Reads what there is; false at the end of the output.
    private func readMore(until deadline: Timestamp) throws -> Bool {
        var wanted = pollfd(fd: output, events: Int16(POLLIN), revents: 0)
        let left = (deadline - MonotonicClock.now).nanoseconds
        let ready = left > 0 ? poll(&wanted, 1, Int32(clamping: left / 1_000_000 + 1)) : 0
        if ready < 0, errno == EINTR { return true }
        guard ready > 0 else { throw KernelNetwork.Failure("\(name): said nothing more in time") }
        let count = withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 8) { buffer in
            let count = read(output, buffer.baseAddress, buffer.count)
            if count > 0 { pending += buffer[..<count] }
            return count
        }
        return count > 0
    }

    /// Runs a tool of the system to its end and answers what it wrote; throws what it complained of.
    @discardableResult
    static func run(
        _ program: String, _ arguments: [String], input: String = "", in namespace: NetworkNamespace
    ) throws -> String {
        let tool = try KernelProgram(program, arguments, inputText: input, standardError: .merged, in: namespace)
        let ending = try tool.finish(within: .seconds(30))
        guard ending.status == 0 else {
            let words = ending.output.split(separator: "\n").prefix(3).joined(separator: "; ")
            throw KernelNetwork.Failure("\(tool.name): \(words.isEmpty ? "status \(ending.status)" : words)")
        }
        return ending.output
    }
}
