// SPDX-License-Identifier: Apache-2.0
import Glibc
import NATLab
import Wire

/// A transfer over a path: a process at each end, started and asked from outside.
///
/// The processes speak in lines of JSON on their standard streams, and end when their input does.
struct PathFlow {
    /// Who transfers.
    enum Kind: Hashable {
        /// Data channels over so many connections.
        case channels(connections: Int, control: Bool, plain: Bool)
        /// One TCP connection with a congestion control of the kernel.
        case tcp(String)

        var name: String {
            switch self {
            case .channels(let connections, _, let plain):
                "dreamer" + (plain ? ", plain SCTP" : "") + (connections == 1 ? "" : ", \(connections) connections")
            case .tcp(let control): "tcp \(control)"
            }
        }
    }

    /// How far a transfer is.
    struct Progress {
        /// Bytes that arrived.
        let bytes: Int
        /// When that was counted, in seconds.
        let time: Double
        /// Processor time of both processes.
        let cpuSeconds: Double
        /// Processor time of the sender.
        let senderCPUSeconds: Double

        /// Megabytes a second since an earlier look.
        func rate(since earlier: Progress) -> Double {
            Double(bytes - earlier.bytes) / max(time - earlier.time, 1e-9) / 1e6
        }
    }

    private let sender: MeasuredProcess
    private let receiver: MeasuredProcess

    /// Starts both processes and waits until they are connected.
    init(_ kind: Kind, over path: KernelPath, port: UInt16, message: Int) throws {
        func start(_ end: KernelPath.End, _ arguments: [String]) throws -> MeasuredProcess {
            try end.namespace.enter {
                try MeasuredProcess(
                    MeasuredProcess.ownProgram, ["bench", "path-end", "--bind", "\(end.address)"] + arguments)
            }
        }
        switch kind {
        case .channels(let connections, let control, let plain):
            receiver = try start(path.far, [])
            sender = try start(
                path.near,
                ["--sender", "--connections", "\(connections)", "--message", "\(message)"]
                    + (control ? ["--control"] : []) + (plain ? ["--plain"] : []))
            for _ in 0..<connections {
                receiver.send(try sender.json(event: "offer", within: 60).serialized())
                sender.send(try receiver.json(event: "answer", within: 60).serialized())
            }
        case .tcp(let control):
            receiver = try start(path.far, ["--tcp", control, "--port", "\(port)"])
            _ = try receiver.json(event: "listening", within: 10)
            sender = try start(
                path.near, ["--sender", "--tcp", control, "--port", "\(port)", "--peer", "\(path.far.address)"])
        }
        _ = try sender.json(event: "ready", within: 60)
    }

    /// Has it send from now on.
    func start() { sender.send(#"{"do":"start"}"#) }

    /// Has it send no more small messages; the transfer goes on.
    func endControl() { sender.send(#"{"do":"quiet"}"#) }

    /// How far it is.
    func progress() throws -> Progress {
        let count = try count(of: receiver)
        guard let bytes = count["bytes"]?.integer, let time = count["time"]?.number else {
            throw CommandFailure("\(receiver.name): told no count")
        }
        let own = sender.cpuSeconds
        return Progress(
            bytes: Int(bytes), time: time, cpuSeconds: own + receiver.cpuSeconds, senderCPUSeconds: own)
    }

    /// What small messages took, in seconds: one way, and there and back with those still missing at their age.
    func controlDelays() throws -> (oneWay: Samples, roundTrip: Samples, missing: Int) {
        func samples(_ json: JSON, _ name: String) -> Samples {
            Samples((json[name]?.array ?? []).compactMap(\.number))
        }
        let sent = try count(of: sender)
        let arrived = try count(of: receiver)
        return (
            samples(arrived, "delays"), samples(sent, "delays"), Int(sent["missing"]?.integer ?? 0)
        )
    }

    /// Ends both processes; they have nothing to put in order.
    func end() throws {
        for process in [sender, receiver] {
            kill(process.pid, SIGKILL)
            _ = try process.finish(within: 10)
        }
    }

    private func count(of process: MeasuredProcess) throws -> JSON {
        process.send(#"{"do":"count"}"#)
        return try process.json(event: "count", within: 30)
    }
}
