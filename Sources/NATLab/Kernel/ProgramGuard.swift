// SPDX-License-Identifier: Apache-2.0
import CNATLab
import Glibc
import Synchronization

//   each program ──a process group of its own──┐
//   this process ──"+ group", "- group"──▶ one shell ──at the end of its input──▶ ends the groups that are left

/// Sees to it that no program runs on in a namespace when this process is gone, also where that was ended by force: it
/// would keep the namespace, and its network, alive.
///
/// One small shell does so for all networks of this process. It knows what runs by what it is told, and sleeps until
/// this process ends.
final class ProgramGuard: Sendable {
    /// The one of this process, started with the first program.
    static let shared = ProgramGuard()

    private struct State {
        var input: Int32 = -1
        var hasStarted = false
    }
    private let state = Mutex(State())

    private static let script = """
        trap '' HUP INT QUIT TERM PIPE
        groups=' '
        while read -r sign group; do
            case $sign in
                +) groups="$groups$group " ;;
                -) groups="${groups%% $group *} ${groups#* $group }" ;;
            esac
        done
        for group in $groups; do kill -KILL "-$group" 2>/dev/null; done
        """

    /// Starts the guard, if it does not run; it belongs where the calling thread is, which must be outside of all that
    /// is made.
    func prepare() throws(KernelLabError) {
        try state.withLock { (state) throws(KernelLabError) in
            if !state.hasStarted { try Self.start(&state) }
        }
    }

    /// Notes that a program runs, with its process group.
    func add(_ group: pid_t) { tell("+ \(group)\n") }

    /// Notes that it has ended, and before its number may be another's.
    func remove(_ group: pid_t) { tell("- \(group)\n") }

    private func tell(_ line: String) {
        state.withLock { state in
            let bytes = Array(line.utf8)
            _ = send(state.input, bytes, bytes.count, Int32(MSG_NOSIGNAL))
        }
    }

    private static func start(_ state: inout State) throws(KernelLabError) {
        var ends: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
            throw .last("making a pair of sockets")
        }
        defer { close(ends[0]) }
        do throws(KernelLabError) {
            // A session of its own: what is done to this process's group or terminal does not reach it.
            _ = try ProgramStart.start(
                "sh", ["-c", script], descriptors: [(ends[0], STDIN_FILENO), (-1, STDOUT_FILENO), (-1, STDERR_FILENO)],
                group: .session)
        } catch {
            close(ends[1])
            throw error
        }
        state.input = ends[1]
        state.hasStarted = true
    }
}
