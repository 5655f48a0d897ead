// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@testable import WebRTC

extension PeerCoreTests {
    struct Close: CustomTestStringConvertible, Sendable {
        let name: String
        let options: DataChannel.Options
        let recovers: Bool
        let loss: Double
        var testDescription: String { "\(name), loss \(loss)" }
    }

    static let closes: [Close] = [0, 0.05, 0.2].flatMap { loss in
        [
            Close(name: "plain", options: .init(), recovers: false, loss: loss),
            Close(name: "recovered", options: .init(), recovers: true, loss: loss),
            Close(name: "recovered, urgent", options: .init(isOrdered: false, priority: .high), recovers: true, loss: loss),
        ]
    }

    @Test("whatever was accepted before the connection is closed arrives, and both sides end", arguments: closes)
    func closingDelivers(_ close: Close) throws {
        var pair = try CorePair(seed: 31) { $0.recoversLosses = close.recovers }
        let key = try pair.offerer.openChannel(label: "a", options: close.options)
        try pair.signal()
        let isConnected = pair.run(for: .seconds(5)) { $0.areConnected }
        try #require(isConnected)
        pair.loss = close.loss
        for index in 0..<120 {
            try pair.offerer.send(on: key, isText: false, count: 10_000) { room in
                room.storeBytes(of: UInt32(index), as: UInt32.self)
            }
        }
        pair.offerer.close(now: pair.now)
        #expect(throws: PeerConnectionError.self) {
            try pair.offerer.send(on: key, isText: false, count: 1) { _ in }
        }
        // The last word itself may be lost; then the other side learns it from ICE.
        let isClosed = pair.run(for: .seconds(120)) { $0.states.0 == .closed && $0.states.1 != .connected }
        #expect(isClosed)
        let arrived = pair.messages.1.map { Int($0[0]) + Int($0[1]) << 8 }
        #expect(arrived.sorted() == Array(0..<120))
        if close.options.isOrdered { #expect(arrived == Array(0..<120)) }
    }

    @Test("a peer that acknowledges nothing keeps nobody from closing")
    func closingEnds() throws {
        var pair = try CorePair(seed: 32)
        let key = try pair.offerer.openChannel(label: "a", options: .init())
        try pair.signal()
        let isConnected = pair.run(for: .seconds(5)) { $0.areConnected }
        try #require(isConnected)
        try pair.offerer.send(on: key, isText: false, count: 10_000) { _ in }
        pair.loss = 1
        let start = pair.now
        pair.offerer.close(now: pair.now)
        let isClosed = pair.run(for: .seconds(20)) { $0.states.0 == .closed }
        #expect(isClosed)
        let taken = pair.now - start
        #expect(taken >= .seconds(10) && taken < .seconds(11), "\(taken)")
    }

    @Test("aborting waits for nothing")
    func aborting() throws {
        var pair = try CorePair(seed: 33)
        let key = try pair.offerer.openChannel(label: "a", options: .init())
        try pair.signal()
        let isConnected = pair.run(for: .seconds(5)) { $0.areConnected }
        try #require(isConnected)
        try pair.offerer.send(on: key, isText: false, count: 100_000) { _ in }
        pair.offerer.abort()
        let isClosed = pair.run(for: .milliseconds(100)) { $0.states.0 == .closed && $0.states.1 == .closed }
        #expect(isClosed)
    }
}
