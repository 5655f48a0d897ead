// SPDX-License-Identifier: Apache-2.0
public import ArgumentParser
import DTLS
import ICE
import NATLab
import NetIO
public import WebRTC
public import Wire

/// What every command takes that connects to peers.
struct ConnectionOptions: ParsableArguments {
    @Option(
        name: .customLong("ice-server"),
        help: """
            A STUN or TURN server (repeatable): stun:host:port, turn:user:password@host:port?transport=udp or tcp, \
            turns:user:password@host:port.
            """)
    var iceServers: [ICEServer] = []

    @Option(help: "What ways to peers are used: all, or relay, which shows them no address of this host.")
    var icePolicy = ICEAgent.TransportPolicy.all

    @Flag(
        help: """
            Tell peers names of multicast DNS in place of this host's addresses: those on the same network find it by \
            them, others come by what STUN servers see or over relays.
            """)
    var hideAddresses = false

    @Option(help: "Bytes that may go over relays for a peer, both directions together; it is disconnected then.")
    var relayBudget = ByteCount(500 << 20)

    @Option(help: "A PEM file with the authorities that sign for TURN servers over TLS; the system's unless given.")
    var turnCa: String?

    @Option(
        help: """
            What this host's NAT does, for peers to know: a profile's name or file, as dreamer nat probe --profile writes it, \
            or mapping/filtering/allocation, each as dreamer nat profiles shows them (apd/apd/sequential).
            """)
    var nat: String?

    @Option(name: .customLong("bind"), help: "A local address to use (repeatable); all but loopback unless given.")
    var addresses: [IPAddress] = []

    @Option(help: "The UDP ports to choose from, as 50000-50100, and with --ice-tcp the TCP ports.")
    var portRange: PortRange?

    @Flag(
        name: .customLong("ice-tcp"),
        help: """
            Connect over TCP where no datagrams pass: candidates that take connections, on a TCP port of each address, and \
            that open them to peers which do the same.
            """)
    var iceTCP = false

    @Flag(
        inversion: .prefixedNo,
        help: """
            Whether this host pays for its traffic: then the ports of others' NATs are never guessed (up to 1,884 packets). \
            Unless told, a host does whose default route leads over a mobile network's modem.
            """)
    var metered: Bool?

    @Option(help: "Write every decision of ICE and every change of state to this file, a JSON object a line.")
    var trace: String?

    @Option(
        help: """
            Write every datagram to this file, as pcapng; with --key-log the secrets that decrypt them stand in it as well.
            """)
    var pcap: String?

    @Option(
        help: """
            A PEM file with this side's certificate and private key, made if there is none: with it this side is the same \
            to others from run to run.
            """)
    var certificate: String?

    @Option(
        help: """
            Append the secrets of DTLS to this file, so that Wireshark can decrypt captures; without it the variable \
            SSLKEYLOGFILE is looked at.
            """)
    var keyLog: String?

    func validate() throws {
        if icePolicy == .relay, !iceServers.contains(where: { $0.kind == .turn }) {
            throw ValidationError("--ice-policy relay needs a relay: give --ice-server turn:user:password@host:port")
        }
        guard relayBudget.value > 0 else {
            throw ValidationError("--relay-budget 0: give at least 1, or no TURN server")
        }
        do { _ = try localNAT } catch { throw ValidationError("--nat \(error)") }
    }

    /// Sockets as the options say.
    func makeEndpoint() throws -> RTCEndpoint {
        var configuration = RTCEndpoint.Configuration(
            addresses: addresses.isEmpty ? nil : addresses, portRange: portRange?.ports,
            certificate: try certificate.map { try CertificateFile.load($0) })
        if iceTCP { configuration.tcpCandidates = .both }
        if let turnCa {
            configuration.relayTrust = .authorities(pem: String(decoding: try SmallFile.read(turnCa), as: UTF8.self))
        }
        let capture = try pcap.map { try CaptureFile(path: $0) }
        if let capture { configuration.packetObserver = { capture.write($0, from: $1, to: $2) } }
        if let file = try KeyLogFile.named(keyLog) {
            configuration.keyLog = { line in
                file.write(line)
                capture?.write(keyLog: line)
            }
        }
        return try RTCEndpoint(configuration: configuration)
    }

    /// How connections are made that share a budget for relays.
    func peerConfiguration(_ budget: RelayBudget) throws -> PeerConnection.Configuration {
        var configuration = PeerConnection.Configuration()
        configuration.iceServers = iceServers
        configuration.iceTransportPolicy = icePolicy
        configuration.hidesHostAddresses = hideAddresses
        configuration.relayBudget = budget
        configuration.localNAT = try localNAT
        configuration.birthdayBudget = metered ?? DefaultRoute().isCellular ? nil : ICEAgent.BirthdayBudget()
        return configuration
    }

    /// A budget for relays that tells of warnings and ends.
    func makeRelayBudget(json: Bool) -> RelayBudget { SwarmReporter.relayBudget(relayBudget.value, json: json) }

    /// What this host's NAT does, where that was given.
    private var localNAT: NATBehavior? {
        get throws { try nat.map { try NATBehavior($0) ?? NATProfiles.load($0).behavior } }
    }

    /// Where the trace goes, `nil` without one.
    func openTrace() throws -> TraceFile? { try trace.map { try TraceFile(path: $0) } }
}

/// A range of ports: `50000-50100`.
struct PortRange: ExpressibleByArgument {
    let ports: ClosedRange<UInt16>

    init?(argument: String) {
        let parts = argument.split(separator: "-", omittingEmptySubsequences: false).compactMap { UInt16($0) }
        guard parts.count == 2, parts[0] > 0, parts[0] <= parts[1] else { return nil }
        ports = parts[0]...parts[1]
    }
}

extension ICEAgent.TransportPolicy: ExpressibleByArgument {}

extension ICEServer: ExpressibleByArgument {
    /// Reads `stun:host:port` and the like.
    public init?(argument: String) { self.init(argument) }
}

extension IPAddress: ExpressibleByArgument {
    /// Reads an address.
    public init?(argument: String) { self.init(argument) }
}
