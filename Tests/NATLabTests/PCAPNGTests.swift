// SPDX-License-Identifier: Apache-2.0
import Foundation
import NATLab
import TestSupport
import Testing
import Wire

/// A block of a pcapng file as its specification (draft-ietf-opsawg-pcapng) describes it, read without the writer's
/// help.
private struct Block: Equatable {
    let type: UInt32
    let body: [UInt8]

    static func read(_ bytes: [UInt8]) throws -> [Block] {
        var blocks: [Block] = []
        var reader = ByteReader(bytes.span.bytes)
        while reader.remaining > 0 {
            let type = try reader.readUInt32LE()
            let length = Int(try reader.readUInt32LE())
            try #require(length % 4 == 0 && length >= 12)
            blocks.append(Block(type: type, body: try reader.readBytes(length - 12)))
            #expect(Int(try reader.readUInt32LE()) == length)
        }
        return blocks
    }

    /// The options that begin at an offset.
    func options(at offset: Int) throws -> [UInt16: [UInt8]] {
        var reader = ByteReader(body.span.bytes)
        try reader.skip(offset)
        var options: [UInt16: [UInt8]] = [:]
        while reader.remaining > 0 {
            let code = try reader.readUInt16LE()
            let length = Int(try reader.readUInt16LE())
            if code == 0 { break }
            options[code] = try reader.readBytes(length)
            try reader.skip((4 - length % 4) % 4)
        }
        #expect(reader.remaining == 0)
        return options
    }
}

/// The sum of 16-bit words in ones' complement, as RFC 1071 defines it: all ones where a checksum among them is right.
private func onesSum(_ bytes: some Collection<UInt8>) -> UInt32 {
    var sum: UInt32 = 0
    for (index, byte) in bytes.enumerated() { sum += index % 2 == 0 ? UInt32(byte) << 8 : UInt32(byte) }
    while sum > 0xFFFF { sum = (sum & 0xFFFF) + (sum >> 16) }
    return sum
}

@Suite("pcapng")
struct PCAPNGTests {
    private let datagrams = [
        Datagram(source: address("192.0.2.1:5000"), destination: address("198.51.100.7:3478"), payload: [1, 2, 3]),
        Datagram(
            source: address("[2001:db8::1]:5000"), destination: address("[2001:db8::2]:3478"), payload: [4, 5, 6, 7]),
        Datagram(source: address("0.0.0.0:0"), destination: address("255.255.255.255:65535"), payload: []),
    ]

