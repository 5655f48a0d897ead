// SPDX-License-Identifier: Apache-2.0
import Glibc
import Wire

/// A program that a benchmark runs, with what it cost: processor time and memory of its own, not of those beside it.
///
/// Everything waits on the caller's thread, so that the watching costs next to nothing.
final class MeasuredProcess {
    /// What a program cost from its start to its end.
    struct Ending {
        /// The exit status, or 128 and the signal's number.
        let status: Int32
        /// Processor time in user and kernel mode, of all its threads.
        let cpuSeconds: Double
        /// The most memory it had resident, mapped files included.
        let peakBytes: Int
        /// From before the start to after the end.
        let seconds: Double
        /// What it wrote to standard output and nobody read before.
        let output: String
    }

    /// This very program, also for one that runs it in our stead.
    static let ownProgram = "/proc/\(getpid())/exe"

    let name: String
    let pid: pid_t
    private let startedAt: Double
    private let output: Int32
    private let input: Int32
    private var pending: [UInt8] = []
    private var ending: Ending?

    /// Starts a program with its standard input and output on pipes; standard error stays ours.
    init(_ program: String, _ arguments: [String]) throws {
        name = ([program == Self.ownProgram ? "dreamer" : program] + arguments).joined(separator: " ")
        var toChild: [Int32] = [-1, -1]
        var fromChild: [Int32] = [-1, -1]
        guard pipe(&toChild) == 0, pipe(&fromChild) == 0 else {
            throw CommandFailure("no pipe: \(String(cString: strerror(errno)))")
        }
        // What the program gets is made below; an end of ours in it would keep the pipe open.
        for end in toChild + fromChild { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, toChild[0], STDIN_FILENO)
        posix_spawn_file_actions_adddup2(&actions, fromChild[1], STDOUT_FILENO)
        var words: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) }
        defer { for word in words { free(word) } }
        words.append(nil)
        startedAt = Clock.seconds
        var pid: pid_t = 0
        // The threads that run tasks block all signals, and a program inherits that.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        let code = posix_spawnp(&pid, program, &actions, &attributes, words, environ)
        close(toChild[0])
        close(fromChild[1])
        self.pid = pid
        input = toChild[1]
        output = fromChild[0]
        guard code == 0 else { throw CommandFailure("\(program) cannot be run: \(String(cString: strerror(code)))") }
    }

    deinit {
        if ending == nil, pid > 0 {
            kill(pid, SIGKILL)
            var status: Int32 = 0
            waitpid(pid, &status, 0)
        }
        close(input)
        close(output)
    }

    /// Processor time so far, of a program that still runs.
    var cpuSeconds: Double {
        var clock = clockid_t()
        var time = timespec()
        guard clock_getcpuclockid(pid, &clock) == 0, clock_gettime(clock, &time) == 0 else { return 0 }
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    /// The most memory that a program which still runs had resident since its start. (What `finish` tells may be the
    /// memory of whoever started it, before it became this program.)
    var peakBytes: Int { Self.status("VmHWM", of: "\(pid)") }

    /// A quantity of memory from a process's status, in bytes; 0 where there is none. `process` may be `self`.
    static func status(_ name: String, of process: String) -> Int {
        guard let file = fopen("/proc/\(process)/status", "r") else { return 0 }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 8192)
        let count = fread(&bytes, 1, bytes.count, file)
        let line = String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n").first {
            $0.hasPrefix(name + ":")
        }
        let words = line?.split { $0 == " " || $0 == "\t" } ?? []
        guard words.count > 1, let value = Int(words[1]) else { return 0 }
        return words.count > 2 ? value * 1024 : value
    }

    /// Writes a line to its standard input.
    func send(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        _ = bytes.withUnsafeBytes { write(input, $0.baseAddress, $0.count) }
    }

    /// The next line of its output, `nil` at the end. Throws after so many seconds.
    func line(within seconds: Double) throws -> String? {
        let deadline = Clock.seconds + seconds
        while true {
            if let end = pending.firstIndex(of: 0x0A) {
                defer { pending.removeSubrange(...end) }
                return String(decoding: pending[..<end], as: UTF8.self)
            }
            guard try readMore(until: deadline) else { return nil }
        }
    }

    /// The next line that is a JSON object, of a certain event where one is named; lines before it go to `others`.
    func json(event: String? = nil, within seconds: Double, others: (JSON) -> Void = { _ in }) throws -> JSON {
        while let line = try line(within: seconds) {
            guard let json = try? JSON(parsing: line), json.object != nil else { continue }
            if event == nil || json["event"]?.string == event { return json }
            others(json)
        }
        throw CommandFailure("\(name): ended without telling \(event ?? "anything")")
    }

    /// Asks the program to stop.
    func stop() { kill(pid, SIGINT) }

    /// Waits for the end.
    func finish(within seconds: Double = 60) throws -> Ending {
        if let ending { return ending }
        let deadline = Clock.seconds + seconds
        while try readMore(until: deadline) {}
        var status: Int32 = 0
        var usage = rusage()
        // RUSAGE's words are seconds and KiB.
        while wait4(pid, &status, 0, &usage) < 0, errno == EINTR {}
        let signal = status & 0x7F
        let ending = Ending(
            status: signal == 0 ? (status >> 8) & 0xFF : 128 + signal, cpuSeconds: usage.cpuSeconds,
            peakBytes: usage.ru_maxrss * 1024, seconds: Clock.seconds - startedAt,
            output: String(decoding: pending, as: UTF8.self))
        self.ending = ending
        return ending
    }

    /// Reads what there is; false at the end of the output.
    private func readMore(until deadline: Double) throws -> Bool {
        var wanted = pollfd(fd: output, events: Int16(POLLIN), revents: 0)
        let left = deadline - Clock.seconds
        let ready = left > 0 ? poll(&wanted, 1, Int32(left * 1000) + 1) : 0
        if ready < 0, errno == EINTR { return true }
        guard ready > 0 else { throw CommandFailure("\(name): said nothing more in time") }
        let count = withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 8) { buffer in
            let count = read(output, buffer.baseAddress, buffer.count)
            if count > 0 { pending += buffer[..<count] }
            return count
        }
        return count > 0
    }
}

extension rusage {
    /// Processor time in user and kernel mode.
    var cpuSeconds: Double {
        Double(ru_utime.tv_sec + ru_stime.tv_sec) + Double(ru_utime.tv_usec + ru_stime.tv_usec) * 1e-6
    }

    /// What this process has used so far.
    static var own: rusage {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return usage
    }
}
