// SPDX-License-Identifier: Apache-2.0

import Signaling
import Testing
import Wire

/// The swarm of the traces: its bytes make every mistake about text visible.
let swarmHash = Bytes20([0x0D, 0x0A, 0x22, 0x5C, 0x00, 0x7F, 0x80, 0xC3, 0xA9, 0xFF] + Array(1...10)) ?? .zero

extension Bytes20 {
    static let zero = Bytes20(repeated: 0)

    /// Twenty times the same byte.
    init(repeated byte: UInt8) {
        var entropy = Entropy(seed: 0)
        self = Bytes20.random(from: &entropy).withPrefix([UInt8](repeating: byte, count: 20))
    }
}

/// A ``TrackerSession`` on a clock of its own, with what it did.
final class SessionTrace {
    private(set) var session: TrackerSession
    private(set) var now = Timestamp(nanoseconds: 1_000_000_000)
    private(set) var deadline: Timestamp?
    /// Everything that came out, in order, ever.
    private(set) var history: [TrackerSession.Output] = []
    private var taken = 0

    init(seed: UInt64 = 1) {
        session = TrackerSession(infoHash: swarmHash, entropy: Entropy(seed: seed))
        drain()
    }

    /// A session whose socket is open and whose `started` was sent with the given offers and answered.
    static func announced(
        status: TrackerStatus = TrackerStatus(left: 1000, wantedOffers: 2, connectedPeers: 1),
        offers: [TrackerOffer] = [],
        interval: Int = 120, seed: UInt64 = 1
    ) -> SessionTrace {
        let trace = SessionTrace(seed: seed)
        trace.start(status)
        trace.opened()
        trace.provide(offers)
        trace.receive(["info_hash": .string(swarmHash.latin1), "interval": .integer(Int64(interval)), "complete": 1])
        _ = trace.take()
        return trace
    }

    // MARK: - Input

    func start(_ status: TrackerStatus) { call { $0.start(status, now: $1) } }
    func update(_ status: TrackerStatus) { call { $0.update(status, now: $1) } }
    func opened() { call { $0.socketOpened(now: $1) } }
    func closed(_ reason: TrackerDisconnect = .closed) { call { $0.socketClosed(reason, now: $1) } }
    func networkChanged(isAddressGone: Bool) { call { $0.networkChanged(isAddressGone: isAddressGone, now: $1) } }
    func pong() { call { $0.socketIsAlive(now: $1) } }
    func scrape() { call { $0.scrape(now: $1) } }
    func stop() { call { $0.stop(now: $1) } }
    func receive(_ json: JSON) { receive(Array(json.serialized().utf8)) }
    func receive(_ bytes: [UInt8]) { call { $0.receive(bytes.span.bytes, now: $1) } }
    /// Gives the offers of the batch asked for last.
    func provide(_ offers: [TrackerOffer]) {
        let batch = history.lazy.reversed().compactMap { output -> UInt64? in
            if case .event(.offersWanted(let batch, _)) = output { batch } else { nil }
        }.first
        call { $0.provide(offers, batch: batch ?? 0, now: $1) }
    }
    func answer(_ peerID: Bytes20, _ offerID: Bytes20, _ sdp: String) -> Bool {
        var result = false
        call { result = $0.answer(peerID, offerID: offerID, sdp: sdp, now: $1) }
        return result
    }

    private func call(_ body: (inout TrackerSession, Timestamp) -> Void) {
        body(&session, now)
        drain()
    }

    private func drain() {
        while true {
            let output = session.nextOutput()
            if case .wait(let until) = output {
                deadline = until
                return
            }
            history.append(output)
        }
    }

    /// Lets time pass, timer by timer. A ping is answered unless `answersPings` says otherwise.
    func pass(_ duration: Duration, answersPings: Bool = true) {
        let end = now + duration
        while let next = deadline, next <= end {
            now = max(next, now)
            let before = history.count
            call { $0.handleTimeout(now: $1) }
            if answersPings, history[before...].contains(.ping) { pong() }
        }
        now = end
    }

    // MARK: - Output

    /// What came out since the last call.
    func take() -> [TrackerSession.Output] {
        defer { taken = history.count }
        return Array(history[taken...])
    }

    /// The messages among what came out since the last call.
    func takeSent() throws -> [JSON] {
        try take().compactMap { if case .send(let text) = $0 { try JSON(parsing: text) } else { nil } }
    }

    /// The events among what came out since the last call.
    func takeEvents() -> [TrackerSession.Event] {
        take().compactMap { if case .event(let event) = $0 { event } else { nil } }
    }
}

/// Offers with the ids from `first` on.
func someOffers(_ count: Int, first: UInt64 = 1, sdp: String = "v=0") -> [TrackerOffer] {
    (0..<UInt64(count)).map { TrackerOffer(id: first + $0, sdp: "\(sdp) \(first + $0)") }
}

/// A message that forwards an offer or an answer.
func forwarded(
    _ kind: String, from peerID: Bytes20, offerID: Bytes20, sdp: String = "v=0", infoHash: Bytes20 = swarmHash
) -> JSON {
    [
        "action": "announce", "info_hash": .string(infoHash.latin1), "peer_id": .string(peerID.latin1),
        "offer_id": .string(offerID.latin1), kind: ["type": .string(kind), "sdp": .string(sdp)],
    ]
}
