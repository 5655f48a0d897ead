// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// Writes the header of a GGUF file, version 3: metadata, then tensors, then padding to the data.
package struct GGUFHeaderWriter {
    private var metadata = ByteWriter()
    private var metadataCount = 0
    private var tensors = ByteWriter()
    private var tensorCount = 0

    /// An empty header.
    package init() {}

    /// Adds a text.
    package mutating func add(_ key: String, _ value: String) {
        begin(key, type: 8)
        Self.write(value, to: &metadata)
    }

    /// Adds an unsigned number of 32 bits.
    package mutating func add(_ key: String, _ value: Int) {
        begin(key, type: 4)
        metadata.write(littleEndian: UInt32(truncatingIfNeeded: value))
    }

    /// Adds a floating-point number.
    package mutating func add(_ key: String, _ value: Float) {
        begin(key, type: 6)
        metadata.write(littleEndian: value.bitPattern)
    }

    /// Adds a truth value.
    package mutating func add(_ key: String, _ value: Bool) {
        begin(key, type: 7)
        metadata.write(value ? 1 as UInt8 : 0)
    }

    /// Adds an array of texts.
    package mutating func add(_ key: String, _ values: [String]) {
        begin(key, type: 9)
        metadata.write(littleEndian: 8 as UInt32)
        metadata.write(littleEndian: UInt64(values.count))
        for value in values { Self.write(value, to: &metadata) }
    }

    /// Adds an array of signed numbers of 32 bits.
    package mutating func add(_ key: String, _ values: [Int32]) {
        begin(key, type: 9)
        metadata.write(littleEndian: 5 as UInt32)
        metadata.write(littleEndian: UInt64(values.count))
        for value in values { metadata.write(littleEndian: value) }
    }

    /// Adds a tensor: its sizes, the fastest first, GGML's number of its type, and where its bytes are in the data.
    package mutating func add(tensor name: String, dimensions: [Int], type: UInt32, offset: Int) {
        tensorCount += 1
        Self.write(name, to: &tensors)
        tensors.write(littleEndian: UInt32(dimensions.count))
        for size in dimensions { tensors.write(littleEndian: Int64(size)) }
        tensors.write(littleEndian: type)
        tensors.write(littleEndian: Int64(offset))
    }

    /// The header's bytes, padded so that the data begin at a multiple of `alignment`.
    package func finish(alignment: Int) -> [UInt8] {
        var header = ByteWriter(capacity: metadata.count + tensors.count + 64)
        header.write("GGUF".utf8)
        header.write(littleEndian: 3 as UInt32)
        header.write(littleEndian: UInt64(tensorCount))
        header.write(littleEndian: UInt64(metadataCount))
        header.write(metadata.bytes)
        header.write(tensors.bytes)
        header.writeZeros((alignment - header.count % alignment) % alignment)
        return header.bytes
    }

    private mutating func begin(_ key: String, type: UInt32) {
        metadataCount += 1
        Self.write(key, to: &metadata)
        metadata.write(littleEndian: type)
    }

    private static func write(_ text: String, to writer: inout ByteWriter) {
        writer.write(littleEndian: UInt64(text.utf8.count))
        writer.write(text.utf8)
    }
}
