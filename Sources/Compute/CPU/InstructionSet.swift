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
        case .avx512: Self.features.avx512_vnni && Self.avx2.isSupported
        #endif
        }
    }

    /// The rows that a kernel takes at a time.
    var rowsAtATime: Int {
        switch self {
        case .portable: 1
        #if arch(x86_64)
        case .avx2: 2
        case .avx512: 4
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
        case .avx512: compute_avx512_product(product, rows.lowerBound, rows.upperBound)
        #endif
        }
    }

    /// `output[r] = scale · (row r · x)`, for rows of F32, F16, BF16, Q4_1 or Q8_0 at distances of `stride`
    /// bytes.
    func products(
        _ format: BlockFormat, _ rows: UnsafeRawPointer, stride: Int, count: Int, with x: UnsafePointer<Float>,
        length: Int, scale: Float, into output: UnsafeMutablePointer<Float>
    ) {
        switch self {
        case .portable:
            for r in 0..<count {
                output[r] = scale * Portable.product(format, rows + r * stride, x, length: length)
            }
        #if arch(x86_64)
        case .avx2:
            compute_avx2_products(CInt(format.rawValue), rows, stride, count, x, length, scale, output)
        case .avx512:
            compute_avx512_products(CInt(format.rawValue), rows, stride, count, x, length, scale, output)
        #endif
        }
    }

    /// `sum += Σ weights[r] · row r`, for rows of F32, F16, BF16 or Q8_0.
    func mix(
        _ format: BlockFormat, _ rows: UnsafeRawPointer, stride: Int, count: Int, weights: UnsafePointer<Float>,
        into sum: UnsafeMutablePointer<Float>, length: Int
    ) {
        switch self {
        case .portable:
            for r in 0..<count {
                Portable.add(format, rows + r * stride, times: weights[r], to: sum, length: length)
            }
        #if arch(x86_64)
        case .avx2: compute_avx2_mix(CInt(format.rawValue), rows, stride, count, weights, sum, length)
        case .avx512: compute_avx512_mix(CInt(format.rawValue), rows, stride, count, weights, sum, length)
        #endif
        }
    }

    /// `output[c · outputStride] = row · column c`, in single precision; columns are `stride` numbers apart.
    func columns(
        _ row: UnsafePointer<Float>, _ x: UnsafePointer<Float>, stride: Int, count: Int, length: Int,
        into output: UnsafeMutablePointer<Float>, outputStride: Int
    ) {
        switch self {
        case .portable:
            for c in 0..<count {
                output[c * outputStride] = Portable.product(row, x + c * stride, length: length)
            }
        #if arch(x86_64)
        case .avx2: compute_avx2_columns(row, x, stride, count, length, output, outputStride)
        case .avx512: compute_avx512_columns(row, x, stride, count, length, output, outputStride)
        #endif
        }
    }
}
