// SPDX-License-Identifier: Apache-2.0
import Testing
import WebRTC
import Wire

extension BrowserTests {
    /// Channels and messages with Chromium and Firefox.
    @Suite("channels", .serialized, .timeLimit(.minutes(2)))
    struct Channels {
        private func connected(_ kind: Browser.Kind) async throws -> Meeting {
            let meeting = try await Meeting(try await Browsers.shared.browser(kind))
            _ = try meeting.connection.createDataChannel("first")
            try await meeting.signal(.we)
            try await meeting.connection.connected()
            return meeting
        }

        /// A kind of channel in our words and in a page's.
        struct Variety: Sendable, CustomTestStringConvertible {
            let name: String
            var ordered = true
            var reliability = DataChannel.Reliability.reliable
            var maxRetransmits: JSON = .null
            var maxPacketLifeTime: JSON = .null

            var testDescription: String { name }

            static let all = [
                Variety(name: "ordered"), Variety(name: "unordered", ordered: false),
                Variety(name: "at most two copies more", reliability: .maxRetransmits(2), maxRetransmits: 2),
                Variety(
                    name: "no copy more, unordered", ordered: false, reliability: .maxRetransmits(0), maxRetransmits: 0),
                Variety(name: "500 ms", reliability: .maxPacketLifeTime(500), maxPacketLifeTime: 500),
                Variety(
                    name: "500 ms, unordered", ordered: false, reliability: .maxPacketLifeTime(500),
                    maxPacketLifeTime: 500),
            ]

            func options(negotiatedID: UInt16? = nil) -> DataChannel.Options {
                .init(isOrdered: ordered, reliability: reliability, subprotocol: "p", negotiatedID: negotiatedID)
            }

            func json(negotiatedID: Int64? = nil) -> JSON {
                var object: JSON.Object = ["ordered": .bool(ordered), "protocol": "p"]
                if !maxRetransmits.isNull { object["maxRetransmits"] = maxRetransmits }
                if !maxPacketLifeTime.isNull { object["maxPacketLifeTime"] = maxPacketLifeTime }
                if let negotiatedID {
                    object["negotiated"] = true
                    object["id"] = .integer(negotiatedID)
                }
                return .object(object)
            }

            func expect(_ description: JSON) {
                #expect(description["ordered"] == .bool(ordered))
                #expect(description["protocol"] == "p")
                #expect(description["maxRetransmits"] == maxRetransmits)
                #expect(description["maxPacketLifeTime"] == maxPacketLifeTime)
            }
        }

        private func exchange(_ meeting: Meeting, _ channel: DataChannel) async throws {
            if channel.options.reliability == .reliable {
                try await meeting.exchange(channel)
            } else {
                try await meeting.exchangeUnreliably(channel)
            }
        }

        @Test("every kind of channel, opened by us, by the page and by both", arguments: Browser.Kind.installed)
        func kinds(_ kind: Browser.Kind) async throws {
            let meeting = try await connected(kind)
            let browser = meeting.browser
            for (index, variety) in Variety.all.enumerated() {
                let ours = try meeting.connection.createDataChannel("our \(variety.name)", options: variety.options())
                let event = try await browser.event([
                    "event": "channel", "connection": meeting.name, "label": .string(ours.label),
                ])
                variety.expect(event)
                try await exchange(meeting, ours)

                let label = "their \(variety.name)"
                try await browser.perform("open", meeting.name, .string(label), variety.json())
                let theirs = try await meeting.channel(label)
                #expect(theirs.options == variety.options())
                try await exchange(meeting, theirs)

                let both = JSON.string("both \(variety.name)")
                let id = 100 + 2 * index
                try await browser.perform("open", meeting.name, both, variety.json(negotiatedID: Int64(id)))
                let negotiated = try meeting.connection.createDataChannel(
                    "both \(variety.name)", options: variety.options(negotiatedID: UInt16(id)))
                try await exchange(meeting, negotiated)
            }
            try await meeting.close()
        }

        @Test("channels close from either side, and their streams serve again", arguments: Browser.Kind.installed)
        func closing(_ kind: Browser.Kind) async throws {
            let meeting = try await connected(kind)
            let browser = meeting.browser
            for round in 0..<6 {
                let channel: DataChannel
                if round % 2 == 0 {
                    channel = try meeting.connection.createDataChannel("again")
                    _ = try await browser.event(["event": "channel", "connection": meeting.name, "label": "again"])
                } else {
                    try await browser.perform("open", meeting.name, "again")
                    channel = try await meeting.channel("again")
                }
                var messages = channel.messages.makeAsyncIterator()
                try await channel.send("round \(round)")
                #expect(try await messages.next() == .text("round \(round)"))
                if round % 3 == 0 {
                    // What was sent before the end arrives.
                    try await browser.perform("mode", meeting.name, "again", "tell")
                    try await channel.send("last words")
                    channel.close()
                    _ = try await browser.event(["event": "message", "connection": meeting.name, "text": "last words"])
                } else {
                    try await browser.perform("text", meeting.name, "again", "last words")
                    try await browser.perform("closeChannel", meeting.name, "again")
                    #expect(try await messages.next() == .text("last words"))
                    #expect(try await messages.next() == nil)
                }
                _ = try await browser.event(["event": "close", "connection": meeting.name, "label": "again"])
                _ = try await meeting.eventually("closed channel") { channel.readyState == .closed ? true : nil }
            }
            try await meeting.close()
        }

