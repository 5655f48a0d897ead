// SPDX-License-Identifier: Apache-2.0

/// A connection to another node with the channels `control` and `bulk`, as the swarm uses it.
///
/// What happens on it is told to the ``PeerLinkHandler`` on one thread, one thing at a time, with no lock held, and
/// only after ``start(_:)``.
public protocol PeerLink: AnyObject, Sendable {
    /// This node's role.
    var role: SessionRole { get }
    /// SHA-256 of the other side's certificate, as the DTLS session has it; empty before it is up.
    var remoteCertificateDigest: [UInt8] { get }
    /// The other side's `a=max-message-size`: 65,536 when absent, 0 for no limit.
    var remoteMaxMessageSize: Int { get }
    /// Whether `bulk` is open.
    var isBulkOpen: Bool { get }
    /// Bytes on `bulk` that wait to be sent.
    var bulkBufferedAmount: Int { get }

    /// Has events told from now on; an open channel is told at once.
    func start(_ handler: PeerLinkHandler)
    /// Queues text on `control`.
    func sendControl(_ text: String)
    /// Queues a message on `bulk` whose bytes `fill` writes in place. False when the channel is not open.
    func sendBulk(byteCount: Int, fill: (UnsafeMutableRawBufferPointer) -> Void) -> Bool
    /// Ends the connection. Repeated calls are harmless.
    func close()
}

/// What a swarm hears from a connection.
public struct PeerLinkHandler: Sendable {
    /// The channel `control` is open.
    public var onControlOpen: @Sendable () -> Void
    /// The channel `bulk` is open.
    public var onBulkOpen: @Sendable () -> Void
    /// A message on `control`, and whether it is text.
    public var onControl: @Sendable (Bool, RawSpan) -> Void
    /// A message on `bulk`, and whether it is text.
    public var onBulk: @Sendable (Bool, RawSpan) -> Void
    /// The bytes that wait on `bulk` have become few.
    public var onBulkLow: @Sendable () -> Void
    /// A message came that is longer than this node's `a=max-message-size`, and was dropped; whether it was on `bulk`.
    public var onOversizedMessage: @Sendable (Bool) -> Void
    /// The connection could not be made: no path, or another certificate than the description says. `onClose` follows.
    public var onFailure: @Sendable (String) -> Void
    /// The connection is gone.
    public var onClose: @Sendable (String) -> Void
}

/// Makes connections out of offers and answers. All use one certificate.
public protocol SwarmTransport: Sendable {
    /// SHA-256 of this node's certificate.
    var certificateDigest: [UInt8] { get }
    /// A connection to be, with the offer for it.
    func makeOffer() async throws -> (link: any OfferedLink, sdp: String)
    /// Answers an offer.
    func answer(offer: String) async throws -> (link: any PeerLink, sdp: String)
    /// The node that made an offer, from the fingerprint in it; `nil` where it has none that is known.
    func nodeID(inOffer sdp: String) -> NodeID?
    /// Calls the handler whenever addresses of this host come or go, after connections have been told; `nil` ends that.
    func setNetworkHandler(_ handler: (@Sendable () -> Void)?)
}

extension SwarmTransport {
    /// Transports that know nothing of the host's addresses call nobody.
    public func setNetworkHandler(_ handler: (@Sendable () -> Void)?) {}
}

/// A connection that this node offers, before its answer has come.
public protocol OfferedLink: PeerLink {
    /// Takes the answer.
    func accept(answer: String) throws
}
