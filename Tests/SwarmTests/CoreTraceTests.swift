// SPDX-License-Identifier: Apache-2.0

import Hashing
@testable import Swarm
import Testing
import Wire

/// A core and the other side of its one connection, played by the test.
private struct Bench: ~Copyable {
    var core: SwarmCore
    private static let sharedModel = Model(sizes: [SwarmCatalog.groupSize * 3 + 10, SwarmCatalog.groupSize, 100, 0])
    let model = Bench.sharedModel
    let peer = PeerHandle(1)
    var now = Timestamp.zero

    /// A core that has these entries, connected and greeted.
    init(having: Set<Int>, wanting: [Int] = [], greeted: Bool = true) {
        core = SwarmCore(
            manifestDigest: model.digest, certificateDigest: certificate(1), entropy: Entropy(seed: 1), now: .zero)
        core.setCatalog(model.catalog, manifest: model.manifest, now: .zero)
        for index in having.sorted() { core.entryOnDisk(index, values: model.values[index]) }
        core.want(wanting)
        core.begin(now: .zero)
        core.peerConnected(
            peer, role: .answerer, certificateDigest: certificate(2), maxMessageSize: 0, bulkIsOpen: true, now: .zero)
        if greeted { say(Bench.hello(model)) }
        _ = core.takeActions()
    }

    static func hello(_ model: Model) -> ControlMessage {
        .hello(
            .init(
                nodeID: NodeID(certificateDigest: certificate(2)),
                binding: SessionBinding.value(
                    manifestDigest: model.digest, role: .offerer, offererDigest: certificate(2),
                    answererDigest: certificate(1)),
                agent: "test"))
    }

    mutating func say(_ message: ControlMessage) { say(message.text) }

    mutating func say(_ text: String) {
        let bytes = Array(text.utf8)
        core.receiveControl(peer, bytes.span.bytes, isText: true, now: now)
    }

    mutating func send(_ header: BulkHeader, _ data: [UInt8]) {
        let bytes = header.message(data)
        core.receiveBulk(peer, bytes.span.bytes, isText: false, now: now)
    }

    /// The control messages that the core sends, and why it closes.
    mutating func answers() -> (messages: [ControlMessage], close: SwarmCloseReason.Code?) {
        var messages: [ControlMessage] = []
        var close: SwarmCloseReason.Code?
        for action in core.takeActions() {
            switch action {
            case .sendControl(_, let text): if let message = try? ControlMessage(parsing: text) { messages.append(message) }
            case .close(_, let reason): close = reason.code
            default: break
            }
        }
        return (messages, close)
    }

    mutating func frames() -> [BulkHeader] {
        var headers: [BulkHeader] = []
        while let frame = core.nextFrame(for: peer, now: now) { headers.append(frame.header) }
        return headers
    }
}

@Suite("The core, call by call")
struct CoreTraceTests {
    static let group = Int64(SwarmCatalog.groupSize)

    @Test("hello comes first, then the bitfield")
    func greeting() {
        var bench = Bench(having: [0, 2], greeted: false)
        bench.say(Bench.hello(bench.model))
        let answers = bench.answers()
        // Entry 3 is empty and always there.
        #expect(answers.messages == [.bitfield([0b1011_0000])])
    }

    @Test(
        "wants that cannot be served are rejected with the reason",
        arguments: [
            (ControlMessage.Want(shardIndex: 1, requestID: 1), ControlMessage.Reject.Reason.missing),
            (.init(shardIndex: 99, requestID: 1), .missing), (.init(shardIndex: 3, requestID: 1), .range),
            (.init(shardIndex: 0, requestID: 1, offset: 1), .range),
            (.init(shardIndex: 0, requestID: 1, offset: 0, length: 5), .range),
            (.init(shardIndex: 0, requestID: 1, offset: 0, length: 0), .range),
            (.init(shardIndex: 0, requestID: 1, offset: group * 4), .range),
            (.init(shardIndex: 0, requestID: 1, offset: 0, length: 1 << 53), .range),
        ])
    func refusals(want: ControlMessage.Want, reason: ControlMessage.Reject.Reason) {
        var bench = Bench(having: [0, 2])
        bench.say(.want(want))
        let answers = bench.answers()
        #expect(answers.messages == [.reject(.init(requestID: 1, shardIndex: want.shardIndex, reason: reason))])
        #expect(answers.close == nil)
        #expect(bench.frames().isEmpty)
    }

    @Test("the proof goes before the chunks, once unless it is asked for")
    func proofs() {
        var bench = Bench(having: [0, 2])
        bench.say(.want(.init(shardIndex: 0, requestID: 1, offset: 0, length: Self.group)))
        #expect(bench.frames().map(\.kind) == [.proof, .chunk, .chunk])
        bench.say(.want(.init(shardIndex: 0, requestID: 2, offset: Self.group, length: Self.group)))
        let second = bench.frames()
        #expect(second.map(\.kind) == [.chunk, .chunk])
        #expect(second.map(\.isEnd) == [false, true])
        bench.say(.want(.init(shardIndex: 0, requestID: 3, offset: Self.group * 3, length: 10, proof: true)))
        #expect(bench.frames().map(\.kind) == [.proof, .chunk])
        bench.say(.want(.init(shardIndex: 2, requestID: 4, proof: true)))
        #expect(bench.frames().map(\.kind) == [.chunk])
    }

