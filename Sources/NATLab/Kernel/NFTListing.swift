// SPDX-License-Identifier: Apache-2.0
import Wire

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
                    let value = pair.map { parts($0.last ?? .null) } ?? []
                    result.append((parts(key["elem"]?["val"] ?? key), value, key["elem"] ?? .null))
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
