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

    /// A file of the folder of real files (`DREAMER_FIXTURES`, else `../shared/fixtures` beside the checkout); `nil`,
    /// with a printed reason, where it is absent, so that the test can be skipped.
    public static func external(_ name: String) -> String? {
        let root =
            ProcessInfo.processInfo.environment["DREAMER_FIXTURES"]
            ?? checkout.deletingLastPathComponent().appending(path: "shared/fixtures").path
        let path = root + "/" + name
        guard FileManager.default.fileExists(atPath: path) else {
            print("skipped: no \(path) (set DREAMER_FIXTURES to the folder that has \(name))")
            return nil
        }
        return path
    }
}