    @Test("blocks, interfaces, packets, times and comments are as the format has them")
    func structure() throws {
        var capture = PCAPNG(application: "test", epoch: 1_700_000_000_000_000_000)
        #expect(capture.addInterface("first", description: "a place") == 0)
        #expect(capture.addInterface("second") == 1)
        capture.addSecrets(keyLog: Array("CLIENT_RANDOM 00 11\n".utf8))
        capture.add(datagrams[0], at: seconds(1.5), interface: 1, comment: "dropped: väter")
        capture.add(datagrams[1], at: seconds(2), interface: 0)
        let blocks = try Block.read(capture.bytes)
        #expect(blocks.map(\.type) == [0x0A0D_0D0A, 1, 1, 10, 6, 6])
        #expect(
            Array(blocks[0].body.prefix(16)) == bytes(hex: "4d3c2b1a 0100 0000 ffffffffffffffff"),
            "magic, version 1.0, a length that is not told")
        #expect(try blocks[0].options(at: 16)[4] == Array("test".utf8))
        let first = try blocks[1].options(at: 8)
        #expect(Array(blocks[1].body.prefix(8)) == bytes(hex: "6500 0000 00000000"), "raw IP, no limit")
        #expect(first[2] == Array("first".utf8) && first[3] == Array("a place".utf8) && first[9] == [9])
        #expect(Array(blocks[3].body.prefix(8)) == bytes(hex: "4b534c54 14000000"))
        #expect(blocks[3].body.count == 8 + 20)
        let packet = blocks[4].body
        var reader = ByteReader(packet.span.bytes)
        #expect(try reader.readUInt32LE() == 1)
        let time = UInt64(try reader.readUInt32LE()) << 32 | UInt64(try reader.readUInt32LE())
        #expect(time == 1_700_000_001_500_000_000)
        #expect(try reader.readUInt32LE() == 31)
        #expect(try reader.readUInt32LE() == 31)
        #expect(try blocks[4].options(at: 20 + 32)[1] == Array("dropped: väter".utf8))
        #expect(blocks[5].body.count == 20 + 52, "without a comment there are no options")
    }

    @Test("a capture that is taken piece by piece is the same file")
    func pieces() {
        var whole = PCAPNG()
        var pieces = PCAPNG()
        var taken = pieces.takeBytes()
        whole.addInterface("any")
        pieces.addInterface("any")
        for datagram in datagrams {
            whole.add(datagram, at: .zero, interface: 0)
            pieces.add(datagram, at: .zero, interface: 0)
            taken += pieces.takeBytes()
        }
        #expect(taken == whole.bytes && pieces.bytes.isEmpty)
    }

    @Test("headers carry the addresses, lengths and right checksums", arguments: 0..<3)
    func headers(_ index: Int) throws {
        let datagram = datagrams[index]
        var capture = PCAPNG()
        capture.addInterface("any")
        capture.add(datagram, at: .zero, interface: 0, timeToLive: 5)
        let body = try #require(try Block.read(capture.bytes).last).body
        let isV6 = datagram.source.ip.family == .v6
        let header = isV6 ? 40 : 20
        let packet = Array(body[20..<20 + header + 8 + datagram.payload.count])
        let length = [0, UInt8(8 + datagram.payload.count)]
        let addresses = datagram.source.ip.bytes + datagram.destination.ip.bytes
        if isV6 {
            #expect(Array(packet[..<8]) == [0x60, 0, 0, 0] + length + [17, 5])
        } else {
            #expect(Array(packet[..<10]) == [0x45, 0, 0, UInt8(packet.count), 0, 0, 0x40, 0, 5, 17])
            #expect(onesSum(packet[..<20]) == 0xFFFF)
        }
        #expect(Array(packet[(header - addresses.count)..<header]) == addresses)
        #expect(Array(packet[(header + 4)..<(header + 6)]) == length)
        #expect(onesSum(addresses + [0, 17] + length + packet[header...]) == 0xFFFF)
        #expect(packet[header + 6] != 0 || packet[header + 7] != 0, "zero would mean that there is none")
        #expect(Array(packet.suffix(datagram.payload.count)) == datagram.payload)
    }

    /// A capture of a check that a filter drops.
    private func observedCapture() -> PCAPNG {
        var network = VirtualNetwork(seed: 1)
        network.isObserving = true
        let server = network.addHost("server")
        let home = network.addNAT(.portRestricted, name: "router")
        let host = network.addHost("laptop", on: home)
        let inside = SocketAddress(ip: network.addresses(of: host)[0], port: 5000)
        let outside = SocketAddress(ip: network.addresses(of: server)[0], port: 3478)
        network.send(Datagram(source: inside, destination: outside, payload: [9]), from: host, now: seconds(1))
        guard case .datagram(let datagram)? = network.nextArrival(until: seconds(1))?.event else { return PCAPNG() }
        let stranger = SocketAddress(ip: outside.ip, port: 3479)
        network.send(
            Datagram(source: stranger, destination: datagram.source, payload: [8, 8]), from: server, now: seconds(2.25))
        _ = network.nextArrival(until: seconds(3))
        return PCAPNG(network.takeObservations(), in: network)
    }

    @Test("what a network observed becomes a capture with an interface a place and a comment a drop")
    func observations() throws {
        let blocks = try Block.read(observedCapture().bytes)
        let names = try blocks.filter { $0.type == 1 }.map {
            String(decoding: try $0.options(at: 8)[2] ?? [], as: UTF8.self)
        }
        #expect(names == ["laptop", "router, inside", "router, outside", "server"])
        #expect(blocks.count { $0.type == 6 } == 6)
        let comment = try #require(try blocks.last?.options(at: 20 + 32)[1])
        #expect(
            String(decoding: comment, as: UTF8.self).hasPrefix("dropped: address-and-port-dependent filter: mapping "))
    }

    @Test("tshark reads the captures and finds nothing wrong with them")
    func tshark() throws {
        guard
            let tool = ["/usr/bin/tshark", "/usr/local/bin/tshark"].first(where: FileManager.default.isExecutableFile)
        else { return print("skipped: tshark is not installed") }
        var handmade = PCAPNG()
        handmade.addInterface("any")
        handmade.addSecrets(keyLog: Array("# nothing\n".utf8))
        for datagram in datagrams { handmade.add(datagram, at: seconds(1), interface: 0) }
        let fields = [
            "frame.interface_name", "frame.time_epoch", "ip.checksum.status", "udp.checksum.status", "frame.comment",
        ]
        let lines = try run(
            tool, observedCapture(), ["-T", "fields"] + fields.flatMap { ["-e", $0] } + ["-E", "separator=|"])
        #expect(lines.count == 6, "\(lines)")
        #expect(lines.first == "laptop|1.000000000|1|1|", "checksums are good")
        #expect(
            lines.last?.hasPrefix("router, outside|2.250000000|1|1|dropped: address-and-port-dependent filter") == true)
        let counted = try run(tool, handmade, ["-T", "fields", "-e", "udp.length", "-e", "udp.checksum.status"])
        #expect(counted == ["11\t1", "12\t1", "8\t1"])
    }

    /// The lines that tshark prints about a capture, with checksums verified.
    private func run(_ tool: String, _ capture: PCAPNG, _ arguments: [String]) throws -> [String] {
        let file = FileManager.default.temporaryDirectory.appending(path: "natlab-\(UUID().uuidString).pcapng")
        try Data(capture.bytes).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let process = Process()
        process.executableURL = URL(filePath: tool)
        process.arguments =
            ["-n", "-r", file.path, "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"] + arguments
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        // Not without end: Foundation may not hear of it where others wait for children as well.
        for _ in 0..<1000 where process.isRunning { usleep(10_000) }
        try #require(!process.isRunning)
        #expect(process.terminationStatus == 0)
        return String(decoding: data, as: UTF8.self).split(separator: "\n").map(String.init)
    }
}
