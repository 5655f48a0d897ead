// SPDX-License-Identifier: Apache-2.0

import Wire

//  0               1               2               3
// +---------------+---------------+---------------+---------------+
// |     type      |     flags     |   headerLength (≥ 20)         |
// +---------------+---------------+---------------+---------------+
// |                           requestId                           |
// |                          shardIndex                           |
// |                            offset                             |
// |                                                               |
// +---------------------------------------------------------------+
// |  (bytes beyond 20 are skipped)   data …                       |

/// The header of a message on the channel `bulk`. All numbers are little-endian.
public struct BulkHeader: Hashable, Sendable {
    /// What the data is.
    public enum Kind: UInt8, Hashable, Sendable {
        /// Bytes of a shard.
        case chunk = 1
        /// Group values.
        case proof = 2
        /// Bytes of the manifest.
        case manifest = 3
    }

    /// What the data is.
    public var kind: Kind
    /// The frame reaches the end of the range, list or manifest.
    public var isEnd: Bool
    /// Which request is answered.
    public var requestID: UInt32
    /// The shard, ``ControlMessage/manifestIndex`` for the manifest.
    public var shardIndex: UInt32
    /// Where the data stands, in bytes.
    public var offset: UInt64

    /// The bytes of a header without extension.
    public static let byteCount = 20
    /// The largest message that this node takes, which it announces as `a=max-message-size`.
    public static let maximumFrameByteCount = 262_144
    /// The smallest message that both sides must be able to take: 16 KiB of data and a header.
    public static let minimumMessageSize = 16 * 1024 + byteCount

    /// A header from its parts.
    public init(kind: Kind, isEnd: Bool, requestID: UInt32, shardIndex: UInt32, offset: UInt64) {
        self.kind = kind
        self.isEnd = isEnd
        self.requestID = requestID
        self.shardIndex = shardIndex
        self.offset = offset
    }

    /// Writes the 20 bytes.
    public func write(into destination: UnsafeMutableRawBufferPointer) {
        destination.storeBytes(of: kind.rawValue, as: UInt8.self)
        destination.storeBytes(of: isEnd ? 1 : 0, toByteOffset: 1, as: UInt8.self)
        destination.storeBytes(of: UInt16(BulkHeader.byteCount).littleEndian, toByteOffset: 2, as: UInt16.self)
        destination.storeBytes(of: requestID.littleEndian, toByteOffset: 4, as: UInt32.self)
        destination.storeBytes(of: shardIndex.littleEndian, toByteOffset: 8, as: UInt32.self)
        destination.storeBytes(of: offset.littleEndian, toByteOffset: 12, as: UInt64.self)
    }

    /// The 20 bytes.
    public var bytes: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: BulkHeader.byteCount)
        bytes.withUnsafeMutableBytes { write(into: $0) }
        return bytes
    }
}

/// What became of a message on `bulk`.
public enum BulkDecoding: Hashable, Sendable {
    /// A frame; the data starts at `dataOffset`. Flags that no one knows are told apart for counting.
    case frame(BulkHeader, dataOffset: Int, hasUnknownFlags: Bool)
    /// A type that this node does not know.
    case unknownType(UInt8)
    /// Against the format.
    case fault(String)

    /// Reads the header of a message.
    public init(_ message: RawSpan) {
        guard message.byteCount <= BulkHeader.maximumFrameByteCount else {
            self = .fault("a frame of \(message.byteCount) bytes")
            return
        }
        guard let type = message.byte(at: 0) else {
            self = .fault("an empty frame")
            return
        }
        guard let kind = BulkHeader.Kind(rawValue: type) else {
            self = .unknownType(type)
            return
        }
        do throws(WireError) {
            var reader = ByteReader(message)
            try reader.skip(1)
            let flags = try reader.readUInt8()
            let headerLength = Int(try reader.readUInt16LE())
            let header = BulkHeader(
                kind: kind, isEnd: flags & 1 != 0, requestID: try reader.readUInt32LE(),
                shardIndex: try reader.readUInt32LE(), offset: try reader.readUInt64LE())
            guard headerLength >= BulkHeader.byteCount, headerLength <= message.byteCount else {
                self = .fault("a frame whose header has \(headerLength) bytes")
                return
            }
            guard header.offset <= UInt64(ControlMessage.maximumInteger) else {
                self = .fault("a frame at offset \(header.offset)")
                return
            }
            self = .frame(header, dataOffset: headerLength, hasUnknownFlags: flags & ~1 != 0)
        } catch {
            self = .fault("a frame of \(message.byteCount) bytes")
        }
    }
}
