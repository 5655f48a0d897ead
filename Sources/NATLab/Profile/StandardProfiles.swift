// SPDX-License-Identifier: Apache-2.0
internal import ICE

// The classes of RFC 3489 in the terms of RFC 4787: "full cone" is EI/EI, "restricted cone" EI/AD, "port restricted
// cone" EI/APD, "symmetric" APD/APD. They say nothing of ports, which decide whether a symmetric NAT can be met all the
// same.

extension NATProfile {
    /// A public address and nothing in the way: a server, or a host with a bridged modem.
    public static let open: NATProfile = {
        var profile = NATProfile(name: "open")
        profile.kind = .open
        profile.behavior.filtering = .endpointIndependent
        return profile
    }()

    /// Lets anybody in once a port is open: routers with "full cone NAT" or a "NAT type: open" switch, and hosts that
    /// have their port mapped by UPnP or PCP.
    public static let fullCone = NATProfile("full-cone", mapping: .endpointIndependent, filtering: .endpointIndependent)

    /// Lets in whatever address was sent to, from any of its ports: older routers of many makers, some operators' NATs.
    public static let addressRestricted = NATProfile(
        "address-restricted", mapping: .endpointIndependent, filtering: .addressDependent)

    /// The most frequent home router: Linux masquerading with a firewall before it, which is what OpenWrt and its
    /// descendants do. It keeps the port.
    public static let portRestricted: NATProfile = {
        var profile = NATProfile("port-restricted", mapping: .endpointIndependent, filtering: .addressAndPortDependent)
        profile.portConflict = .randomPort
        return profile
    }()

    /// Chooses another port, even for even and odd for odd: made with RTP and RTCP in mind (RFC 4787 §4.2.2), as in
    /// some operators' and business routers.
    public static let portRestrictedParity: NATProfile = {
        var profile = NATProfile(
            "port-restricted-parity", mapping: .endpointIndependent, filtering: .addressAndPortDependent,
            allocation: .random)
        profile.preservesParity = true
        return profile
    }()

    /// Has a mapping for each destination, and the first of them keeps the port: old BSD and firewall appliances that
    /// keep a port where they can.
    public static let symmetricPreserving: NATProfile = {
        var profile = NATProfile(
            "symmetric-preserving", mapping: .addressAndPortDependent, filtering: .addressAndPortDependent)
        profile.portConflict = .nextPort
        return profile
    }()

    /// Has a mapping for each destination, with ports one after another: what port prediction is for. Older enterprise
    /// routers and operators' NATs.
    public static let symmetricSequential = NATProfile(
        "symmetric-sequential", mapping: .addressAndPortDependent, filtering: .addressAndPortDependent,
        allocation: .sequential)

    /// Has a mapping for each destination, with ports at random: `masquerade fully-random` of Linux, the BSDs' `pf`,
    /// cloud providers' NAT gateways, most firewalls of companies.
    public static let symmetricRandom = NATProfile(
        "symmetric-random", mapping: .addressAndPortDependent, filtering: .addressAndPortDependent, allocation: .random)

    /// Has a mapping for each address that is sent to, whatever its port, at random: rare; some operators' NATs.
    public static let symmetricAddress = NATProfile(
        "symmetric-ad", mapping: .addressDependent, filtering: .addressAndPortDependent, allocation: .random)

    /// Has a mapping for each destination, but lets anybody into each of them: static port forwarding with a random
    /// source, as some virtual machines' networks and containers do.
    public static let symmetricOpen = NATProfile(
        "symmetric-open", mapping: .addressAndPortDependent, filtering: .endpointIndependent, allocation: .random)

    /// Linux masquerading and nothing else: a packet from a stranger gets an entry in the table of connections although
    /// nobody takes it, and what is sent to that stranger later gets another port. Naive laboratories, containers'
    /// hosts, hand-made routers.
    public static let leaky: NATProfile = {
        var profile = NATProfile("leaky", mapping: .endpointIndependent, filtering: .addressAndPortDependent)
        profile.portConflict = .randomPort
        profile.filteredInbound = .takesPort
        return profile
    }()

