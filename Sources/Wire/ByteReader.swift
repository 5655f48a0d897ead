// SPDX-License-Identifier: Apache-2.0

/// What a reader throws when bytes end too early.
public struct WireError: Error, Hashable, Sendable {
    /// Where, in bytes from the start.
    public let offset: Int
    /// How many bytes were wanted there.
    public let wanted: Int
}

/// A cursor over borrowed bytes. Every unsafe load from network bytes stands in this file, after a check of bounds.
public struct ByteReader: ~Escapable {
    /// What is read.
    public let bytes: RawSpan
    /// How far it has been read.
    public private(set) var offset = 0

    /// A reader at the start of `bytes`.
    @inlinable
    @_lifetime(copy bytes)
    public init(_ bytes: RawSpan) {
        self.bytes = bytes
    }

    /// How many bytes are left.
    public var remaining: Int { bytes.byteCount - offset }

    /// Moves on by `count` bytes.
    public mutating func skip(_ count: Int) throws(WireError) {
        try need(count)
        offset += count
    }

    /// One byte.
    public mutating func readUInt8() throws(WireError) -> UInt8 { try read(UInt8.self) }
    /// Two bytes in network order.
    public mutating func readUInt16() throws(WireError) -> UInt16 { try UInt16(bigEndian: read(UInt16.self)) }
    /// Four bytes in network order.
    public mutating func readUInt32() throws(WireError) -> UInt32 { try UInt32(bigEndian: read(UInt32.self)) }
    /// Eight bytes in network order.
    public mutating func readUInt64() throws(WireError) -> UInt64 { try UInt64(bigEndian: read(UInt64.self)) }
    /// Two bytes, least significant first.
    public mutating func readUInt16LE() throws(WireError) -> UInt16 { try UInt16(littleEndian: read(UInt16.self)) }
    /// Four bytes, least significant first.
    public mutating func readUInt32LE() throws(WireError) -> UInt32 { try UInt32(littleEndian: read(UInt32.self)) }
    /// Eight bytes, least significant first.
    public mutating func readUInt64LE() throws(WireError) -> UInt64 { try UInt64(littleEndian: read(UInt64.self)) }

    /// The next `count` bytes, borrowed.
    @_lifetime(copy self)
    public mutating func readSpan(_ count: Int) throws(WireError) -> RawSpan {
        try need(count)
        let span = bytes.extracting(offset..<offset + count)
        offset += count
        return span
    }

    /// The next `count` bytes, copied.
    public mutating func readBytes(_ count: Int) throws(WireError) -> [UInt8] {
        try need(count)
        let copy = [UInt8](copying: bytes.extracting(offset..<offset + count))
        offset += count
        return copy
    }

    private func need(_ count: Int) throws(WireError) {
        guard count >= 0, count <= remaining else { throw WireError(offset: offset, wanted: count) }
    }

    private mutating func read<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type) throws(WireError) -> T {
        try need(MemoryLayout<T>.size)
        let value = bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: type)
        offset += MemoryLayout<T>.size
        return value
    }
}

extension [UInt8] {
    /// The bytes of a borrowed span, copied.
    @inlinable
    public init(copying span: RawSpan) {
        self = span.withUnsafeBytes { [UInt8]($0) }
    }
}

extension RawSpan {
    /// The byte at `index`, `nil` past the end.
    @inlinable
    public func byte(at index: Int) -> UInt8? {
        guard index >= 0, index < byteCount else { return nil }
        return unsafeLoadUnaligned(fromByteOffset: index, as: UInt8.self)
    }
}
