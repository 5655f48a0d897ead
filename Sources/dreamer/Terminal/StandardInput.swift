// SPDX-License-Identifier: Apache-2.0
import Dispatch

/// The lines that a person types, as something to wait for.
enum StandardInput {
    /// The lines as they come, without their ends; ends with the input.
    static let lines = AsyncStream<String> { continuation in
        // readLine blocks, so it gets a thread.
        DispatchQueue(label: "standard-input").async {
            while let line = readLine(strippingNewline: true) { continuation.yield(line) }
            continuation.finish()
        }
    }
}