        @Test("what a page sends waits in the page while nobody reads it here", arguments: Browser.Kind.installed)
        func backpressureOnPage(_ kind: Browser.Kind) async throws {
            let meeting = try await connected(kind)
            let browser = meeting.browser
            try await browser.perform("open", meeting.name, "bulk")
            let channel = try await meeting.channel("bulk")
            let total: Int64 = 12 << 20
            let flood = browser.begin("flood", [meeting.name, "bulk", .integer(total), 65_536])
            // Nobody reads, so that all windows fill up and then nothing moves.
            var amount: Int64 = -1
            var unchanged = 0
            while unchanged < 10 {
                try await Task.sleep(for: .milliseconds(50))
                let now = try await browser.perform("bufferedAmount", meeting.name, "bulk").integer ?? -1
                unchanged = now == amount ? unchanged + 1 : 0
                amount = now
            }
            #expect(amount > total / 2, "the page still holds most of it")
            var bytes = 0
            for try await message in channel.messages {
                bytes += message.byteCount
                if bytes >= total { break }
            }
            #expect(bytes == total)
            let outcome = try await browser.result(of: flood, "flood")
            #expect(outcome["buffered"] == 0)
            try await meeting.close()
        }

        @Test("what we send waits here while the browser stands still", arguments: Browser.Kind.installed)
        func backpressureOnUs(_ kind: Browser.Kind) async throws {
            let meeting = try await connected(kind)
            let browser = meeting.browser
            let channel = try meeting.connection.createDataChannel("bulk")
            _ = try await browser.event(["event": "channel", "connection": meeting.name, "label": "bulk"])
            try await browser.perform("mode", meeting.name, "bulk", "count", true)
            let message = Meeting.pattern(65_536)
            let count = 512
            let sent = Counter()
            browser.pause()
            let sender = Task {
                for _ in 0..<count {
                    try await channel.send(message)
                    sent.increment()
                }
            }
            // The sender waits when nothing was taken for half a second.
            var before = -1
            var unchanged = 0
            while unchanged < 10 {
                try await Task.sleep(for: .milliseconds(50))
                unchanged = sent.value == before ? unchanged + 1 : 0
                before = sent.value
            }
            #expect(before * message.count <= 4 << 20, "little was taken: \(before) messages")
            browser.resume()
            try await sender.value
            let total = Int64(count * message.count)
            let outcome = try await browser.perform(
                "received", meeting.name, "bulk", .integer(total), within: .seconds(60))
            #expect(outcome["messages"] == .integer(Int64(count)) && outcome["bytes"] == .integer(total))
            #expect(outcome["wrong"] == 0)
            _ = try await meeting.eventually("empty buffer") { channel.bufferedAmount == 0 ? true : nil }
            try await meeting.close()
        }

        @Test("both sides' statistics agree", arguments: Browser.Kind.installed)
        func statistics(_ kind: Browser.Kind) async throws {
            let meeting = try await connected(kind)
            let browser = meeting.browser
            let channel = try meeting.connection.createDataChannel("counted", options: .init(subprotocol: "p"))
            try await meeting.exchange(channel)
            let ours = meeting.connection.getStats().json.array ?? []
            let theirs = try await browser.perform("stats", meeting.name).array ?? []
            func object(_ list: [JSON], _ type: String, _ members: [String: JSON] = [:]) throws -> JSON {
                let found = list.first { entry in
                    entry["type"] == .string(type) && members.allSatisfy { entry[$0.key] == $0.value }
                }
                return try #require(found, "no \(type) \(members) in \(JSON.array(list).serialized())")
            }

            let (us, them) = (
                try object(ours, "data-channel", ["label": "counted"]),
                try object(theirs, "data-channel", ["label": "counted"])
            )
            #expect(us["messagesSent"] == 5 && us["messagesReceived"] == 5)
            #expect(us["messagesSent"] == them["messagesReceived"] && us["messagesReceived"] == them["messagesSent"])
            #expect(us["bytesSent"] == them["bytesReceived"] && us["bytesReceived"] == them["bytesSent"])
            for name in ["protocol", "dataChannelIdentifier", "state"] { #expect(us[name] == them[name], "\(name)") }

            // The same members with the same kinds of values, as far as the browser has them.
            for type in ["peer-connection", "data-channel", "candidate-pair", "local-candidate", "remote-candidate"] {
                guard let other = try? object(theirs, type) else { continue }
                let own = try object(ours, type)
                for (name, value) in try #require(own.object) {
                    guard let theirs = other[name] else { continue }
                    #expect(
                        (value.number == nil) == (theirs.number == nil)
                            && (value.string == nil) == (theirs.string == nil))
                }
            }
            let pair = try object(ours, "candidate-pair", ["nominated": true])
            let local = try object(ours, "local-candidate", ["id": pair["localCandidateId"] ?? .null])
            let remote = try object(ours, "remote-candidate", ["id": pair["remoteCandidateId"] ?? .null])
            // Chromium calls a pair "in-progress" while an answer to a consent request is outstanding.
            let theirPair = try object(theirs, "candidate-pair", ["nominated": true])
            let theirLocal = try object(theirs, "local-candidate", ["id": theirPair["localCandidateId"] ?? .null])
            #expect(local["port"] != remote["port"] && theirLocal["port"] == remote["port"])
            #expect((pair["bytesSent"]?.integer ?? 0) > 262_144 && (pair["bytesReceived"]?.integer ?? 0) > 262_144)
            #expect((pair["responsesReceived"]?.integer ?? 0) > 0 && (pair["currentRoundTripTime"]?.number ?? 0) > 0)
            try await meeting.close()
        }
    }
}
