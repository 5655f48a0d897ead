// SPDX-License-Identifier: Apache-2.0

internal import CCompute
internal import CProcessor

/// With which instructions kernels run. Results differ between them by rounding alone: sums are taken in another order.
public enum InstructionSet: String, CaseIterable, Sendable {
    /// What every processor of the architecture has, through Swift's own vectors; the others are tested against it.
    case portable
    #if arch(x86_64)
    /// AVX2 with fused multiply-add and conversions of halves: two rows of weights at a time.
    case avx2
    /// The same with dot products of bytes (AVX-VNNI), which differ in products with quantised weights alone.
    case avxVNNI
    /// AVX-512 (F, BW, DQ, VL) with dot products of bytes (VNNI): four rows at a time.
    case avx512
    #endif

    /// The fastest that this processor runs.
    public static let best = supported.last ?? .portable

    /// Those that this processor runs, the slowest first.
    public static var supported: [InstructionSet] { allCases.filter(\.isSupported) }

    private static let features = processor_features()

    /// Whether this processor has the instructions.
    public var isSupported: Bool {
        switch self {
        case .portable: true
        #if arch(x86_64)
        case .avx2: Self.features.avx2 && Self.features.fma && Self.features.f16c
        case .avxVNNI: Self.features.avx_vnni && Self.avx2.isSupported
        case .avx512: Self.features.avx512_vnni && Self.avx2.isSupported
        #endif
        }
    }
}

/// Kernels over rows, for one thread. Nothing is checked here: callers have.
extension InstructionSet {
    /// Rows of quantised weights by columns of bytes.
    func multiply(_ product: UnsafePointer<compute_product>, format: BlockFormat, rows: Range<Int>) {
        switch self {
        case .portable: Portable.multiply(product.pointee, format: format, rows: rows)
        #if arch(x86_64)
        case .avx2: compute_avx2_product(product, rows.lowerBound, rows.upperBound)
        case .avxVNNI: compute_avxvnni_product(product, rows.lowerBound, rows.upperBound)
        case .avx512: compute_avx512_product(product, rows.lowerBound, rows.upperBound)
        #endif
        }
    }

    /// `output[r] = row r · x`, for rows of any format at distances of `stride` bytes.
    func products(
        _ format: BlockFormat, _ rows: UnsafeRawPointer, stride: Int, count: Int, with x: UnsafePointer<Float>,
        length: Int, into output: UnsafeMutablePointer<Float>
    ) {
        switch self {
        case .portable:
            for r in 0..<count { output[r] = Portable.product(format, rows + r * stride, x, length: length) }
        #if arch(x86_64)
        case .avx2, .avxVNNI: compute_avx2_products(CInt(format.rawValue), rows, stride, count, x, length, output)
        case .avx512: compute_avx512_products(CInt(format.rawValue), rows, stride, count, x, length, output)
        #endif
        }
    }

    /// A row of any format as single-precision numbers, of which a few more than `length` may be written, up to a
    /// multiple of sixteen.
    func widen(
        _ format: BlockFormat, _ row: UnsafeRawPointer, length: Int, into output: UnsafeMutablePointer<Float>
    ) {
        switch self {
        case .portable: format.dequantize(row, count: length, into: output)
        #if arch(x86_64)
        case .avx2, .avxVNNI: compute_avx2_widen_row(CInt(format.rawValue), row, length, output)
        case .avx512: compute_avx512_widen_row(CInt(format.rawValue), row, length, output)
        #endif
        }
    }

    /// `output[c · outputStride + r] = row r · column c`, in single precision; rows are `rowStride` and columns `stride`
    /// numbers apart.
    func columns(
        _ rows: UnsafePointer<Float>, rowStride: Int, rowCount: Int, _ x: UnsafePointer<Float>, stride: Int, count: Int,
        length: Int, into output: UnsafeMutablePointer<Float>, outputStride: Int
    ) {
        switch self {
        case .portable:
            for r in 0..<rowCount {
                for c in 0..<count {
                    output[c * outputStride + r] = Portable.product(
                        rows + r * rowStride, x + c * stride, length: length)
                }
            }
        #if arch(x86_64)
        case .avx2, .avxVNNI:
            compute_avx2_columns(rows, rowStride, rowCount, x, stride, count, length, output, outputStride)
        case .avx512:
            compute_avx512_columns(rows, rowStride, rowCount, x, stride, count, length, output, outputStride)
        #endif
        }
    }

    /// `gate(gates) · ups`; the output may be one of the inputs.
    func gate(
        _ kind: Operation.Gate, _ gates: UnsafePointer<Float>, _ ups: UnsafePointer<Float>, count: Int,
        into output: UnsafeMutablePointer<Float>
    ) {
        switch self {
        case .portable:
            switch kind {
            case .swiGLU: VectorMath.swiGLU(gate: gates, up: ups, count: count, into: output)
            case .geGLU: VectorMath.geGLU(gate: gates, up: ups, count: count, into: output)
            }
        #if arch(x86_64)
        case .avx2, .avxVNNI: compute_avx2_gate(kind == .geGLU, gates, ups, count, output)
        case .avx512: compute_avx512_gate(kind == .geGLU, gates, ups, count, output)
        #endif
        }
    }

    /// `y += x`.
    func add(_ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, count: Int) {
        switch self {
        case .portable: VectorMath.add(x, to: y, count: count)
        #if arch(x86_64)
        case .avx2, .avxVNNI: compute_avx2_add_numbers(x, y, count)
        case .avx512: compute_avx512_add_numbers(x, y, count)
        #endif
        }
    }

    /// `x · weight / √(mean of x² + epsilon)`; the output may be the input.
    func rmsNorm(
        _ x: UnsafePointer<Float>, weight: UnsafePointer<Float>, epsilon: Float, count: Int,
        into output: UnsafeMutablePointer<Float>
    ) {
        guard count > 0 else { return }
        switch self {
        case .portable: VectorMath.rmsNorm(x, weight: weight, epsilon: epsilon, count: count, into: output)
        #if arch(x86_64)
        case .avx2, .avxVNNI: compute_avx2_norm(x, weight, epsilon, count, output)
        case .avx512: compute_avx512_norm(x, weight, epsilon, count, output)
        #endif
        }
    }

    /// Attention of some tokens in the heads that share keys.
    func attend(_ attention: UnsafePointer<compute_attention>) {
        switch self {
        case .portable: Portable.attend(attention.pointee)
        #if arch(x86_64)
        case .avx2, .avxVNNI: compute_avx2_attend(attention)
        case .avx512: compute_avx512_attend(attention)
        #endif
        }
    }
}
