// SPDX-License-Identifier: Apache-2.0

import DTLS
import Hashing
import SCTP
import SDP
import Synchronization
public import WebRTC
import Wire

/// Connections of a swarm over WebRTC.
public struct WebRTCTransport: SwarmTransport {
    /// The sockets, the thread and the certificate of all connections.
    public let endpoint: RTCEndpoint
    /// What connections are made with.
    public let configuration: PeerConnection.Configuration
    /// Whether the channel `bulk` repeats what is lost; without, a frame is sent four times at most.
    public let bulkIsReliable: Bool
    /// SHA-256 of this node's certificate.
    public let certificateDigest: [UInt8]

    /// The subprotocol of both channels.
    static let subprotocol = "dreamer/1"

    /// Connections over `endpoint`.
    public init(
        endpoint: RTCEndpoint, configuration: PeerConnection.Configuration = .init(), bulkIsReliable: Bool = true
    ) {
        self.endpoint = endpoint
        self.configuration = configuration
        self.bulkIsReliable = bulkIsReliable
        certificateDigest = SHA256.hash(endpoint.certificate.der)
    }

    public func makeOffer() async throws -> (link: any OfferedLink, sdp: String) {
        let connection = PeerConnection(endpoint: endpoint, configuration: configuration)
        let link = WebRTCLink(connection, role: .offerer)
        do {
            let control = try connection.createDataChannel("control", options: .init(subprotocol: Self.subprotocol, priority: .high))
            let bulk = try connection.createDataChannel(
                "bulk",
                options: .init(
                    isOrdered: false, reliability: bulkIsReliable ? .reliable : .maxRetransmits(3),
                    subprotocol: Self.subprotocol))
            link.adopt(control: control, bulk: bulk)
            return (link, try await connection.createOffer().description)
        } catch {
            connection.abort()
            throw error
        }
    }

    public func answer(offer: String) async throws -> (link: any PeerLink, sdp: String) {
        let connection = PeerConnection(endpoint: endpoint, configuration: configuration)
        let link = WebRTCLink(connection, role: .answerer)
        do {
            let description = try SessionDescription(parsing: offer, type: .offer)
            return (link, try await connection.accept(offer: description).description)
        } catch {
            connection.abort()
            throw error
        }
    }

    public func setNetworkHandler(_ handler: (@Sendable () -> Void)?) { endpoint.setNetworkHandler(handler) }

    public func nodeID(inOffer sdp: String) -> NodeID? {
        guard let description = try? SessionDescription(parsing: sdp, type: .offer),
            let digest = description.fingerprints.first(where: { $0.algorithm == "sha-256" })?.bytes, digest.count == 32
        else { return nil }
        return NodeID(certificateDigest: digest)
    }
}

/// One connection with its two channels.
final class WebRTCLink: OfferedLink {
    let role: SessionRole
    private let connection: PeerConnection
    private let state = Mutex(State())

    private struct State {
        var control: DataChannel?
        var bulk: DataChannel?
        var handler: PeerLinkHandler?
        var controlIsOpen = false
        var bulkIsOpen = false
        var isClosed = false
    }

    init(_ connection: PeerConnection, role: SessionRole) {
        self.connection = connection
        self.role = role
        // The connection holds its handler, and the handler this link, until the connection is closed.
        connection.setHandler { [self] event in
            switch event {
            case .channel(let channel): incoming(channel)
            // A tracker carries offers of new connections alone, and a new one is as good.
            case .restartNeeded:
                didEnd("this host's address is gone")
            case .stateChanged(.failed), .stateChanged(.closed):
                didEnd("the connection was closed")
            default: break
            }
        }
    }

    var remoteCertificateDigest: [UInt8] { connection.remoteCertificate.map { SHA256.hash($0) } ?? [] }
    var remoteMaxMessageSize: Int { connection.remoteMaxMessageSize }
    var isBulkOpen: Bool { state.withLock { $0.bulkIsOpen } }
    var bulkBufferedAmount: Int { state.withLock { $0.bulk }?.bufferedAmount ?? 0 }

