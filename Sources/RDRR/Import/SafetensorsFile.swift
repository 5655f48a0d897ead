// SPDX-License-Identifier: Apache-2.0
internal import Wire

// A safetensors file: u64 header length (little-endian) · JSON header · data
//
//     {"__metadata__": {…}, "<tensor>": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}, …}

/// A safetensors file: where each tensor's bytes are.
public struct SafetensorsFile: Sendable {
    /// A tensor of the file.
    public struct TensorInfo: Hashable, Sendable {
        /// Its name.
        public let name: String
        /// The sizes of its dimensions, the slowest first.
        public let shape: [Int]
        /// How its values are stored, under the format's name for it.
        public let dtype: String
        /// Its bytes, counted from the file's start.
        public let range: Range<Int>
    }

    /// The tensors, in the order of their bytes.
    public let tensors: [TensorInfo]

    /// The format's own limit on the header: 100 MB.
    private static let largestHeader = 100_000_000

    /// Reads the header of a file and checks it against the file.
    public init(path: String) throws(RDRRError) {
        try self.init(file: SystemFile(reading: path))
    }

    init(file: SystemFile) throws(RDRRError) {
        let size = try file.size()
        do throws(RDRRError) {
            guard size >= 8 else { throw Self.truncated("the file has \(size) bytes, its header alone needs more") }
            let length = try file.bytes(0..<8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            guard length <= UInt64(Self.largestHeader) else {
                throw RDRRError(
                    .notAModel, at: "header", "it claims \(length) bytes, 100 MB are the most",
                    advice: "give a folder with safetensors files, or a GGUF file")
            }
            guard Int(length) <= size - 8 else {
                throw Self.truncated("the header has \(length) bytes, the file ends before")
            }
            try self.init(header: file.bytes(8..<8 + Int(length)), fileSize: size)
        } catch {
            throw error.place == file.path ? error : error.within(file.path)
        }
    }

    /// Reads a header, without the eight bytes of its length.
    public init(header: [UInt8], fileSize: Int) throws(RDRRError) {
        let json: JSON
        do {
            json = try JSON(parsing: header)
        } catch {
            throw RDRRError(
                .notAModel, at: "header", "\(error)", advice: "give a folder with safetensors files, or a GGUF file")
        }
        let start = 8 + header.count
        var found: [TensorInfo] = []
        for (name, field) in try ManifestField(path: "header", value: json).members() where name != "__metadata__" {
            found.append(try Self.read(field, name: name, start: start, fileSize: fileSize))
        }
        found.sort {
            ($0.range.lowerBound, $0.range.upperBound, $0.name) < ($1.range.lowerBound, $1.range.upperBound, $1.name)
        }
        var end = start
        for tensor in found {
            guard tensor.range.lowerBound >= end else {
                throw RDRRError(
                    .invalid, at: "tensor \(tensor.name)", "its bytes overlap another tensor's", advice: Self.advice)
            }
            end = tensor.range.upperBound
        }
        tensors = found
    }

    private static func read(
        _ field: ManifestField, name: String, start: Int, fileSize: Int
    ) throws(RDRRError) -> TensorInfo {
        let dtype = try field.required("dtype").text()
        var shape: [Int] = []
        for dimension in try field.required("shape").elements() { shape.append(try dimension.count()) }
        let offsetsField = try field.required("data_offsets")
        var offsets: [Int] = []
        for offset in try offsetsField.elements() { offsets.append(try offset.count()) }
        guard offsets.count == 2, offsets[0] <= offsets[1] else {
            throw offsetsField.fault(.invalid, "two offsets that do not fall are needed", advice: advice)
        }
        guard offsets[1] <= fileSize - start else {
            throw truncated("the tensor \(name) ends at byte \(start + offsets[1]), the file has only \(fileSize)")
        }
        if let type = TensorType(named: dtype), type.byteCount(shape: shape) != offsets[1] - offsets[0] {
            throw offsetsField.fault(
                .sizeMismatch, "\(dtype) of shape \(shape) does not have \(offsets[1] - offsets[0]) bytes", advice: advice)
        }
        return TensorInfo(name: name, shape: shape, dtype: dtype, range: start + offsets[0]..<start + offsets[1])
    }

    private static let advice = "get the file again, or convert the model again"

    private static func truncated(_ message: String) -> RDRRError {
        RDRRError(.truncated, at: "header", message, advice: "get the file again, it was cut short")
    }
}
