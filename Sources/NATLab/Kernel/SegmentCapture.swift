// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Captures what crosses several segments of a network at a time, into one pcapng file.
public final class SegmentCapture {
    private struct Place {
        let name: String
        let path: String
        let program: KernelProgram
    }

    private let folder: String
    private var places: [Place] = []

    /// Begins to capture on the public segment and behind the NATs and firewalls before these hosts. Runs tcpdump.
    public init(of network: KernelNetwork, before hosts: [KernelNetwork.Host]) throws {
        var template = Array("/tmp/dreamer-capture-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw KernelNetwork.Failure("no folder can be made in /tmp") }
        folder = String(cString: made)
        var names = ["public"]
        for name in hosts.flatMap({ network.boxes(before: $0) }) where !names.contains(name) { names.append(name) }
        do {
            for (index, name) in names.enumerated() {
                let path = "\(folder)/\(index)"
                places.append(Place(name: name, path: path, program: try network.capture(at: name, to: path)))
            }
        } catch {
            removeFiles()
            throw error
        }
    }

    deinit { removeFiles() }

    /// Ends the capture and answers the file.
    public func finish() throws -> PCAPNG {
        defer { removeFiles() }
        // tcpdump reads packets in blocks; on SIGINT it writes what the kernel has already.
        for place in places { place.program.signal(SIGINT) }
        var capture = PCAPNG()
        for place in places {
            let ending = try place.program.finish(within: .seconds(10))
            guard ending.status == 0, let bytes = Self.read(place.path) else {
                throw KernelNetwork.Failure("nothing was captured at \(place.name): \(ending.output)")
            }
            try capture.add(libpcap: bytes, at: place.name)
        }
        return capture
    }

    private static func read(_ path: String) -> [UInt8]? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = fread(&block, 1, block.count, file)
            guard count > 0 else { return ferror(file) == 0 ? bytes : nil }
            bytes += block[..<count]
        }
    }

    private func removeFiles() {
        for place in places { unlink(place.path) }
        places = []
        rmdir(folder)
    }
}
