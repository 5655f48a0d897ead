// SPDX-License-Identifier: Apache-2.0
public import Wire

extension ICEAgent {
    /// What probing for a NAT's unknown ports may cost.
    ///
    /// One side's NAT has a mapping for each destination, with ports at random; the other's has one mapping for all,
    /// and lets in only what comes from an address and port that was sent to. The first sends a packet from each of k
    /// ports to the address that the other is known by, so that k of its NAT's N ports let the other in; the second
    /// sends to m of them, chosen at random. That none is met has the probability (1 - k/N)^m: with the values below
    /// and N = 64,512 it is 0.013 %, and on average the 168th probe hits. Both sides together send no more than
    /// ``ports`` and ``probes`` packets, for which each needs the values that concern it.
    ///
    /// A NAT forgets these mappings after its time (RFC 4787 §4.3), and some have few to give: a home router with
    /// tables of a few thousand sessions has room for these, but not for the tens of thousands that two such NATs would
    /// need.
    public struct BirthdayBudget: Sendable, Hashable {
        /// How many ports the side with the unknown mappings opens; a packet leaves from each. A process with these
        /// needs as many file descriptors.
        public var ports = 384
        /// How many ports the other side tries at most.
        public var probes = 1500
        /// The time between two packets of a side, at least 5 ms (RFC 8445 §14.2).
        public var interval: Duration = .milliseconds(5)
        /// When it is over, whatever came of it.
        public var duration: Duration = .seconds(10)

        /// The values above.
        public init() {}
    }
}

/// What an agent wants of its driver for the sake of probing.
public enum PortRequest: Hashable, Sendable {
    /// May so many packets go to ports of this host that nobody has named? Where they may, open `count` UDP sockets with ports of
    /// the system's choice at the address `at`; ``ICEAgent/portsOpened(_:now:)`` tells which there are, be they fewer. Datagrams
    /// leave from them and are given to the agent as with any other address. Where they may not,
    /// ``ICEAgent/portsRefused(now:)`` says so: the address comes from the peer, who may have named anybody's.
    case open(count: Int, at: IPAddress, toward: IPAddress, packets: Int)
    /// Probing is over, and these are not needed any more.
    case close([SocketAddress])
}

/// How far probing has come. Knows no time and sends nothing.
struct BirthdayProbing: Sendable {
    enum Phase: Hashable, Sendable {
        /// It may begin.
        case idle
        /// The driver was asked for leave and for sockets.
        case opening
        /// Packets leave, or may come.
        case running
        case over
    }

    var phase = Phase.idle
    /// Where packets go; its port means nothing where ports are guessed.
    var target = SocketAddress.unspecified
    /// The base that the peer knows a reflexive address of.
    var base = 0
    /// The sockets that packets leave from, one each; none where ports are guessed.
    var sockets: [SocketAddress] = []
    /// Whether this side opens many ports; else it guesses.
    var opensPorts = false
    /// The sockets through which the peer came; they are bases now.
    var usedSockets: Set<SocketAddress> = []
    var triedPorts: Set<UInt16> = []
    var sent = 0
    var nextPacket = Timestamp.distantFuture
    var end = Timestamp.distantFuture

    /// Most sockets through which the peer may come: several packets may hit before anybody knows of the first.
    static let maximumUsedSockets = 16

    /// When something is to be done.
    var deadline: Timestamp? {
        switch phase {
        case .idle, .over: nil
        case .opening: end
        case .running: min(nextPacket, end)
        }
    }
}
