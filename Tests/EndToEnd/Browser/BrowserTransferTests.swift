// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing
import WebRTC
import Wire

extension BrowserTests {
    /// A lot of data with Chromium and Firefox: `DREAMER_BROWSER_MB` megabytes each way, 1,000 for the figures.
    @Suite("transfer", .serialized, .timeLimit(.minutes(10)))
    struct Transfer {
        private static let size: Int64 = {
            let text = ProcessInfo.processInfo.environment["DREAMER_BROWSER_MB"]
            return (text.flatMap { Int64($0) } ?? 100) * 1_000_000
        }()
        private static let message = 64 * 1024

        private func rate(_ bytes: Int64, _ began: ContinuousClock.Instant) -> String {
            let seconds = (ContinuousClock.now - began) / .seconds(1)
            return "\(bytes / 1_000_000) MB in \((seconds * 100).rounded() / 100) s: "
                + "\((Double(bytes) / seconds / 1e5).rounded() / 10) MB/s"
        }

        @Test("bulk in both directions, one after the other", arguments: Browser.Kind.installed)
        func transfer(_ kind: Browser.Kind) async throws {
            let browser = try await Browsers.shared.browser(kind)
            let meeting = try await Meeting(browser)
            let channel = try meeting.connection.createDataChannel("bulk")
            try await meeting.signal(.we)
            try await channel.opened()
            _ = try await browser.event(["event": "channel", "connection": meeting.name, "label": "bulk"])
            try await browser.perform("mode", meeting.name, "bulk", "count")
            let count = (Self.size + Int64(Self.message) - 1) / Int64(Self.message)
            let total = count * Int64(Self.message)
            let message = Meeting.pattern(Self.message)

            var began = ContinuousClock.now
            for _ in 0..<count { try await channel.send(message) }
            let outcome = try await browser.perform(
                "received", meeting.name, "bulk", .integer(total), within: .seconds(300))
            print("to \(kind): \(rate(total, began))")
            #expect(outcome["bytes"] == .integer(total) && outcome["messages"] == .integer(count))
            #expect(outcome["wrong"] == 0)

            began = ContinuousClock.now
            let flood = browser.begin(
                "flood", [meeting.name, "bulk", .integer(total), .integer(Int64(Self.message)), .integer(1 << 20)])
            var (bytes, wrong) = (Int64(0), 0)
            for try await case .binary(let received) in channel.messages {
                bytes += Int64(received.count)
                if received.first != 0 || received.last != message.last { wrong += 1 }
                if bytes >= total { break }
            }
            print("from \(kind): \(rate(total, began))")
            #expect(bytes == total && wrong == 0)
            _ = try await browser.result(of: flood, "flood", within: .seconds(60))
            try await meeting.close()
        }
    }
}
