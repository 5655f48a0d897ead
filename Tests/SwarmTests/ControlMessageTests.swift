// SPDX-License-Identifier: Apache-2.0

import Swarm
import Testing
import Wire

@Suite("Control messages")
struct ControlMessageTests {
    static let node = NodeID(hex: String(repeating: "0a", count: 20))!

    @Test(
        "what is written is read back",
        arguments: [
            ControlMessage.hello(
                .init(nodeID: node, binding: [UInt8](repeating: 7, count: 32), agent: "a \"b\"", features: ["gossip"])),
            .bitfield([]), .bitfield([0x80]), .bitfield([1, 2, 3, 4]), .have([0, 4_294_967_295]), .dontHave([3]),
            .haveGroups(shardIndex: 2, ranges: [.init(first: 0, count: 4), .init(first: 9, count: 1)]),
            .want(.init(shardIndex: 1, requestID: 7, offset: 131_072, length: 10, proof: false)),
            .want(.init(shardIndex: 1, requestID: 0)), .cancel(shardIndex: 4_294_967_295, requestID: 9),
            .cancel(shardIndex: 1, requestID: 0),
            .reject(.init(requestID: 0, shardIndex: 4_294_967_295, reason: .missing)), .manifestRequest(requestID: 1),
            .choke, .unchoke, .ping(nonce: 1 << 53), .pong(nonce: -5),
        ])
    func roundTrip(message: ControlMessage) throws {
        #expect(try ControlMessage(parsing: message.text) == message)
    }

