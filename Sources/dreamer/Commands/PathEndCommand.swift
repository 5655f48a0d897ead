// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import Wire

/// `dreamer bench path-end`: what `dreamer bench path` runs at each end of a path.
struct PathEndCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "path-end", shouldDisplay: false)

    @Flag var sender = false
    @Option var bind: String
    @Option var connections: Int = 1
    @Option var message: Int = 65_536
    @Flag var control = false

    @Flag var plain = false
    @Option var tcp: String?
    @Option var port: UInt16 = 5001
    @Option var peer: String = ""

    func validate() throws {
        guard IPAddress(bind) != nil else { throw ValidationError("--bind \(bind): is no address") }
    }

    func run() async throws {
        guard let address = IPAddress(bind) else { return }
        if let tcp {
            let end = try TCPEnd(address: address, port: port)
            if sender {
                guard let peer = IPAddress(peer) else { throw CommandFailure("--peer \(peer): is no address") }
                try await end.send(to: peer, congestionControl: tcp)
            } else {
                try await end.receive()
            }
        } else if sender {
            try await ChannelPathSender(
                address: address, connections: connections, message: message, control: control, plain: plain
            ).run()
        } else {
            try await ChannelPathReceiver(address: address).run()
        }
    }
}

/// What the process that measures asks an end for.
enum PathCommand: String {
    case start, quiet, count

    init?(line: String) {
        guard let word = (try? JSON(parsing: line))?["do"]?.string else { return nil }
        self.init(rawValue: word)
    }
}

/// The clock that all processes of a machine share, in nanoseconds.
enum SharedClock {
    static var nanoseconds: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
