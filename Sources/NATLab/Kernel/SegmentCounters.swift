// SPDX-License-Identifier: Apache-2.0
public import Wire

/// What crossed a segment, by both ends: counted by the kernel where frames enter the segment's bridge, whatever the programs
/// at its ends say of their paths.
enum SegmentCounters {
    private static let table = "bridge lab"
    private static let families = [(set: "flows", protocol: "ip", type: "ipv4_addr"), (set: "flows6", protocol: "ip6", type: "ipv6_addr")]

    /// The rules that count, as `nft -f` reads them. A segment that stands for so many routers drops what would not come
    /// through them, uncounted.
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

/// Packets of one protocol from one end to another.
public struct KernelFlow: Hashable, Sendable {
    /// The protocol above IP.
    public enum TransportProtocol: String, Hashable, Sendable {
        case udp
        case tcp
    }

    /// The protocol above IP.
    public let transportProtocol: TransportProtocol
    /// Where they came from, as seen where they were counted.
    public let source: SocketAddress
    /// Where they went to, as seen where they were counted.
    public let destination: SocketAddress
    /// How many.
    public let packets: Int
    /// Their bytes, IP headers included.
    public let bytes: Int

    /// A flow from its parts.
    public init(
        _ transportProtocol: TransportProtocol, from source: SocketAddress, to destination: SocketAddress, packets: Int,
        bytes: Int
    ) {
        self.transportProtocol = transportProtocol
        self.source = source
        self.destination = destination
        self.packets = packets
        self.bytes = bytes
    }
}

extension KernelFlow: CustomStringConvertible {
    /// For example `udp 203.0.113.10:4000 → 203.0.113.2:3478: 3 packets, 87 bytes`.
    public var description: String {
        "\(transportProtocol.rawValue) \(source) → \(destination): \(packets) packets, \(bytes) bytes"
    }
}

/// Reads what `nft -j` lists.
enum NFTListing {
    /// The elements of every set and map in a listing: the key's parts, the value's where it is a map, and the rest.
    static func elements(_ text: String) throws -> [(key: [JSON], value: [JSON], element: JSON)] {
        // One object for each command of a batch.
        var result: [(key: [JSON], value: [JSON], element: JSON)] = []
        for line in text.split(separator: "\n") {
            for object in try JSON(parsing: String(line))["nftables"]?.array ?? [] {
                for element in (object["set"] ?? object["map"])?["elem"]?.array ?? [] {
                    let pair = element.array
                    let key = pair?.first ?? element
                    result.append(
                        (parts(key["elem"]?["val"] ?? key), pair.map { parts($0.last ?? .null) } ?? [], key["elem"] ?? .null))
                }
            }
        }
        return result
    }

    private static func parts(_ value: JSON) -> [JSON] { value["concat"]?.array ?? [value] }

    /// Two parts as an address with a port.
    static func address(_ ip: JSON, _ port: JSON) -> SocketAddress? {
        guard let ip = ip.string.flatMap(IPAddress.init), let port = port.integer.flatMap(UInt16.init(exactly:)) else {
            return nil
        }
        return SocketAddress(ip: ip, port: port)
    }

    /// The flows of a listing of counted sets: of segments, whose keys begin with the protocol, or of boxes, all UDP.
    static func flows(_ text: String) throws -> [KernelFlow] {
        try elements(text).compactMap { key, _, element in
            let kind = key.count == 5 ? key[0].string.flatMap(KernelFlow.TransportProtocol.init) : .udp
            let ends = Array(key.suffix(4))
            guard let kind, ends.count == 4, let source = address(ends[0], ends[1]),
                let destination = address(ends[2], ends[3])
            else { return nil }
            let counter = element["counter"]
            return KernelFlow(
                kind, from: source, to: destination, packets: Int(counter?["packets"]?.integer ?? 0),
                bytes: Int(counter?["bytes"]?.integer ?? 0))
        }
    }
}
