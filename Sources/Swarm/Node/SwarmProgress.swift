// SPDX-License-Identifier: Apache-2.0

/// How far a fetch is.
public struct SwarmProgress: Hashable, Sendable {
    /// Bytes that are verified and on the disk.
    public let bytesVerified: Int
    /// Bytes that are wanted; 0 while the manifest is not known.
    public let bytesTotal: Int
    /// What has been moved.
    public let statistics: SwarmStatistics
    /// Bytes a second that come, from peers and from HTTP.
    public let bytesPerSecond: Double
    /// How many peers are connected.
    public let peers: Int

    /// The part that is done, 0 to 1.
    public var fraction: Double { bytesTotal == 0 ? 0 : Double(bytesVerified) / Double(bytesTotal) }

    /// Seconds to the end at the present rate, `nil` while nothing comes.
    public var secondsLeft: Double? {
        bytesPerSecond < 1 || bytesTotal == 0 ? nil : Double(bytesTotal - bytesVerified) / bytesPerSecond
    }
}
