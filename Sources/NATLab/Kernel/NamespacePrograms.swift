// SPDX-License-Identifier: Apache-2.0
import Glibc

/// What runs inside namespaces: a program there would keep them, and their network, alive when nobody needs them any
/// more.
struct NamespacePrograms {
    private let identities: Set<String>

    /// Those in these namespaces.
    init(_ namespaces: [NetworkNamespace]) throws(KernelLabError) {
        var identities: Set<String> = []
        for namespace in namespaces { identities.insert(try namespace.identity()) }
        self.identities = identities
    }

    /// Ends them by force, those that they started too. The namespaces must be open still, so that no others have their
    /// numbers.
    func end() {
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
