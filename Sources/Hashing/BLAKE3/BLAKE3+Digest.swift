// SPDX-License-Identifier: Apache-2.0

extension BLAKE3 {
    /// 32 bytes: the hash of an input, or the chaining value of a subtree of one.
    public struct Digest: Hashable, Sendable {
        /// The bytes as eight little-endian words, the form in which BLAKE3 chains them (specification §2.2).
        @usableFromInline package var words: SIMD8<UInt32>

        /// How many bytes a digest has.
        public static let byteCount = 32

        package init(words: SIMD8<UInt32>) {
            self.words = words
        }

        /// The digest that these bytes are; there must be exactly 32.
        public init(bytes: RawSpan) {
            self = bytes.withUnsafeBytes { Digest(bytes: $0) }
        }

        /// The digest that these bytes are; there must be exactly 32.
        public init(bytes: [UInt8]) {
            self = bytes.withUnsafeBytes { Digest(bytes: $0) }
        }

        /// The digest that these bytes are; there must be exactly 32.
        public init(bytes: UnsafeRawBufferPointer) {
            precondition(bytes.count == Digest.byteCount, "a BLAKE3 digest has 32 bytes")
            words = SIMD8()
            withUnsafeMutableBytes(of: &words) { $0.copyMemory(from: bytes) }
        }

        /// The digest that 64 hexadecimal digits spell, or nil for any other text.
        public init?(hex: some StringProtocol) {
            guard let bytes = Hex.decode(hex), bytes.count == Digest.byteCount else { return nil }
            self.init(bytes: bytes)
        }

        /// The 32 bytes.
        public var bytes: [UInt8] {
            Swift.withUnsafeBytes(of: words) { Array($0) }
        }

        /// 64 lower-case hexadecimal digits.
        public var hex: String {
            Swift.withUnsafeBytes(of: words) { Hex.encode($0) }
        }

        /// Gives the 32 bytes to `body` without copying them into an array.
        public func withUnsafeBytes<Result, Failure: Error>(
            _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
        ) throws(Failure) -> Result {
            try Swift.withUnsafeBytes(of: words, body)
        }
    }

    /// What a node of the tree hands to its parent; of the same shape as a digest, but not one.
    public typealias ChainingValue = Digest
}

extension BLAKE3.Digest: CustomStringConvertible {
    /// 64 lower-case hexadecimal digits.
    public var description: String { hex }
}
