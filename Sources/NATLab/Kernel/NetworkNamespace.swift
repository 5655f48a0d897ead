// SPDX-License-Identifier: Apache-2.0
import CNATLab
import Glibc
import NetIO
import Wire

/// A network namespace of the kernel: interfaces, addresses and ports of its own (network_namespaces(7)).
///
/// It has no name that could be left behind: it lives as long as this object, a process or a device in it does, and
/// goes by itself when this process ends, however it ends.
public final class NetworkNamespace: Sendable {
    /// What keeps it alive.
    let descriptor: Int32

    /// Where other programs find it, while this process runs and this object is there.
    public var path: String { "/proc/\(getpid())/fd/\(descriptor)" }

    /// Makes an empty namespace, with its loopback interface up. Needs CAP_SYS_ADMIN.
    public init() throws(KernelLabError) {
        let home = try NetworkNamespace.home()
        defer { close(home) }
        guard cnatlab_unshare_network() == 0 else { throw .last("making a network namespace") }
        defer { NetworkNamespace.goTo(home) }
        descriptor = try NetworkNamespace.current()
        guard cnatlab_configure("lo", 0, 0, 0, 0) == 0 else {
            close(descriptor)
            throw .last("setting the loopback interface up")
        }
    }

    deinit { close(descriptor) }

    /// Does `body` with the calling thread in the namespace: sockets that it opens and processes that it starts belong
    /// to it.
    public func enter<Result>(_ body: () throws -> Result) throws -> Result {
        let home = try NetworkNamespace.home()
        defer { close(home) }
        guard cnatlab_enter_network(descriptor) == 0 else { throw KernelLabError.last("entering a network namespace") }
        defer { NetworkNamespace.goTo(home) }
        return try body()
    }

    /// ifOperStatus of an interface that carries packets (RFC 2863), as linux/if.h numbers it.
    private static let isUp: Int32 = 6

    /// Waits until interfaces carry packets: the kernel tells that a cable has two ends in its own time, and what is
    /// sent before is lost.
    func waitForInterfaces(_ names: [String], within limit: Duration) throws {
        let deadline = MonotonicClock.now + limit
        try enter {
            for name in names {
                while true {
                    let state = cnatlab_interface_state(name)
                    guard state >= 0 else { throw KernelLabError.last("asking for the state of \(name)") }
                    if state == NetworkNamespace.isUp { break }
                    guard MonotonicClock.now < deadline else {
                        throw KernelLabError("waiting for \(name) to come up", code: ETIMEDOUT)
                    }
                    poll(nil, 0, 1)
                }
            }
        }
    }

    /// What tells it from every other that there is, for example `net:[4026532281]` (namespaces(7)).
    func identity() throws(KernelLabError) -> String {
        guard let identity = NetworkNamespace.identity(at: "/proc/self/fd/\(descriptor)") else {
            throw .last("reading what namespace a descriptor is of")
        }
        return identity
    }

    /// The same of a link below /proc; `nil` where there is none.
    static func identity(at path: String) -> String? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
            guard let base = buffer.baseAddress else { return nil }
            let count = readlink(path, base, buffer.count)
            guard count > 0 else { return nil }
            return String(decoding: buffer[..<count].lazy.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }

    private static func current() throws(KernelLabError) -> Int32 {
        let descriptor = cnatlab_open_network()
        guard descriptor >= 0 else { throw .last("opening /proc/thread-self/ns/net") }
        return descriptor
    }

    /// The namespace that the calling thread is in, if the thread may come back into it: a namespace that belongs to
    /// another user namespace can only be left.
    private static func home() throws(KernelLabError) -> Int32 {
        let descriptor = try current()
        guard cnatlab_enter_network(descriptor) == 0 else {
            let error = KernelLabError.last("making a network namespace")
            close(descriptor)
            throw error
        }
        return descriptor
    }

    /// A thread that stayed where it is would do the work of others in the wrong place.
    private static func goTo(_ home: Int32) {
        let result = cnatlab_enter_network(home)
        precondition(result == 0, "the way back into the network namespace that a thread came from is barred")
    }
}
