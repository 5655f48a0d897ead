// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing
import Wire

@testable import NetIO

@Suite("what the host says", .timeLimit(.minutes(5)))
struct HostTests {
    @Test("the loopback interface is listed as such")
    func loopback() throws {
        let interfaces = try NetworkInterface.all()
        let loopback = try #require(interfaces.first { $0.isLoopback })
        #expect(loopback.index == 1)
        let address = NetworkInterface.Address(ip: .loopbackV4, prefixLength: 8, isTemporary: false)
        #expect(loopback.addresses.contains(address))
        #expect(interfaces.allSatisfy { !$0.addresses.isEmpty && !$0.name.isEmpty && $0.index > 0 })
    }

    @Test("every address of the host is known, whatever state it is in")
    func everyAddress() throws {
        let all = try NetworkInterface.everyAddress()
        #expect(all.contains(.loopbackV4))
        for interface in try NetworkInterface.all(includingTemporary: true) {
            #expect(all.isSuperset(of: interface.addresses.map(\.ip.withoutScope)))
        }
    }

    @Test("the source address of a packet is the route's")
    func sourceAddress() {
        #expect(NetworkInterface.sourceAddress(toward: .loopbackV4) == .loopbackV4)
        #expect(NetworkInterface.sourceAddress(toward: .loopbackV6) == .loopbackV6)
    }

    @Test("flags of IPv6 addresses are read from the kernel's table, and rubbish is not")
    func addressStates() throws {
        let permanent = try #require(AddressState.parse("fe80000000000000001122fffe334455 02 40 20 80     eth0"))
        #expect(permanent.0 == IPAddress("fe80::11:22ff:fe33:4455"))
        #expect(permanent.1.isUsable && !permanent.1.isTemporary)
        let temporary = try #require(AddressState.parse("20010db8000000000000000000000001 02 40 00 01     eth0"))
        #expect(temporary.1.isUsable && temporary.1.isTemporary)
        let deprecated = try #require(AddressState.parse("20010db8000000000000000000000001 02 40 00 20     eth0"))
        #expect(!deprecated.1.isUsable)
        #expect(AddressState.parse("20010db8 02 40 00 20 eth0") == nil)
        #expect(AddressState.parse("") == nil)
    }

    @Test("addresses resolve to themselves and localhost to loopback")
    func resolving() async throws {
        #expect(try await Resolver.resolve("192.0.2.7", port: 80) == [#require(SocketAddress("192.0.2.7:80"))])
        #expect(try await Resolver.resolve("2001:db8::1", port: 1) == [#require(SocketAddress("[2001:db8::1]:1"))])
        for name in ["localhost", "LocalHost.", "a.localhost"] {
            let local = try await Resolver.resolve(name, port: 7)
            #expect(local.map(\.ip) == [.loopbackV4, .loopbackV6] && local.allSatisfy { $0.port == 7 })
        }
    }

    @Test("a name that cannot be one fails with the resolver's own words")
    func badName() async throws {
        let error = await #expect(throws: NetIOError.self) {
            try await Resolver.resolve(String(repeating: "x", count: 300) + ".invalid", port: 1)
        }
        #expect(error?.isResolution == true)
        #expect(error?.description.contains("xxx.invalid: ") == true)
    }

    @Test("cancelling ends the wait")
    func cancelledLookup() async throws {
        let lookup = Task { try await Resolver.resolve("a-name-to-wait-for.invalid", port: 1) }
        lookup.cancel()
        let error = await #expect(throws: NetIOError.self) { try await lookup.value }
        #expect(error?.isCancellation == true)
    }

    @Test("a lookup that takes too long is given up")
    func slowLookup() async throws {
        let error = await #expect(throws: NetIOError.self) {
            try await Resolver.resolve("a-name-to-wait-for.invalid", port: 1, timeout: .zero)
        }
        // A resolver with a quick answer may win.
        #expect(error?.code == ETIMEDOUT || error?.isResolution == true)
        #expect(try await !Resolver.resolve("localhost", port: 7, timeout: .seconds(30)).isEmpty)
    }

    @Test("the clock does not go back, and keys of entropy differ")
    func clockAndEntropy() {
        var last = MonotonicClock.now
        for _ in 0..<1000 {
            let now = MonotonicClock.now
            #expect(now >= last)
            last = now
        }
        var (first, second) = (SystemEntropy.make(), SystemEntropy.make())
        #expect(first.next() != second.next())
    }
}
