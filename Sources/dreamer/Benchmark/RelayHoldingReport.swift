// SPDX-License-Identifier: Apache-2.0
import Wire

/// What it costs a TURN server to hold many allocations.
struct RelayHoldingReport: Sendable {
    /// One server's figures.
    let server: String
    var asked = 0
    /// The requests for allocations and for channels.
    var allocated = RelayHolding.Outcome()
    var bound = RelayHolding.Outcome()
    var refreshed = RelayHolding.Outcome()
    var echoed = RelayHolding.Outcome()
    /// What a user, and an address, was given that asked for more.
    var userQuota = RelayHolding.Outcome()
    var addressQuota = RelayHolding.Outcome()
    /// Resident memory before and after, in bytes.
    var memoryBefore = 0
    var memoryAfter = 0
    /// Processor time of setting up, of holding, and of the refresh, in seconds.
    var setUpCPU = 0.0
    var holdCPU = 0.0
    var refreshCPU = 0.0
    /// How long the allocations were held.
    var heldSeconds = 0.0

    private var memoryEach: Int { (memoryAfter - memoryBefore) / max(allocated.done, 1) }
    private var setUpSeconds: Double { allocated.seconds + bound.seconds }
    private var rate: Double { Double(allocated.done) / max(setUpSeconds, 1e-9) }

    /// Whether everything that was asked for was given and works.
    var isComplete: Bool {
        [allocated, bound, refreshed, echoed].allSatisfy { $0.done == asked }
    }

    var lines: [String] {
        func each(_ seconds: Double) -> String {
            "\(Units.fixed(seconds * 1e6 / Double(max(allocated.done, 1)), 1)) µs each"
        }
        return [
            "\(server): \(allocated.done) of \(asked) allocations with a channel each in "
                + "\(Units.duration(setUpSeconds)), \(Int(rate)) a second, processor time \(each(setUpCPU))"
                + Self.failures(allocated),
            "  memory: \(Units.bytes(memoryBefore)) before, \(Units.bytes(memoryAfter)) with them, "
                + "\(Units.bytes(memoryEach)) each",
            "  held for \(Units.duration(heldSeconds)) with \(Units.fixed(holdCPU, 2)) s of processor time; "
                + "\(refreshed.done) refreshed in \(Units.duration(refreshed.seconds)), \(each(refreshCPU))"
                + Self.failures(refreshed),
            "  packets to the peer and back afterwards: \(echoed.done) of \(asked)\(Self.failures(echoed))",
            "  quotas: a user who asks for more gets \(userQuota.done)\(Self.failures(userQuota)), "
                + "an address \(addressQuota.done)\(Self.failures(addressQuota))",
        ]
    }

    var json: JSON {
        [
            "server": .string(server), "asked": .integer(Int64(asked)), "allocations": .integer(Int64(allocated.done)),
            "perSecond": .rounded(rate), "setUpCPUSeconds": .number(setUpCPU),
            "bytesPerAllocation": .integer(Int64(memoryEach)), "residentBytes": .integer(Int64(memoryAfter)),
            "heldSeconds": .rounded(heldSeconds), "holdCPUSeconds": .number(holdCPU),
            "refreshed": .integer(Int64(refreshed.done)), "refreshCPUSeconds": .number(refreshCPU),
            "echoed": .integer(Int64(echoed.done)), "moreForAUser": .integer(Int64(userQuota.done)),
            "moreForAnAddress": .integer(Int64(addressQuota.done)),
        ]
    }

    private static func failures(_ outcome: RelayHolding.Outcome) -> String {
        var parts = outcome.refused.sorted { $0.key < $1.key }.map { "\($0.value) refused with \($0.key)" }
        if outcome.silent > 0 { parts.append("\(outcome.silent) without an answer") }
        return parts.isEmpty ? "" : " (\(parts.joined(separator: ", ")))"
    }
}
