// SPDX-License-Identifier: Apache-2.0
import NATLab
import Wire

/// A path that is measured: the same in both directions.
struct PathScenario {
    let rate: Int
    let roundTrip: Duration
    let loss: Double
    let queueBytes: Int

    /// What long and lossy paths are compared by: 20 and 100 ms without loss, 50 ms with 0.1 % and 1 %.
    static func presets(rate: Int, queue: QueueSize) -> [PathScenario] {
        [(20, 0), (100, 0), (50, 0.001), (50, 0.01)].map { milliseconds, loss in
            PathScenario(rate: rate, roundTrip: .milliseconds(milliseconds), loss: loss, queue: queue)
        }
    }

    init(rate: Int, roundTrip: Duration, loss: Double, queue: QueueSize) {
        self.rate = rate
        self.roundTrip = roundTrip
        self.loss = loss
        queueBytes = queue.bytes(rate: rate, roundTrip: roundTrip)
    }

    /// What each direction does.
    var conditions: LinkConditions {
        LinkConditions(
            rate: rate, delay: .nanoseconds(roundTrip.nanoseconds / 2), queueLimit: queueBytes,
            loss: loss > 0 ? .random(loss) : .none)
    }

    var description: String {
        "\(Self.number(Double(rate) * 8e-6)) Mbit/s, \(Self.number(roundTrip.seconds * 1000)) ms, "
            + "\(Self.number(loss * 100)) % loss, queue \(Units.bytes(queueBytes))"
    }

    var json: JSON {
        [
            "bytesPerSecond": .integer(Int64(rate)), "roundTripMilliseconds": .rounded(roundTrip.seconds * 1000),
            "loss": .rounded(loss), "queueBytes": .integer(Int64(queueBytes)),
        ]
    }

    /// A number with as many digits after the point as it has, three at most.
    private static func number(_ value: Double) -> String {
        var text = Units.fixed(value, 3)
        while text.hasSuffix("0") { text.removeLast() }
        if text.hasSuffix(".") { text.removeLast() }
        return text
    }
}
