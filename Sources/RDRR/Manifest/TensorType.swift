// SPDX-License-Identifier: Apache-2.0

/// How the values of a tensor are stored: so many values in a block of so many bytes.
public struct TensorType: Hashable, Sendable {
    /// The name in a manifest.
    public let name: String
    /// Values in a block; 1 for plain numbers.
    public let blockLength: Int
    /// Bytes of a block.
    public let blockSize: Int

    /// The type of that name; `nil` for one whose storage is not known here.
    public init?(named name: String) {
        guard let shape = Self.known[name] else { return nil }
        self.init(name: name, blockLength: shape.0, blockSize: shape.1)
    }

    init(name: String, blockLength: Int, blockSize: Int) {
        self.name = name
        self.blockLength = blockLength
        self.blockSize = blockSize
    }

    /// The bytes of a tensor whose rows (the last dimension) each fill whole blocks; `nil` when the number is past 2^53.
    public func byteCount(shape: [Int]) -> Int? {
        let rows = Self.product(shape.dropLast())
        guard let rows else { return nil }
        return Self.product([rows, blocks(for: shape.last ?? 1), blockSize])
    }

    /// The bytes of a tensor whose values are stored as one run, with the last block alone filled up.
    func flatByteCount(shape: [Int]) -> Int? {
        guard let values = Self.product(shape[...]) else { return nil }
        return Self.product([blocks(for: values), blockSize])
    }

    private func blocks(for values: Int) -> Int {
        values / blockLength + (values % blockLength == 0 ? 0 : 1)
    }

    /// The product of sizes, `nil` when it is past 2^53.
    static func product(_ factors: some Sequence<Int>) -> Int? {
        var product = 1
        for factor in factors {
            let (next, overflow) = product.multipliedReportingOverflow(by: factor)
            guard !overflow, next <= ManifestField.largestInteger else { return nil }
            product = next
        }
        return product
    }

    /// Values and bytes of a block. Plain numbers under the names of RDRR and of safetensors; the block types of RDRR
    /// (Q4_K_M is GGML's Q4_K), then those that keep GGML's names. MXFP4 is left out: its name covers two ways to store.
    private static let known: [String: (Int, Int)] = [
        "F64": (1, 8), "F32": (1, 4), "F16": (1, 2), "BF16": (1, 2),
        "F8_E4M3": (1, 1), "F8_E5M2": (1, 1), "FP8E4": (1, 1), "FP8E5": (1, 1),
        "I64": (1, 8), "I32": (1, 4), "I16": (1, 2), "I8": (1, 1),
        "U64": (1, 8), "U32": (1, 4), "U16": (1, 2), "U8": (1, 1), "BOOL": (1, 1),
        "INT8": (1, 1), "UINT8": (1, 1), "W4A16": (32, 16),
        "Q4_K_M": (256, 144), "Q6_K": (256, 210), "Q8_0": (32, 34), "Q4_0": (32, 18),
        "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_1": (32, 36),
        "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q8_K": (256, 292),
        "IQ2_XXS": (256, 66), "IQ2_XS": (256, 74), "IQ2_S": (256, 82), "IQ3_XXS": (256, 98), "IQ3_S": (256, 110),
        "IQ1_S": (256, 50), "IQ1_M": (256, 56), "IQ4_NL": (32, 18), "IQ4_XS": (256, 136),
        "TQ1_0": (256, 54), "TQ2_0": (256, 66), "NVFP4": (64, 36), "Q1_0": (128, 18),
    ]
}
