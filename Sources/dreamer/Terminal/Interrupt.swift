// SPDX-License-Identifier: Apache-2.0
@preconcurrency import Dispatch
import Glibc

/// Ctrl-C and a polite kill, as something that a task can wait for.
enum Interrupt {
    /// Waits until the program is asked to stop, by SIGINT or SIGTERM, or until the task is cancelled. A second signal ends
    /// the program at once.
    static func wait() async {
        let signals = AsyncStream<Void> { continuation in
            let sources = [SIGINT, SIGTERM].map { number in
                signal(number, SIG_IGN)
                let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
                source.setEventHandler {
                    signal(number, SIG_DFL)
                    continuation.finish()
                }
                source.activate()
                return source
            }
            continuation.onTermination = { _ in
                for source in sources { source.cancel() }
            }
        }
        for await _ in signals {}
    }
}
