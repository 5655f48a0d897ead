// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc

/// A network of its own, with one interface that multicast works on. It lasts as long as the process that holds it.
///
/// A namespace belongs to a thread, so that sockets which a test makes inside it live there, whoever uses them later.
final class NetworkNamespace: Sendable {
    private let holder: LineProcess
    private let file: Int32

    /// The address of its interface.
    static let address = "198.18.0.1"

    /// What stands before a command that runs inside.
    var prefix: [String] { ["/usr/bin/nsenter", "--net=/proc/\(holder.pid)/ns/net"] }

    /// Whether this process may make one. Where it may not, that is printed.
    static let isPossible: Bool = {
        let namespace = try? NetworkNamespace()
        if namespace == nil {
            print("this process cannot make a network namespace (root can): browsers run in the network of this host")
        }
        return namespace != nil
    }()

    init() throws {
        let script = """
            ip link set lo up && ip link add test0 type veth peer name test1 && ip link set test0 up && ip link set test1 up &&
            ip addr add \(Self.address)/24 dev test0 && ip route add default dev test0 && echo ready && exec cat
            """
        holder = try LineProcess("/usr/bin/unshare", ["--net", "/bin/sh", "-c", script])
        let deadline = ContinuousClock.now + .seconds(10)
        while !holder.output.contains("ready"), ContinuousClock.now < deadline, holder.errors.isEmpty { usleep(2000) }
        file = open("/proc/\(holder.pid)/ns/net", O_RDONLY | O_CLOEXEC)
        guard holder.output.contains("ready"), file >= 0 else {
            throw LineProcess.Failure(description: "no network namespace: \(holder.errors)")
        }
    }

    deinit { close(file) }

    /// Runs `body` on a thread inside `namespace`, or here where there is none. Threads and programs that it starts are
    /// inside as well.
    static func inside<Result: Sendable>(
        _ namespace: NetworkNamespace?, _ body: @escaping @Sendable () throws -> Result
    ) throws -> Result {
        guard let namespace else { return try body() }
        let file = namespace.file
        let box = Box<Result>()
        let done = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            if enter(file) { box.result = Swift.Result { try body() } }
            done.signal()
        }
        done.wait()
        guard let result = box.result else {
            throw LineProcess.Failure(description: "the network namespace cannot be entered")
        }
        return try result.get()
    }

    /// Moves the calling thread. Swift's view of glibc lacks what stands behind _GNU_SOURCE.
    private static func enter(_ file: Int32) -> Bool {
        typealias SetNS = @convention(c) (Int32, Int32) -> Int32
        guard let symbol = dlsym(nil, "setns") else { return false }
        return unsafeBitCast(symbol, to: SetNS.self)(file, 0) == 0
    }

    /// Written by one thread before it signals, read by the other after.
    private final class Box<Value>: @unchecked Sendable {
        var result: Swift.Result<Value, any Error>?
    }
}