    /// An operator's NAT as RFC 6888 wants it: several external addresses, of which a subscriber keeps one, and a block
    /// of contiguous ports for each, so that the log is short.
    public static let carrierPairedRange: NATProfile = {
        var profile = NATProfile(
            "cgn-paired-range", mapping: .endpointIndependent, filtering: .addressDependent, allocation: .random)
        profile.addressCount = 4
        profile.portBlock = 2048
        profile.hairpinning = .externalSource
        profile.mappingLifetime = .seconds(300)
        return profile
    }()

    /// An operator's NAT that RFC 6888 does not want: each mapping has any of several external addresses, at random.
    public static let carrierArbitrary: NATProfile = {
        var profile = NATProfile(
            "cgn-arbitrary", mapping: .addressAndPortDependent, filtering: .addressAndPortDependent, allocation: .random
        )
        profile.addressCount = 4
        profile.pooling = .arbitrary
        return profile
    }()

    /// A home router behind an operator's NAT: most subscribers without an IPv4 address of their own.
    public static let doubleNAT: NATProfile = {
        var profile = NATProfile.portRestricted
        profile.name = "double-nat"
        profile.outer = [.carrierPairedRange]
        return profile
    }()

    /// Lets hosts behind it reach each other at its external address: what RFC 4787 asks of all.
    public static let hairpin: NATProfile = {
        var profile = NATProfile("hairpin", mapping: .endpointIndependent, filtering: .addressAndPortDependent)
        profile.hairpinning = .externalSource
        return profile
    }()

    /// Every requirement and recommendation of RFC 4787 followed.
    public static let rfc4787: NATProfile = {
        var profile = NATProfile(
            "rfc4787", mapping: .endpointIndependent, filtering: .addressDependent, allocation: .random)
        profile.preservesParity = true
        profile.hairpinning = .externalSource
        profile.mappingLifetime = .seconds(300)
        return profile
    }()

    /// Forgets after half a minute, as a good part of home routers do, and lets a destination answer no longer.
    public static let shortLived: NATProfile = {
        var profile = NATProfile("short-lived", mapping: .endpointIndependent, filtering: .addressAndPortDependent)
        profile.mappingLifetime = .seconds(30)
        profile.filterLifetime = .seconds(30)
        return profile
    }()

    /// Answers strangers with an ICMP error: Linux with a `reject` rule.
    public static let refusing: NATProfile = {
        var profile = NATProfile("refusing", mapping: .endpointIndependent, filtering: .addressAndPortDependent)
        profile.filteredInbound = .refused
        return profile
    }()

    /// Ends the mapping that a stranger sends to: firewalls that take an unexpected packet for an attack.
    public static let mappingEnding: NATProfile = {
        var profile = NATProfile("mapping-ending", mapping: .endpointIndependent, filtering: .addressAndPortDependent)
        profile.filteredInbound = .endsMapping
        return profile
    }()

    /// Public addresses behind a firewall that lets in only answers: universities, companies, and every home with IPv6.
    public static let firewall: NATProfile = {
        var profile = NATProfile(name: "firewall")
        profile.kind = .firewall
        return profile
    }()

    /// No UDP at all: networks of companies, hotels and ships. What is left is a relay over TCP or TLS.
    public static let udpBlocked: NATProfile = {
        var profile = NATProfile(name: "udp-blocked")
        profile.kind = .udpBlocked
        return profile
    }()

    /// Every profile that comes with the laboratory, the friendliest first.
    public static let standard: [NATProfile] = [
        .open, .fullCone, .addressRestricted, .rfc4787, .hairpin, .portRestricted, .portRestrictedParity, .shortLived,
        .refusing, .firewall, .leaky, .mappingEnding, .carrierPairedRange, .doubleNAT, .symmetricOpen,
        .symmetricPreserving, .symmetricSequential, .symmetricAddress, .symmetricRandom, .carrierArbitrary, .udpBlocked,
    ]

    /// The standard profile of a name; `nil` where there is none.
    public static func standard(named name: String) -> NATProfile? { standard.first { $0.name == name } }
}
