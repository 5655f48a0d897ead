// SPDX-License-Identifier: Apache-2.0
import Glibc
import NATLab
import NetIO
import Synchronization
import Wire

/// A capture in the pcapng format of what an endpoint sends and receives, with what decrypts it where that is logged as
/// well. Every packet is written at once, so that the file is whole however the program ends.
final class CaptureFile: Sendable {
    private struct State {
        var capture: PCAPNG
        let interface: Int
        let descriptor: Int32
    }

    private let state: Mutex<State>

    /// Makes the file, or empties it; for its owner alone, as it may hold secrets.
    init(path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw CommandFailure("--pcap \(path): \(String(cString: strerror(errno)))") }
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        let wall = Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
        var capture = PCAPNG(epoch: wall - MonotonicClock.now.nanoseconds)
        let interface = capture.addInterface("sockets")
        state = Mutex(State(capture: capture, interface: interface, descriptor: descriptor))
    }

    deinit { state.withLock { _ = close($0.descriptor) } }

    /// Notes a datagram.
    func write(_ payload: RawSpan, from source: SocketAddress, to destination: SocketAddress) {
        let datagram = Datagram(source: source, destination: destination, payload: [UInt8](copying: payload))
        write { $0.capture.add(datagram, at: MonotonicClock.now, interface: $0.interface) }
    }

    /// Notes a line of a key log, which decrypts packets that come after.
    func write(keyLog line: String) {
        write { $0.capture.addSecrets(keyLog: Array((line + "\n").utf8)) }
    }

    private func write(_ change: (inout State) -> Void) {
        state.withLock { state in
            change(&state)
            let bytes = state.capture.takeBytes()
            _ = bytes.withUnsafeBytes { Glibc.write(state.descriptor, $0.baseAddress, $0.count) }
        }
    }
}
