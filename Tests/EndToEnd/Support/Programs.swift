// SPDX-License-Identifier: Apache-2.0
import Foundation
import TestSupport

/// Where the programs are that end-to-end tests run.
enum Programs {
    /// The command line: `DREAMER_BINARY`, else the newest of the checkout's builds.
    static let dreamer: String = {
        if let path = ProcessInfo.processInfo.environment["DREAMER_BINARY"] { return path }
        let builds = ["release", "debug"].map { Fixtures.checkout.appending(path: ".build/\($0)/dreamer").path }
        return builds.first { FileManager.default.isExecutableFile(atPath: $0) } ?? builds[0]
    }()

    /// A Python that has a package, or several with commas between; `nil`, with a printed reason, where there is none.
    static func python(
        with package: String, advice: String = "scripts/setup --tests makes .venv with it"
    ) -> String? {
        let candidates = [
            ProcessInfo.processInfo.environment["DREAMER_PYTHON"],
            Fixtures.checkout.appending(path: ".venv/bin/python3").path,
            "/usr/bin/python3",
        ].compactMap { $0 }
        for candidate in candidates where FileManager.default.isExecutableFile(atPath: candidate) {
            let process = Process()
            process.executableURL = URL(filePath: candidate)
            process.arguments = ["-c", "import \(package)"]
            process.standardError = FileHandle.nullDevice
            guard (try? process.run()) != nil else { continue }
            process.waitUntilExit()
            if process.terminationStatus == 0 { return candidate }
        }
        print("skipped: no Python here has the package \(package) (\(advice))")
        return nil
    }

    /// A script that makes reference values.
    static func reference(_ name: String) -> String {
        Fixtures.checkout.appending(path: "Tests/InferenceTests/Reference/\(name)").path
    }

    /// A script beside the tests.
    static func script(_ name: String) -> String {
        Fixtures.checkout.appending(path: "Tests/EndToEnd/interop/\(name)").path
    }
}
