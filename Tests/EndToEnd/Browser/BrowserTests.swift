// SPDX-License-Identifier: Apache-2.0
import ICE
import SDP
import Testing
import WebRTC
import Wire

/// Data channels with Chromium and Firefox.
@Suite("browsers", .serialized, .enabled(if: !Browser.Kind.installed.isEmpty, "there is no browser"))
struct BrowserTests {
    @Test("a browser answers our offer", arguments: Browser.Kind.installed)
    func answers(_ kind: Browser.Kind) async throws {
        let browser = try await Browsers.shared.browser(kind)
        let meeting = try await Meeting(browser)
        let channel = try meeting.connection.createDataChannel("control", options: .init(subprotocol: "dreamer/1"))
        try await meeting.offer()
        try await channel.opened()
        try await meeting.exchange(channel)
        try await meeting.close()
    }

    @Test("we answer a browser's offer", arguments: Browser.Kind.installed)
    func offers(_ kind: Browser.Kind) async throws {
        let browser = try await Browsers.shared.browser(kind)
        let meeting = try await Meeting(browser)
        try await browser.perform("open", meeting.name, "control", ["protocol": "dreamer/1"])
        try await meeting.beOffered()
        let channel = try await meeting.channel("control")
        #expect(channel.options.subprotocol == "dreamer/1")
        try await meeting.exchange(channel)
        try await meeting.close()
    }
}
