// SPDX-License-Identifier: Apache-2.0
import CNATLab
import Glibc

/// Sees to it that nothing runs on in namespaces when their owner is gone: a program there would keep them, and their
/// network, alive.
///
/// It is a shell outside of them that waits for the end of its input, which comes with the owner's end, also one by force. It
/// holds the namespaces open, so that nobody else's can have their names when it looks for what is inside.
final class NamespaceGuard: Sendable {
    private let pid: pid_t
    private let input: Int32
    private let identities: Set<String>

    private static let script = """
        trap '' HUP INT QUIT TERM
        while read -r word; do [ "$word" = done ] && exit 0; done
        ls -l /proc/[0-9]*/ns/net 2>/dev/null | while read -r line; do
            case " $* " in *" ${line##* } "*)
                pid=${line##* /proc/}
                kill -KILL "${pid%%/*}" ;;
            esac
        done
        """

    /// Guards these.
    init(_ namespaces: [NetworkNamespace]) throws(KernelLabError) {
        var identities: Set<String> = []
        for namespace in namespaces { identities.insert(try namespace.identity()) }
        var ends: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
            throw .last("making a pair of sockets")
        }
        defer { close(ends[0]) }
        var descriptors: [(Int32, Int32)] = [(ends[0], STDIN_FILENO), (-1, STDOUT_FILENO), (-1, STDERR_FILENO)]
        // Copied to itself, a descriptor stays open in the program.
        descriptors += namespaces.map { ($0.descriptor, $0.descriptor) }
        do {
            pid = try ProgramStart.start(
                "sh", ["-c", Self.script, "guard"] + identities.sorted(), descriptors: descriptors)
        } catch {
            close(ends[1])
            throw error
        }
        input = ends[1]
        self.identities = identities
    }

    deinit {
        endPrograms()
        let word = Array("done\n".utf8)
        _ = send(input, word, word.count, Int32(MSG_NOSIGNAL))
        close(input)
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    }

    /// Ends what runs inside, by force.
    private func endPrograms() {
        guard let folder = opendir("/proc") else { return }
        defer { closedir(folder) }
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard let process = pid_t(name), process != getpid(),
                let identity = NetworkNamespace.identity(at: "/proc/\(process)/ns/net"), identities.contains(identity)
            else { continue }
            kill(process, SIGKILL)
        }
    }
}
