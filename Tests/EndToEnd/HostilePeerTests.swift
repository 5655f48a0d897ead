// SPDX-License-Identifier: Apache-2.0
import Glibc
import Hashing
import ICE
import RDRR
import SDP
import Signaling
import Swarm
import Synchronization
import Testing
import Wire

/// Peers that lie, shout or say nothing. Whatever they do, they are named and dropped, the program's memory stays small,
/// and the fetch ends as soon as an honest peer is there.
@Suite("Hostile peers")
struct HostilePeerTests {
    /// What a program may take, in MiB, whatever peers send.
    static let memoryLimit = 300

    @Suite(.serialized)
    struct Messages {
        @Test("a fetcher drops the peer and completes from another", arguments: Misdeed.all)
        func fetcher(_ misdeed: Misdeed) async throws {
            try await TrackerServer.with { tracker in
                let scene = try Scene()
                let hostile = try await HostilePeer.join(tracker.url, misdeed.behaviour)
                let fetch = try scene.fetch(trackers: [tracker.url])
                switch misdeed.consequence {
                case .banned(let words):
                    let event = try await fetch.json(within: .seconds(40), where: ["event": "banned"])
                    #expect(event["reason"]?.string?.contains(words) == true, "\(event["reason"]?.string ?? "")")
                case .closed(let words):
                    let event = try await fetch.json(within: .seconds(40), where: ["event": "peer", "state": "left"])
                    #expect(event["reason"]?.string?.contains(words) == true, "\(event["reason"]?.string ?? "")")
                case .refused(let words):
                    let event = try await fetch.json(
                        within: .seconds(40), where: ["event": "peer", "state": "refused"])
                    #expect(event["reason"]?.string?.contains(words) == true, "\(event["reason"]?.string ?? "")")
                }
                try await eventually("the connection is closed") { hostile.sessions.contains { $0.isOver } }
                await hostile.leave()
                try await completes(fetch, scene, tracker)
            }
        }
    }
}

extension HostilePeerTests {
    @Suite(.serialized)
    struct Connections {
        @Test(
            "an answer with another certificate's fingerprint, or rubbish, connects nobody",
            arguments: ["fingerprint", "rubbish"])
        func answers(kind: String) async throws {
            try await TrackerServer.with { tracker in
                let scene = try Scene()
                let hostile = try await HostilePeer.join(
                    tracker.url,
                    .init(
                        editAnswer: { sdp in
                            guard kind == "fingerprint" else { return "v=0\r\nrubbish\r\n" }
                            return sdp.split(separator: "\r\n").map { line in
                                guard line.hasPrefix("a=fingerprint:") else { return String(line) }
                                return "a=fingerprint:sha-256 " + repeatElement("AB", count: 32).joined(separator: ":")
                            }.joined(separator: "\r\n") + "\r\n"
                        }, onOpen: { try await $0.greet() }))
                let fetch = try scene.fetch(trackers: [tracker.url])
                let warning = try await fetch.json(where: ["event": "warning"])
                let words = kind == "rubbish" ? "answer that cannot be used" : "fingerprint"
                #expect(warning["message"]?.string?.contains(words) == true, "\(warning)")
                #expect(!hostile.sessions.contains { $0.wasConnected })
                await hostile.leave()
                try await completes(fetch, scene, tracker)
            }
        }

        @Test("a message of 100 MB takes no memory, and its sender is banned")
        func enormousMessage() async throws {
            try await TrackerServer.with { tracker in
                let scene = try Scene()
                let hostile = try await HostilePeer.join(
                    tracker.url,
                    .init(
                        editOffer: { $0.maxMessageSize = 0 }, sendBuffer: 128 << 20,
                        onOpen: { session in
                            try await session.greet()
                            try await session.say(String(repeating: "x", count: 100_000_000))
                        }))
                let fetch = try scene.fetch(trackers: [tracker.url])
                let event = try await fetch.json(within: .seconds(40), where: ["event": "banned"])
                #expect(event["reason"]?.string?.contains("262144") == true, "\(event)")
                try await eventually("the connection is closed") { hostile.sessions.contains { $0.isOver } }
                await hostile.leave()
                try await completes(fetch, scene, tracker)
            }
        }

        @Test("garbage at the sockets harms nothing")
        func garbage() async throws {
            try await TrackerServer.with { tracker in
                let scene = try Scene()
                let hostile = try await HostilePeer.join(tracker.url, .init())
                let fetch = try scene.fetch(trackers: [tracker.url], "--download-limit", "2MB")
                func targets() -> [SocketAddress] {
                    let candidates = hostile.sessions.first?.remoteCandidates.withLock { $0 } ?? []
                    return candidates.compactMap { ICECandidate(sdp: $0)?.address }
                }
                try await eventually("an offer came") { !targets().isEmpty }
                let known = targets()
                await hostile.leave()
                let seeder = try await scene.seed(trackers: [tracker.url])
                _ = try await fetch.json(where: ["event": "peer", "state": "joined"])
                try throwGarbage(at: known)
                _ = try await fetch.json(within: .seconds(40), where: ["event": "shard"])
                #expect(fetch.peakMemory ?? .max < memoryLimit)
                _ = try await fetch.json(within: .seconds(40), where: ["event": "done"])
                try await fetch.expectExit()
                try scene.expectModel()
                seeder.interrupt()
                try await seeder.expectExit()
            }
        }

