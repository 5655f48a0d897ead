// SPDX-License-Identifier: Apache-2.0

import Signaling
import Testing
import Wire

@Suite("Addresses and byte strings")
struct TrackerURLTests {
    @Test(
        "spellings of one address are one tracker",
        arguments: [
            ("ws://h", "ws://h"), ("WS://H:80/", "ws://h"), ("wss://h:443/announce/", "wss://h/announce"),
            ("wss://h:8443/a/b?key=1#x", "wss://h:8443/a/b?key=1"), ("ws://[::1]:8000", "ws://[::1]:8000"),
            ("ws://h:/", "ws://h"), ("ws://h?x=/", "ws://h/?x=/"), ("ws://127.0.0.1:8000/", "ws://127.0.0.1:8000"),
        ])
    func normalised(text: String, expected: String) {
        let url = TrackerURL(text)
        #expect(url?.description == expected)
        #expect(url.flatMap { TrackerURL($0.description) } == url)
    }

    @Test(
        "what is no WebSocket address is refused",
        arguments: [
            "", "ws://", "ws:///x", "h:80", "udp://h:80", "http://h", "wss://h:0", "ws://h:65536", "ws://h:8a", "ws://a:b:c",
            "ws://[::1", "ws://[::1]x", "ws://[h]", "ws://user@h", "ws://h/\r\nX: y", "ws://h /", "ws://hé", "://h",
            "ws://" + String(repeating: "a", count: 254), "ws://h/" + String(repeating: "a", count: 2048),
        ])
    func refused(text: String) {
        #expect(TrackerURL(text) == nil)
    }

    @Test("all byte values survive a tracker's JSON", arguments: 0...12)
    func latin1(start: Int) throws {
        let bytes = (0..<20).map { UInt8(truncatingIfNeeded: start * 20 + $0) }
        let value = try #require(Bytes20(bytes))
        #expect(value.bytes == bytes)
        #expect(value.latin1.unicodeScalars.count == 20)
        let text = try JSON(parsing: JSON.string(value.latin1).serialized())
        #expect(text.string.flatMap { Bytes20(latin1: $0) } == value)
        #expect(Bytes20(hex: value.description) == value)
        let escaped = "\"" + bytes.map { "\\u00" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() + "\""
        #expect(try JSON(parsing: escaped).string.flatMap { Bytes20(latin1: $0) } == value)
    }

    @Test(
        "other strings are no 20 bytes",
        arguments: [
            "", "aaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaa", String(repeating: "œ", count: 20),
            String(repeating: "e\u{301}", count: 10), String(repeating: "ab", count: 20), String(repeating: "😀", count: 5),
        ])
    func notTwenty(text: String) {
        #expect(Bytes20(latin1: text) == nil)
    }

    @Test("order is that of the bytes")
    func order() {
        #expect(Bytes20(repeated: 1) < Bytes20(repeated: 2))
        #expect(Bytes20(repeated: 0x7F) < Bytes20(repeated: 0x80))
        #expect(Bytes20(repeated: 1) < Bytes20(repeated: 1).withPrefix([1, 1, 2]))
    }
}
