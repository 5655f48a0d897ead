// SPDX-License-Identifier: Apache-2.0

/// What an association or a multiplexer of data channels refuses to do. Bytes from the network never lead here.
public enum SCTPError: Error, Hashable, Sendable {
    /// A call of usrsctp failed: which, and its `errno`.
    case socket(call: String, errno: Int32)
    /// 65,536 associations exist in this process.
    case tooManyAssociations
    /// The association is not there, or no more.
    case notConnected
    /// No such channel, or it is closing.
    case channelNotOpen
    /// Every stream identifier of our parity is in use (RFC 8832 §4).
    case noStreamLeft
    /// The stream identifier of a negotiated channel is in use, or not below the number of streams.
    case streamUnavailable(UInt16)
    /// A label or protocol longer than 65,535 bytes of UTF-8 (RFC 8832 §5.1).
    case nameTooLong
    /// The message is longer than the peer accepts (RFC 8841 §6).
    case messageTooLarge(limit: Int)
}
