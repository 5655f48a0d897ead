// SPDX-License-Identifier: Apache-2.0

extension DTLSTransport {
    /// What a session may be told besides its certificate.
    public struct Configuration: Sendable {
        /// The largest datagram to send, in bytes of UDP payload. 1,200 bytes go through practically everywhere,
        /// tunnels included (RFC 8261 §5).
        public var mtu = 1200
        /// How long the first flight waits for an answer. RFC 9147 §5.8.2 advises 400 ms for media, and 1.5 times the
        /// round-trip time where ICE knows it: ``retransmissionInterval(roundTripTime:)``.
        public var initialRetransmission = Duration.milliseconds(400)
        /// What protects records, most preferred first. As the server our order counts.
        public var ciphers = DTLSCipher.allCases
        /// How SRTP on the same path is to be protected (RFC 5764), most preferred first; none where the list is empty.
        /// Some stacks give up on a session that agrees on no profile, even for data alone.
        public var srtpProfiles = SRTPProtectionProfile.allCases
        /// Receives each line of secrets in the NSS key log format, for those who decrypt captures. Nothing is written
        /// anywhere without it.
        public var keyLog: (@Sendable (String) -> Void)?

        /// The defaults.
        public init() {}

        /// The interval for a path whose round-trip time is known: 1.5 times that (RFC 9147 §5.8.2), at least 50 ms, so
        /// that a slow processor at the other end is not taken for loss.
        public static func retransmissionInterval(roundTripTime: Duration) -> Duration {
            max(roundTripTime * 3 / 2, .milliseconds(50))
        }
    }

    /// What was seen and what was dropped.
    public struct Statistics: Hashable, Sendable {
        /// Datagrams handed in.
        public var datagramsReceived = 0
        /// Datagrams, or the rest of one, that could not be used: no DTLS, damaged, replayed or out of place.
        public var datagramsDropped = 0
        /// Flights repeated because no answer came in time.
        public var retransmissions = 0
        /// Records of application data that came before the fingerprint was known and had no room to wait.
        public var unverifiedRecordsDropped = 0
    }
}
