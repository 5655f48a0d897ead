// SPDX-License-Identifier: Apache-2.0
import SCTP

/// Which of a connection's associations carries a channel.
enum Carrier: Hashable, Sendable {
    /// The association of RFC 8831, which every peer has.
    case plain
    /// One over a ``ReliableLink``, between peers that both have it.
    case recovered(RecoveredChannels.Flow)

    /// The flow of the link, `nil` for the plain association.
    var flow: RecoveredChannels.Flow? {
        switch self {
        case .plain: nil
        case .recovered(let flow): flow
        }
    }

    /// The best one for a channel. What may be dropped stays plain: a repetition would only delay what follows. So do
    /// channels that each side opens by itself, since the two sides may have told different priorities.
    init(for options: DataChannel.Options) {
        guard options.reliability == .reliable, options.negotiatedID == nil else {
            self = .plain
            return
        }
        self = .recovered(options.priority >= .medium ? .urgent : .bulk)
    }
}
