// SPDX-License-Identifier: Apache-2.0

public import Hashing

/// A request to the HTTP origin, named by the core.
public struct OriginRequestID: Hashable, Sendable {
    /// The number.
    public let rawValue: UInt64
}

/// What is to be fetched from the HTTP origin.
public enum OriginResource: Hashable, Sendable {
    /// `manifest.json`, at most 64 MiB.
    case manifest
    /// `proofs/<name>.b3`: the values of all groups of an entry.
    case proof(entry: Int)
    /// A range of an entry.
    case range(entry: Int, Range<Int>)
}

/// What the core wants its driver to do. To be performed in order, after the call that brought it about has returned.
public enum SwarmAction: Sendable {
    /// Send text on the peer's channel `control`.
    case sendControl(PeerHandle, String)
    /// The peer has frames to be sent: call ``SwarmCore/nextFrame(for:now:)`` while its channel has room, and again when it
    /// has room again.
    case framesReady(PeerHandle)
    /// Close the connection. The core has forgotten it already.
    case close(PeerHandle, SwarmCloseReason)
    /// Write a verified group (or one from HTTP that waits for its shard's hash) into the part file; answer with
    /// ``SwarmCore/groupWritten(entry:group:buffer:error:now:)``.
    case writeGroup(entry: Int, group: Int, buffer: GroupBuffer)
    /// Keep these values beside the part file: `first` is the group of the first one. No answer.
    case writeValues(entry: Int, first: Int, values: [BLAKE3.Digest])
    /// Every group is written: make the part file durable, check its SHA-256 where `checksHash`, and rename it; answer with
    /// ``SwarmCore/entryFinished(_:result:now:)``.
    case finishEntry(Int, checksHash: Bool)
    /// Throw the part file and its values away. No answer.
    case discardPart(entry: Int)
    /// Remove a finished file, evicted. No answer.
    case removeEntry(Int)
    /// Fetch from HTTP; answer with `origin…` of ``SwarmCore``.
    case fetch(OriginRequestID, OriginResource)
    /// The answer is not wanted any more.
    case cancelFetch(OriginRequestID)
    /// Tell the application.
    case event(SwarmEvent)
}

/// What came of finishing an entry.
public enum FinishResult: Hashable, Sendable {
    /// It stands under its final name.
    case finished
    /// Its SHA-256 is another one.
    case hashMismatch
    /// The file system refused.
    case failed(String)
}

/// A frame to be sent, made so that its bytes can go from the file straight into a send buffer.
public struct OutgoingFrame: Sendable {
    /// Where the data comes from.
    public enum Payload: Sendable {
        /// A range of an entry's file.
        case file(entry: Int, offset: Int)
        /// These bytes.
        case bytes([UInt8])
    }

    /// To whom.
    public let peer: PeerHandle
    /// The 20 bytes before the data.
    public let header: BulkHeader
    /// The data.
    public let payload: Payload
    /// The data's length.
    public let length: Int

    /// The length of the whole message.
    public var byteCount: Int { BulkHeader.byteCount + length }
}
