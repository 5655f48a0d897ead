// SPDX-License-Identifier: Apache-2.0
internal import Wire

// A GGUF file (version 2 and 3, all numbers little-endian), as ggml's docs/gguf.md describes it:
//
//     "GGUF" · u32 version · u64 tensor count · u64 metadata count
//     metadata: string key · u32 type · value            string: u64 length · bytes      array: u32 type · u64 count · values
//     tensors:  string name · u32 dimensions · u64 sizes, the fastest first · u32 type · u64 offset into the data
//     padding to general.alignment · data

/// A model file of llama.cpp and its kin: metadata, and where each tensor's bytes are.
public struct GGUFFile: Sendable {
    /// A tensor of the file.
    public struct TensorInfo: Hashable, Sendable {
        /// Its name.
        public let name: String
        /// The sizes of its dimensions, the slowest first: the reverse of the file's order.
        public let shape: [Int]
        /// How its values are stored.
        public let type: GGMLType
        /// Its bytes, counted from the file's start.
        public let range: Range<Int>
    }

    /// 2 or 3.
    public let version: Int
    /// The metadata by key.
    public let metadata: [String: GGUFValue]
    /// The tensors in the file's order.
    public let tensors: [TensorInfo]
    /// Where the data begin.
    public let dataOffset: Int
    /// The file's length.
    public let fileSize: Int

    /// More header than this is no header: vocabularies take tens of megabytes.
    private static let largestHeader = 1 << 30

    /// Reads the header of a file and checks that all tensors lie inside it.
    public init(path: String) throws(RDRRError) {
        try self.init(file: SystemFile(reading: path))
    }

    init(file: SystemFile) throws(RDRRError) {
        let size = try file.size()
        var length = min(size, 8 << 20)
        while true {
            // The header's length is nowhere stated: read more until it fits.
            let head = try file.bytes(0..<length)
            do throws(RDRRError) {
                try self.init(header: head.span.bytes, fileSize: size)
                return
            } catch {
                guard error.code == .truncated, length < size, length < Self.largestHeader else {
                    throw error.within(file.path)
                }
                length = min(size, length * 4, Self.largestHeader)
            }
        }
    }

    /// Reads a header out of a file's first bytes.
    public init(header: RawSpan, fileSize: Int) throws(RDRRError) {
        var parser = GGUFParser(header, fileSize: fileSize)
        try parser.parse()
        version = parser.version
        metadata = parser.metadata
        tensors = parser.tensors
        dataOffset = parser.dataOffset
        self.fileSize = fileSize
    }
}

/// Reads the header.
private struct GGUFParser: ~Escapable {
    var version = 0
    var metadata: [String: GGUFValue] = [:]
    var tensors: [GGUFFile.TensorInfo] = []
    var dataOffset = 0
    private var reader: ByteReader
    private let fileSize: Int

    /// GGUF's limits on names and dimensions: 65,535 bytes of key, 64 of tensor name (kept loosely), 4 dimensions.
    private static let longestName = 65_535
    private static let mostDimensions = 4

    @_lifetime(copy bytes)
    init(_ bytes: RawSpan, fileSize: Int) {
        reader = ByteReader(bytes)
        self.fileSize = fileSize
    }

    @_lifetime(self: copy self)
    mutating func parse() throws(RDRRError) {
        guard reader.remaining >= 4, try readUInt32("the first word") == 0x4655_4747 else {
            throw RDRRError(
                .notAModel, at: "header", "the file does not begin with GGUF",
                advice: "give a GGUF file, or a folder with safetensors files")
        }
        version = Int(try readUInt32("version"))
        guard version == 2 || version == 3 else {
            let swapped = UInt32(truncatingIfNeeded: version).byteSwapped
            throw RDRRError(
                .unsupportedVersion, at: "header",
                swapped == 2 || swapped == 3
                    ? "the file is of the big-endian kind" : "version \(version) of GGUF is not known",
                advice: "convert the model to little-endian GGUF version 3")
        }
        let tensorCount = try readUInt64("tensor count")
        let metadataCount = try readUInt64("metadata count")
        // A key, a type and a value are 13 bytes at least; a name, a dimension, a type and an offset 32. More than fit the
        // file is no count; what is left to read keeps memory bounded.
        guard metadataCount <= UInt64(fileSize) / 13, tensorCount <= UInt64(fileSize) / 24 else {
            throw fault(.invalid, "\(tensorCount) tensors and \(metadataCount) values do not fit a file of \(fileSize) bytes")
        }
        for _ in 0..<metadataCount { try parseMetadata() }
        try parseTensors(count: Int(tensorCount))
    }

