// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Starts programs in the namespace of the calling thread.
enum ProgramStart {
    /// What a program is one of, which signals reach together.
    enum Group {
        /// This process's group.
        case own
        /// A group of its own, whose number is that of its process.
        case separate
        /// A session of its own, without a terminal.
        case session
    }

    /// Where tools for administrators are, which are not in everybody's search path.
    private static let systemFolders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]

    /// POSIX_SPAWN_SETSID of spawn.h, which glibc has among its extensions.
    private static let setsid: Int32 = 0x80

    /// The file of a program that is searched for; `nil` where there is none.
    static func path(of program: String) -> String? {
        if program.utf8.contains(UInt8(ascii: "/")) { return program }
        let search = getenv("PATH").map { String(cString: $0).split(separator: ":").map(String.init) } ?? []
        return (search + systemFolders).map { "\($0)/\(program)" }.first { access($0, X_OK) == 0 }
    }

    /// Starts a program that gets these descriptors, each as the number beside it (-1 for one that swallows all), and
    /// otherwise only what is not closed when programs are started. Answers its process.
    static func start(
        _ program: String, _ arguments: [String], environment: [String: String] = [:], descriptors: [(Int32, Int32)],
        group: Group = .own
    ) throws(KernelLabError) -> pid_t {
        guard let path = path(of: program) else { throw KernelLabError("running \(program)", code: ENOENT) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for (descriptor, number) in descriptors {
            if descriptor < 0 {
                posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_RDWR, 0)
            } else {
                posix_spawn_file_actions_adddup2(&actions, descriptor, number)
            }
        }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // Threads that run tasks block all signals, and a program inherits that, as it does what is ignored.
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigaddset(&signals, SIGPIPE)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        var flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
        switch group {
        case .own: break
        case .separate:
            posix_spawnattr_setpgroup(&attributes, 0)
            flags |= POSIX_SPAWN_SETPGROUP
        case .session: flags |= setsid
        }
        posix_spawnattr_setflags(&attributes, Int16(flags))
        var words: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] = Self.variables(adding: environment).map { strdup($0) } + [nil]
        defer { for word in words + variables { free(word) } }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, path, &actions, &attributes, &words, &variables)
        guard code == 0 else { throw KernelLabError("running \(program)", code: code) }
        return pid
    }

    private static func variables(adding added: [String: String]) -> [String] {
        var result = added.map { "\($0.key)=\($0.value)" }.sorted()
        var next = environ
        while let variable = next.pointee {
            let text = String(cString: variable)
            if !added.keys.contains(where: { text.hasPrefix($0 + "=") }) { result.append(text) }
            next += 1
        }
        return result
    }
}
