// SPDX-License-Identifier: Apache-2.0
import Foundation

/// A temporary folder, removed with the test that made it.
final class Scratch: Sendable {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.appending(path: "dreamer-test-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        Leash.hold(folder: path)
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
        Leash.release(folder: path)
    }

    /// A name inside; nothing is made.
    func callAsFunction(_ name: String) -> String { "\(path)/\(name)" }
}
