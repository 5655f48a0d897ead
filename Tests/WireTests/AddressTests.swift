// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@Suite("Addresses")
struct AddressTests {
    @Test(
        "text is read and written as RFC 5952 says",
        arguments: [
            ("127.0.0.1", "127.0.0.1"), ("255.255.255.255", "255.255.255.255"), ("::", "::"), ("::1", "::1"),
            ("2001:db8::1", "2001:db8::1"), ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"), ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
            ("fe80::1%3", "fe80::1%3"),
            ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"), ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"),
        ])
    func roundTrip(text: String, canonical: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == canonical)
        #expect(IPAddress(canonical) == address)
    }

    @Test(
        "what is no address is refused",
        arguments: [
            "", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.+4", "a", ":::", "::1::", "1:2:3:4:5:6:7:8:9",
            "12345::", "1:",
            ":1", "1::2::3", "fe80::1%eth0", "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3", "1.2.3.4::", "g::1",
            "1:2:3:4:5:6:7:8::",
        ])
    func refused(text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test("classes of addresses are told apart")
    func classes() throws {
        func ip(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }
        #expect(try ip("127.9.9.9").isLoopback && ip("::1").isLoopback && !ip("128.0.0.1").isLoopback)
        #expect(
            try ip("169.254.1.1").isLinkLocal && ip("fe80::1").isLinkLocal && ip("febf::1").isLinkLocal
                && !ip("fec0::1").isLinkLocal)
        for text in [
            "10.1.1.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255", "fc00::1",
            "fdff::1",
        ] {
            #expect(try ip(text).isPrivate, "\(text)")
        }
        for text in ["11.0.0.0", "172.32.0.0", "192.169.0.0", "100.63.0.1", "100.128.0.0", "fe00::1", "2001:db8::1"] {
            #expect(try !ip(text).isPrivate, "\(text)")
        }
        #expect(try ip("::ffff:10.0.0.1").unmapped == ip("10.0.0.1"))
        #expect(try ip("1.2.3.4").bytes == [1, 2, 3, 4])
        #expect(try ip("102:304::f").bytes == [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15])
    }

    @Test("socket addresses keep their port", arguments: ["192.0.2.1:80", "[2001:db8::1]:65535", "[::]:0"])
    func socketAddress(text: String) {
        #expect(SocketAddress(text)?.description == text)
    }

    @Test(
        "broken socket addresses are refused",
        arguments: ["192.0.2.1", "[::1]", "::1:80", "1.2.3.4:65536", "[1.2.3.4]:1", "host:1"])
    func socketAddressRefused(text: String) {
        #expect(SocketAddress(text) == nil)
    }
}
