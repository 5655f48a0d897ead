// SPDX-License-Identifier: Apache-2.0
import Glibc
import Wire

/// The sizes of UDP datagrams that came over a ``VethPair``, captured by tcpdump at the receiver's end.
struct PacketCapture {
    /// How many datagrams there were.
    private(set) var count = 0
    /// The longest UDP payload in bytes.
    private(set) var longest = 0
    /// The mean UDP payload in bytes.
    private(set) var mean = 0.0

    /// Captures while `body` runs, in a file below `folder`.
    init(over veth: VethPair, in folder: String, _ body: () throws -> Void) throws {
        let path = "\(folder)/capture.pcap"
        defer { unlink(path) }
        let words =
            veth.prefix(1) + ["tcpdump", "-i", veth.device(1), "-s", "64", "-B", "65536", "-U", "-w", path, "udp"]
        let tcpdump = try MeasuredProcess(words[0], Array(words.dropFirst()))
        // The header is written when the capture runs.
        let deadline = Clock.seconds + 10
        while Self.size(of: path) < Self.fileHeader {
            guard Clock.seconds < deadline else { throw CommandFailure("tcpdump does not start") }
            usleep(20_000)
        }
        try body()
        tcpdump.stop()
        _ = try tcpdump.finish()
        try read(path)
    }

    /// The file's header, and the one before each packet: seconds, microseconds, bytes stored, bytes on the wire, each
    /// 32 bits in the machine's order.
    private static let fileHeader = 24
    private static let packetHeader = 16
    /// Ethernet, IPv4 without options, UDP.
    private static let framing = 14 + 20 + 8

    private static func size(of path: String) -> Int {
        var information = stat()
        return stat(path, &information) == 0 ? Int(information.st_size) : 0
    }

    private mutating func read(_ path: String) throws {
        guard let file = fopen(path, "r") else { throw CommandFailure("\(path): nothing was captured") }
        defer { fclose(file) }
        fseek(file, Self.fileHeader, SEEK_SET)
        var header = [UInt32](repeating: 0, count: Self.packetHeader / 4)
        var total = 0
        while fread(&header, 1, Self.packetHeader, file) == Self.packetHeader {
            let payload = Int(header[3]) - Self.framing
            count += 1
            total += payload
            longest = max(longest, payload)
            fseek(file, Int(header[2]), SEEK_CUR)
        }
        mean = count > 0 ? Double(total) / Double(count) : 0
    }

    var json: JSON {
        [
            "datagrams": .integer(Int64(count)), "longestPayloadBytes": .integer(Int64(longest)),
            "meanPayloadBytes": .rounded(mean),
        ]
    }

    var description: String {
        "\(count) datagrams captured, UDP payload \(Units.fixed(mean, 1)) bytes on average, \(longest) at most"
    }
}
