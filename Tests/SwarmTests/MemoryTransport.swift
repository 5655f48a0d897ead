// SPDX-License-Identifier: Apache-2.0

import NetIO
import Swarm
import Synchronization
import Testing
import Wire

/// Where offers wait for their answers.
final class MemoryNetwork: Sendable {
    private struct State {
        var offers: [String: MemoryLink] = [:]
        var count = 0
    }
    private let state = Mutex(State())

    func put(_ link: MemoryLink) -> String {
        state.withLock { state in
            state.count += 1
            let name = "offer \(state.count)"
            state.offers[name] = link
            return name
        }
    }

    func take(_ name: String) -> MemoryLink? { state.withLock { $0.offers.removeValue(forKey: name) } }
    func owner(_ name: String) -> NodeID? {
        state.withLock { $0.offers[name].map { NodeID(certificateDigest: $0.own) } }
    }
}

struct MemoryTransport: SwarmTransport {
    let network: MemoryNetwork
    let certificateDigest: [UInt8]

    init(_ network: MemoryNetwork, _ number: UInt8) {
        self.network = network
        certificateDigest = certificate(number)
    }

    func makeOffer() async throws -> (link: any OfferedLink, sdp: String) {
        let link = try MemoryLink(role: .offerer, own: certificateDigest)
        return (link, network.put(link))
    }

    func answer(offer: String) async throws -> (link: any PeerLink, sdp: String) {
        let other = try #require(network.take(offer))
        let link = try MemoryLink(role: .answerer, own: certificateDigest)
        link.join(other)
        return (link, "answer")
    }

    func nodeID(inOffer sdp: String) -> NodeID? { network.owner(sdp) }
}

/// One end of a connection in memory; what it receives is told on a thread of its own.
final class MemoryLink: OfferedLink {
    let role: SessionRole
    let own: [UInt8]
    private let loop: EventLoop
    private struct State {
        var other: MemoryLink?
        var handler: PeerLinkHandler?
        var buffered = 0
        var isOpen = false
    }
    private let state = Mutex(State())

    init(role: SessionRole, own: [UInt8]) throws {
        self.role = role
        self.own = own
        loop = try EventLoop(name: "memory-link")
    }

    deinit { loop.stop() }

    func join(_ other: MemoryLink) {
        state.withLock { $0.other = other }
        other.state.withLock { $0.other = self }
    }

    func accept(answer: String) throws {
        let other = state.withLock { $0.other }
        // What this side sends at once must find the other side open.
        other?.open()
        open()
    }

    private func open() {
        loop.execute { [self] in
            let handler = state.withLock { state in
                state.isOpen = true
                return state.handler
            }
            handler?.onControlOpen()
        }
    }

    var remoteCertificateDigest: [UInt8] { state.withLock { $0.other }?.own ?? [] }
    var remoteMaxMessageSize: Int { 262_144 }
    var isBulkOpen: Bool { state.withLock { $0.isOpen } }
    var bulkBufferedAmount: Int { state.withLock { $0.buffered } }

    func start(_ handler: PeerLinkHandler) {
        let isOpen = state.withLock { state in
            state.handler = handler
            return state.isOpen
        }
        if isOpen { loop.execute { handler.onControlOpen() } }
    }

    func sendControl(_ text: String) {
        let bytes = Array(text.utf8)
        deliver { $0.onControl(true, bytes.span.bytes) }
    }

    func sendBulk(byteCount: Int, fill: (UnsafeMutableRawBufferPointer) -> Void) -> Bool {
        var bytes = [UInt8](repeating: 0, count: byteCount)
        bytes.withUnsafeMutableBytes { fill($0) }
        state.withLock { $0.buffered += byteCount }
        let message = bytes
        deliver { [self] handler in
            handler.onBulk(false, message.span.bytes)
            let low = state.withLock { state in
                state.buffered -= message.count
                return state.buffered < 512 * 1024 ? state.handler : nil
            }
            if let low { loop.execute { low.onBulkLow() } }
        }
        return true
    }

    private func deliver(_ body: @escaping @Sendable (PeerLinkHandler) -> Void) {
        guard let other = state.withLock({ $0.other }) else { return }
        other.loop.execute {
            if let handler = other.state.withLock({ $0.handler }) { body(handler) }
        }
    }

    func close() {
        let other = state.withLock { state in
            defer {
                state.other = nil
                state.handler = nil
            }
            return state.other
        }
        other?.closed()
    }

    private func closed() {
        loop.execute { [self] in
            let handler = state.withLock { state in
                defer { state.handler = nil }
                return state.handler
            }
            handler?.onClose("closed")
        }
    }
}
