// SPDX-License-Identifier: Apache-2.0

/// How a NAT chose the external ports of mappings made one after the other.
public struct NATPortPattern: Hashable, Sendable {
    /// The way it chooses.
    public var allocation: NATBehavior.Allocation
    /// The commonest distance from one port to the next where they are sequential.
    public var step: Int?
    /// The lowest and the highest port seen.
    public var observed: ClosedRange<UInt16>
    /// Whether ports come from a range much smaller than all, of which ``observed`` shows a part.
    public var isConfined: Bool

    /// A mapping as it was seen: the port inside and the port outside.
    struct Sample: Hashable, Sendable {
        let inside: UInt16
        let outside: UInt16
    }

    /// A sequence goes on within so many ports; others behind the NAT take some.
    static let farthestStep = 16
    /// Random ports among all would lie in a window of this size, an eighth of all, less often than once in a million
    /// with this many samples.
    static let confinedWindow = 8192
    private static let confinedSamples = 9

    /// The pattern of mappings in the order in which they were made; `nil` while they are too few to tell.
    init?(_ samples: [Sample]) {
        guard samples.count >= 4, let lowest = samples.map(\.outside).min(), let highest = samples.map(\.outside).max()
        else { return nil }
        observed = lowest...highest
        isConfined = false
        // A port that is taken already is not preserved for anyone: some misses are no contradiction.
        let preserved = samples.count { $0.inside == $0.outside }
        if preserved * 4 >= samples.count * 3 {
            allocation = .preserving
            return
        }
        let steps = zip(samples, samples.dropFirst()).map { Int($1.outside) - Int($0.outside) }
        if let step = Self.step(of: steps) ?? Self.risingStep(of: steps) {
            allocation = .sequential
            self.step = step
            return
        }
        // A sequence that others take much of looks random in a few samples.
        guard samples.count >= 12 else { return nil }
        allocation = .random
        isConfined = samples.count >= Self.confinedSamples && Int(highest - lowest) < Self.confinedWindow
    }

    /// The pattern of mappings that sockets made toward one destination after the other, one list a socket; `nil` while
    /// they are too few to tell.
    init?(further sockets: [[UInt16]]) {
        let ports = sockets.flatMap(\.self)
        let steps = sockets.flatMap { ports in zip(ports, ports.dropFirst()).map { Int($1) - Int($0) } }
        guard steps.count >= 4, let lowest = ports.min(), let highest = ports.max() else { return nil }
        observed = lowest...highest
        isConfined = false
        if let step = Self.step(of: steps) {
            allocation = .sequential
            self.step = step
            return
        }
        guard steps.count >= 10 else { return nil }
        allocation = .random
        isConfined = Int(highest - lowest) < Self.confinedWindow
    }

    /// The step of a sequence; `nil` if it is none.
    private static func step(of steps: [Int]) -> Int? {
        let near = steps.filter { $0 != 0 && $0.magnitude <= farthestStep }
        let ascending = near.filter { $0 > 0 }
        let main = ascending.count * 2 >= near.count ? ascending : near.filter { $0 < 0 }
        let isSequence =
            if steps.count < 10 {
                // One jump back may be the end of the range.
                main.count >= 3 && main.count >= steps.count - 1 && Set(main).count == 1
            } else {
                main.count * 5 >= steps.count * 4
            }
        return isSequence ? commonest(main) : nil
    }

    /// The usual step of a sequence that others take much of. So many ports in a row rise all the way, but for one jump
    /// back at the end of the range, by chance once in a million times.
    private static func risingStep(of steps: [Int]) -> Int? {
        guard steps.count >= 12, steps.count(where: { $0 <= 0 }) <= 1 else { return nil }
        let rising = steps.filter { $0 > 0 }
        return rising.reduce(0, +) < 1 << 15 ? rising.sorted()[rising.count / 2] : nil
    }

    private static func commonest(_ steps: [Int]) -> Int? {
        var counts: [Int: Int] = [:]
        for step in steps { counts[step, default: 0] += 1 }
        // Of equals the shortest.
        return counts.max { ($0.value, -abs($0.key)) < ($1.value, -abs($1.key)) }?.key
    }

    /// Whether external ports are even where internal ones are; `nil` while chance may have made it so.
    static func preservesParity(_ samples: [Sample]) -> Bool? {
        guard samples.allSatisfy({ $0.inside & 1 == $0.outside & 1 }) else {
            // Where ports are preserved, one that could not be says little.
            return samples.count { $0.inside == $0.outside } * 4 >= samples.count * 3 ? nil : false
        }
        // Nothing but 20 of a kind is no chance, and a sequence keeps pace with ports inside that are all odd or even.
        let odd = samples.count { $0.inside & 1 == 1 }
        return samples.count >= 20 && odd >= 4 && samples.count - odd >= 4 ? true : nil
    }
}
