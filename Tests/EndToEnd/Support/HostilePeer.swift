// SPDX-License-Identifier: Apache-2.0
import Hashing
import NetIO
import RDRR
import SDP
import Signaling
import Swarm
import Synchronization
import WebRTC
import Wire

/// A node that meets others through a tracker as an honest one does, and does to them what a test tells it to.
final class HostilePeer: Sendable {
    /// How it behaves towards whoever it meets.
    struct Behaviour: Sendable {
        /// Changes the offers that it takes, before our own stack sees them.
        var editOffer: @Sendable (inout SessionDescription) -> Void = { _ in }
        /// Changes the answers that it gives.
        var editAnswer: @Sendable (String) -> String = { $0 }
        /// Bytes that a connection takes to send; `nil` for the usual.
        var sendBuffer: Int?
        /// Whether it offers to others, instead of only answering.
        var offers = false
        /// Runs once both channels are open.
        var onOpen: @Sendable (HostileSession) async throws -> Void = { _ in }
        /// Takes a control message of the other side, in order.
        var onControl: @Sendable (HostileSession, ControlMessage) async throws -> Void = { _, _ in }
    }

    private struct State {
        var sessions: [HostileSession] = []
        var offered: [UInt64: HostileSession] = [:]
        var isAnnounced = false
    }

    private let endpoint: RTCEndpoint
    private let client: TrackerClient
    private let behaviour: Behaviour
    private let model: SampleModel
    private let state = Mutex(State())

    /// Every connection that was tried, in order.
    var sessions: [HostileSession] { state.withLock { $0.sessions } }

    /// A peer in the sample model's swarm at a tracker; comes back when the tracker knows it.
    static func join(_ tracker: String, _ behaviour: Behaviour) async throws -> HostilePeer {
        let peer = try HostilePeer(tracker, behaviour)
        peer.start()
        try await eventually("the tracker knows the hostile peer") { peer.state.withLock { $0.isAnnounced } }
        return peer
    }

    private init(_ tracker: String, _ behaviour: Behaviour) throws {
        model = try SampleModel.shared.get()
        self.behaviour = behaviour
        endpoint = try RTCEndpoint(configuration: .init(addresses: [IPAddress("127.0.0.1")].compactMap { $0 }))
        guard let url = TrackerURL(tracker), let infoHash = Bytes20(model.manifest.infoHash) else {
            throw LineProcess.Failure(description: "\(tracker) is no tracker")
        }
        client = TrackerClient(url: url, infoHash: infoHash)
    }

    private func start() {
        Task { [self] in
            for await event in client.events {
                switch event {
                case .announced: state.withLock { $0.isAnnounced = true }
                case .offer(let offer): Task { try await answer(offer) }
                case .answer(let id, _, let sdp):
                    guard let session = state.withLock({ $0.offered.removeValue(forKey: id) }) else { continue }
                    try? session.connection.accept(answer: SessionDescription(parsing: sdp, type: .answer))
                default: break
                }
            }
        }
        client.start(TrackerStatus(left: 0, wantedOffers: behaviour.offers ? 1 : 0)) { [self] count in
            behaviour.offers ? await offer() : []
        }
    }

    /// Leaves the tracker and ends all connections.
    func leave() async {
        await client.stop()
        for session in sessions { session.connection.close() }
        // The sockets go after what closing still sends.
        try? await eventually("all is closed", within: .seconds(2)) {
            sessions.allSatisfy { $0.connection.state == .closed || $0.connection.state == .failed }
        }
        endpoint.close()
    }

    private func session(_ role: SessionRole) -> HostileSession {
        var configuration = PeerConnection.Configuration()
        configuration.sendBuffer = behaviour.sendBuffer
        let session = HostileSession(
            PeerConnection(endpoint: endpoint, configuration: configuration), role: role,
            certificateDigest: SHA256.hash(endpoint.certificate.der),
            manifest: model.manifest)
        state.withLock { $0.sessions.append(session) }
        return session
    }

    private func answer(_ offer: TrackerIncomingOffer) async throws {
        let session = session(.answerer)
        var description = try SessionDescription(parsing: offer.sdp, type: .offer)
        session.remoteCandidates.withLock { $0 = description.candidates }
        behaviour.editOffer(&description)
        session.listen(behaviour)
        offer.answer(sdp: behaviour.editAnswer(try await session.connection.accept(offer: description).description))
    }