    @Test("a reject before the proof's end takes the proof back, and a cancel is answered once")
    func cancelled() {
        var bench = Bench(having: [0])
        bench.say(.want(.init(shardIndex: 0, requestID: 1)))
        bench.say(.cancel(shardIndex: 0, requestID: 1))
        bench.say(.cancel(shardIndex: 0, requestID: 1))
        let answers = bench.answers()
        #expect(answers.messages == [.reject(.init(requestID: 1, shardIndex: 0, reason: .cancelled))])
        bench.say(.want(.init(shardIndex: 0, requestID: 2, offset: 0, length: Self.group)))
        #expect(bench.frames().first?.kind == .proof)
    }

    @Test("a want without a number is one such a shard at a time")
    func unnumbered() {
        var bench = Bench(having: [2])
        bench.say(.want(.init(shardIndex: 2, requestID: 0)))
        bench.say(.want(.init(shardIndex: 2, requestID: 0)))
        #expect(bench.frames().count == 1)
        let answers = bench.answers()
        #expect(answers.messages.isEmpty)
    }

    @Test("more than 64 unfinished requests are rejected")
    func tooMany() {
        var bench = Bench(having: [2])
        for id in 1...65 { bench.say(.want(.init(shardIndex: 2, requestID: UInt32(id)))) }
        let answers = bench.answers()
        #expect(answers.messages == [.reject(.init(requestID: 65, shardIndex: 2, reason: .limit))])
    }

    @Test("request numbers rise; a second hello and rejects out of nothing break the protocol", arguments: 0..<3)
    func breaches(kind: Int) {
        var bench = Bench(having: [2])
        switch kind {
        case 0:
            bench.say(.want(.init(shardIndex: 2, requestID: 5)))
            bench.say(.manifestRequest(requestID: 5))
        case 1: bench.say(Bench.hello(bench.model))
        default: bench.say(.reject(.init(requestID: 7, shardIndex: 0, reason: .busy)))
        }
        let answers = bench.answers()
        #expect(answers.close == .breach)
        #expect(bench.core.bannedNodes.isEmpty)
    }

    @Test(
        "frames against what was asked are faults",
        arguments: ["empty", "border", "range", "flag", "shard", "kind", "future", "proof"])
    func badFrames(kind: String) {
        var bench = Bench(having: [], wanting: [0])
        bench.say(.bitfield([0x80]))
        let wants = bench.answers().messages.compactMap { if case .want(let want) = $0 { want } else { nil } }
        guard let want = wants.first else {
            Issue.record("nothing was asked for")
            return
        }
        #expect(want.proof == true)
        var header = BulkHeader(kind: .chunk, isEnd: false, requestID: want.requestID, shardIndex: 0, offset: 0)
        var data = [UInt8](repeating: 1, count: 100)
        switch kind {
        case "empty": data = []
        case "border": header.offset = UInt64(Self.group) - 50
        case "range": header.offset = UInt64(Self.group) * 4
        case "flag": header.isEnd = true
        case "shard": header.shardIndex = 1
        case "kind": header.kind = .manifest
        case "future": header.requestID = 1_000
        default:
            header.kind = .proof
            data = [UInt8](repeating: 1, count: 33)
        }
        bench.send(header, data)
        let answers = bench.answers()
        #expect(answers.close == .fault)
        #expect(bench.core.bannedNodes.count == 1)
    }

    @Test("ping is answered with its nonce")
    func pong() {
        var bench = Bench(having: [])
        bench.say(.ping(nonce: 77))
        let answers = bench.answers()
        #expect(answers.messages == [.pong(nonce: 77)])
    }

    @Test("any messages at all leave the core standing", arguments: 0..<30)
    func anything(seed: UInt64) {
        var entropy = Entropy(seed: seed)
        var bench = Bench(having: [2], wanting: [0, 1])
        let texts = [
            #"{"type":"bitfield","bits":"8A=="}"#, #"{"type":"want","shardIndex":2,"requestId":9,"length":100}"#,
            #"{"type":"have_groups","shardIndex":0,"ranges":[[0,9007199254740992],[3,9]]}"#,
            #"{"type":"dont_have","shardIndices":[0,4294967295]}"#, #"{"type":"have","shardIndices":[0,1,77]}"#,
            #"{"type":"reject","requestId":1,"shardIndex":0,"reason":"busy"}"#, #"{"type":"choke"}"#,
            #"{"type":"unchoke"}"#, #"{"type":"cancel","shardIndex":2,"requestId":9}"#,
            #"{"type":"manifest_request","requestId":10}"#,
        ]
        for _ in 0..<400 {
            switch Int.random(in: 0..<4, using: &entropy) {
            case 0, 1: bench.say(texts[Int.random(in: 0..<texts.count, using: &entropy)])
            case 2:
                let header = BulkHeader(
                    kind: [.chunk, .proof, .manifest].randomElement(using: &entropy) ?? .chunk, isEnd: Bool.random(using: &entropy),
                    requestID: UInt32.random(in: 0...4, using: &entropy), shardIndex: UInt32.random(in: 0...2, using: &entropy),
                    offset: Bool.random(using: &entropy)
                        ? UInt64.random(in: 0...6, using: &entropy) * 65_536 : UInt64.random(in: 0 ... .max, using: &entropy))
                bench.send(header, entropy.bytes(Int.random(in: 0..<3, using: &entropy) * 32))
            default:
                bench.now += .milliseconds(Int.random(in: 1...3_000, using: &entropy))
                bench.core.handleTimeout(now: bench.now)
                _ = bench.frames()
            }
            _ = bench.core.takeActions()
            // A connection that was closed is made again, by a node that nobody knows.
            if bench.core.peerSnapshots.isEmpty { bench = Bench(having: [2], wanting: [0, 1]) }
        }
        #expect(bench.core.isComplete(2) && !bench.core.isComplete(0), "seed \(seed)")
    }
}
