// SPDX-License-Identifier: Apache-2.0

/// SCTP payload protocol identifiers of data channels (RFC 8831 §8).
enum PayloadProtocol: UInt32, Sendable {
    /// The data channel establishment protocol (RFC 8832).
    case dcep = 50
    /// Text, whole.
    case string = 51
    /// A part of a binary message that `binary` ends; deprecated (RFC 8831 §6.6), received and never sent.
    case binaryPartial = 52
    /// Binary, whole.
    case binary = 53
    /// A part of a text that `string` ends; deprecated, received and never sent.
    case stringPartial = 54
    /// A text of no bytes, sent as one byte that means nothing.
    case stringEmpty = 56
    /// A binary message of no bytes, sent as one byte that means nothing.
    case binaryEmpty = 57

    /// Whether the bytes count towards a channel's buffered amount.
    var countsAsBuffered: Bool {
        switch self {
        case .dcep, .stringEmpty, .binaryEmpty: false
        case .string, .binaryPartial, .binary, .stringPartial: true
        }
    }
}
