// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// Where test data lies: `Fixtures/` in the checkout, and a folder of larger real files that may be absent.
public enum Fixtures {
    /// The root of the checkout.
    public static let checkout = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// A file of the checkout's own `Fixtures/`.
    public static func path(_ name: String) -> String {
        checkout.appending(path: "Fixtures").appending(path: name).path
    }

    /// The contents of a file of the checkout's own `Fixtures/`.
    public static func bytes(_ name: String) throws -> [UInt8] {
        try [UInt8](Data(contentsOf: URL(filePath: path(name))))
    }

    /// The folder of larger real files: `DREAMER_FIXTURES`, else a folder `fixtures` that any neighbour of the checkout
    /// holds.
    public static let external: String? = {
        if let named = ProcessInfo.processInfo.environment["DREAMER_FIXTURES"] { return named }
        let parent = checkout.deletingLastPathComponent()
        let neighbours = (try? FileManager.default.contentsOfDirectory(atPath: parent.path)) ?? []
        return neighbours.sorted().map { parent.appending(path: "\($0)/fixtures").path }
            .first { FileManager.default.fileExists(atPath: $0) }
    }()

    /// A file of the folder of real files; `nil`, with a printed reason, where it is absent, so that the test can be
    /// skipped.
    public static func external(_ name: String) -> String? {
        if let path = external.map({ "\($0)/\(name)" }), FileManager.default.fileExists(atPath: path) { return path }
        print("skipped: no real file \(name); set DREAMER_FIXTURES to the folder that holds such files")
        return nil
    }
}
