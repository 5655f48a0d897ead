// SPDX-License-Identifier: Apache-2.0
import ICE
import NetIO
import SDP
import Synchronization
import Testing
import WebRTC
import Wire

@Suite("Names of multicast DNS in place of addresses", .serialized, .timeLimit(.minutes(2)))
struct HiddenAddressesTests {
    /// Whether a datagram to the group of multicast DNS comes back over loopback; where not, why the test is left out.
    private func multicastWorks() async throws -> Bool {
        let loop = try EventLoop(name: "multicast")
        defer { loop.stop() }
        var options = UDPSocket.Options()
        options.multicastInterface = .loopbackV4
        let group = SocketAddress(ip: MDNSMessage.group, port: MDNSMessage.port)
        do throws(NetIOError) {
            let socket = try UDPSocket(bind: group, options: options)
            defer { socket.close() }
            let (arrivals, arrived) = AsyncStream<Bool>.makeStream()
            try socket.start(on: loop, onReceive: { _ in arrived.yield(true) })
            let byte: [UInt8] = [0]
            socket.send(byte.span.bytes, to: group)
            loop.schedule(at: loop.now + .seconds(1)) { arrived.yield(false) }
            var iterator = arrivals.makeAsyncIterator()
            if await iterator.next() == true { return true }
            print("left out: what is sent to 224.0.0.251 on loopback does not come back")
        } catch {
            print("left out: no socket in the group 224.0.0.251 on loopback: \(error)")
        }
        return false
    }

    @Test("peers on one link find each other by name, and no description has an address", arguments: [0, 1] as [UInt8])
    func meeting(pool: UInt8) async throws {
        guard try await multicastWorks() else { return }
        let hidden = try LoopbackHost([.loopbackV4]) {
            $0.hidesHostAddresses = true
            $0.iceCandidatePoolSize = pool
        }
        let open = try LoopbackHost([.loopbackV4])
        let told = Mutex<[ICECandidate]>([])
        hidden.connection.setHandler { event in
            if case .localCandidate(let candidate) = event { told.withLock { $0.append(candidate) } }
        }
        let channel = try hidden.connection.createDataChannel("test")
        let offer = try await hidden.connection.createOffer()
        #expect(!offer.description.contains("127.0.0.1"))
        let candidates = offer.candidates.compactMap { ICECandidate(sdp: $0) }
        #expect(candidates.count == 1)
        guard case .name(let name) = try #require(candidates.first).host else {
            Issue.record("an address stands in \(offer.candidates)")
            return
        }
        #expect(name.hasSuffix(".local"))
        // The other side's candidates are left out, so that only the name leads anywhere.
        var answer = try await open.connection.accept(offer: offer)
        answer.candidates = []
        try hidden.connection.accept(answer: answer)
        try await channel.opened()
        #expect(told.withLock { $0 }.allSatisfy { $0.address == nil })

        // A second connection of the endpoint has the same name, and both answers for it are one.
        var configuration = PeerConnection.Configuration()
        configuration.hidesHostAddresses = true
        let another = PeerConnection(endpoint: hidden.endpoint, configuration: configuration)
        let second = try await another.createOffer()
        #expect(second.candidates.contains { $0.contains(name) })
        another.abort()
        await another.closed()
        await hidden.end()
        await open.end()
    }
}
