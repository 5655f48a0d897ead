// SPDX-License-Identifier: Apache-2.0
import RDRR
import Swarm
import Testing
import Wire

/// What a peer does to a fetcher, and what becomes of it.
struct Misdeed: Sendable, CustomTestStringConvertible {
    enum Consequence: Sendable {
        /// It is named and banned, for a reason that has these words.
        case banned(String)
        /// It is named, and the connection closed for a reason that has these words.
        case closed(String)
        /// It is named and never joins, for a reason that has these words.
        case refused(String)
    }

    let testDescription: String
    let consequence: Consequence
    let behaviour: HostilePeer.Behaviour

    /// Something that it does as soon as the channels are open.
    init(
        _ description: String, _ consequence: Consequence,
        _ onOpen: @escaping @Sendable (HostileSession) async throws -> Void
    ) {
        testDescription = description
        self.consequence = consequence
        behaviour = .init(onOpen: onOpen)
    }

    /// Something that it answers with, after it said that it has everything.
    init(
        _ description: String, _ consequence: Consequence,
        onControl: @escaping @Sendable (HostileSession, ControlMessage) async throws -> Void
    ) {
        testDescription = description
        self.consequence = consequence
        behaviour = .init(onOpen: { try await $0.greet() }, onControl: onControl)
    }

    /// Answers a request for the manifest, whose frames `make` may change.
    private static func manifest(
        _ session: HostileSession, _ message: ControlMessage, _ make: ([UInt8]) -> [UInt8] = { $0 }
    ) async throws {
        guard case .manifestRequest(let id) = message else { return }
        let bytes = make(session.manifest.bytes)
        for start in stride(from: 0, to: bytes.count, by: 65_536) {
            let end = min(start + 65_536, bytes.count)
            try await session.send(
                .manifest, request: id, shard: ControlMessage.manifestIndex, offset: UInt64(start),
                isEnd: end == bytes.count, Array(bytes[start..<end]))
        }
    }

    /// Answers a want with a proof and with bytes of the real shard, which `spoil` changes.
    private static func serve(
        _ session: HostileSession, _ message: ControlMessage, spoilProof: @Sendable (inout [UInt8]) -> Void = { _ in },
        spoil: @Sendable (inout [UInt8]) -> Void = { _ in }
    ) async throws {
        try await manifest(session, message)
        guard case .want(let want) = message else { return }
        let entry = session.manifest.entries[Int(want.shardIndex)]
        let file = try MappedFile(path: "\(SampleModel.shared.get().folder)/\(entry.name)")
        let start = Int(want.offset ?? 0)
        let end = start + Int(want.length ?? Int64(file.count - start))
        if want.proof == true {
            var proof = GroupProof(of: file.bytes).values.flatMap(\.bytes)
            spoilProof(&proof)
            try await session.send(.proof, request: want.requestID, shard: want.shardIndex, isEnd: true, proof)
        }
        for offset in stride(from: start, to: end, by: SwarmCatalog.groupSize) {
            let range = offset..<min(offset + SwarmCatalog.groupSize, end)
            var bytes = file.bytes.extracting(range).withUnsafeBytes { Array($0) }
            spoil(&bytes)
            try await session.send(
                .chunk, request: want.requestID, shard: want.shardIndex, offset: UInt64(offset),
                isEnd: range.upperBound == end, bytes)
        }
    }

