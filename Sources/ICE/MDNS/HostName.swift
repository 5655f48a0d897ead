// SPDX-License-Identifier: Apache-2.0
public import Wire

/// A name of multicast DNS that stands for one address of this host.
public struct HostName: Hashable, Sendable {
    /// A random UUID and `.local` (draft-ietf-mmusic-mdns-ice-candidates §3.1.1).
    public let name: String
    /// What it stands for.
    public let address: IPAddress

    /// A name for an address.
    public init(name: String, address: IPAddress) {
        self.name = name
        self.address = address
    }

    /// A fresh name: a UUID of version 4 (RFC 9562 §5.4).
    init(of address: IPAddress, using entropy: inout Entropy) {
        var bytes = entropy.bytes(16)
        bytes[6] = bytes[6] & 0x0F | 0x40
        bytes[8] = bytes[8] & 0x3F | 0x80
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for (index, byte) in bytes.enumerated() {
            if [4, 6, 8, 10].contains(index) { text.append(UInt8(ascii: "-")) }
            text += [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
        }
        name = String(decoding: text, as: UTF8.self) + ".local"
        self.address = address
    }
}

extension ICEAgent {
    /// What RFC 8839 §5.1 has an agent write that keeps its addresses to itself.
    static func hiddenAddress(_ family: IPAddress.Family) -> SocketAddress {
        SocketAddress(ip: family == .v4 ? .anyV4 : .anyV6, port: 9)
    }

    /// A candidate as the peer may see it, without an address of this host.
    mutating func concealed(_ candidate: ICECandidate, _ address: IPAddress) -> ICECandidate {
        var candidate = candidate
        guard candidate.kind == .host else {
            candidate.relatedAddress = Self.hiddenAddress(address.family)
            return candidate
        }
        let known = hostNames.first { $0.address == address }
        let host = known ?? HostName(of: address, using: &entropy)
        if known == nil { hostNames.append(host) }
        candidate.host = .name(host.name)
        return candidate
    }
}
