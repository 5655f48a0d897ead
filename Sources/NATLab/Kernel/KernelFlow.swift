// SPDX-License-Identifier: Apache-2.0
public import Wire

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
