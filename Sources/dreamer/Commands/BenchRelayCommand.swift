// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import ICE
import NetIO
import Wire

/// `dreamer bench relay`
struct BenchRelayCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "relay",
        abstract:
            "Measure how fast TURN servers relay, and what it costs them: ours, and coturn where it is installed.",
        discussion: """
            Clients and peers are on this host too, and take their share of its processors; the server's own processor \
            time a packet is what compares. Each measurement is repeated, the servers taking turns.

            With --allocations it is not speed that is measured, but what so many allocations cost that are held at \
            once: 250 of each of several users, every user at a loopback address of its own, and every allocation with \
            a channel. They are held, refreshed, held again, and then each takes a packet to its peer and back.
            """)

    @Option(help: "How many clients send.")
    var clients = 8

    @Option(help: "Bytes of a packet's payload.")
    var payload = 1200

    @Option(help: "How long each measurement takes, in seconds.")
    var seconds = 3.0

    @Option(help: "How often each is repeated; the median is told.")
    var rounds = 3

    @Option(help: "Threads of each server.")
    var threads = 2

    @Option(help: "Hold so many allocations at once instead.")
    var allocations = 0

    @Option(help: "With --allocations: seconds that they are held before the refresh, and after it.")
    var hold = 3.0

    @Flag(help: "Print the result as JSON.")
    var json = false

    private static let user = LongTermCredentials(username: "bench", password: "bench-password")

    /// A server that is measured.
    private struct Server {
        let name: String
        let process: MeasuredProcess
        let address: SocketAddress
    }

    /// A way to send.
    private struct Workload: Hashable {
        let direction: RelayLoad.Direction
        let segmentation: Bool
    }

    /// Users who hold allocations have so many each: nearly the quota that a user and an address have by default.
    private static let allocationsPerUser = 250
    private static let defaultQuota = 256

    func validate() throws {
        guard (0...16_000).contains(allocations), hold >= 0, hold <= 3600 else {
            throw ValidationError("--allocations: up to 16000; --hold: 0 to 3600")
        }
        guard clients > 0, clients <= 200, (1...1400).contains(payload), seconds > 0, rounds > 0, threads > 0 else {
            throw ValidationError("--clients: 1 to 200; --payload: 1 to 1400; the others: more than 0")
        }
    }

    func run() async throws {
        let machine = Machine.current
        guard allocations == 0 else { return try await runHolding(machine) }
        let servers = try start([Self.user])
        var results: [Workload: [String: [(rate: Double, cpu: Double)]]] = [:]
        for _ in 0..<rounds {
            for direction in RelayLoad.Direction.allCases {
                for segmentation in [true, false] {
                    let workload = Workload(direction: direction, segmentation: segmentation)
                    for server in servers {
                        results[workload, default: [:]][server.name, default: []].append(
                            try await measure(workload, server))
                    }
                }
            }
        }
        for server in servers { server.process.stop() }
        report(machine, servers, results)
    }

    private func start(_ users: [LongTermCredentials]) throws -> [Server] {
        let ports = try (0..<2).map { _ in
            let probe = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            defer { probe.close() }
            return probe.localAddress
        }
        let names = users.map { "\($0.username):\($0.password)" }
        let ours = try MeasuredProcess(
            MeasuredProcess.ownProgram,
            [
                "relay", "run", "--json", "--listen", "\(ports[0])", "--allow-peer", "127.0.0.1/32", "--threads",
                "\(threads)", "--quota", "\(Self.defaultQuota)",
            ] + names.flatMap { ["--user", $0] })
        _ = try ours.json(event: "listening", within: 10)
        var servers = [Server(name: "dreamer", process: ours, address: ports[0])]
        let coturn = try? MeasuredProcess(
            "turnserver",
            [
                "-n", "--listening-ip", "127.0.0.1", "--listening-port", "\(ports[1].port)", "--relay-ip", "127.0.0.1",
                "--allow-loopback-peers", "--lt-cred-mech", "--realm", "bench", "--no-tls", "--no-dtls", "--no-cli",
                "-m", "\(threads)", "--log-file", "/dev/null", "--user-quota", "\(Self.defaultQuota)",
            ] + names.flatMap { ["--user", $0] })
        if let coturn {
            usleep(1_000_000)
            servers.append(Server(name: "coturn", process: coturn, address: ports[1]))
        } else {
            Terminal.note("not measured: coturn, which is not installed (turnserver)")
        }
        return servers
    }

    /// Packets a second, and the server's processor time a packet in microseconds.
    private func measure(_ workload: Workload, _ server: Server) async throws -> (rate: Double, cpu: Double) {
        var plan = RelayLoad.Plan(server: server.address, credentials: Self.user)
        plan.clients = clients
        plan.payload = payload
        plan.direction = workload.direction
        plan.segmentation = workload.segmentation
        plan.duration = .milliseconds(Int(seconds * 1000))
        let load = try await RelayLoad(plan)
        defer { load.stop() }
        let before = server.process.cpuSeconds
        let outcome = load.run()
        let used = server.process.cpuSeconds - before
        guard outcome.packets > 0 else { throw CommandFailure("\(server.name) relays nothing") }
        return (Double(outcome.packets) / outcome.seconds, used / Double(outcome.packets) * 1e6)
    }

    private func report(
        _ machine: Machine, _ servers: [Server], _ results: [Workload: [String: [(rate: Double, cpu: Double)]]]
    ) {
        var rows: [JSON] = []
        if !json { Terminal.output(machine.description) }
        for direction in RelayLoad.Direction.allCases {
            for segmentation in [true, false] {
                let workload = Workload(direction: direction, segmentation: segmentation)
                for server in servers {
                    guard let samples = results[workload]?[server.name] else { continue }
                    let rate = median(samples.map(\.rate))
                    let cpu = median(samples.map(\.cpu))
                    let way = "\(direction.rawValue), \(segmentation ? "in trains" : "one by one")"
                    if !json {
                        Terminal.output(
                            "\(way): \(server.name) \(Int(rate)) packets/s, \(Units.rate(rate * Double(payload))), "
                                + "\(Units.fixed(cpu, 2)) µs of its processor time a packet")
                    }
                    rows.append([
                        "server": .string(server.name), "direction": .string(direction.rawValue),
                        "trains": .bool(segmentation), "packetsPerSecond": .integer(Int64(rate)),
                        "cpuMicrosecondsPerPacket": .number(cpu),
                    ])
                }
            }
        }
        guard json else { return }
        Terminal.output(
            JSON.object([
                "machine": machine.json, "payload": .integer(Int64(payload)), "clients": .integer(Int64(clients)),
                "results": .array(rows),
            ]).serialized())
    }

    private func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        return sorted.isEmpty ? 0 : sorted[sorted.count / 2]
    }
}

