// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ICE
import NATLab
import NetIO
import WebRTC
import Wire

/// `dreamer nat probe`
struct NATProbeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "probe",
        abstract: "Find out what kind of NAT this host is behind, and what that means.",
        discussion: """
            Asks a STUN server with NAT behavior discovery (RFC 5780) and two addresses, such as dreamer relay or coturn, \
            from many fresh ports; that takes about twenty seconds, and twenty minutes more with --lifetime. With a \
            server that has one address only, a part is found out. Several servers tell UDP that is blocked from a \
            server that is down. The file that --profile writes is what dreamer nat sim takes.
            """)

    @Option(
        help: ArgumentHelp(
            "The server, as host:port (repeatable: the first that answers is asked).", valueName: "host:port"))
    var server: [String] = []

    @Flag(help: "Find out how long mappings live, too.")
    var lifetime = false

    @Option(help: "How long that may take, in seconds; lifetimes up to half of it are found.")
    var lifetimeBudget: Int = 1200

    @Option(help: "The local address to ask from; what the routing table says unless given.")
    var bind: IPAddress?

    @Flag(help: "Print the result as JSON, with everything that was sent and what came of it.")
    var json = false

    @Flag(help: "Print everything that was sent, too.")
    var evidence = false

    @Option(help: "Write the NAT's profile to this file.")
    var profile: String?

    @Option(help: "The name in the profile.")
    var name: String = "probed"

    func validate() throws {
        guard !server.isEmpty else {
            throw ValidationError("--server is missing: give a STUN server with RFC 5780, as host:port")
        }
        for text in server where Self.server(text) == nil {
            throw ValidationError("--server \(text): give a name or an address and a port, as stun.example.org:3478")
        }
        guard (30...86_400).contains(lifetimeBudget) else {
            throw ValidationError("--lifetime-budget \(lifetimeBudget): give 30 to 86400")
        }
        guard !name.isEmpty, name.utf8.allSatisfy(Self.isNameByte) else {
            throw ValidationError("--name \(name): letters, digits and hyphens alone")
        }
    }

    func run() async throws {
        let servers = try await addresses()
        guard let first = servers.first else { return }
        guard let local = bind ?? NetworkInterface.sourceAddress(toward: first.ip) else {
            throw CommandFailure("no route leads to \(first.ip)")
        }
        var configuration = NATDiscovery.Configuration()
        configuration.otherServers = Array(servers.dropFirst())
        if lifetime { configuration.lifetimeBudget = .seconds(lifetimeBudget) }
        let probe = try NATProbe(server: first, from: local, configuration: configuration) { stage in
            Terminal.note("\(stage.words) …")
        }
        guard let report = await probe.run() else { throw CommandFailure("interrupted") }
        if let profile { try write(report, to: profile) }
        if json {
            Terminal.output(report.json.serialized(indented: true))
        } else {
            if evidence { for exchange in report.exchanges { Terminal.output(exchange.description) } }
            Terminal.output(report.description)
        }
        // Without any answer there is no result.
        if report.mappedAddress == nil, report.kind.value == nil { throw ExitCode(1) }
    }

    /// The servers' addresses, all of the first one's family.
    private func addresses() async throws -> [SocketAddress] {
        var result: [SocketAddress] = []
        for text in server {
            guard let server = Self.server(text) else { continue }
            let found: [SocketAddress]
            do {
                found = try await Resolver.resolve(server.host, port: server.port, timeout: .seconds(10))
            } catch {
                throw CommandFailure("--server \(text): \(error)")
            }
            let family = result.first?.ip.family ?? bind?.family
            if let address = found.first(where: { family == nil || $0.ip.family == family }) { result.append(address) }
        }
        guard !result.isEmpty else { throw CommandFailure("--server: no address of the family that --bind asks for") }
        return result
    }

    private func write(_ report: NATReport, to path: String) throws {
        guard let (profile, assumptions) = NATProfile.seen(by: report, name: name) else {
            throw CommandFailure("--profile \(path): not written, as it is not known whether there is a NAT")
        }
        try SmallFile.write(Array(profile.json.serialized(indented: true).utf8) + [0x0A], to: path)
        if !assumptions.isEmpty {
            Terminal.note("in \(path) the worst is assumed of \(assumptions.joined(separator: ", "))")
        }
    }

    /// Reads `host:port`, the port being 3478 where it is missing; `stun:` may stand before it.
    private static func server(_ text: String) -> ICEServer? {
        ICEServer(text.hasPrefix("stun:") ? text : "stun:" + text).flatMap { $0.kind == .stun ? $0 : nil }
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
            true
        default: false
        }
    }
}

extension NATDiscovery.Stage {
    fileprivate var words: String {
        switch self {
        case .connectivity: "asking the server"
        case .filtering: "having answers come from elsewhere"
        case .filteredInbound: "looking what filtered packets did"
        case .mapping: "asking the server's other addresses"
        case .allocation: "making mappings, one after the other"
        case .hairpinning: "sending to own external addresses"
        case .lifetime: "letting mappings grow old; this takes minutes"
        }
    }
}
