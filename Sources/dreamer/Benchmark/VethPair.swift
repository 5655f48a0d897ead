// SPDX-License-Identifier: Apache-2.0
import Glibc
import Wire

/// Two network namespaces with an Ethernet cable between them, on which the kernel takes no shortcuts: segmentation and
/// receive offloads are off, so that every datagram passes as a packet of its own.
///
/// Each namespace is held by a process that waits for the end of its input. When this program ends, even by force, they
/// end, and the kernel takes the namespaces and the cable away.
final class VethPair {
    private let holders: [MeasuredProcess]

    /// Makes the pair; needs to be root.
    init() throws {
        guard geteuid() == 0 else { throw CommandFailure("--via veth: network namespaces need root") }
        holders = try (0..<2).map { _ in
            let holder = try MeasuredProcess("unshare", ["--net", "sh", "-c", "echo ready; exec cat"])
            guard try holder.line(within: 10) == "ready" else { throw CommandFailure("no network namespace") }
            return holder
        }
        let cable = ["type", "veth", "peer", "name", device(1), "netns", "\(holders[1].pid)"]
        try run(0, ["ip", "link", "add", device(0)] + cable)
        for side in 0..<2 {
            try run(side, ["ip", "addr", "add", "\(address(side))/24", "dev", device(side)])
            try run(side, ["ip", "link", "set", device(side), "up"])
            // Checksums stay the kernel's: it refuses segmented sends without.
            try run(
                side,
                ["ethtool", "-K", device(side), "gso", "off", "tso", "off", "gro", "off", "tx-udp-segmentation", "off"])
        }
    }

    /// What runs a command in the namespace of a side, 0 or 1, keeping its process id.
    func prefix(_ side: Int) -> [String] { ["nsenter", "--net=/proc/\(holders[side].pid)/ns/net", "--"] }

    /// The address of a side; it means something only in its namespace.
    func address(_ side: Int) -> String { "10.203.0.\(side + 1)" }

    /// The name of a side's device.
    func device(_ side: Int) -> String { "veth\(side)" }

    private func run(_ side: Int, _ command: [String]) throws {
        let words = prefix(side) + command
        let ending = try MeasuredProcess(words[0], Array(words.dropFirst())).finish(within: 20)
        guard ending.status == 0 else {
            throw CommandFailure("\(command.joined(separator: " ")): status \(ending.status)")
        }
    }
}
