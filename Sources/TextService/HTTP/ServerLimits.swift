// SPDX-License-Identifier: Apache-2.0

/// What a server takes before it refuses.
public struct ServerLimits: Hashable, Sendable {
    /// Connections at a time; more are closed at once.
    public var connections = 256
    /// Bytes of a request's line and headers.
    public var headerBytes = 64 << 10
    /// Bytes of a request's body.
    public var bodyBytes = 16 << 20
    /// Bytes of bodies of all connections together.
    public var bodyBytesTogether = 128 << 20
    /// How long the first request of a connection, and the one after another, may take to come.
    public var idleTime: Duration = .seconds(60)
    /// How long a body may take.
    public var bodyTime: Duration = .seconds(60)
    /// How long whoever is answered may take nothing.
    public var stallTime: Duration = .seconds(30)
    /// How long texts that are being generated may go on when the server is stopped.
    public var stopTime: Duration = .seconds(2)

    /// The defaults.
    public init() {}
}
