// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Glibc

/// What a person types, or another program gives.
enum StandardInput {
    /// The lines as they come, without their ends; ends with the input.
    static let lines = AsyncStream<String> { continuation in
        // readLine blocks, so it gets a thread.
        DispatchQueue(label: "standard-input").async {
            while let line = readLine(strippingNewline: true) { continuation.yield(line) }
            continuation.finish()
        }
    }

    /// All bytes up to the end, at most so many.
    static func bytes(limit: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(STDIN_FILENO, &piece, piece.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw CommandFailure("standard input: \(String(cString: strerror(errno)))") }
            guard count > 0 else { return bytes }
            bytes += piece[..<count]
            guard bytes.count <= limit else {
                throw CommandFailure("standard input: more than \(Units.bytes(limit))")
            }
        }
    }
}
