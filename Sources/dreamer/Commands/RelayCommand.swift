// SPDX-License-Identifier: Apache-2.0
public import ArgumentParser
import DTLS
import Foundation
import ICE
import NetIO
public import Relay
public import Wire

/// `dreamer relay`
struct RelayCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "relay", abstract: "Run a STUN and TURN server.",
        discussion: """
            Without --user and --secret it answers STUN alone. Listening at two addresses with the same two ports each, it \
            also tells clients how their NATs behave (RFC 5780).
            """,
        subcommands: [RelayRunCommand.self, RelayCredentialsCommand.self], defaultSubcommand: RelayRunCommand.self)
}

/// `dreamer relay` without more.
struct RelayRunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "run", abstract: "Run the server (the default).")

    @Option(help: "An address to take datagrams and streams at; repeatable.")
    var listen: [SocketAddress] = [SocketAddress(ip: .loopbackV4, port: 3478)]

    @Option(help: "An address to take encrypted streams at; needs --certificate and --key.")
    var listenTls: [SocketAddress] = []

    @Option(help: "A PEM file with the TLS certificate chain.")
    var certificate: String?

    @Option(help: "A PEM file with the TLS key.")
    var key: String?

    @Option(help: "A user who may relay, as name:password; repeatable.")
    var user: [String] = []

    @Option(help: "A secret that short-lived credentials are made with; repeatable, the newest first.")
    var secret: [String] = []

    @Option(help: "Where users and secrets are valid; a domain name is usual.")
    var realm = "dreamer"

    @Option(
        help:
            "Where to relay, as ADDRESS or ADDRESS=OUTSIDE behind a NAT; one of each family. Default: where it listens."
    )
    var relayAddress: [String] = []

    @Option(help: "The ports to relay at.")
    var ports = "49152-65535"

    @Option(
        help: """
            Peers to let through that are refused otherwise, such as 10.0.0.0/8; repeatable. Of this host only an address \
            that is named alone, such as 127.0.0.1/32.
            """)
    var allowPeer: [IPRange] = []

    @Option(help: "Peers to refuse beside those that are not of the Internet; repeatable.")
    var denyPeer: [IPRange] = []

    @Option(help: "Allocations of a user.")
    var quota = 256

    @Option(help: "Bytes a second that a user may relay, such as 2MiB; unlimited without.")
    var userRate: String?

    @Option(help: "Bytes a second that an address may relay; unlimited without.")
    var addressRate: String?

    @Flag(help: "Take channel numbers from 0x5000 on as well, which clients from before RFC 8656 use.")
    var olderChannels = false

    @Option(help: "Threads.")
    var threads = 2

    @Option(help: "Seconds between two lines of figures; none with 0.")
    var report = 0

    @Flag(help: "Print what happens as JSON lines.")
    var json = false

    func validate() throws {
        _ = try server()
        guard (certificate == nil) == (key == nil), listenTls.isEmpty == (certificate == nil) else {
            throw ValidationError("--listen-tls, --certificate and --key belong together")
        }
        guard quota > 0, threads > 0, threads <= 64, report >= 0 else {
            throw ValidationError("--quota and --threads want at least 1, --report at least 0")
        }
    }

    func run() async throws {
        var configuration = try server()
        if let certificate, let key {
            do {
                configuration.tlsContext = try .server(
                    certificatesPEM: String(contentsOfFile: certificate, encoding: .utf8),
                    privateKeyPEM: String(contentsOfFile: key, encoding: .utf8))
            } catch {
                throw CommandFailure("\(certificate), \(key): \(error)")
            }
        }
        let server = try RelayServer(configuration)
        let interrupt = Interrupt()
        announce(server)
        let period = report
        let reporting = Task {
            while period > 0, !Task.isCancelled {
                try await Task.sleep(for: .seconds(period))
                tell(await server.metrics())
            }
        }
        await interrupt.wait()
        reporting.cancel()
        tell(await server.metrics())
        server.stop()
    }

    private func announce(_ server: RelayServer) {
        let urls =
            server.udpAddresses.map { "turn:\($0)?transport=udp" }
            + server.tcpAddresses.map { "turn:\($0)?transport=tcp" }
            + server.tlsAddresses.map { "turns:\($0)?transport=tcp" }
        guard json else {
            for url in urls { Terminal.output("relay: \(url)") }
            return
        }
        Terminal.output(
            JSON.object(["event": "listening", "urls": .array(urls.map { .string($0) })]).serialized())
    }

    private func tell(_ metrics: RelayMetrics) {
        guard json else {
            return Terminal.note(
                "relay: \(metrics.allocations) allocations, \(Units.bytes(metrics.toPeers.bytes)) to peers, "
                    + "\(Units.bytes(metrics.toClients.bytes)) to clients, "
                    + "\(metrics.drops.values.reduce(0, +)) packets dropped")
        }
        var object: JSON.Object = [
            "event": "metrics", "allocations": .integer(Int64(metrics.allocations)),
            "streams": .integer(Int64(metrics.streams)), "allocationsMade": .integer(Int64(metrics.allocationsMade)),
            "packetsToPeers": .integer(Int64(metrics.toPeers.packets)),
            "bytesToPeers": .integer(Int64(metrics.toPeers.bytes)),
            "packetsToClients": .integer(Int64(metrics.toClients.packets)),
            "bytesToClients": .integer(Int64(metrics.toClients.bytes)),
        ]
        var drops: JSON.Object = [:]
        for (reason, count) in metrics.drops { drops["\(reason)"] = .integer(Int64(count)) }
        object["drops"] = .object(drops)
        var errors: JSON.Object = [:]
        for (code, count) in metrics.errors { errors["\(code)"] = .integer(Int64(count)) }
        object["errors"] = .object(errors)
        Terminal.output(JSON.object(object).serialized())
    }

    /// What the options ask for.
    private func server() throws -> RelayServer.Configuration {
        let users = try user.map { text in
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty else {
                throw ValidationError("--user \(text): give a name and a password, as alice:secret")
            }
            return LongTermCredentials(username: String(parts[0]), password: String(parts[1]))
        }
        var relay = RelayConfiguration(users: RelayUsers(realm: realm, users: users, secrets: secret))
        let bounds = ports.split(separator: "-").map { UInt16($0) }
        guard bounds.count == 2, let low = bounds[0], let high = bounds[1], low <= high, low >= 1024 else {
            throw ValidationError("--ports \(ports): give two numbers from 1024 on, as 49152-65535")
        }
        relay.ports = low...high
        relay.acceptsOlderChannels = olderChannels
        relay.peers.allowed = allowPeer
        relay.peers.denied = denyPeer
        relay.limits.allocationsPerUser = quota
        relay.limits.allocationsPerAddress = max(quota, relay.limits.allocationsPerAddress)
        relay.limits.bytesPerSecondPerUser = try rate(userRate, "--user-rate")
        relay.limits.bytesPerSecondPerAddress = try rate(addressRate, "--address-rate")
        for address in try relayed() {
            if address.local.family == .v4 { relay.relayedV4 = address } else { relay.relayedV6 = address }
        }
        var configuration = RelayServer.Configuration(relay)
        configuration.udp = listen
        configuration.tcp = listen
        configuration.tls = listenTls
        configuration.loops = threads
        return configuration
    }

    private func relayed() throws -> [RelayConfiguration.RelayedAddress] {
        guard relayAddress.isEmpty else {
            return try relayAddress.map { text in
                let parts = text.split(separator: "=", maxSplits: 1).map { IPAddress(String($0)) }
                guard let first = parts.first, let local = first, let last = parts.last, let external = last,
                    local.family == external.family
                else { throw ValidationError("--relay-address \(text): give an address, or two as 10.0.0.1=192.0.2.1") }
                return .init(local, external: external)
            }
        }
        // The first of each family; of a server at all addresses, those that lead out.
        var found: [RelayConfiguration.RelayedAddress] = []
        for address in listen.map(\.ip) {
            let isV4 = address.family == .v4
            // Anything that is routed like the Internet: 192.0.2.1 and 2001:db8::1 are documentation's (RFC 5737, RFC
            // 3849).
            let anywhere = isV4 ? IPAddress.v4(0xC000_0201) : .v6(high: 0x2001_0DB8_0000_0000, low: 1)
            guard let local = address.isUnspecified ? NetworkInterface.sourceAddress(toward: anywhere) : address,
                !found.contains(where: { $0.local.family == local.family })
            else { continue }
            found.append(.init(local))
        }
        return found
    }

    private func rate(_ text: String?, _ option: String) throws -> Int? {
        guard let text else { return nil }
        guard let bytes = Units.parseBytes(text), bytes > 0 else {
            throw ValidationError("\(option) \(text): give bytes a second, as 500k or 2MiB")
        }
        return bytes
    }
}

