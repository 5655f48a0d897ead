// SPDX-License-Identifier: Apache-2.0
import Glibc

/// The interfaces that packets to the world leave by, as the kernel tells in its files (proc(5), sysfs(5)).
public struct DefaultRoute: Sendable {
    private let root: String

    /// The routes of this host, or of one whose `proc` and `sys` lie in another folder than `/`.
    public init(root: String = "/") {
        self.root = root
    }

    /// The interfaces with a default route, of IPv4 and IPv6; empty where nothing can be read.
    public var interfaces: [String] {
        var names: [String] = []
        // Destination 0 with mask 0: columns of proc_net_route, in hexadecimal.
        for line in lines("proc/net/route").dropFirst()
        where line.count >= 8 && line[1] == "00000000" && line[7] == line[1] {
            names.append(line[0])
        }
        let unspecified = String(repeating: "0", count: 32)
        // ::/0; where there is no route the kernel keeps a rejecting one on the loopback.
        for line in lines("proc/net/ipv6_route")
        where line.count >= 10 && line[0] == unspecified && line[1] == "00" && line[9] != "lo" {
            names.append(line[9])
        }
        return names.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }

    /// Whether one of them is a modem of a mobile network, whose traffic is paid for as a rule: the kernel calls its
    /// kind `wwan`.
    public var isCellular: Bool {
        interfaces.contains { name in
            // A name is one component of a path, whatever a file says.
            !name.contains("/") && lines("sys/class/net/\(name)/uevent").contains(["DEVTYPE=wwan"])
        }
    }

    /// A file's lines, cut into words; none where it cannot be read.
    private func lines(_ path: String) -> [[String]] {
        guard let file = fopen("\(root)/\(path)", "re") else { return [] }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 4096)
        // No table of routes is of use beyond this.
        while bytes.count < 1 << 20 {
            let count = fread(&block, 1, block.count, file)
            guard count > 0 else { break }
            bytes += block[..<count]
        }
        return String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).map { line in
            line.split(whereSeparator: \.isWhitespace).map(String.init)
        }
    }
}
