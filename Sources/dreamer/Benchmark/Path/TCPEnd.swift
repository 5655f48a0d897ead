// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Glibc
import Synchronization
import Wire

/// One end of a TCP connection that carries as much as it can: what transfers over a path are compared with.
final class TCPEnd: Sendable {
    private let address: IPAddress
    private let port: UInt16
    private let received = Atomic<Int>(0)

    init(address: IPAddress, port: UInt16) throws {
        self.address = address
        self.port = port
    }

    /// Takes one connection and counts what comes.
    func receive() async throws {
        let listener = try makeSocket()
        var yes: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, 4)
        guard withAddress(address, { Glibc.bind(listener, $0, $1) }) == 0, listen(listener, 1) == 0 else {
            throw failure("\(address):\(port)")
        }
        Self.onThread { [self] in
            let connection = accept(listener, nil, nil)
            var buffer = [UInt8](repeating: 0, count: 262_144)
            while true {
                let count = read(connection, &buffer, buffer.count)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return }
                received.add(count, ordering: .relaxed)
            }
        }
        Terminal.output(#"{"event":"listening"}"#)
        for await line in StandardInput.lines where PathCommand(line: line) == .count {
            let report: JSON = [
                "event": "count", "bytes": .integer(Int64(received.load(ordering: .relaxed))),
                "time": .number(Double(SharedClock.nanoseconds) * 1e-9),
            ]
            Terminal.output(report.serialized())
        }
    }

    /// Connects, and sends from when it is told to.
    func send(to peer: IPAddress, congestionControl: String) async throws {
        let connection = try makeSocket()
        let name = Array(congestionControl.utf8)
        guard setsockopt(connection, Int32(IPPROTO_TCP), TCP_CONGESTION, name, socklen_t(name.count)) == 0 else {
            throw failure("TCP congestion control \(congestionControl)")
        }
        guard withAddress(peer, { connect(connection, $0, $1) }) == 0 else { throw failure("\(peer):\(port)") }
        Terminal.output(#"{"event":"ready"}"#)
        for await line in StandardInput.lines where PathCommand(line: line) == .start {
            Self.onThread {
                let buffer = [UInt8](repeating: 0x5A, count: 262_144)
                while true {
                    let count = write(connection, buffer, buffer.count)
                    if count < 0, errno != EINTR { return }
                }
            }
        }
    }

    private func makeSocket() throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw failure("socket") }
        return descriptor
    }

    private func withAddress(_ ip: IPAddress, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = (ip.v4Bits ?? 0).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    private func failure(_ what: String) -> CommandFailure {
        CommandFailure("\(what): \(String(cString: strerror(errno)))")
    }

    /// Reading and writing block, so they get a thread.
    private static func onThread(_ body: @escaping @Sendable () -> Void) {
        DispatchQueue(label: "tcp").async(execute: body)
    }
}