    @_lifetime(self: copy self)
    private mutating func parseMetadata() throws(RDRRError) {
        let key = try readString("a key")
        guard key.utf8.count <= Self.longestName else { throw fault(.invalid, "a key has more than 65,535 bytes") }
        let type = try readUInt32(key)
        let value = try readValue(type, of: key, depth: 0)
        guard metadata.updateValue(value, forKey: key) == nil else {
            throw fault(.duplicateName, "the key \(key) is there twice")
        }
    }

    @_lifetime(self: copy self)
    private mutating func parseTensors(count: Int) throws(RDRRError) {
        var found: [(name: String, shape: [Int], type: GGMLType, offset: UInt64, size: Int)] = []
        var names: Set<String> = []
        for _ in 0..<count {
            let name = try readString("a tensor's name")
            guard !name.isEmpty, name.utf8.count <= Self.longestName else {
                throw fault(.invalid, "a tensor's name is empty or too long")
            }
            guard names.insert(name).inserted else { throw fault(.duplicateName, "the tensor \(name) is there twice") }
            let dimensions = try readUInt32(name)
            guard dimensions <= Self.mostDimensions else {
                throw fault(.invalid, "the tensor \(name) has \(dimensions) dimensions, 4 are the most")
            }
            var shape: [Int] = []
            for _ in 0..<dimensions {
                guard let size = Int(exactly: try readUInt64(name)) else {
                    throw fault(.invalid, "a dimension of the tensor \(name) is past 2^63")
                }
                shape.insert(size, at: 0)
            }
            let number = try readUInt32(name)
            guard let type = GGMLType(number: number) else {
                throw fault(.unsupported, "the tensor \(name) has the block type \(number), which is not known")
            }
            guard (shape.last ?? 1) % type.storage.blockLength == 0 else {
                throw fault(.invalid, "the rows of the tensor \(name) do not fill whole blocks of \(type.name)")
            }
            guard let size = type.storage.byteCount(shape: shape) else {
                throw fault(.invalid, "the tensor \(name) of shape \(shape) is larger than 2^53 bytes")
            }
            found.append((name, shape, type, try readUInt64(name), size))
        }
        try place(found)
    }

    /// Turns offsets into the data into ranges of the file, and checks them.
    @_lifetime(self: copy self)
    private mutating func place(
        _ found: [(name: String, shape: [Int], type: GGMLType, offset: UInt64, size: Int)]
    ) throws(RDRRError) {
        var alignment = 32
        if let stated = metadata["general.alignment"] {
            guard let value = stated.integer, value > 0, value <= 1 << 20, value & (value - 1) == 0 else {
                throw fault(.invalid, "general.alignment is no power of two up to 2^20")
            }
            alignment = Int(value)
        }
        dataOffset = (reader.offset + alignment - 1) / alignment * alignment
        for tensor in found {
            guard let offset = Int(exactly: tensor.offset), offset <= ManifestField.largestInteger,
                offset % alignment == 0
            else {
                throw fault(.invalid, "the tensor \(tensor.name) begins at a place that is not aligned to \(alignment)")
            }
            let start = dataOffset + offset
            let end = start + tensor.size
            guard end <= fileSize else {
                throw RDRRError(
                    .truncated, at: "tensor \(tensor.name)",
                    "its bytes end at \(end), the file has only \(fileSize): at least \(end - fileSize) bytes are missing",
                    advice: "get the file again, it was cut short")
            }
            tensors.append(
                GGUFFile.TensorInfo(name: tensor.name, shape: tensor.shape, type: tensor.type, range: start..<end))
        }
        var end = 0
        for tensor in tensors.sorted(by: { $0.range.lowerBound < $1.range.lowerBound }) where !tensor.range.isEmpty {
            guard tensor.range.lowerBound >= end else {
                throw fault(.invalid, "the tensor \(tensor.name) overlaps another")
            }
            end = tensor.range.upperBound
        }
    }

    // MARK: Values

    @_lifetime(self: copy self)
    private mutating func readValue(_ type: UInt32, of key: String, depth: Int) throws(RDRRError) -> GGUFValue {
        switch type {
        case 0...5, 10, 11: return .integer(try readInteger(type, of: key))
        case 6, 12:
            let value = try readFloat(type, of: key)
            return type == 6 ? .float(Float(value)) : .double(value)
        case 7: return .bool(try readUInt8(key) != 0)
        case 8: return .string(try readString(key))
        case 9: return try readArray(of: key, depth: depth + 1)
        default: throw fault(.unsupported, "the value of \(key) has the type \(type), which is not known")
        }
    }

