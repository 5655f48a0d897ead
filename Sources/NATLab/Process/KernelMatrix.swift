// SPDX-License-Identifier: Apache-2.0

/// Has agents meet behind every pair of boxes, in namespaces of the kernel.
public final class KernelMatrix {
    /// The network of all pairs: for each profile a host that offers and one that answers, each behind a box of its
    /// own.
    public let network: KernelNetwork
    private let profiles: [NATProfile]

    /// Makes the network. Throws where there can be none, or where the kernel cannot follow a profile.
    public init(_ profiles: [NATProfile]) throws {
        self.profiles = profiles
        network = try KernelNetwork(
            profiles.flatMap { profile in
                ["a", "b"].map { side in .host("\(profile.name)-\(side)", behind: [profile]) }
            })
    }

    /// Begins to capture what two hosts send and receive: the one that offers behind the first profile, and the one
    /// that answers behind the second.
    public func capture(_ row: Int, _ column: Int) throws -> SegmentCapture {
        try SegmentCapture(
            of: network,
            before: [network.host("\(profiles[row].name)-a"), network.host("\(profiles[column].name)-b")])
    }

    /// Has two programs meet behind two of the profiles, so many times; what is answered has the medians of those times
    /// that ended as most did.
    public func measure(
        _ row: Int, _ column: Int, _ program: AgentProgram, _ configuration: KernelEncounter.Configuration,
        repetitions: Int = 1
    ) throws -> EncounterResult {
        var results: [EncounterResult] = []
        for _ in 0..<max(1, repetitions) {
            let encounter = try KernelEncounter(
                network, .init(network.host("\(profiles[row].name)-a"), profiles[row], program),
                .init(network.host("\(profiles[column].name)-b"), profiles[column], program), configuration)
            results.append(try encounter.run())
        }
        return EncounterResult.median(of: results)
    }
}

extension EncounterResult {
    /// The one whose time is in the middle, of those that ended as most did, with the medians of what took time. Not
    /// empty.
    public static func median(of results: [EncounterResult]) -> EncounterResult {
        let outcomes: [Outcome] = [.direct, .relayed, .failed]
        let counts = outcomes.map { outcome in results.count { $0.outcome == outcome } }
        let most = zip(outcomes, counts).max { $0.1 < $1.1 }?.0 ?? .failed
        let alike = results.filter { $0.outcome == most }
            .sorted { ($0.timeToConnect ?? .zero) < ($1.timeToConnect ?? .zero) }
        guard !alike.isEmpty else { return EncounterResult(.failed) }
        var median = alike[alike.count / 2]
        median.gathering = [0, 1].compactMap { side in
            let times = alike.compactMap { $0.gathering.count > side ? $0.gathering[side] : nil }.sorted()
            return times.isEmpty ? nil : times[times.count / 2]
        }
        if alike.count < results.count {
            let others = zip(outcomes, counts).filter { $0.0 != most && $0.1 > 0 }
                .map { "\($0.1) \($0.0.rawValue)" }.joined(separator: ", ")
            median.causes.insert(
                .init(text: "of \(results.count) times \(others)", packets: 0), at: 0)
        }
        return median
    }
}
