// SPDX-License-Identifier: Apache-2.0
import Glibc
import Synchronization
import Testing
import Wire

@testable import NetIO

@Suite("UDP sockets", .timeLimit(.minutes(5)))
struct UDPSocketTests {
    static let mixedSizes = [1200, 1200, 1200, 700, 40, 1200, 1200, 9000, 9000, 1, 2, 2, 2, 1172]

    @Test(
        "packets of mixed sizes arrive whole, in order and with both addresses",
        arguments: [IPAddress.loopbackV4, .loopbackV6], [true, false])
    func mixedSizes(ip: IPAddress, batching: Bool) async throws {
        var options = UDPSocket.Options()
        options.segmentation = batching
        options.coalescing = batching
        try await withLoop { loop in
            let receiver = try UDPSocket(bind: SocketAddress(ip: ip, port: 0), options: options)
            let sender = try UDPSocket(bind: SocketAddress(ip: ip, port: 0), options: options)
            defer { receiver.close() }
            let inbox = Inbox()
            try receiver.start(on: loop, onReceive: { inbox.receive($0) })
            let sent = packets(ofSizes: Self.mixedSizes)
            sender.send(buffer(sent), to: receiver.localAddress)
            let received = await inbox.wait(for: sent.count)
            #expect(received.map(\.bytes) == sent)
            #expect(received.allSatisfy { $0.source == sender.localAddress && $0.destination == receiver.localAddress })
            #expect(sender.statistics.packetsSent == sent.count)
            #expect(receiver.statistics.packetsReceived == sent.count)
            #expect(receiver.statistics.bytesReceived == Self.mixedSizes.reduce(0, +))
        }
    }

    @Test("sockets of one group on one port all get what one of them sends")
    func multicast() async throws {
        try await withLoop { loop in
            var options = UDPSocket.Options()
            options.multicastInterface = .loopbackV4
            // RFC 2365 §6.1: for use within a site; the interface keeps it on this host.
            let group = IPAddress.v4(0xEFFF_4D4D)
            let first = try UDPSocket(bind: SocketAddress(ip: group, port: 0), options: options)
            let second = try UDPSocket(bind: first.localAddress, options: options)
            defer {
                first.close()
                second.close()
            }
            let inboxes = (Inbox(), Inbox())
            try first.start(on: loop, onReceive: { inboxes.0.receive($0) })
            try second.start(on: loop, onReceive: { inboxes.1.receive($0) })
            first.send(buffer([[1, 2, 3]]), to: first.localAddress)
            let source = SocketAddress(ip: .loopbackV4, port: first.localAddress.port)
            let expected = [Inbox.Packet(bytes: [1, 2, 3], source: source, destination: first.localAddress)]
            #expect(await inboxes.0.wait(for: 1) == expected)
            #expect(await inboxes.1.wait(for: 1) == expected)
        }
    }

