// SPDX-License-Identifier: Apache-2.0
import ICE
import NATLab
import Wire

/// `dreamer relay` in the server's namespace of a laboratory.
final class LabRelay {
    /// Where it answers STUN.
    let address: SocketAddress
    /// What it relays by.
    let relays: [AgentRelay]
    private let program: KernelProgram

    /// RFC 8489 §18.6, and another for NAT behaviour.
    private static let ports: [UInt16] = [3478, 3479]

    /// Starts it, and waits until it listens.
    init(at network: KernelNetwork) throws {
        let credentials = LongTermCredentials(username: "lab", password: "lab")
        let ends = network.server.addresses.flatMap { ip in Self.ports.map { SocketAddress(ip: ip, port: $0) } }
        guard let first = ends.first else { throw CommandFailure("the laboratory's server has no address") }
        address = first
        relays = [TURNServer.Transport.udp, .tcp].map { AgentRelay(first, $0, credentials: credentials) }
        // What is public here is documentation's elsewhere.
        var arguments = ["relay", "run", "--json", "--threads", "1", "--quota", "4096"]
        arguments += ["--user", "\(credentials.username):\(credentials.password)", "--allow-peer", "203.0.113.0/24"]
        for end in ends { arguments += ["--listen", "\(end)"] }
        arguments += ["--relay-address", "\(first.ip)"]
        program = try network.run("/proc/self/exe", arguments, at: network.server)
        while let line = try program.line(within: .seconds(10)) {
            if line.contains("listening") { return }
        }
        throw CommandFailure("dreamer relay ended before it was ready")
    }
}