// MARK: - Many allocations

extension BenchRelayCommand {
    private func runHolding(_ machine: Machine) async throws {
        try raiseDescriptorLimit()
        let count = (allocations + Self.allocationsPerUser - 1) / Self.allocationsPerUser
        let users = (0..<count + 2).map { LongTermCredentials(username: "user\($0)", password: "password\($0)") }
        let servers = try start(users)
        var reports: [RelayHoldingReport] = []
        if !json { Terminal.output(machine.description) }
        for server in servers {
            let report = try await holdAllocations(server, users)
            reports.append(report)
            server.process.stop()
            if !json { for line in report.lines { Terminal.output(line) } }
        }
        if json {
            Terminal.output(
                JSON.object(["machine": machine.json, "results": .array(reports.map(\.json))]).serialized())
        }
        guard reports.first?.isComplete == true else {
            throw CommandFailure("\(allocations) allocations are more than the relay holds")
        }
    }

    /// The last two users are for those who ask for more than they get.
    private func holdAllocations(_ server: Server, _ users: [LongTermCredentials]) async throws -> RelayHoldingReport {
        var report = RelayHoldingReport(server: server.name)
        report.asked = allocations
        let process = server.process
        let holding = try RelayHolding(server.address)
        defer { holding.stop() }
        func member(_ user: Int, at place: Int) -> RelayHolding.Member {
            .init(credentials: users[user], address: Self.address(place))
        }
        let members = (0..<allocations).map { index in
            member(index / Self.allocationsPerUser, at: index / Self.allocationsPerUser)
        }
        let all = 0..<allocations
        report.memoryBefore = MeasuredProcess.status("VmRSS", of: "\(process.pid)")
        var cpu = process.cpuSeconds
        /// Processor time since this was asked last.
        func used() -> Double {
            defer { cpu = process.cpuSeconds }
            return process.cpuSeconds - cpu
        }
        report.allocated = try await holding.allocate(members)
        report.bound = await holding.perform(.bind, all)
        report.setUpCPU = used()
        report.memoryAfter = MeasuredProcess.status("VmRSS", of: "\(process.pid)")
        let begin = Clock.seconds
        try await Task.sleep(for: .seconds(hold))
        report.holdCPU = used()
        report.refreshed = await holding.perform(.refresh, all)
        report.refreshCPU = used()
        try await Task.sleep(for: .seconds(hold))
        report.holdCPU += used()
        report.heldSeconds = Clock.seconds - begin
        // Permissions last half as long as allocations.
        report.bound.done = min(report.bound.done, await holding.perform(.bind, all).done)
        report.echoed = await holding.perform(.echo, all)
        // A user at many addresses, then another user at an address that has its allocations.
        report.userQuota = try await holding.allocate(
            (0..<Self.defaultQuota + 10).map { member(users.count - 2, at: 1000 + $0) })
        report.addressQuota = try await holding.allocate((0..<20).map { _ in member(users.count - 1, at: 0) })
        return report
    }

    /// Every socket is a descriptor, here as in the server.
    private func raiseDescriptorLimit() throws {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        guard limit.rlim_cur > UInt(allocations + 1000) else {
            throw CommandFailure(
                "\(allocations) allocations take more than the \(limit.rlim_cur) descriptors of a process")
        }
    }

    /// A loopback address for each number up to 65,000.
    private static func address(_ number: Int) -> IPAddress {
        .v4(0x7F01_0001 + UInt32(number) << 8 & 0xFFFF00)
    }
}
