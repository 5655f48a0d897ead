// SPDX-License-Identifier: Apache-2.0
import Glibc
import ICE
import Synchronization
import WebRTC
import Wire

/// A file of JSON lines that tells what connections decided, and when.
final class TraceFile: Sendable {
    private let file: Mutex<Int32>

    /// Makes the file, or empties it.
    init(path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw CommandFailure("--trace \(path): \(String(cString: strerror(errno)))") }
        file = Mutex(descriptor)
    }

    deinit { file.withLock { _ = close($0) } }

    /// Notes what a connection tells, under a name for the connection.
    func write(_ event: PeerConnection.Event, of connection: String) {
        var object: JSON.Object = ["time": .number(Clock.seconds), "connection": .string(connection)]
        switch event {
        case .stateChanged(let state):
            object["event"] = "state"
            object["state"] = .string("\(state)")
        case .localCandidate(let candidate):
            object["event"] = "candidate"
            object["candidate"] = .string(candidate.description)
        case .gatheringComplete:
            object["event"] = "gathered"
        case .channel(let channel):
            object["event"] = "channel"
            object["label"] = .string(channel.label)
        case .selectedPair(let pair):
            object["event"] = "selected"
            object["local"] = .string(pair.localAddress.description)
            object["remote"] = .string(pair.remoteAddress.description)
        case .restartNeeded:
            object["event"] = "restart needed"
        case .decision(let decision):
            object["event"] = "ice"
            object["decision"] = .string("\(decision.action)")
        }
        let line = Array((JSON.object(object).serialized() + "\n").utf8)
        file.withLock { descriptor in
            _ = line.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        }
    }
}
