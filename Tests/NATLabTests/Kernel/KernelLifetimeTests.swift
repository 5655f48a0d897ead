// SPDX-License-Identifier: Apache-2.0
import Glibc
import NATLab
import NetIO
import Testing
import Wire

/// Set in the environment of a copy of this test program that makes a network and waits.
private let ownerVariable = "DREAMER_TEST_NETWORK_OWNER"

/// The network namespace that a process is in, as /proc names it.
private func namespaces(_ process: String = "self") -> String? {
    var buffer = [CChar](repeating: 0, count: 64)
    let count = readlink("/proc/\(process)/ns/net", &buffer, buffer.count)
    return count > 0 ? String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
}

/// The names in a folder.
private func entries(_ path: String) -> [String] {
    guard let folder = opendir(path) else { return [] }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder) {
        names.append(
            withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
    }
    return names
}

/// What runs in the copy, and only there: a copy must never make another.
@Suite("Owner of a kernel network", .enabled(if: getenv(ownerVariable) != nil, "only in a copy of this program"))
struct NetworkOwnerTests {
    @Test("it makes twenty networks, one after the other, and has as many descriptors and programs as before")
    func repeating() throws {
        // What is made once and kept: the first network shows it.
        _ = try KernelNetwork([.host("a", behind: [.portRestricted]), .host("b", behind: [.leaky])])
        let before = entries("/proc/self/fd").count
        let began = MonotonicClock.now
        for _ in 0..<20 {
            _ = try KernelNetwork([.host("a", behind: [.portRestricted]), .host("b", behind: [.leaky])])
        }
        print("a network of six namespaces takes \((MonotonicClock.now - began) / 20) to make and remove")
        fflush(nil)
        #expect(entries("/proc/self/fd").count <= before)
        #expect(waitpid(-1, nil, WNOHANG) == -1 && errno == ECHILD, "no program is left")
    }

    @Test("it makes a network and waits")
    func waiting() throws {
        let network = try KernelNetwork([.host("a", behind: [.portRestricted])])
        let program = try network.run("sh", ["-c", "sleep 1000 & echo started; wait"], at: network.host("a"))
        #expect(try program.line(within: .seconds(10)) == "started")
        print("inside \(namespaces("\(program.pid)") ?? "nothing")")
        fflush(nil)
        _ = try program.finish(within: .seconds(600))
    }
}

@Suite(
    "Kernel network's lifetime", .serialized,
    .enabled(if: getenv(ownerVariable) == nil && networkObstacle == nil, "no namespaces or no nft here"))
struct KernelLifetimeTests {
    private func processes(in identity: String) -> [String] {
        entries("/proc").filter { Int($0) != nil && namespaces($0) == identity }
    }

    /// Waits a little for what the kernel does in its own time.
    private func eventually(_ condition: () -> Bool) -> Bool {
        let limit = MonotonicClock.now + .seconds(10)
        while MonotonicClock.now < limit {
            if condition() { return true }
            poll(nil, 0, 5)
        }
        return false
    }

    @Test("twenty networks come and go, and nothing is left of them")
    func repetition() throws {
        // In a copy, where nothing is opened and started beside it.
        let outside = try KernelNetwork([])
        let copy = try copy("NetworkOwnerTests/repeating", in: outside)
        var said = ""
        while let line = try copy.line(within: .seconds(60)) {
            if line.contains("a network of six namespaces") { said = line }
        }
        print(said)
        #expect(try copy.finish(within: .seconds(10)).status == 0 && !said.isEmpty)
    }

    @Test("programs end with their network, those that they started too")
    func programs() throws {
        var network: KernelNetwork? = try KernelNetwork([.host("a", behind: [.portRestricted])])
        let program = try #require(
            try network.map { network in
                try network.run("sh", ["-c", "sleep 1000 & echo started; wait"], at: network.host("a"))
            })
        #expect(try program.line(within: .seconds(10)) == "started")
        let identity = try #require(namespaces("\(program.pid)"))
        #expect(identity != namespaces())
        #expect(processes(in: identity).count == 2)
        network = nil
        #expect(eventually { processes(in: identity).count <= 1 }, "what is left is to be waited for")
        #expect(try program.finish(within: .seconds(10)).status == 128 + SIGKILL)
        #expect(processes(in: identity).isEmpty)
    }

    @Test("nothing outlives an owner that is ended by force")
    func ownerKilled() throws {
        let outside = try KernelNetwork([])
        let owner = try copy("NetworkOwnerTests/waiting", in: outside)
        var identity: String?
        while identity == nil, let line = try owner.line(within: .seconds(60)) {
            if let mark = line.firstRange(of: "inside ") { identity = String(line[mark.upperBound...]) }
        }
        let inside = try #require(identity)
        #expect(processes(in: inside).count == 2)
        owner.signal(SIGKILL)
        #expect(eventually { processes(in: inside).isEmpty })
        _ = try owner.finish(within: .seconds(30))
    }

    /// Starts a copy of this program that runs one test; in a namespace, so that it needs no other way to be started.
    private func copy(_ test: String, in network: KernelNetwork) throws -> KernelProgram {
        let arguments = try #require(commandLine())
        return try network.run(
            "/proc/self/exe", arguments + ["--filter", test], environment: [ownerVariable: "1"],
            standardError: .discarded, at: network.server)
    }

    /// How this program was started, without what chose its tests.
    private func commandLine() -> [String]? {
        guard let file = fopen("/proc/self/cmdline", "r") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = fread(&bytes, 1, bytes.count, file)
        var words = bytes[..<count].split(separator: 0).map { String(decoding: $0, as: UTF8.self) }.dropFirst()
        var result: [String] = []
        while let word = words.popFirst() {
            if ["--filter", "--skip", "--xunit-output", "--event-stream-output-path"].contains(word) {
                words = words.dropFirst()
            } else {
                result.append(word)
            }
        }
        return result
    }
}
