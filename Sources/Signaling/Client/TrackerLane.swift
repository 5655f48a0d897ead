// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOWebSocket
import Wire

/// One socket to a tracker: drives a ``TrackerSession`` on an event loop, to which it is confined.
final class TrackerLane {
    /// What the lane tells its client; called on the event loop.
    typealias Report = (TrackerEvent) -> Void

    private let loop: any EventLoop
    private let dialer: WebSocketDialer
    private let family: HostResolver.Family?
    private let offers: TrackerOfferMaker
    private let report: Report
    private var session: TrackerSession
    private var channel: (any Channel)?
    /// Tells the socket that is in use from those given up.
    private var generation = 0
    private var timer: Scheduled<Void>?
    private var timerDeadline: Timestamp?

    init(
        dialer: WebSocketDialer, family: HostResolver.Family?, infoHash: Bytes20, loop: any EventLoop,
        offers: @escaping TrackerOfferMaker, report: @escaping Report
    ) {
        self.loop = loop
        self.dialer = dialer
        self.family = family
        self.offers = offers
        self.report = report
        session = TrackerSession(infoHash: infoHash, entropy: .system())
    }

    private var now: Timestamp { .now() }

    func start(_ status: TrackerStatus) {
        session.start(status, now: now)
        drain()
    }

    func update(_ status: TrackerStatus) {
        session.update(status, now: now)
        drain()
    }

    func scrape() {
        session.scrape(now: now)
        drain()
    }

    /// This host has these addresses now, in the form of `inet_ntop`.
    func networkChanged(addresses: Set<String>) {
        let own = channel?.localAddress?.ipAddress
        session.networkChanged(isAddressGone: own.map { !addresses.contains($0) } ?? false, now: now)
        drain()
    }

    /// Says good-bye; the future is done when the socket is closed.
    func stop() -> EventLoopFuture<Void> {
        let closed = channel?.closeFuture ?? loop.makeSucceededVoidFuture()
        session.stop(now: now)
        drain()
        return closed
    }

    private func answer(_ peerID: Bytes20, _ offerID: Bytes20, _ sdp: String) {
        session.answer(peerID, offerID: offerID, sdp: sdp, now: now)
        drain()
    }

    // MARK: - Doing what the session says

    private func drain() {
        while true {
            switch session.nextOutput() {
            case .open: open()
            case .send(let text):
                if let channel { WebSocketHandler.send(text, side: .client, on: channel) }
            case .ping:
                if let channel { WebSocketHandler.ping(side: .client, on: channel) }
            case .close:
                generation += 1
                if let channel { WebSocketHandler.close(.goingAway, side: .client, on: channel) }
                channel = nil
            case .event(let event): handle(event)
            case .wait(let deadline):
                arm(deadline)
                return
            }
        }
    }

    private func arm(_ deadline: Timestamp?) {
        guard deadline != timerDeadline else { return }
        timer?.cancel()
        timerDeadline = deadline
        timer = deadline.map { deadline in
            loop.assumeIsolated().scheduleTask(deadline: NIODeadline(deadline)) {
                self.timerDeadline = nil
                self.session.handleTimeout(now: self.now)
                self.drain()
            }
        }
    }

    private func handle(_ event: TrackerSession.Event) {
        switch event {
        case .connected(let peerID): report(.connected(peerID: peerID))
        case .disconnected(let reason):
            channel = nil
            report(.disconnected(reason))
        case .announced(let reply): report(.announced(reply))
        case .answer(let offerID, let peerID, let sdp): report(.answer(offerID: offerID, from: peerID, sdp: sdp))
        case .offersExpired(let ids): report(.offersExpired(ids))
        case .failure(let reason): report(.failure(reason: reason))
        case .warning(let reason): report(.warning(reason: reason))
        case .scraped(let counts): report(.scraped(counts))
        case .offersWanted(let batch, let count):
            let lane = NIOLoopBound(self, eventLoop: loop)
            Task { [offers, loop] in
                let made = await offers(count)
                loop.execute {
                    lane.value.session.provide(made, batch: batch, now: .now())
                    lane.value.drain()
                }
            }
        case .offer(let peerID, let offerID, let sdp):
            let lane = NIOLoopBound(self, eventLoop: loop)
            let reply: @Sendable (String) -> Void = { [loop] answer in
                loop.execute { lane.value.answer(peerID, offerID, answer) }
            }
            report(
                .offer(
                    TrackerIncomingOffer(
                        peerID: peerID, offerID: offerID, sdp: sdp, tracker: dialer.url, reply: reply)))
        }
    }

    // MARK: - The socket

    private func open() {
        generation += 1
        let generation = generation
        let lane = NIOLoopBound(self, eventLoop: loop)
        let opened = dialer.dial(on: loop, family: family) {
            WebSocketHandler.Callbacks(
                message: { lane.value.receive($0, generation) },
                alive: { lane.value.socketIsAlive(generation) },
                closed: { lane.value.socketClosed($0.map { .broken("\($0)") } ?? .closed, generation) })
        }
        opened.assumeIsolated().whenComplete { result in
            switch result {
            case .success(let channel): self.socketOpened(channel, generation)
            case .failure(let error): self.socketClosed(.unreachable("\(error)"), generation)
            }
        }
    }

    private func socketOpened(_ channel: any Channel, _ generation: Int) {
        guard generation == self.generation else { return channel.close(promise: nil) }
        self.channel = channel
        session.socketOpened(now: now)
        drain()
    }

    private func receive(_ message: ByteBuffer, _ generation: Int) {
        guard generation == self.generation else { return }
        message.withUnsafeReadableBytes { session.receive(RawSpan(_unsafeBytes: $0), now: now) }
        drain()
    }

    private func socketIsAlive(_ generation: Int) {
        guard generation == self.generation else { return }
        session.socketIsAlive(now: now)
        drain()
    }

    private func socketClosed(_ reason: TrackerDisconnect, _ generation: Int) {
        guard generation == self.generation else { return }
        // What the same socket reports after this is not heard any more.
        self.generation += 1
        channel = nil
        session.socketClosed(reason, now: now)
        drain()
    }
}

@available(*, unavailable)
extension TrackerLane: Sendable {}
