// SPDX-License-Identifier: Apache-2.0
internal import NetIO
internal import Wire

/// An ``AgentProgram`` that runs.
final class AgentProcess {
    let program: KernelProgram
    /// What it told, by its name: the first of each.
    private(set) var events: [String: JSON] = [:]
    private var hasEnded = false

    init(_ program: KernelProgram) { self.program = program }

    /// Waits for an event, `nil` where it fails, ends or says nothing until then.
    func wait(for event: String, until deadline: Timestamp) -> JSON? {
        while true {
            if let known = events[event] { return known }
            if hasEnded || events["failed"] != nil { return nil }
            let left = deadline - MonotonicClock.now
            guard left > .zero else { return nil }
            do {
                guard let line = try program.line(within: left) else {
                    hasEnded = true
                    return nil
                }
                note(line)
            } catch {
                return nil
            }
        }
    }

    private func note(_ line: String) {
        guard let json = try? JSON(parsing: line), let event = json["event"]?.string, events[event] == nil else {
            return
        }
        events[event] = json
    }

    /// A time that an event tells, in nanoseconds of CLOCK_MONOTONIC.
    func time(of event: String) -> Int64? { events[event]?["time"]?.integer }
}
