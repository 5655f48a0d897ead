// SPDX-License-Identifier: Apache-2.0
public import Wire

/// Datagrams of one sender that arrived together: of one size, the last perhaps shorter. Where the kernel coalesces
/// (UDP_GRO), up to 64 KiB come at once, and looking up and locking the peer is paid once for all of them.
///
/// It lasts no longer than the call that hands it over.
public struct PacketTrain: ~Escapable {
    /// Who sent them.
    public let source: SocketAddress
    /// The local address that they were sent to: a real one even where the socket is bound to all addresses.
    public let destination: SocketAddress
    /// The payloads, one behind the other.
    public let bytes: RawSpan
    /// How long each is but the last, which has what remains.
    public let segment: Int

    /// A train of the datagrams in `bytes`, each `segment` bytes long but the last, which has what remains.
    @_lifetime(copy bytes)
    public init(_ bytes: RawSpan, segment: Int, source: SocketAddress, destination: SocketAddress) {
        self.bytes = bytes
        self.segment = segment > 0 ? segment : max(bytes.byteCount, 1)
        self.source = source
        self.destination = destination
    }

    /// How many datagrams there are.
    public var count: Int { max((bytes.byteCount + segment - 1) / segment, 1) }
    /// The bytes of all datagrams.
    public var byteCount: Int { bytes.byteCount }

    /// The payload of a datagram.
    public subscript(index: Int) -> RawSpan {
        @_lifetime(copy self)
        get { bytes.extracting(index * segment..<min((index + 1) * segment, bytes.byteCount)) }
    }
}