/// `dreamer relay credentials`
struct RelayCredentialsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "credentials", abstract: "Make a credential that a relay with the same secret accepts for a while."
    )

    @Option(help: "The relay's secret.")
    var secret: String

    @Option(help: "The user's name; may be empty.")
    var user = ""

    @Option(help: "Seconds that it is good for.")
    var lifetime = 86_400

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard lifetime > 0 else { throw ValidationError("--lifetime wants at least 1") }
    }

    func run() {
        let expires = Int64(Date().timeIntervalSince1970) + Int64(lifetime)
        let credential = RelayUsers.shortLived(secret: secret, user: user, expires: expires)
        guard json else {
            Terminal.output("username: \(credential.username)")
            return Terminal.output("password: \(credential.password)")
        }
        Terminal.output(
            JSON.object([
                "username": .string(credential.username), "password": .string(credential.password),
                "ttl": .integer(Int64(lifetime)),
            ]).serialized())
    }
}

extension SocketAddress: ExpressibleByArgument {
    /// An address and a port, as `127.0.0.1:3478` or `[::1]:3478`.
    public init?(argument: String) { self.init(argument) }
}

extension IPRange: ExpressibleByArgument {
    /// A range, as `10.0.0.0/8`.
    public init?(argument: String) { self.init(argument) }
}
