// SPDX-License-Identifier: Apache-2.0
import ICE
import SDP
import Testing
import WebRTC
import Wire

/// Chromium and Firefox. One thing at a time: the browsers are shared, and one test stops them where they are.
@Suite("browsers", .serialized, .enabled(if: !Browser.Kind.installed.isEmpty, "there is no browser"))
struct BrowserTests {}

extension BrowserTests {
    /// Connections with Chromium and Firefox: how they come up, change their path, and end.
    @Suite("connections", .serialized, .timeLimit(.minutes(2)))
    struct Connections {
        @Test(
            "either side offers, with all candidates or one by one", arguments: Browser.Kind.installed, Offerer.allCases
        )
        func connects(_ kind: Browser.Kind, _ offerer: Offerer) async throws {
            let browser = try await Browsers.shared.browser(kind)
            for trickling in [false, true] {
                let meeting = try await Meeting(browser)
                let own = try meeting.connection.createDataChannel("own", options: .init(subprotocol: "dreamer/1"))
                try await browser.perform("open", meeting.name, "theirs", ["protocol": "dreamer/1"])
                try await meeting.signal(offerer, trickling: trickling)
                try await own.opened()
                let theirs = try await meeting.channel("theirs")
                #expect(theirs.options.subprotocol == "dreamer/1")
                let event = try await browser.event(["event": "channel", "connection": meeting.name, "label": "own"])
                #expect(event["protocol"] == "dreamer/1")
                try await meeting.exchange(own)
                try await meeting.exchange(theirs)
                try await meeting.close()
            }
        }

        @Test("an offer of sound and data leads to data alone", arguments: Browser.Kind.installed)
        func sound(_ kind: Browser.Kind) async throws {
            let browser = try await Browsers.shared.browser(kind)
            let meeting = try await Meeting(browser)
            try await browser.perform("addAudio", meeting.name)
            try await browser.perform("open", meeting.name, "control")
            try await meeting.signal(.page)
            try await meeting.exchange(try await meeting.channel("control"))
            // And again, now from our side, with the same sections.
            try await meeting.signal(.we)
            let channel = try meeting.connection.createDataChannel("second")
            try await meeting.exchange(channel)
            try await meeting.close()
        }

        @Test(
            "ICE restarts from either side while data flows",
            arguments: Browser.Kind.installed, [(Offerer.we, Offerer.we), (.we, .page), (.page, .we), (.page, .page)])
        func restart(_ kind: Browser.Kind, _ offerers: (first: Offerer, second: Offerer)) async throws {
            let browser = try await Browsers.shared.browser(kind)
            let meeting = try await Meeting(browser)
            let channel = try meeting.connection.createDataChannel("echo")
            try await browser.perform("open", meeting.name, "other")
            try await meeting.signal(offerers.first)
            try await channel.opened()
            let before = try #require(meeting.pairs.last)
            let echoes = Counter()
            let flow = Task {
                var messages = channel.messages.makeAsyncIterator()
                while !Task.isCancelled {
                    let number = "\(echoes.value)"
                    try await channel.send(number)
                    guard let echo = try await messages.next() else { break }
                    #expect(echo == .text(number))
                    echoes.increment()
                }
            }
            switch offerers.second {
            case .we: meeting.connection.restartICE()
            case .page: try await browser.perform("restart", meeting.name)
            }
            try await meeting.signal(offerers.second, trickling: true)
            // Both sides gather on new ports.
            _ = try await meeting.eventually("new pair") {
                let pair = meeting.pairs.last
                return pair?.localAddress != before.localAddress && pair?.remoteAddress != before.remoteAddress
                    ? true : nil
            }
            _ = try await meeting.eventually("page that is connected") {
                let state = try await browser.perform("state", meeting.name)
                return state["iceConnectionState"] == "connected" || state["iceConnectionState"] == "completed"
                    ? true : nil
            }
            // The old pair is given up after three seconds, which one case waits for.
            if offerers == (.we, .we) { try await Task.sleep(for: .seconds(4)) }
            let atNewPair = echoes.value
            _ = try await meeting.eventually("echo over the new pair") { echoes.value > atNewPair + 20 ? true : nil }
            flow.cancel()
            try await flow.value
            #expect(meeting.states == [.connecting, .connected], "the connection never noticed")
            try await meeting.close()
        }

        @Test("names of multicast DNS instead of addresses", arguments: Browser.Kind.installed, Offerer.allCases)
        func names(_ kind: Browser.Kind, _ offerer: Offerer) async throws {
            let browser = try await Browsers.shared.browser(kind, hidesAddresses: true)
            let meeting = try await Meeting(browser)
            let channel = try meeting.connection.createDataChannel("control")
            try await browser.perform("open", meeting.name, "theirs")
            try await meeting.signal(offerer)
            try await channel.opened()
            try await meeting.exchange(channel)
            let pair = try #require(meeting.pairs.last)
            print("\(kind) with names, \(offerer) offering: the remote candidate is \(pair.remote)")
            try await meeting.close()
        }

        @Test("the end of a connection is seen by the other side", arguments: Browser.Kind.installed, Offerer.allCases)
        func ends(_ kind: Browser.Kind, _ closer: Offerer) async throws {
            let browser = try await Browsers.shared.browser(kind)
            let meeting = try await Meeting(browser)
            let channel = try meeting.connection.createDataChannel("control")
            try await meeting.signal(.we)
            try await channel.opened()
            _ = try await browser.event(["event": "channel", "connection": meeting.name, "label": "control"])
            switch closer {
            case .we:
                meeting.connection.close()
                _ = try await browser.event(["event": "close", "connection": meeting.name, "label": "control"])
            case .page:
                try await browser.perform("close", meeting.name)
                var messages = channel.messages.makeAsyncIterator()
                #expect(try await messages.next() == nil)
                _ = try await meeting.eventually("end") { meeting.connection.state == .closed ? true : nil }
            }
            try await meeting.close()
        }
    }
}
