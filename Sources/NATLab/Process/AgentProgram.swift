// SPDX-License-Identifier: Apache-2.0
public import ICE
public import Wire

/// A program that runs one ICE agent, ours or another's, and speaks JSON lines.
///
/// It is started with these options after its own arguments: `--role controlling|controlled`, `--address` (the local one),
/// `--stun HOST:PORT`, and where there are relays `--turn udp|tcp|tls:HOST:PORT` (repeatable), `--user` and `--password`. Ours
/// take `--nat` as well, with what the NAT does. Then it writes and reads, a line each, with times of CLOCK_MONOTONIC in nanoseconds:
///
///     ◀ {"event":"description","ufrag":…,"pwd":…,"candidates":["candidate:…"],"gathering":NANOSECONDS, …}
///     ▶ the peer's description
///     ◀ {"event":"accepted"}
///     ◀ {"event":"connected","time":…,"local":"srflx","remote":"host"}      1200 bytes of data every 10 ms from here on
///     ◀ {"event":"data","time":…,"source":"203.0.113.20:40001"}           the peer's data came for the first time
///     ◀ {"event":"failed"}
///     ▶ end of input: it ends
public struct AgentProgram: Hashable, Sendable {
    /// How tables call it.
    public let name: String
    /// The file to run.
    public let program: String
    /// What stands before the options.
    public let arguments: [String]
    /// Whether it takes `--nat`.
    public let knowsBehaviors: Bool
    /// Whether it takes several relays; others are given one, over TCP where UDP is blocked.
    public let takesSeveralRelays: Bool

    /// A program from its parts.
    public init(
        _ name: String, program: String, arguments: [String] = [], knowsBehaviors: Bool = false,
        takesSeveralRelays: Bool = false
    ) {
        self.name = name
        self.program = program
        self.arguments = arguments
        self.knowsBehaviors = knowsBehaviors
        self.takesSeveralRelays = takesSeveralRelays
    }
}

/// A relay that agents may use.
public struct AgentRelay: Hashable, Sendable {
    /// Where it listens, and for what.
    public let address: SocketAddress
    /// What carries messages to it.
    public let transport: TURNServer.Transport
    /// Who may use it.
    public let credentials: LongTermCredentials

    /// A relay from its parts.
    public init(_ address: SocketAddress, _ transport: TURNServer.Transport, credentials: LongTermCredentials) {
        self.address = address
        self.transport = transport
        self.credentials = credentials
    }

    /// For example `tcp:203.0.113.2:3478`.
    var text: String { "\(transport.rawValue):\(address)" }
}
