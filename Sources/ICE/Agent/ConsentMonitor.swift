// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// The clock of one selected pair: when to ask for consent, when it is lost, when a keepalive is due.
struct ConsentMonitor: Sendable {
    /// The pair.
    let pair: Int
    private(set) var lastAnswer: Timestamp
    private(set) var lastSent: Timestamp
    private(set) var nextRequest: Timestamp?
    private let timeout: Duration
    private let keepalive: Duration

    /// Starts with a check that was just answered.
    init(pair: Int, now: Timestamp, configuration: ICEAgent.Configuration, entropy: inout Entropy) {
        self.pair = pair
        lastAnswer = now
        lastSent = now
        timeout = configuration.consentTimeout
        // RFC 8445 §11: never below 15 s.
        keepalive = max(configuration.keepaliveInterval, .seconds(15))
        schedule(now: now, configuration: configuration, entropy: &entropy)
    }

    /// When consent ends without another answer; `nil` if none is asked for.
    var expiry: Timestamp? { nextRequest == nil ? nil : lastAnswer + timeout }

    /// When a keepalive is due unless something is sent before.
    var keepaliveDue: Timestamp { lastSent + keepalive }

    /// An authenticated answer came.
    mutating func answered(now: Timestamp) { lastAnswer = max(lastAnswer, now) }

    /// Something left on the pair.
    mutating func sent(now: Timestamp) { lastSent = max(lastSent, now) }

    /// Sets the time of the next request: the base period times 0.8 to 1.2, never below 4 s (RFC 7675 §5.1).
    mutating func schedule(now: Timestamp, configuration: ICEAgent.Configuration, entropy: inout Entropy) {
        guard let interval = configuration.consentInterval else { return }
        let base = max(interval, .seconds(5)).nanoseconds
        let spread = base / 5
        let offset = Int64(entropy.next() % UInt64(2 * spread + 1)) - spread
        nextRequest = now + .nanoseconds(base + offset)
    }
}
