// SPDX-License-Identifier: Apache-2.0
import ICE
import NATLab
import Testing
import Wire

@Suite("NAT profiles")
struct NATProfileTests {
    @Test("every standard profile is read back as it was written", arguments: NATProfile.standard)
    func roundTrip(_ profile: NATProfile) throws {
        #expect(try NATProfile(json: profile.json) == profile)
        #expect(try NATProfile(parsing: profile.json.serialized(indented: true)) == profile)
    }

    @Test("standard profiles have names of their own, by which they are found")
    func names() {
        #expect(Set(NATProfile.standard.map(\.name)).count == NATProfile.standard.count)
        #expect(NATProfile.standard.count >= 14)
        for profile in NATProfile.standard { #expect(NATProfile.standard(named: profile.name) == profile) }
        #expect(NATProfile.standard(named: "none-of-these") == nil)
    }

    @Test("a file needs to say no more than the name; the rest is that of a fresh profile")
    func defaults() throws {
        #expect(try NATProfile(parsing: #"{"name": "x"}"#) == NATProfile(name: "x"))
        #expect(
            try NATProfile(parsing: #"{"name": "x", "portBlock": null, "comment": {"any": [1]}}"#)
                == NATProfile(name: "x"))
    }

    @Test("every member is read")
    func members() throws {
        let text = """
            {"name": "Any-1", "kind": "firewall", "mapping": "ad", "filtering": "ei", "allocation": "sequential",
             "ports": [2000, 2999], "portStep": 2, "portBlock": 100, "preservesParity": true, "portConflict": "override",
             "addresses": 3, "pooling": "arbitrary", "hairpinning": "internal", "mappingLifetime": 0.5,
             "filterLifetime": 30, "outboundRefreshes": false, "inboundRefreshes": true, "filteredInbound": "takes-port",
             "maximumSessions": 10, "outer": [{"name": "y"}, {"name": "z", "mapping": "apd"}]}
            """
        var expected = NATProfile(
            "Any-1", mapping: .addressDependent, filtering: .endpointIndependent, allocation: .sequential)
        expected.kind = .firewall
        expected.ports = 2000...2999
        expected.portStep = 2
        expected.portBlock = 100
        expected.preservesParity = true
        expected.portConflict = .overriding
        expected.addressCount = 3
        expected.pooling = .arbitrary
        expected.hairpinning = .internalSource
        expected.mappingLifetime = .milliseconds(500)
        expected.filterLifetime = .seconds(30)
        expected.outboundRefreshes = false
        expected.inboundRefreshes = true
        expected.filteredInbound = .takesPort
        expected.maximumSessions = 10
        var outermost = NATProfile(name: "z")
        outermost.behavior.mapping = .addressAndPortDependent
        expected.outer = [NATProfile(name: "y"), outermost]
        #expect(try NATProfile(parsing: text) == expected)
        #expect(try NATProfile(json: expected.json) == expected)
    }

    @Test(
        "what is wrong is named with its place and what is allowed",
        arguments: [
            (#"{}"#, "name: the member is missing"),
            (#"[]"#, "profile: [] is not allowed; it is an object"),
            (#"{"name": ""}"#, #"name: "" is not allowed; it is 1 to 64 letters, digits and hyphens"#),
            (#"{"name": "a b"}"#, #"name: "a b" is not allowed; it is 1 to 64 letters, digits and hyphens"#),
            (
                #"{"name": "x", "filtering": "port"}"#,
                #"filtering: "port" is not allowed; it is one of "ei", "ad", "apd""#
            ),
            (
                #"{"name": "x", "kind": 3}"#,
                #"kind: 3 is not allowed; it is one of "open", "nat", "firewall", "udp-blocked""#
            ),
            (
                #"{"name": "x", "ports": [5, 4]}"#,
                "ports: [5,4] is not allowed; it is the first and the last port, as in [1024, 65535]"
            ),
            (
                #"{"name": "x", "ports": [1, 65536]}"#,
                "ports: [1,65536] is not allowed; it is the first and the last port, as in [1024, 65535]"
            ),
            (#"{"name": "x", "preservesParity": 1}"#, "preservesParity: 1 is not allowed; it is true or false"),
            (#"{"name": "x", "addresses": 0}"#, "addresses: 0 is not allowed; it is a whole number from 1 to 256"),
            (
                #"{"name": "x", "ports": [1, 10], "portBlock": 11}"#,
                "portBlock: 11 is not allowed; it is a whole number from 1 to 10"
            ),
            (
                #"{"name": "x", "mappingLifetime": -1}"#,
                "mappingLifetime: -1 is not allowed; it is a number of seconds above 0 and up to 86400"
            ),
            (
                #"{"name": "x", "outer": [{"name": "y", "pooling": "odd"}]}"#,
                #"outer[0].pooling: "odd" is not allowed; it is one of "paired", "arbitrary""#
            ),
            (
                #"{"name": "x", "outer": [{"name": "y", "outer": []}]}"#,
                "outer[0].outer: [] is not allowed; it is given for the innermost box alone"
            ),
        ])
    func faults(text: String, message: String) {
        let error = #expect(throws: NATProfileError.self) { try NATProfile(parsing: text) }
        #expect(error?.description == message)
    }

    @Test("a member that no profile has is a fault, and the known ones are named")
    func unknownMember() {
        let error = #expect(throws: NATProfileError.self) {
            try NATProfile(parsing: #"{"name": "x", "outer": [{"name": "y", "filter": "ei"}]}"#)
        }
        guard case .unknown("outer[0].filter", let known)? = error else {
            Issue.record("not told: \(error as Any)")
            return
        }
        #expect(known.contains("filtering"))
    }

    @Test("text that is no JSON, or hides its depth, is refused")
    func noJSON() {
        for text in ["", "{", String(repeating: "[", count: 10_000), #"{"name": "x"} "# + "!"] {
            #expect(throws: NATProfileError.self) { try NATProfile(parsing: text) }
        }
    }

    @Test("a profile with one byte changed is read or refused, and never traps")
    func mutated() {
        let original = Array(NATProfile.doubleNAT.json.serialized().utf8)
        var entropy = Entropy(seed: 11)
        for _ in 0..<2000 {
            var bytes = original
            bytes[Int(entropy.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: entropy.next())
            guard let json = try? JSON(parsing: bytes), let profile = try? NATProfile(json: json) else { continue }
            // What was read is sound enough to be built.
            var nat = makeNAT(profile)
            _ = nat.out("10.0.0.2:5000", "203.0.113.1:1000")
        }
    }
}
