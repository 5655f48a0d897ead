// SPDX-License-Identifier: Apache-2.0
import Foundation
import TestSupport

/// A driver of Vulkan that lacks something: this host's, beneath a layer that takes away what a test names.
final class PoorDriver: Sendable {
    private let scratch: Scratch

    /// `nil`, with a printed reason, where there is no driver, or nothing to build the layer with.
    static let shared: PoorDriver? = {
        do {
            return try PoorDriver()
        } catch {
            print("skipped: drivers of Vulkan that lack something: \(error)")
            return nil
        }
    }()

    private struct Absence: Error, CustomStringConvertible {
        let description: String
    }

    private init() throws {
        let drivers = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"].flatMap {
            (try? FileManager.default.contentsOfDirectory(atPath: $0)) ?? []
        }
        guard !drivers.isEmpty else { throw Absence(description: "no driver is installed (scripts/setup --tests)") }
        scratch = try Scratch()
        let compiler = Process()
        compiler.executableURL = URL(filePath: "/usr/bin/env")
        compiler.arguments = [
            "clang", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-fvisibility=hidden", "-o", scratch("libpoor.so"),
            Fixtures.checkout.appending(path: "Tests/EndToEnd/Drivers/poor.c").path,
        ]
        try compiler.run()
        compiler.waitUntilExit()
        guard compiler.terminationStatus == 0 else { throw Absence(description: "clang does not compile the layer") }
        let manifest = """
            {"file_format_version": "1.2.0", "layer": {"name": "VK_LAYER_DREAMER_poor", "type": "GLOBAL",
            "library_path": "\(scratch("libpoor.so"))", "api_version": "1.3.0", "implementation_version": "1",
            "description": "makes a driver poorer"}}
            """
        try manifest.write(toFile: scratch("poor.json"), atomically: true, encoding: .utf8)
    }

    /// Variables for a program that is to meet it, with those of `Drivers/poor.c` that tell what is taken away.
    func environment(_ taken: [String: String]) -> [String: String] {
        ["VK_LAYER_PATH": scratch.path, "VK_INSTANCE_LAYERS": "VK_LAYER_DREAMER_poor"].merging(taken) { $1 }
    }
}
