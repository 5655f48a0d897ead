// SPDX-License-Identifier: Apache-2.0

/// What a tracker takes before it refuses, so that no client can exhaust it.
public struct TrackerLimits: Hashable, Sendable {
    /// Seconds between two announces of a client, as the tracker asks for it.
    public var interval = 120
    /// WebSockets open at a time.
    public var connections = 20_000
    /// Swarms in all.
    public var swarms = 20_000
    /// Peers in one swarm.
    public var peersPerSwarm = 5_000
    /// Swarms that one socket can be in.
    public var swarmsPerConnection = 500
    /// Bytes of one message. Browsers send ten offers of 4 kB in one; twenty longer ones fit as well.
    public var messageSize = 256 << 10
    /// Messages a second that a socket may send on average.
    public var messagesPerSecond = 20
    /// Messages that a socket may send at once after a pause.
    public var messageBurst = 200
    /// The defaults.
    public init() {}
}

/// What a tracker has to say about itself.
public struct TrackerStatistics: Hashable, Sendable {
    /// WebSockets that are open.
    public var connections = 0
    /// Swarms with at least one peer.
    public var swarms = 0
    /// Peers in all swarms.
    public var peers = 0
    /// Peers that miss nothing.
    public var seeders = 0
    /// Announces taken since the start.
    public var announces = 0
    /// Offers handed to peers since the start.
    public var offers = 0
    /// Answers handed to peers since the start.
    public var answers = 0
    /// Messages refused since the start.
    public var refused = 0
}
