// SPDX-License-Identifier: Apache-2.0
internal import CUSRSCTP

/// What usrsctp reports between messages (RFC 6458 §6.1), as far as data channels need it.
enum SCTPNotification: Hashable, Sendable {
    /// The handshake is complete; how many streams each direction has.
    case up(outbound: Int, inbound: Int)
    /// The peer started anew on the same association (RFC 9260 §5.2.4).
    case restarted
    /// It was lost: time-outs, or an ABORT.
    case lost(errorCause: UInt16, wasAborted: Bool)
    /// Both sides shut it down (RFC 9260 §9.2).
    case shutDown
    /// It never came up.
    case cannotStart
    /// A reset of streams ended (RFC 6525 §6.1.1).
    case streamReset(streams: [UInt16], isIncoming: Bool, failed: Bool)
    /// The message that is being read in parts will never be complete.
    case partialDeliveryAborted
    /// Of no interest.
    case other

    /// Reads what `usrsctp_recvv` wrote. These are our own library's bytes, but they are checked all the same.
    init(_ bytes: UnsafeRawBufferPointer) {
        self = .other
        guard bytes.count >= 8 else { return }
        switch Int32(bytes.loadUnaligned(as: UInt16.self)) {
        case SCTP_ASSOC_CHANGE:
            guard let change = Self.load(sctp_assoc_change.self, from: bytes) else { return }
            switch Int32(change.sac_state) {
            case SCTP_COMM_UP:
                self = .up(outbound: Int(change.sac_outbound_streams), inbound: Int(change.sac_inbound_streams))
            case SCTP_RESTART: self = .restarted
            case SCTP_COMM_LOST:
                self = .lost(
                    errorCause: change.sac_error, wasAborted: change.sac_length > MemoryLayout<sctp_assoc_change>.size)
            case SCTP_SHUTDOWN_COMP: self = .shutDown
            case SCTP_CANT_STR_ASSOC: self = .cannotStart
            default: break
            }
        case SCTP_STREAM_RESET_EVENT:
            guard let event = Self.load(sctp_stream_reset_event.self, from: bytes) else { return }
            let flags = Int32(event.strreset_flags)
            var streams: [UInt16] = []
            var offset = Int(cusrsctp_reset_event_list_offset)
            while offset + 2 <= min(bytes.count, Int(event.strreset_length)) {
                streams.append(bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
                offset += 2
            }
            self = .streamReset(
                streams: streams, isIncoming: flags & SCTP_STREAM_RESET_INCOMING_SSN != 0,
                failed: flags & (SCTP_STREAM_RESET_DENIED | SCTP_STREAM_RESET_FAILED) != 0)
        case SCTP_PARTIAL_DELIVERY_EVENT:
            self = .partialDeliveryAborted
        default:
            break
        }
    }

    /// A `MessageBuffer` is aligned for everything.
    private static func load<Event>(_ type: Event.Type, from bytes: UnsafeRawBufferPointer) -> Event? {
        guard bytes.count >= MemoryLayout<Event>.size else { return nil }
        return bytes.load(as: type)
    }
}
