// SPDX-License-Identifier: Apache-2.0
public import ArgumentParser
import ICE
public import WebRTC
public import Wire

/// What every command takes that connects to peers.
struct ConnectionOptions: ParsableArguments {
    @Option(
        name: .customLong("ice-server"),
        help: "A STUN server, as stun:host:port (repeatable).")
    var iceServers: [ICEServer] = []

    @Option(name: .customLong("bind"), help: "A local address to use (repeatable); all but loopback unless given.")
    var addresses: [IPAddress] = []

    @Option(help: "The UDP ports to choose from, as 50000-50100.")
    var portRange: PortRange?

    @Option(help: "Write every decision of ICE and every change of state to this file, a JSON object a line.")
    var trace: String?

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
        for server in iceServers where server.kind == .turn || server.transport != .udp {
            throw ValidationError(
                "--ice-server \(server): this version speaks STUN over UDP alone; give stun:host:port")
        }
    }

    /// Sockets as the options say.
    func makeEndpoint() throws -> RTCEndpoint {
        var configuration = RTCEndpoint.Configuration(
            addresses: addresses.isEmpty ? nil : addresses, portRange: portRange?.ports,
            certificate: try certificate.map { try CertificateFile.load($0) })
        if let file = try KeyLogFile.named(keyLog) { configuration.keyLog = { file.write($0) } }
        return try RTCEndpoint(configuration: configuration)
    }

    /// How connections are made.
    var peerConfiguration: PeerConnection.Configuration {
        var configuration = PeerConnection.Configuration()
        configuration.iceServers = iceServers
        return configuration
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

extension ICEServer: ExpressibleByArgument {
    /// Reads `stun:host:port`.
    public init?(argument: String) { self.init(argument) }
}

extension IPAddress: ExpressibleByArgument {
    /// Reads an address.
    public init?(argument: String) { self.init(argument) }
}