    @Test(
        "the texts of the protocol page are read",
        arguments: [
            (#"{"type":"bitfield","bits":"gA=="}"#, ControlMessage.bitfield([0x80])),
            (#"{"type":"want","shardIndex":5}"#, .want(.init(shardIndex: 5, requestID: 0))),
            (
                #"{"type":"want","shardIndex":5,"requestId":3,"offset":0,"length":131072,"proof":true,"x":[{}]}"#,
                .want(.init(shardIndex: 5, requestID: 3, offset: 0, length: 131_072, proof: true))
            ),
            (#"{"type":"cancel","shardIndex":5}"#, .cancel(shardIndex: 5, requestID: 0)),
            (#"{"type":"have_groups","shardIndex":0,"ranges":[]}"#, .haveGroups(shardIndex: 0, ranges: [])),
            (
                #"{"type":"reject","requestId":1,"shardIndex":2,"reason":"tired"}"#,
                .reject(.init(requestID: 1, shardIndex: 2, reason: nil))
            ),
            (#"{"type":"signal","id":1}"#, .unknown(type: "signal")), (#"{"type":5}"#, .unknown(type: nil)),
            (#"{}"#, .unknown(type: nil)), (#" {"type":"choke","n":1.5} "#, .choke),
        ])
    func reads(text: String, message: ControlMessage) throws {
        #expect(try ControlMessage(parsing: text) == message)
    }

    enum Blame { case fault, breach }

    @Test(
        "what is wrong is a fault or a breach",
        arguments: [
            ("", Blame.fault), ("[]", .fault), ("7", .fault), ("{", .fault), ("{} x", .fault),
            (#"{"type":"choke","x":[[[[[[[[1]]]]]]]]}"#, .fault),
            (#"{"type":"ping","nonce":9007199254740993}"#, .fault),
            (#"{"type":"ping","nonce":99999999999999999999}"#, .fault),
            (#"{"type":"choke","later":-9007199254740993}"#, .fault), ("{\"type\":\"a\u{1}\"}", .fault),
            (#"{"type":"ping","nonce":1.5}"#, .breach), (#"{"type":"ping","nonce":1e2}"#, .breach),
            (#"{"type":"ping","nonce":"1"}"#, .breach), (#"{"type":"ping"}"#, .breach),
            (#"{"type":"choke","type":"choke"}"#, .breach), (#"{"type":"want"}"#, .breach),
            (#"{"type":"want","shardIndex":-1}"#, .breach), (#"{"type":"want","shardIndex":4294967296}"#, .breach),
            (#"{"type":"want","shardIndex":1,"requestId":0}"#, .breach),
            (#"{"type":"want","shardIndex":1,"requestId":4294967296}"#, .breach),
            (#"{"type":"want","shardIndex":1,"length":-1}"#, .breach),
            (#"{"type":"want","shardIndex":1,"proof":1}"#, .breach), (#"{"type":"manifest_request"}"#, .breach),
            (#"{"type":"bitfield","bits":"gA="}"#, .breach), (#"{"type":"bitfield","bits":"g==="}"#, .breach),
            (#"{"type":"bitfield","bits":"gB=="}"#, .breach), (#"{"type":"have","shardIndices":3}"#, .breach),
            (#"{"type":"have","shardIndices":["a"]}"#, .breach),
            (#"{"type":"have_groups","shardIndex":0,"ranges":[[1]]}"#, .breach),
            (#"{"type":"have_groups","shardIndex":0,"ranges":[[-1,2]]}"#, .breach),
            (#"{"type":"hello"}"#, .breach),
            (#"{"type":"hello","version":1,"minVersion":1,"nodeId":"XY","lane":0,"binding":""}"#, .breach),
        ])
    func refuses(text: String, blame: Blame) {
        do throws(ControlMessageError) {
            let message = try ControlMessage(parsing: text)
            Issue.record("\(text) was read as \(message)")
        } catch {
            switch error {
            case .fault: #expect(blame == .fault)
            case .breach: #expect(blame == .breach)
            }
        }
    }

    @Test("64 KiB is the bound on length, 8 on depth, 2^53 on integers")
    func bounds() throws {
        let frame = #"{"type":"choke","x":""}"#
        let fits = frame.dropLast(2) + String(repeating: "a", count: 65_536 - frame.utf8.count) + "\"}"
        #expect(try ControlMessage(parsing: String(fits)) == .choke)
        #expect(throws: ControlMessageError.self) { try ControlMessage(parsing: fits.dropLast(2) + "a\"}") }
        #expect(try ControlMessage(parsing: #"{"type":"choke","x":[[[[[[[1]]]]]]]}"#) == .choke)
        #expect(try ControlMessage(parsing: #"{"type":"ping","nonce":9007199254740992}"#) == .ping(nonce: 1 << 53))
    }

    @Test("any bytes are read or refused", arguments: 0..<20)
    func anyBytes(seed: UInt64) {
        var entropy = Entropy(seed: seed)
        let seeds = [
            #"{"type":"want","shardIndex":5,"requestId":3,"offset":0,"length":131072,"proof":true}"#,
            #"{"type":"have_groups","shardIndex":0,"ranges":[[0,4],[9,1]]}"#,
            #"{"type":"reject","requestId":1,"shardIndex":2,"reason":"busy"}"#,
        ]
        for _ in 0..<300 {
            var bytes = Array(seeds[Int.random(in: 0..<3, using: &entropy)].utf8)
            for _ in 0..<Int.random(in: 1..<6, using: &entropy) {
                let index = Int.random(in: 0..<bytes.count, using: &entropy)
                switch Int.random(in: 0..<3, using: &entropy) {
                case 0: bytes[index] = UInt8.random(in: 0...255, using: &entropy)
                case 1: bytes.insert(UInt8(ascii: "9"), at: index)
                default: bytes.remove(at: index)
                }
            }
            _ = try? ControlMessage(parsing: bytes.span.bytes)
        }
    }
}

@Suite("Bulk frames")
struct BulkFrameTests {
    @Test("a header has 20 bytes, least significant first")
    func bytes() {
        let header = BulkHeader(kind: .proof, isEnd: true, requestID: 0x0102_0304, shardIndex: 5, offset: 0x0102_0304_0506)
        #expect(
            header.bytes == [2, 1, 20, 0, 4, 3, 2, 1, 5, 0, 0, 0, 6, 5, 4, 3, 2, 1, 0, 0])
        let message = header.message([9, 9])
        #expect(BulkDecoding(message.span.bytes) == .frame(header, dataOffset: 20, hasUnknownFlags: false))
    }

    @Test("a longer header is skipped, unknown flags and types are told apart, the rest is a fault")
    func oddities() {
        let header = BulkHeader(kind: .chunk, isEnd: false, requestID: 1, shardIndex: 2, offset: 3)
        var long = header.bytes + [1, 2, 3, 4, 5]
        long[2] = 24
        long[1] = 0x82
        #expect(BulkDecoding(long.span.bytes) == .frame(header, dataOffset: 24, hasUnknownFlags: true))
        for (type, count) in [(UInt8(4), 1), (5, 30), (0, 20), (255, 3)] {
            let bytes = [type] + [UInt8](repeating: 0, count: count - 1)
            #expect(BulkDecoding(bytes.span.bytes) == .unknownType(type))
        }
        var short = header.bytes
        short[2] = 19
        var beyond = header.bytes
        beyond[2] = 21
        var far = header.bytes
        far[19] = 1
        let huge = header.bytes + [UInt8](repeating: 0, count: 262_144 - 19)
        for bytes in [[], Array(header.bytes.dropLast()), short, beyond, far, huge] {
            guard case .fault = BulkDecoding(bytes.span.bytes) else {
                Issue.record("\(bytes.prefix(24)) is no fault")
                continue
            }
        }
    }
}
