// SPDX-License-Identifier: Apache-2.0
import CNetIO
import Glibc
import Synchronization
public import Wire

/// Host names to addresses, by the system's rules (hosts file, DNS, mDNS where it is set up).
public enum Resolver {
    /// The addresses of a host in the order in which the system would try them (RFC 6724), without duplicates. Addresses
    /// as text are answered at once; for a name a thread waits, so that no caller does. Cancelling the task ends the
    /// wait, and so does `timeout` (the error's code is `ETIMEDOUT` then). The corresponding C function is `getaddrinfo`.
    public static func resolve(_ host: String, port: UInt16, timeout: Duration? = nil) async throws -> [SocketAddress] {
        if let ip = IPAddress(host) { return [SocketAddress(ip: ip, port: port)] }
        if isLocalhost(host) { return [IPAddress.loopbackV4, .loopbackV6].map { SocketAddress(ip: $0, port: port) } }
        guard let timeout else { return try await look(up: host, port: port) }
        return try await withThrowingTaskGroup(of: [SocketAddress].self) { group in
            group.addTask { try await look(up: host, port: port) }
            group.addTask {
                try await Task.sleep(for: timeout)
                throw NetIOError("resolve \(host)", code: ETIMEDOUT)
            }
            defer { group.cancelAll() }
            return try await group.next() ?? []
        }
    }

    /// RFC 6761 §6.3: such names always mean loopback, whatever a hosts file says or lacks.
    private static func isLocalhost(_ host: String) -> Bool {
        let name = host.lowercased()
        return [name, name + "."].contains { $0 == "localhost." || $0.hasSuffix(".localhost.") }
    }

    private static func look(up host: String, port: UInt16) async throws -> [SocketAddress] {
        let lookup = Lookup(host: host, port: port)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { lookup.start($0) }
        } onCancel: {
            lookup.finish(.failure(NetIOError("resolve \(host)", code: ECANCELED)))
        }
    }
}

/// One call of `getaddrinfo` on a thread of its own.
private final class Lookup: Sendable {
    typealias Outcome = Result<[SocketAddress], NetIOError>

    private enum State {
        case idle
        case waiting(CheckedContinuation<[SocketAddress], any Error>)
        case finished(Outcome)
    }

    private let host: String
    private let port: UInt16
    private let state = Mutex(State.idle)

    init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    func start(_ continuation: CheckedContinuation<[SocketAddress], any Error>) {
        let early: Outcome? = state.withLock { state in
            if case .finished(let outcome) = state { return outcome }
            state = .waiting(continuation)
            return nil
        }
        if let early { return continuation.resume(with: early) }
        var thread = pthread_t()
        let retained = Unmanaged.passRetained(self)
        let result = pthread_create(
            &thread, nil,
            { argument in
                if let argument {
                    let lookup = Unmanaged<Lookup>.fromOpaque(argument).takeRetainedValue()
                    lookup.finish(lookup.run())
                }
                return nil
            }, retained.toOpaque())
        guard result == 0 else {
            retained.release()
            return finish(.failure(NetIOError("pthread_create", code: result)))
        }
        pthread_detach(thread)
    }

    /// The first outcome counts: an answer after a cancellation is dropped.
    func finish(_ outcome: Outcome) {
        let continuation: CheckedContinuation<[SocketAddress], any Error>? = state.withLock { state in
            switch state {
            case .finished: return nil
            case .idle:
                state = .finished(outcome)
                return nil
            case .waiting(let continuation):
                state = .finished(outcome)
                return continuation
            }
        }
        continuation?.resume(with: outcome)
    }

    private func run() -> Outcome {
        cnetio_name_thread("dreamer-resolve")
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
        hints.ai_flags = AI_ADDRCONFIG
        var list: UnsafeMutablePointer<addrinfo>?
        let result = getaddrinfo(host, nil, &hints, &list)
        guard result == 0 else {
            return .failure(NetIOError("resolve \(host)", code: result, isResolution: true))
        }
        defer { freeaddrinfo(list) }
        var addresses: [SocketAddress] = []
        var next = list
        while let entry = next {
            next = entry.pointee.ai_next
            var address = cnetio_address()
            guard let name = entry.pointee.ai_addr, cnetio_from_sockaddr(name, &address) != 0 else { continue }
            let found = SocketAddress(ip: address.ip, port: port)
            if !addresses.contains(found) { addresses.append(found) }
        }
        return .success(addresses)
    }
}