    @Test("a datagram without payload is handed over where that is asked for", arguments: [true, false])
    func empty(delivers: Bool) async throws {
        try await withLoop { loop in
            var options = UDPSocket.Options()
            options.deliversEmpty = delivers
            let receiver = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0), options: options)
            let sender = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            defer {
                receiver.close()
                sender.close()
            }
            let inbox = Inbox()
            try receiver.start(on: loop, onReceive: { inbox.receive($0) })
            sender.sendEmpty(to: receiver.localAddress)
            sender.send(buffer([[1]]), to: receiver.localAddress)
            let expected: [[UInt8]] = delivers ? [[], [1]] : [[1]]
            #expect(await inbox.wait(for: expected.count).map(\.bytes) == expected)
        }
    }

    @Test("an ICMP error names the datagram's destination, and costs no other datagram")
    func errorReports() async throws {
        try await withLoop { loop in
            var options = UDPSocket.Options()
            options.reportsErrors = true
            options.allowsFragments = true
            let sender = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0), options: options)
            let receiver = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            let closed = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            let nobody = closed.localAddress
            closed.close()
            defer {
                sender.close()
                receiver.close()
            }
            let inbox = Inbox()
            let (reports, reported) = AsyncStream<UDPSocket.ErrorReport>.makeStream()
            try receiver.start(on: loop, onReceive: { inbox.receive($0) })
            try sender.start(on: loop, onReceive: { _ in }, onError: { reported.yield($0) })
            for number in 0..<20 as Range<UInt8> {
                sender.send(buffer([[9]]), to: nobody)
                sender.send(buffer([[number]]), to: receiver.localAddress)
            }
            var iterator = reports.makeAsyncIterator()
            // Port unreachable (RFC 792).
            let report = await iterator.next()
            #expect(
                report == UDPSocket.ErrorReport(destination: nobody, type: 3, code: 3, mtu: 0, quoted: [9]))
            #expect(await inbox.wait(for: 20).map(\.bytes) == (0..<20).map { [$0] })
        }
    }

    @Test("sockets that share a port have it together, others not")
    func sharedPort() throws {
        var options = UDPSocket.Options()
        options.sharesPort = true
        let first = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0), options: options)
        let second = try UDPSocket(bind: first.localAddress, options: options)
        #expect(second.localAddress == first.localAddress)
        #expect(throws: NetIOError.self) { try UDPSocket(bind: first.localAddress) }
    }

    @Test("joining a group that is none, or of IPv6, is refused")
    func noGroup() {
        var options = UDPSocket.Options()
        options.multicastInterface = .loopbackV4
        #expect(throws: NetIOError.self) {
            try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0), options: options)
        }
        #expect(throws: NetIOError.self) {
            try UDPSocket(bind: SocketAddress(ip: .loopbackV6, port: 0), options: options)
        }
    }

    @Test("a socket on all addresses knows which one a packet was sent to and can answer from it")
    func wildcard() async throws {
        try await withLoop { loop in
            let server = try UDPSocket(bind: SocketAddress(ip: .anyV4, port: 0))
            let client = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            defer {
                server.close()
                client.close()
            }
            let second = IPAddress.v4(0x7F00_0002)
            let inbox = Inbox()
            try server.start(
                on: loop,
                onReceive: { train in
                    server.send(train[0], to: train.source, from: train.destination.ip)
                })
            try client.start(on: loop, onReceive: { inbox.receive($0) })
            let address = SocketAddress(ip: second, port: server.localAddress.port)
            client.send(buffer([[1, 2, 3]]), to: address)
            let answer = await inbox.wait(for: 1)
            #expect(answer == [Inbox.Packet(bytes: [1, 2, 3], source: address, destination: client.localAddress)])
        }
    }

    @Test("a socket on all IPv6 addresses does the same, and takes no IPv4")
    func wildcardV6() async throws {
        try await withLoop { loop in
            let server = try UDPSocket(bind: SocketAddress(ip: .anyV6, port: 0))
            let client = try UDPSocket(bind: SocketAddress(ip: .loopbackV6, port: 0))
            let same = try UDPSocket(bind: SocketAddress(ip: .anyV4, port: server.localAddress.port))
            defer {
                server.close()
                client.close()
                same.close()
            }
            let inbox = Inbox()
            try server.start(
                on: loop,
                onReceive: { train in
                    server.send(train[0], to: train.source, from: train.destination.ip)
                })
            try client.start(on: loop, onReceive: { inbox.receive($0) })
            let address = SocketAddress(ip: .loopbackV6, port: server.localAddress.port)
            client.send(buffer([[9]]), to: address)
            let answer = await inbox.wait(for: 1)
            #expect(answer == [Inbox.Packet(bytes: [9], source: address, destination: client.localAddress)])
        }
    }

    @Test(
        "when the kernel refuses a train its packets go one by one, and so do all later ones", arguments: [false, true])
    func refusedSegmentation(isV6: Bool) async throws {
        try await withLoop { loop in
            let ip: IPAddress = isV6 ? .loopbackV6 : .loopbackV4
            let receiver = try UDPSocket(bind: SocketAddress(ip: ip, port: 0))
            let sender = try UDPSocket(bind: SocketAddress(ip: ip, port: 0))
            defer { receiver.close() }
            let inbox = Inbox()
            try receiver.start(on: loop, onReceive: { inbox.receive($0) })
            try #require(sender.state.withLock { $0.segmentation }, "this kernel cannot segment")
            // Linux segments no datagrams without checksum: udp_send_skb answers EINVAL.
            var one: Int32 = 1
            let noCheck: (Int32, Int32) = isV6 ? (Int32(IPPROTO_UDP), 101) : (SOL_SOCKET, SO_NO_CHECK)
            try #require(setsockopt(sender.descriptor, noCheck.0, noCheck.1, &one, 4) == 0)
            var accept = one
            if isV6 { setsockopt(receiver.descriptor, Int32(IPPROTO_UDP), 102, &accept, 4) }
            let sent = packets(ofSizes: [1200, 1200, 1200, 3, 800, 800])
            sender.send(buffer(sent), to: receiver.localAddress)
            #expect(await inbox.wait(for: sent.count).map(\.bytes) == sent)
            #expect(!sender.state.withLock { $0.segmentation })
            #expect(sender.statistics.sendErrors == 0)
        }
    }

    @Test("one packet that is too large costs itself alone")
    func tooLarge() async throws {
        try await withLoop { loop in
            let receiver = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            let sender = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            defer { receiver.close() }
            let inbox = Inbox()
            try receiver.start(on: loop, onReceive: { inbox.receive($0) })
            let sent = packets(ofSizes: [100, 100, 66_000, 100, 100])
            sender.send(buffer(sent), to: receiver.localAddress)
            #expect(await inbox.wait(for: 4).map(\.bytes) == sent.filter { $0.count == 100 })
            #expect(sender.statistics.sendErrors == 1)
            #expect(sender.state.withLock { $0.segmentation })
        }
    }

    @Test("a port where nobody listens, or an address of the other family, breaks nothing")
    func unreachable() async throws {
        try await withLoop { loop in
            let socket = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            let gone = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            defer { socket.close() }
            gone.close()
            let inbox = Inbox()
            try socket.start(on: loop, onReceive: { inbox.receive($0) })
            for _ in 0..<10 { socket.send(buffer([[1]]), to: gone.localAddress) }
            socket.send(buffer([[2], [3]]), to: SocketAddress(ip: .loopbackV6, port: 9))
            socket.send(buffer([[4]]), to: socket.localAddress)
            #expect(await inbox.wait(for: 1).map(\.bytes) == [[4]])
            #expect(socket.statistics.sendDrops == 2)
        }
    }

    @Test("what the kernel has no room for waits in order up to the bound, and leaves when there is room")
    func backlog() async throws {
        try await withLoop { loop in
            var options = UDPSocket.Options()
            options.segmentation = false
            options.backlogBytes = 500_000
            let socket = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0), options: options)
            defer { socket.close() }
            // Loopback never runs out of room. A local socket that keeps packet borders and overlooks addresses does.
            var pair: [Int32] = [-1, -1]
            try #require(socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0, &pair) == 0)
            defer { close(pair[1]) }
            dup2(pair[0], socket.descriptor)
            close(pair[0])
            try socket.start(on: loop, onReceive: { _ in })
            let sent = packets(ofSizes: (0..<2000).map { 900 + $0 % 200 })
            for start in stride(from: 0, to: sent.count, by: 100) {
                socket.send(buffer(Array(sent[start..<start + 100])), to: SocketAddress(ip: .loopbackV4, port: 9))
            }
            let statistics = socket.statistics
            #expect(statistics.packetsSent > 0)
            #expect(statistics.packetsDelayed > 0)
            #expect(statistics.packetsSent + statistics.packetsDelayed + statistics.sendDrops == sent.count)
            let waiting = socket.state.withLock { $0.backlog.byteCount }
            #expect(waiting <= 500_000 && waiting > 498_000)

            var received: [[UInt8]] = []
            var bytes = [UInt8](repeating: 0, count: 2048)
            while received.count < sent.count - statistics.sendDrops {
                let count = recv(pair[1], &bytes, bytes.count, 0)
                guard count > 0 else { break }
                received.append(Array(bytes[..<count]))
            }
            #expect(received == Array(sent[..<received.count]))
            #expect(received.count == sent.count - statistics.sendDrops)
            #expect(socket.state.withLock { $0.backlog.isEmpty })
        }
    }

    @Test("a port range gives each port once and then says that none is left")
    func portRange() throws {
        // A range that is free now: others may take a port of it, so a few are tried.
        for _ in 0..<20 {
            let base = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0)).localAddress.port
            guard base < 65_000 else { continue }
            var sockets: [UDPSocket] = []
            do {
                for _ in 0..<4 { sockets.append(try UDPSocket.bound(to: .loopbackV4, ports: base...base + 3)) }
            } catch {
                continue
            }
            #expect(Set(sockets.map(\.localAddress.port)) == Set(base...base + 3))
            let error = #expect(throws: NetIOError.self) {
                try UDPSocket.bound(to: .loopbackV4, ports: base...base + 3)
            }
            #expect(error?.code == EADDRINUSE)
            return
        }
        Issue.record("no four free ports in a row")
    }

    @Test("an address that is not ours is refused with its name")
    func foreignAddress() throws {
        let address = try #require(SocketAddress("192.0.2.1:0"))
        let error = #expect(throws: NetIOError.self) { try UDPSocket(bind: address) }
        #expect(error?.code == EADDRNOTAVAIL)
        #expect(error?.description.contains("192.0.2.1") == true)
    }

    @Test("after close nothing is handed over or sent, and the port is free again")
    func closing() async throws {
        try await withLoop { loop in
            let socket = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            let other = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            let inbox = Inbox()
            try socket.start(on: loop, onReceive: { inbox.receive($0) })
            socket.close()
            socket.close()
            other.send(buffer([[1]]), to: socket.localAddress)
            socket.send(buffer([[1], [2]]), to: other.localAddress)
            await withCheckedContinuation { done in _ = loop.execute { done.resume() } }
            #expect(inbox.all.isEmpty)
            #expect(socket.statistics.sendDrops == 2)
            #expect(throws: Never.self) { try UDPSocket(bind: socket.localAddress) }
            #expect(throws: NetIOError.self) { try socket.start(on: loop, onReceive: { _ in }) }
        }
    }

    @Test("sockets and loops give back their descriptors")
    func descriptors() throws {
        func open() throws -> Int {
            let directory = try #require(opendir("/proc/self/fd"))
            defer { closedir(directory) }
            var count = 0
            while readdir(directory) != nil { count += 1 }
            return count
        }
        let before = try open()
        let rounds = 200
        for round in 0..<rounds {
            let loop = try EventLoop(name: "test")
            let socket = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            try socket.start(on: loop, onReceive: { _ in })
            // Closed before its loop, closed after it, or never.
            if round % 3 == 0 { socket.close() }
            loop.stop()
            if round % 3 == 1 { socket.close() }
        }
        // Other tests run at the same time and hold some; a leak would show each round.
        #expect(try open() - before < rounds / 2)
    }
}

@Suite("trains to send")
struct SendTrainTests {
    static let cases: [(sizes: [Int], trains: [Int])] = [
        ([5], [1]),
        ([5, 5, 5], [3]),
        ([5, 5, 3, 5], [3, 1]),
        ([3, 5], [1, 1]),
        ([5, 4, 4], [2, 1]),
        (Array(repeating: 10, count: 130), [64, 64, 2]),
        (Array(repeating: 1200, count: 100), [54, 46]),
        ([65_000, 1], [1, 1]),
        ([64_999, 1], [2]),
    ]

    @Test("hold packets of one size, at last one shorter, within the kernel's limits", arguments: cases)
    func splitting(sizes: [Int], trains: [Int]) {
        var ends: [Int] = []
        for size in sizes { ends.append((ends.last ?? 0) + size) }
        var found: [Int] = []
        var next = 0
        while next < ends.count {
            let end = SendTrain.end(ends, from: next)
            found.append(end - next)
            next = end
        }
        #expect(found == trains)
    }
}
