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
            Clients and peers are on this host too, and take their share of its processors; the server's own processor time \
            a packet is what compares. Each measurement is repeated, the servers taking turns.
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

    func validate() throws {
        guard clients > 0, clients <= 200, (1...1400).contains(payload), seconds > 0, rounds > 0, threads > 0 else {
            throw ValidationError("--clients: 1 to 200; --payload: 1 to 1400; the others: more than 0")
        }
    }

    func run() async throws {
        let machine = Machine.current
        let servers = try start()
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

    private func start() throws -> [Server] {
        let ports = try (0..<2).map { _ in
            let probe = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            defer { probe.close() }
            return probe.localAddress
        }
        let ours = try MeasuredProcess(
            MeasuredProcess.ownProgram,
            [
                "relay", "run", "--json", "--listen", "\(ports[0])", "--user", "bench:bench-password", "--allow-peer",
                "127.0.0.1/32", "--threads", "\(threads)",
            ])
        _ = try ours.json(event: "listening", within: 10)
        var servers = [Server(name: "dreamer", process: ours, address: ports[0])]
        let coturn = try? MeasuredProcess(
            "turnserver",
            [
                "-n", "--listening-ip", "127.0.0.1", "--listening-port", "\(ports[1].port)", "--relay-ip", "127.0.0.1",
                "--allow-loopback-peers", "--lt-cred-mech", "--user", "bench:bench-password", "--realm", "bench",
                "--no-tls", "--no-dtls", "--no-cli", "-m", "\(threads)", "--log-file", "/dev/null",
            ])
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
