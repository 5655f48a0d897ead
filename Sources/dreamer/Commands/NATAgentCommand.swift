// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ICE
import NetIO
import Wire

/// `dreamer nat agent`: one ICE agent that speaks JSON lines (see `AgentProgram`), for `dreamer nat lab`.
struct NATAgentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agent", abstract: "Run one ICE agent that speaks JSON lines.", shouldDisplay: false)

    @Option(help: "controlling or controlled.")
    var role: String

    @Option(help: "The local address; all of this host's unless given.")
    var address: IPAddress?

    @Option(help: "A STUN server.")
    var stun: [SocketAddress] = []

    @Option(help: "A TURN server, as udp:HOST:PORT, tcp:… or tls:….")
    var turn: [String] = []

    @Option(help: "The user at TURN servers.")
    var user = ""

    @Option(help: "The user's password.")
    var password = ""

    @Option(help: "What this host's NAT does, as ei/apd/preserving.")
    var nat: String?

    @Option(help: "Ta in milliseconds, 5 to 50.")
    var pacing = 5

    @Flag(help: "Probe for ports where they cannot be told.")
    var birthday = false

    @Flag(help: "Write what the agent decides to standard error.")
    var trace = false

    func run() async throws {
        let peer = try AgentPeer(configuration: configuration(), addresses: addresses())
        peer.start()
        for await line in StandardInput.lines {
            guard let description = try? JSON(parsing: line) else { continue }
            peer.accept(description)
        }
        peer.stop()
    }

    private func addresses() throws -> [IPAddress] {
        if let address { return [address] }
        return try NetworkInterface.all().filter { !$0.isLoopback }.flatMap { $0.addresses.map(\.ip) }
    }

    private func configuration() throws -> ICEAgent.Configuration {
        guard let role = ICEAgent.Role(rawValue: role) else {
            throw ValidationError("--role \(role): controlling or controlled")
        }
        var configuration = ICEAgent.Configuration()
        configuration.role = role
        configuration.stunServers = stun
        configuration.reportsDecisions = trace
        configuration.checkInterval = .milliseconds(max(5, pacing))
        configuration.turnServers = try turn.map { text in
            let parts = text.split(separator: ":", maxSplits: 1)
            guard parts.count == 2, let transport = TURNServer.Transport(rawValue: String(parts[0])),
                let address = SocketAddress(String(parts[1]))
            else { throw ValidationError("--turn \(text): as udp:192.0.2.1:3478") }
            return TURNServer(
                address: address, transport: transport,
                credentials: LongTermCredentials(username: user, password: password))
        }
        if let nat {
            guard let behavior = NATBehavior(nat) else { throw ValidationError("--nat \(nat): as ei/apd/preserving") }
            configuration.localNAT = behavior
            if birthday { configuration.birthdayBudget = ICEAgent.BirthdayBudget() }
            configuration.predictedPorts = Self.predictedPorts
            // A NAT of this kind may be one that a stranger's packet upsets: nothing tells them apart.
            if behavior.mapping == .endpointIndependent, behavior.filtering == .addressAndPortDependent {
                configuration.openingHopLimit = Self.openingHops
            }
        }
        return configuration
    }

    /// How many of a sequence of ports are tried; the first few go to other candidates.
    private static let predictedPorts = 8
    /// Beyond NATs at home and an operator's, before the peer's.
    private static let openingHops: UInt8 = 4
}