    private static func random(_ count: Int, _ generator: inout SeededGenerator) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
    }

    static let all: [Misdeed] = [
        Misdeed("random bytes on `bulk`", .banned("frame")) { session in
            try await session.greet()
            var generator = SeededGenerator(seed: 1)
            for _ in 0..<2_000 {
                let count = Int.random(in: 0...2_000, using: &generator)
                try await session.channel("bulk").send(random(count, &generator))
            }
        },
        Misdeed("random text on `control`", .banned("a control message")) { session in
            var generator = SeededGenerator(seed: 2)
            try await session.greet()
            try await session.say(String(decoding: random(1_000, &generator), as: UTF8.self))
        },
        Misdeed("binary on `control`", .banned("binary on `control`")) { session in
            try await session.greet()
            try await session.channel("control").send([1, 2, 3])
        },
        Misdeed("text on `bulk`", .banned("text on `bulk`")) { session in
            try await session.greet()
            try await session.channel("bulk").send("hello")
        },
        Misdeed("JSON nested too deep", .banned("a control message")) { session in
            try await session.greet()
            try await session.say(#"{"type":"x","a":"# + String(repeating: "[", count: 30_000))
        },
        Misdeed("JSON that is no object", .banned("no JSON object")) { session in
            try await session.greet()
            try await session.say("[1,2,3]")
        },
        Misdeed("a control message over 64 KiB", .banned("a control message of 1")) { session in
            try await session.greet()
            try await session.say(#"{"type":"x","a":""# + String(repeating: "a", count: 100_000) + #""}"#)
        },
        Misdeed("an integer over 2^53", .banned("integer")) { session in
            try await session.greet()
            try await session.say(#"{"type":"have","shardIndices":[9223372036854775807]}"#)
        },
        Misdeed("too many control messages", .banned("more than 20,000 control messages")) { session in
            try await session.greet()
            for _ in 0..<40 {
                for _ in 0..<1_000 { try await session.say(#"{"type":"x"}"#) }
            }
        },
        Misdeed("chunks nobody asked for", .banned("never asked for")) { session in
            try await session.greet()
            for _ in 0..<100 {
                try await session.send(
                    .chunk, request: 77, shard: 0, isEnd: false, [UInt8](repeating: 7, count: 65_536))
            }
        },
        Misdeed(
            "a manifest that does not match the link", .banned("a manifest that does not match the link"),
            onControl: { session, message in
                try await manifest(session, message) { bytes in
                    var bytes = bytes
                    bytes[bytes.count / 2] ^= 1
                    return bytes
                }
            }),
        Misdeed(
            "a manifest over 64 MiB", .banned("a manifest of more than 64 MiB"),
            onControl: { session, message in
                guard case .manifestRequest(let id) = message else { return }
                try await session.send(
                    .manifest, request: id, shard: ControlMessage.manifestIndex, offset: 1 << 40, [1, 2, 3])
            }),
        Misdeed(
            "a group with one wrong bit", .banned("is not what its proof says"),
            onControl: { session, message in
                try await serve(session, message, spoil: { $0[$0.count / 2] ^= 1 })
            }),
        Misdeed(
            "a proof of something else", .banned("proof"),
            onControl: { session, message in
                try await serve(session, message, spoilProof: { $0[0] ^= 1 })
            }),
        Misdeed(
            "chunks outside of the range asked for", .banned("outside the range"),
            onControl: { session, message in
                try await manifest(session, message)
                guard case .want(let want) = message else { return }
                try await session.send(
                    .chunk, request: want.requestID, shard: want.shardIndex, offset: 1 << 50, [1, 2, 3])
            }),
        Misdeed("a hello with a wrong binding", .refused("wrong binding")) { session in
            var hello = session.hello
            hello.binding[0] ^= 1
            try await session.say(.hello(hello))
        },
        Misdeed("a hello with another's node id", .refused("another certificate")) { session in
            var hello = session.hello
            hello.nodeID = NodeID(certificateDigest: [UInt8](repeating: 9, count: 32))
            try await session.say(.hello(hello))
        },
        Misdeed("a message before the hello", .refused("before the hello")) { session in
            try await session.say(.manifestRequest(requestID: 1))
        },
        Misdeed("no hello", .refused("no hello within 10 s")) { _ in },
        Misdeed("a second hello", .closed("a second hello")) { session in
            try await session.greet()
            try await session.say(.hello(session.hello))
        },
        Misdeed("a field of the wrong kind", .closed("`shardIndices` is no array")) { session in
            try await session.greet()
            try await session.say(#"{"type":"have","shardIndices":"all"}"#)
        },
        Misdeed("a request whose number does not rise", .closed("request 3 after request 5")) { session in
            try await session.greet()
            try await session.say(.manifestRequest(requestID: 5))
            try await session.say(.manifestRequest(requestID: 3))
        },
    ]
}

/// The same numbers at every run.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    /// SplitMix64.
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
