// SPDX-License-Identifier: Apache-2.0

/// Memory that one received message is read into. An owner keeps one and passes it to every multiplexer, so that a
/// message is copied once, out of usrsctp, and can be handed on after all locks are released.
public struct MessageBuffer: ~Copyable, @unchecked Sendable {
    private var storage: UnsafeMutableRawBufferPointer
    /// How many bytes the message has.
    public internal(set) var byteCount = 0

    /// An empty buffer without memory; it grows to what a multiplexer needs when it is first used.
    public init() {
        storage = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    }

    deinit { storage.deallocate() }

    /// The message.
    public var bytes: RawSpan {
        @_lifetime(borrow self)
        get {
            let span = RawSpan(_unsafeBytes: UnsafeRawBufferPointer(rebasing: storage[..<byteCount]))
            return _overrideLifetime(span, borrowing: self)
        }
    }

    /// The room behind the bytes that are there.
    var room: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: storage[byteCount...])
    }

    /// Makes room for `capacity` bytes in all. What was there stays.
    mutating func reserve(_ capacity: Int) {
        guard capacity > storage.count else { return }
        let grown = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 16)
        grown.copyMemory(from: UnsafeRawBufferPointer(rebasing: storage[..<byteCount]))
        storage.deallocate()
        storage = grown
    }

    /// Replaces the message.
    mutating func assign(_ other: [UInt8]) {
        byteCount = 0
        reserve(other.count)
        other.withUnsafeBytes { room.copyMemory(from: $0) }
        byteCount = other.count
    }
}
