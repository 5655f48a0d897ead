// SPDX-License-Identifier: Apache-2.0

/// A datagram with both its ends.
public struct Datagram: Hashable, Sendable {
    /// The local address it leaves from: the base of a candidate, not what a NAT makes of it.
    public var source: SocketAddress
    /// Where it goes.
    public var destination: SocketAddress
    /// The UDP payload.
    public var payload: [UInt8]
    /// The hops that it may take (IPv4 TTL, IPv6 hop limit); `nil` for the system's choice.
    public var hopLimit: UInt8?

    /// A datagram from its parts.
    public init(source: SocketAddress, destination: SocketAddress, payload: [UInt8], hopLimit: UInt8? = nil) {
        self.source = source
        self.destination = destination
        self.payload = payload
        self.hopLimit = hopLimit
    }
}

/// What a protocol core answers with when it is drained.
public enum Output<Event: Sendable>: Sendable {
    /// Send this.
    case transmit(Datagram)
    /// This happened.
    case event(Event)
    /// Nothing more until input arrives or this time passes (`nil`: input alone). Always the last output of a drain.
    case wait(until: Timestamp?)
}

/// A protocol as a value: fed with datagrams and the time, it answers with datagrams, events and its next deadline.
///
/// A core does no I/O, reads no clock and makes no randomness of its own. After every call of a mutating method the
/// driver calls ``nextOutput()`` until it answers ``Output/wait(until:)``. That makes one and the same code run over
/// real sockets, in a simulated network on virtual time, in a fuzzer and in an embedder's own event loop.
public protocol SansIO: ~Copyable {
    /// What the core reports besides datagrams.
    associatedtype Event: Sendable

    /// Takes a datagram that came from `source` to the local address `destination`. Bytes from the network never trap,
    /// throw or grow memory without bound: what cannot be used is dropped and counted.
    mutating func receive(_ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress, now: Timestamp)

    /// Tells that time has passed. Early and repeated calls are harmless.
    mutating func handleTimeout(now: Timestamp)

    /// The next thing to do, ``Output/wait(until:)`` when there is nothing more.
    mutating func nextOutput() -> Output<Event>
}
