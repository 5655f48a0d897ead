// SPDX-License-Identifier: Apache-2.0
import Wire

/// A TCP sender with CUBIC (RFC 9438) and selective acknowledgements, as far as sharing a bottleneck needs it: packets of
/// one size, every one acknowledged, lost when three later ones were.
struct CubicFlow {
    static let packetSize = 1500
    /// RFC 9438 §5: C and β.
    private static let c = 0.4
    private static let beta = 0.7

    private var window = 10.0
    private var threshold = Double.infinity
    private var largestWindow = 0.0
    private var epochBegan: Timestamp?
    private var k = 0.0
    private var renoWindow = 0.0
    private var next = 0
    private var inFlight: Set<Int> = []
    private var recoveryEnd = -1
    private var roundTrip = 0.0
    private var sentAt: [Int: Timestamp] = [:]
    private var lastAck = Timestamp.zero
    private(set) var deliveredBytes = 0

    /// The packets that may leave now, by number.
    mutating func send(now: Timestamp) -> [Int] {
        // A retransmission time-out, coarsely: everything in flight was lost.
        if !inFlight.isEmpty, (now - lastAck).seconds > max(1, 2 * roundTrip) {
            inFlight.removeAll()
            threshold = window / 2
            window = 1
            epochBegan = nil
            lastAck = now
        }
        var packets: [Int] = []
        while inFlight.count < Int(window) {
            inFlight.insert(next)
            sentAt[next] = now
            packets.append(next)
            next += 1
        }
        return packets
    }

    /// A packet was acknowledged.
    mutating func acknowledged(_ number: Int, now: Timestamp) {
        lastAck = now
        if let sent = sentAt.removeValue(forKey: number) {
            let sample = (now - sent).seconds
            roundTrip = roundTrip == 0 ? sample : 0.875 * roundTrip + 0.125 * sample
        }
        guard inFlight.remove(number) != nil else { return }
        deliveredBytes += Self.packetSize
        let lost = inFlight.filter { $0 < number - 3 }
        if !lost.isEmpty {
            inFlight.subtract(lost)
            for packet in lost { sentAt[packet] = nil }
            if lost.contains(where: { $0 > recoveryEnd }) {
                recoveryEnd = next
                largestWindow = window < largestWindow ? window * (1 + Self.beta) / 2 : window
                window = max(2, window * Self.beta)
                threshold = window
                epochBegan = nil
            }
            return
        }
        if window < threshold {
            window += 1
        } else {
            grow(now)
        }
    }

    private mutating func grow(_ now: Timestamp) {
        if epochBegan == nil {
            epochBegan = now
            if largestWindow < window { largestWindow = window }
            k = cubeRoot((largestWindow - window) / Self.c)
            renoWindow = window
        }
        let time = (now - (epochBegan ?? now)).seconds + roundTrip
        let target = Self.c * (time - k) * (time - k) * (time - k) + largestWindow
        renoWindow += 3 * (1 - Self.beta) / (1 + Self.beta) / window
        if renoWindow > target, renoWindow > window {
            window = renoWindow
        } else if target > window {
            window += (min(target, 1.5 * window) - window) / window
        } else {
            window += 0.01 / window
        }
    }

    private func cubeRoot(_ value: Double) -> Double {
        guard value > 0 else { return 0 }
        var root = max(1, value / 3)
        for _ in 0..<60 { root -= (root * root * root - value) / (3 * root * root) }
        return root
    }
}