    /// An offer, once.
    private func offer() async -> [TrackerOffer] {
        guard sessions.isEmpty else { return [] }
        let session = session(.offerer)
        session.listen(behaviour)
        guard
            let control = try? session.connection.createDataChannel(
                "control", options: .init(subprotocol: "dreamer/1")),
            let bulk = try? session.connection.createDataChannel(
                "bulk", options: .init(isOrdered: false, subprotocol: "dreamer/1")),
            let sdp = try? await session.connection.createOffer().description
        else { return [] }
        session.adopt(control)
        session.adopt(bulk)
        let id = state.withLock { state in
            let id = UInt64(state.sessions.count)
            state.offered[id] = session
            return id
        }
        return [TrackerOffer(id: id, sdp: sdp)]
    }
}

/// One connection of a hostile peer.
final class HostileSession: Sendable {
    let connection: PeerConnection
    let role: SessionRole
    let manifest: RDRRManifest
    /// What the other side's description names, `candidate:…`.
    let remoteCandidates = Mutex<[String]>([])
    private let certificateDigest: [UInt8]
    private let channels = Mutex<[String: DataChannel]>([:])
    private let arrivals: AsyncStream<DataChannel>
    private let arrived: AsyncStream<DataChannel>.Continuation

    fileprivate init(
        _ connection: PeerConnection, role: SessionRole, certificateDigest: [UInt8], manifest: RDRRManifest
    ) {
        self.connection = connection
        self.role = role
        self.certificateDigest = certificateDigest
        self.manifest = manifest
        (arrivals, arrived) = AsyncStream.makeStream()
    }

    /// Whether the connection has ended, or one of its channels has.
    var isOver: Bool {
        connection.state == .closed || connection.state == .failed
            || channels.withLock { $0.values.contains { $0.readyState == .closed } }
    }

    /// Whether data could ever flow.
    var wasConnected: Bool { connection.remoteCertificate != nil && !channels.withLock { $0.isEmpty } }

    /// The channel of that name.
    func channel(_ label: String) throws -> DataChannel {
        guard let channel = channels.withLock({ $0[label] }) else {
            throw LineProcess.Failure(description: "there is no channel \(label)")
        }
        return channel
    }

    fileprivate func adopt(_ channel: DataChannel) { arrived.yield(channel) }

    fileprivate func listen(_ behaviour: HostilePeer.Behaviour) {
        connection.setHandler { [self] event in
            switch event {
            case .channel(let channel): arrived.yield(channel)
            case .stateChanged(.closed), .stateChanged(.failed): arrived.finish()
            default: break
            }
        }
        Task { [self] in
            for await channel in arrivals {
                let count = channels.withLock { channels in
                    channels[channel.label] = channel
                    return channels.count
                }
                if count == 2 { break }
            }
            let (control, bulk) = (try channel("control"), try channel("bulk"))
            // What comes on bulk is of no interest, but has to be read for the connection to go on.
            Task { for try await _ in bulk.messages {} }
            try await control.opened()
            try await bulk.opened()
            Task { try await behaviour.onOpen(self) }
            for try await message in control.messages {
                guard case .text(let text) = message, let message = try? ControlMessage(parsing: text) else { continue }
                try await behaviour.onControl(self, message)
            }
        }
    }

    // MARK: - What it may say

    /// The hello that an honest node would say.
    var hello: ControlMessage.Hello {
        let remote = SHA256.hash(connection.remoteCertificate ?? [])
        let binding = SessionBinding.value(
            manifestDigest: manifest.digest, role: role, offererDigest: role == .offerer ? certificateDigest : remote,
            answererDigest: role == .answerer ? certificateDigest : remote)
        return .init(nodeID: NodeID(certificateDigest: certificateDigest), binding: binding, agent: "hostile")
    }

    /// Says hello as an honest node would, and that it has everything.
    func greet() async throws {
        try await say(.hello(hello))
        let count = manifest.entries.count
        try await say(.bitfield([UInt8](repeating: 0xFF, count: (count + 7) / 8)))
    }

    /// Sends a control message.
    func say(_ message: ControlMessage) async throws { try await channel("control").send(message.text) }

    /// Sends any text on the control channel.
    func say(_ text: String) async throws { try await channel("control").send(text) }

    /// Sends a frame.
    func send(
        _ kind: BulkHeader.Kind, request: UInt32, shard: UInt32, offset: UInt64 = 0, isEnd: Bool = false,
        _ data: [UInt8]
    ) async throws {
        let header = BulkHeader(kind: kind, isEnd: isEnd, requestID: request, shardIndex: shard, offset: offset)
        try await channel("bulk").send(header.bytes + data)
    }
}

/// Waits until something is so; throws after `limit`.
func eventually(_ what: String, within limit: Duration = .seconds(20), _ isSo: () -> Bool) async throws {
    let deadline = ContinuousClock.now + limit
    while !isSo() {
        guard ContinuousClock.now < deadline else {
            throw LineProcess.Failure(description: "not within \(limit): \(what)")
        }
        try await Task.sleep(for: .milliseconds(5))
    }
}
