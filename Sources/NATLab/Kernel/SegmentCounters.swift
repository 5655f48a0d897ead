// SPDX-License-Identifier: Apache-2.0
/// What crossed a segment, by both ends: counted by the kernel where frames enter the segment's bridge, whatever the
/// programs at its ends say of their paths.
enum SegmentCounters {
    private static let table = "bridge lab"
    private static let families = [
        (set: "flows", protocol: "ip", type: "ipv4_addr"), (set: "flows6", protocol: "ip6", type: "ipv6_addr"),
    ]

    /// The rules that count, as `nft -f` reads them. A segment that stands for so many routers drops what would not
    /// come through them, uncounted.
    static func rules(hops: Int) -> String {
        var lines = ["table \(table) {"]
        for family in families {
            let type = "inet_proto . \(family.type) . inet_service . \(family.type) . inet_service"
            lines.append("  set \(family.set) { type \(type); flags dynamic; size \(NFTRules.capacity); counter; }")
        }
        // Frames from a port, and those of the box itself.
        for hook in ["prerouting", "output"] {
            lines += ["  chain \(hook) {", "    type filter hook \(hook) priority 0; policy accept;"]
            if hops > 0, hook == "prerouting" {
                lines += ["    ip ttl 0-\(hops) drop", "    ip6 hoplimit 0-\(hops) drop"]
            }
            for family in families {
                let (set, ip) = (family.set, family.protocol)
                let key = "meta l4proto . \(ip) saddr . th sport . \(ip) daddr . th dport"
                lines.append("    meta protocol \(ip) meta l4proto { tcp, udp } update @\(set) { \(key) }")
            }
            lines.append("  }")
        }
        return (lines + ["}"]).joined(separator: "\n") + "\n"
    }

    /// What lists the counters, for `nft`.
    static let list = "list table \(table)\n"
    /// What forgets them.
    static let flush = families.map { "flush set \(table) \($0.set)\n" }.joined()
}