    func start(_ handler: PeerLinkHandler) {
        let (control, bulk, isClosed) = state.withLock { state in
            state.handler = handler
            return (state.controlIsOpen, state.bulkIsOpen, state.isClosed)
        }
        if control { handler.onControlOpen() }
        if bulk { handler.onBulkOpen() }
        if isClosed { handler.onClose("the connection was closed") }
    }

    func accept(answer: String) throws {
        try connection.accept(answer: SessionDescription(parsing: answer, type: .answer))
    }

    func sendControl(_ text: String) { state.withLock { $0.control }?.trySend(text: text) }

    func sendBulk(byteCount: Int, fill: (UnsafeMutableRawBufferPointer) -> Void) -> Bool {
        state.withLock { $0.bulk }?.trySend(binaryCount: byteCount, fill: fill) ?? false
    }

    func close() {
        state.withLock { state in
            state.isClosed = true
            state.handler = nil
            state.control = nil
            state.bulk = nil
        }
        connection.setHandler(nil)
        connection.abort()
    }

    // MARK: - Channels

    func adopt(control: DataChannel, bulk: DataChannel) {
        state.withLock { state in
            state.control = control
            state.bulk = bulk
        }
        listen(to: control, isBulk: false)
        listen(to: bulk, isBulk: true)
    }

    /// The offerer opens one channel of each name; any other is reset.
    private func incoming(_ channel: DataChannel) {
        let isWanted = role == .answerer && channel.options.subprotocol == WebRTCTransport.subprotocol
        let isBulk = channel.label == "bulk"
        let isTaken = state.withLock { state in
            guard isWanted, !state.isClosed else { return false }
            switch channel.label {
            case "control" where state.control == nil: state.control = channel
            case "bulk" where state.bulk == nil: state.bulk = channel
            default: return false
            }
            return true
        }
        guard isTaken else {
            channel.close()
            return
        }
        listen(to: channel, isBulk: isBulk)
        didOpen(isBulk: isBulk)
    }

    private func listen(to channel: DataChannel, isBulk: Bool) {
        var handler = DataChannel.Handler()
        handler.onOpen = { [weak self] in self?.didOpen(isBulk: isBulk) }
        handler.onMessage = { [weak self] isText, bytes in
            guard let self else { return }
            let (handler, isOpen) = self.state.withLock { ($0.handler, isBulk ? $0.bulkIsOpen : $0.controlIsOpen) }
            guard let handler else { return }
            // A message shows that the channel is open, should it come before the acknowledgement (RFC 8832 §6).
            if !isOpen { self.didOpen(isBulk: isBulk) }
            if isBulk { handler.onBulk(isText, bytes) } else { handler.onControl(isText, bytes) }
        }
        handler.onOversizedMessage = { [weak self] in self?.state.withLock { $0.handler }?.onOversizedMessage(isBulk) }
        handler.onClose = { [weak self] in self?.didEnd("a channel was closed") }
        if isBulk {
            handler.onBufferedAmountLow = { [weak self] in self?.state.withLock { $0.handler }?.onBulkLow() }
            channel.setBufferedAmountLowThreshold(512 * 1024)
        }
        channel.setHandler(handler)
    }

    private func didOpen(isBulk: Bool) {
        let handler: PeerLinkHandler? = state.withLock { state in
            let isNews = isBulk ? !state.bulkIsOpen : !state.controlIsOpen
            if isBulk { state.bulkIsOpen = true } else { state.controlIsOpen = true }
            return isNews ? state.handler : nil
        }
        if isBulk { handler?.onBulkOpen() } else { handler?.onControlOpen() }
    }

    /// A channel or the connection has ended; a failure is told by the channels first.
    private func didEnd(_ what: String) {
        let failure = connection.failure.map { "\($0)" }
        if let failure {
            // What ends a connection that was up is told by its closing alone.
            let handler = state.withLock { $0.controlIsOpen ? nil : $0.handler }
            handler?.onFailure(failure)
        }
        didClose(failure ?? what)
    }

    private func didClose(_ reason: String) {
        let handler = state.withLock { state in
            state.isClosed = true
            defer { state.handler = nil }
            return state.handler
        }
        handler?.onClose(reason)
    }
}
