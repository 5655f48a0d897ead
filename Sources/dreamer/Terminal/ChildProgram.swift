// SPDX-License-Identifier: Apache-2.0
import Foundation
import Synchronization
import Wire

/// Another run of this very program, beside this one. It is stopped when nobody holds it any more.
final class ChildProgram: Sendable {
    private let process: Process
    private let arguments: [String]
    private let lines: AsyncStream<String>
    private let status: AsyncStream<Int32>

    /// Its process id.
    var pid: Int32 { process.processIdentifier }

    /// Starts `dreamer` with arguments. With `readsOutput` its output is read by ``line(where:)``; else it shows on ours.
    init(_ arguments: [String], readsOutput: Bool) throws {
        self.arguments = arguments
        process = Process()
        process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = arguments
        let (lines, continuation) = AsyncStream<String>.makeStream()
        self.lines = lines
        if readsOutput {
            let pipe = Pipe()
            let partial = Mutex<[UInt8]>([])
            pipe.fileHandleForReading.readabilityHandler = { handle in
                let data = handle.availableData
                if data.isEmpty {
                    handle.readabilityHandler = nil
                    continuation.finish()
                }
                partial.withLock { partial in
                    partial += data
                    while let end = partial.firstIndex(of: 0x0A) {
                        continuation.yield(String(decoding: partial[..<end], as: UTF8.self))
                        partial.removeSubrange(...end)
                    }
                }
            }
            process.standardOutput = pipe
            process.standardInput = FileHandle.nullDevice
        } else {
            continuation.finish()
        }
        let (status, ended) = AsyncStream<Int32>.makeStream()
        self.status = status
        process.terminationHandler = { process in
            ended.yield(
                process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus)
            ended.finish()
        }
        try process.run()
    }

    deinit { stop() }

    /// Waits for a JSON line of its output that tells an event.
    func event(_ name: String) async throws -> JSON {
        for await line in lines {
            if let json = try? JSON(parsing: line), json["event"]?.string == name { return json }
        }
        throw CommandFailure("dreamer \(arguments.first ?? "") ended before it was ready")
    }

    /// Waits for the end. Throws unless it ended well.
    func finish() async throws {
        try await withTaskCancellationHandler {
            for await status in status where status != 0 {
                throw CommandFailure("dreamer \(arguments.joined(separator: " ")) ended with status \(status)")
            }
            try Task.checkCancellation()
        } onCancel: {
            stop()
        }
    }

    /// Asks it to stop.
    func stop() { if process.isRunning { process.interrupt() } }
}
