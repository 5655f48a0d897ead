// SPDX-License-Identifier: Apache-2.0
import ICE
import NetIO
import SDP
import Synchronization
import Testing
import Wire

@testable import WebRTC

@Suite("ICMP errors at real sockets", .serialized, .timeLimit(.minutes(2)))
struct UnreachableTests {
    /// An address on loopback that nobody listens at.
    private func nobody(_ ip: IPAddress) throws -> SocketAddress {
        let socket = try UDPSocket(bind: SocketAddress(ip: ip, port: 0))
        defer { socket.close() }
        return socket.localAddress
    }

    @Test("a STUN server that is not there delays no offer", arguments: [IPAddress.loopbackV4, .loopbackV6])
    func server(ip: IPAddress) async throws {
        let dead = try nobody(ip)
        let host = try LoopbackHost([ip]) {
            $0.iceServers = [.stun("\(ip)", port: dead.port)]
            $0.gatheringTimeout = .seconds(60)
        }
        let offer = try await host.connection.createOffer()
        #expect(offer.endOfCandidates)
        await host.end()
    }

    @Test(
        "a candidate that is not there is told of, and another one connects",
        arguments: [IPAddress.loopbackV4, .loopbackV6])
    func candidate(ip: IPAddress) async throws {
        let dead = try nobody(ip)
        let (told, tell) = AsyncStream<String>.makeStream()
        let first = try LoopbackHost([ip]) {
            $0.observer = { event in
                if case .decision(let decision) = event, case .unreachableTold(let name, let cause) = decision.action {
                    tell.yield("\(name.remote) \(cause)")
                }
            }
        }
        let second = try LoopbackHost([ip])
        let channel = try first.connection.createDataChannel("test")
        // The second one waits to be found.
        var offer = try await first.connection.createOffer()
        (offer.candidates, offer.endOfCandidates) = ([], false)
        var answer = try await second.connection.accept(offer: offer)
        let living = answer.candidates
        answer.candidates = ["candidate:9 1 udp 2113937151 \(ip) \(dead.port) typ host"]
        answer.endOfCandidates = false
        try first.connection.accept(answer: answer)
        var iterator = told.makeAsyncIterator()
        #expect(await iterator.next() == "\(dead) port unreachable")
        for line in living { first.connection.addRemoteCandidate(ICECandidate(sdp: line)) }
        try await channel.opened()
        #expect(first.connection.state == .connected)
        await first.end()
        await second.end()
    }

    @Test("a flood of errors about nothing of ours ends the listening, a few do not")
    func flood() {
        var strays = StrayReports()
        let start = Timestamp.zero
        for round in 0..<100 {
            for _ in 0..<StrayReports.limit {
                let isFlooded = strays.isFlooded(start + .seconds(round))
                #expect(!isFlooded)
            }
        }
        let isFlooded = strays.isFlooded(start + .seconds(99))
        #expect(isFlooded)
    }
}