        /// Random datagrams, and such as begin like STUN, DTLS, TURN channel data and RTP.
        private func throwGarbage(at targets: [SocketAddress]) throws {
            let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
            defer { close(descriptor) }
            var generator = SeededGenerator(seed: 3)
            for number in 0..<20_000 {
                var bytes = (0..<Int.random(in: 0...200, using: &generator)).map { _ in
                    UInt8.random(in: 0...255, using: &generator)
                }
                let heads: [[UInt8]] = [
                    [], [0, 1, 0, 8, 0x21, 0x12, 0xA4, 0x42], [22, 254, 253], [0x40, 0], [0x80, 96],
                ]
                bytes = heads[number % heads.count] + bytes
                let target = targets[number / 7 % targets.count]
                var address = sockaddr_in()
                address.sin_family = sa_family_t(AF_INET)
                address.sin_port = target.port.bigEndian
                address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
                withUnsafePointer(to: &address) {
                    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                        _ = sendto(descriptor, bytes, bytes.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                    }
                }
            }
        }

        @Test("a seeder survives a peer that asks for everything at once and opens channels without end")
        func greed() async throws {
            try await TrackerServer.with { tracker in
                let scene = try Scene()
                let seeder = try await scene.seed(trackers: [tracker.url])
                let rejects = Mutex<[ControlMessage.Reject.Reason: Int]>([:])
                let hostile = try await HostilePeer.join(
                    tracker.url,
                    .init(
                        offers: true,
                        onOpen: { session in
                            try await session.say(.hello(session.hello))
                            for number in 1...5_000 {
                                // Ranges that do not exist, shards that do not exist, and the same again and again.
                                let offset: Int64? = number % 3 == 0 ? 1 << 52 : nil
                                try await session.say(
                                    .want(
                                        .init(
                                            shardIndex: number % 5 == 0 ? 1_000_000 : 0, requestID: UInt32(number),
                                            offset: offset, length: nil, proof: true)))
                            }
                            for number in 0..<200 { _ = try session.connection.createDataChannel("more \(number)") }
                        },
                        onControl: { _, message in
                            guard case .reject(let reject) = message, let reason = reject.reason else { return }
                            rejects.withLock { $0[reason, default: 0] += 1 }
                        }))
                try await eventually("requests are refused", within: .seconds(40)) {
                    rejects.withLock { ($0[.range] ?? 0) > 0 && ($0[.missing] ?? 0) > 0 }
                }
                let fetch = try scene.fetch(trackers: [tracker.url])
                _ = try await fetch.json(within: .seconds(40), where: ["event": "done"])
                try await fetch.expectExit()
                try scene.expectModel()
                let memory = try #require(seeder.peakMemory, "the seeder has ended: \(seeder.errors)")
                #expect(memory < memoryLimit, "MiB at the most")
                await hostile.leave()
                seeder.interrupt()
                try await seeder.expectExit()
            }
        }
    }

    @Suite
    struct Silence {
        @Test("a peer that answers no request is passed over at once, and dropped after twice 15 s")
        func unanswered() async throws {
            try await TrackerServer.with { tracker in
                let scene = try Scene()
                let hostile = try await HostilePeer.join(tracker.url, .init(onOpen: { try await $0.greet() }))
                let fetch = try scene.fetch(trackers: [tracker.url])
                _ = try await fetch.json(where: ["event": "peer", "state": "joined"])
                let start = ContinuousClock.now
                let left = try await fetch.json(within: .seconds(60), where: ["event": "peer", "state": "left"])
                let time = ContinuousClock.now - start
                #expect(left["reason"]?.string?.contains("unanswered") == true, "\(left)")
                #expect(time > .seconds(25) && time < .seconds(50), "\(time)")
                await hostile.leave()
                try await completes(fetch, scene, tracker)
            }
        }

        @Test("beside a silent peer an honest one is enough")
        func besideAnHonestOne() async throws {
            try await TrackerServer.with { tracker in
                let scene = try Scene()
                let hostile = try await HostilePeer.join(tracker.url, .init(onOpen: { try await $0.greet() }))
                let fetch = try scene.fetch(trackers: [tracker.url])
                _ = try await fetch.json(where: ["event": "peer", "state": "joined"])
                try await completes(fetch, scene, tracker)
                await hostile.leave()
            }
        }

        @Test("a peer from which nothing comes for 60 s is dropped")
        func silent() async throws {
            try await TrackerServer.with { tracker in
                let scene = try Scene()
                let seeder = try await scene.seed(trackers: [tracker.url])
                let pings = Mutex(0)
                let hostile = try await HostilePeer.join(
                    tracker.url,
                    .init(
                        offers: true, onOpen: { try await $0.say(.hello($0.hello)) },
                        onControl: { _, message in
                            if case .ping = message { pings.withLock { $0 += 1 } }
                        }))
                _ = try await seeder.json(where: ["event": "peer", "state": "joined"])
                let start = ContinuousClock.now
                let left = try await seeder.json(within: .seconds(90), where: ["event": "peer", "state": "left"])
                let time = ContinuousClock.now - start
                #expect(left["reason"]?.string?.contains("nothing was received for 60 s") == true, "\(left)")
                #expect(time > .seconds(55) && time < .seconds(75), "\(time)")
                #expect(pings.withLock { $0 } > 0, "it was asked whether it is there")
                await hostile.leave()
                seeder.interrupt()
                try await seeder.expectExit()
            }
        }
    }
}

/// An honest seeder comes, and the fetch ends well.
private func completes(_ fetch: LineProcess, _ scene: Scene, _ tracker: TrackerServer) async throws {
    let memory = try #require(fetch.peakMemory, "the fetch has ended: \(fetch.errors)")
    #expect(memory < HostilePeerTests.memoryLimit, "MiB at the most")
    let seeder = try await scene.seed(trackers: [tracker.url])
    _ = try await fetch.json(within: .seconds(40), where: ["event": "done"])
    try await fetch.expectExit()
    try scene.expectModel()
    seeder.interrupt()
    try await seeder.expectExit()
}
