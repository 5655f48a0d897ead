// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Origin

@Suite("Addresses and headers")
struct OriginAddressTests {
    @Test(
        "a folder's address gives those of its files",
        arguments: [
            ("http://h", "http://h/a.bin"), ("http://h/", "http://h/a.bin"), ("HTTPS://h:8443/m//", "https://h:8443/m/a.bin"),
            ("http://h/m/manifest.json", "http://h/m/a.bin"), ("http://h/m?sig=1", "http://h/m/a.bin?sig=1"),
            ("http://h/m/?sig=/#x", "http://h/m/a.bin?sig=/"), ("http://[::1]:80", "http://[::1]:80/a.bin"),
        ])
    func files(base: String, expected: String) {
        #expect(OriginAddress(base)?.file("a.bin") == expected)
    }

    @Test("names are escaped byte by byte")
    func escapes() {
        #expect(OriginAddress("http://h")?.file("proofs", "a b/ü%?#~.b3") == "http://h/proofs/a%20b%2F%C3%BC%25%3F%23~.b3")
    }

    @Test(
        "what is no web address is refused",
        arguments: ["", "ftp://h/", "http://", "http:///x", "http://:80/", "h/x", "http://h/ x", "file:///etc/passwd"])
    func refused(base: String) {
        #expect(OriginAddress(base) == nil)
        #expect(throws: OriginError.self) { try HTTPOrigin(base: base) }
    }

    @Test(
        "Content-Range as in RFC 9110 §14.4",
        arguments: [
            ("bytes 0-9/10", 0..<10, 10), ("bytes 5-5/*", 5..<6, nil), ("bytes */7", nil, 7), ("Bytes 1-2 / 3", 1..<3, 3),
        ] as [(String, Range<Int64>?, Int64?)])
    func contentRange(text: String, range: Range<Int64>?, total: Int64?) throws {
        let header = try #require(ContentRange(text))
        #expect(header.range == range && header.total == total)
    }

    @Test(
        "other Content-Range headers mean nothing",
        arguments: [
            "", "bytes", "bytes 0-9", "bytes 9-0/10", "bytes 0-10/10", "bytes -5/10", "bytes 0-/10", "items 0-1/2",
            "bytes 0-9223372036854775807/*", "bytes 0-99999999999999999999/*", "bytes +0-1/2", "bytes 0-1/2/3",
        ])
    func badContentRange(text: String) {
        #expect(ContentRange(text) == nil)
    }
}
