// SPDX-License-Identifier: Apache-2.0
import Foundation
import Wire

/// What figures were measured on.
struct Machine {
    let processor: String
    let cores: Int
    let kernel: String
    /// Programs that want a processor, on average over the last minute: above 0.5 without us, others use the machine.
    let load: Double

    /// The machine that this program runs on.
    static var current: Machine {
        var name = utsname()
        uname(&name)
        let kernel = withUnsafeBytes(of: &name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        let model = lines("/proc/cpuinfo").first { $0.hasPrefix("model name") }?.split(separator: ":").last
        var loads: [Double] = [0]
        getloadavg(&loads, 1)
        return Machine(
            processor: model.map { String($0.drop { $0 == " " }) } ?? "an unnamed processor",
            cores: max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))), kernel: "Linux \(kernel)", load: loads[0])
    }

    var description: String {
        "\(processor), \(cores) core\(cores == 1 ? "" : "s"), \(kernel), load before \(Units.fixed(load, 1))"
    }

    var json: JSON {
        [
            "processor": .string(processor), "cores": .integer(Int64(cores)), "kernel": .string(kernel),
            "loadBefore": .rounded(load),
        ]
    }

    private static func lines(_ path: String) -> [Substring] {
        guard let file = fopen(path, "r") else { return [] }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 16_384)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n")
    }
}

/// A folder for what a benchmark writes, taken away at the end.
struct ScratchFolder: ~Copyable {
    let path: String

    /// A fresh folder below `parent`, by default where temporary files go.
    init(in parent: String?) throws {
        let parent = parent ?? getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(parent)/dreamer-bench-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else {
            throw CommandFailure("\(parent): no folder can be made there: \(String(cString: strerror(errno)))")
        }
        path = String(cString: made)
    }

    deinit { Self.remove(path) }

    /// Removes a folder and what is in it.
    static func remove(_ path: String) {
        try? FileManager.default.removeItem(atPath: path)
    }
}