    @_lifetime(self: copy self)
    private mutating func readArray(of key: String, depth: Int) throws(RDRRError) -> GGUFValue {
        guard depth <= 4 else { throw fault(.invalid, "the value of \(key) is nested too deeply") }
        let type = try readUInt32(key)
        let stated = try readUInt64(key)
        // The fewest bytes of a value of each type, by its number.
        let widths: [UInt64] = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8]
        guard let width = widths.dropFirst(Int(type)).first else { throw fault(.unsupported, "the array \(key) has the type \(type), which is not known") }
        guard stated <= UInt64(fileSize) / width else {
            throw fault(.invalid, "the array \(key) claims \(stated) values, more than fit the file")
        }
        // Before anything is reserved for them, the bytes must be here.
        guard stated <= UInt64(reader.remaining) / width else { throw truncated(key) }
        let count = Int(stated)
        switch type {
        case 0...5, 10, 11:
            var values: [Int64] = []
            values.reserveCapacity(count)
            for _ in 0..<count { values.append(try readInteger(type, of: key)) }
            return .integers(values)
        case 6, 12:
            var values: [Double] = []
            values.reserveCapacity(count)
            for _ in 0..<count { values.append(try readFloat(type, of: key)) }
            return .floats(values)
        case 7:
            var values: [Bool] = []
            for _ in 0..<count { values.append(try readUInt8(key) != 0) }
            return .bools(values)
        case 8:
            var values: [String] = []
            values.reserveCapacity(count)
            for _ in 0..<count { values.append(try readString(key)) }
            return .strings(values)
        default:
            var values: [GGUFValue] = []
            for _ in 0..<count { values.append(try readArray(of: key, depth: depth + 1)) }
            return .arrays(values)
        }
    }

    @_lifetime(self: copy self)
    private mutating func readInteger(_ type: UInt32, of key: String) throws(RDRRError) -> Int64 {
        switch type {
        case 0: Int64(try readUInt8(key))
        case 1: Int64(Int8(bitPattern: try readUInt8(key)))
        case 2: Int64(try readUInt16(key))
        case 3: Int64(Int16(bitPattern: try readUInt16(key)))
        case 4: Int64(try readUInt32(key))
        case 5: Int64(Int32(bitPattern: try readUInt32(key)))
        case 10: Int64(clamping: try readUInt64(key))
        default: Int64(bitPattern: try readUInt64(key))
        }
    }

    @_lifetime(self: copy self)
    private mutating func readFloat(_ type: UInt32, of key: String) throws(RDRRError) -> Double {
        if type == 6 { return Double(Float(bitPattern: try readUInt32(key))) }
        return Double(bitPattern: try readUInt64(key))
    }

    @_lifetime(self: copy self)
    private mutating func readString(_ what: String) throws(RDRRError) -> String {
        let length = try readUInt64(what)
        guard length <= UInt64(fileSize) else {
            throw fault(.invalid, "\(what) claims \(length) bytes, more than the file has")
        }
        do throws(WireError) {
            let bytes = try reader.readSpan(Int(length))
            return bytes.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        } catch {
            throw truncated(what)
        }
    }

    @_lifetime(self: copy self)
    private mutating func readUInt8(_ what: String) throws(RDRRError) -> UInt8 {
        do throws(WireError) { return try reader.readUInt8() } catch { throw truncated(what) }
    }

    @_lifetime(self: copy self)
    private mutating func readUInt16(_ what: String) throws(RDRRError) -> UInt16 {
        do throws(WireError) { return try reader.readUInt16LE() } catch { throw truncated(what) }
    }

    @_lifetime(self: copy self)
    private mutating func readUInt32(_ what: String) throws(RDRRError) -> UInt32 {
        do throws(WireError) { return try reader.readUInt32LE() } catch { throw truncated(what) }
    }

    @_lifetime(self: copy self)
    private mutating func readUInt64(_ what: String) throws(RDRRError) -> UInt64 {
        do throws(WireError) { return try reader.readUInt64LE() } catch { throw truncated(what) }
    }

    private func truncated(_ what: String) -> RDRRError {
        RDRRError(
            .truncated, at: "byte \(reader.offset)", "the file ends inside \(what.prefix(100))",
            advice: "get the file again, it was cut short")
    }

    private func fault(_ code: RDRRError.Code, _ message: String) -> RDRRError {
        RDRRError(
            code, at: "byte \(reader.offset)", message, advice: "get the file again, or convert the model again")
    }
}
