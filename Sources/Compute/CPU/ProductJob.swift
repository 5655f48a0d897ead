// SPDX-License-Identifier: Apache-2.0

internal import CCompute

/// Several matrices by the same columns. Rows are cut into units of about the same size; each thread takes those of its
/// share in order, and then what others have not come to: a processor may be slower than another, or busy.
struct ProductJob {
    let products: UnsafePointer<MatrixProduct>
    let count: Int
    let values: UnsafePointer<Float>
    let length: Int
    let columns: Int
    let instructions: InstructionSet
    var digits: UnsafePointer<Int8>?
    var notes: UnsafePointer<Float>?
    var scratch: UnsafeMutablePointer<Float>?
    var scratchStride = 0
    var counters: UnsafeMutablePointer<Int>?
    var units = 0
    private var unitBytes = 0

    /// Columns that stay in the caches next to the processor while the rows of a unit go by.
    private static let columnsAtATime = 128

    /// Units of each thread at most: few, as each thread reads on where it was; enough to even things out.
    private static let unitsEach = 6
    /// Bytes of weights, times columns, that are worth a unit: some microseconds.
    private static let unitWorth = 32_768
    /// Bytes that are asked for before a thread begins with its share: what kernels have not asked for when they begin.
    private static let askedFirst = 4096

    /// Rows of a unit are a multiple of what the widest kernels take.
    private static let rowsAtATime = 16

    init(
        products: UnsafePointer<MatrixProduct>, count: Int, values: UnsafePointer<Float>, length: Int, columns: Int,
        instructions: InstructionSet
    ) {
        self.products = products
        self.count = count
        self.values = values
        self.length = length
        self.columns = columns
        self.instructions = instructions
    }

    /// Numbers of scratch that a thread needs: some rows as single-precision numbers, or what the kernels want.
    var scratchLength: Int {
        if digits != nil && columns > 1 { return max(compute_scratch(length / 32) / 4, 4 * (length + 16)) }
        return columns > 1 ? 4 * (length + 16) : 0
    }

    mutating func split(into parts: Int) {
        var bytes = 0
        for index in 0..<count { bytes += products[index].matrix.rows * products[index].matrix.rowBytes }
        let each = bytes / parts * columns / Self.unitWorth
        unitBytes = max(1, bytes / (parts * max(1, min(each, Self.unitsEach))))
        units = 0
        for index in 0..<count {
            let rows = products[index].matrix.rows
            let each = rowsOfUnit(index)
            units += (rows + each - 1) / each
        }
    }

    private func rowsOfUnit(_ index: Int) -> Int {
        let rows = unitBytes / products[index].matrix.rowBytes
        return max(1, (rows + Self.rowsAtATime / 2) / Self.rowsAtATime) * Self.rowsAtATime
    }

    func runAlone() {
        for index in 0..<count { run(index, 0..<products[index].matrix.rows, 0) }
    }

    func run(_ part: Int, _ parts: Int) {
        guard let counters else { return }
        ask(units * part / parts)
        for other in 0..<parts {
            let share = (part + other) % parts
            let end = units * (share + 1) / parts
            while true {
                let unit = compute_take(counters + share * CPUBackend.counterStride)
                guard unit < end else { break }
                run(unit: unit, part)
            }
        }
    }

    private func run(unit: Int, _ part: Int) {
        if let (index, rows) = place(of: unit) { run(index, rows, part) }
    }

    /// Asks for the first weights of a unit.
    private func ask(_ unit: Int) {
        guard let (index, rows) = place(of: unit) else { return }
        let matrix = products[index].matrix
        compute_ask(matrix.base + rows.lowerBound * matrix.rowBytes, min(Self.askedFirst, rows.count * matrix.rowBytes))
    }

    /// The matrix and the rows of a unit.
    private func place(of unit: Int) -> (index: Int, rows: Range<Int>)? {
        var first = 0
        for index in 0..<count {
            let rows = products[index].matrix.rows
            let each = rowsOfUnit(index)
            let units = (rows + each - 1) / each
            if unit < first + units {
                let start = (unit - first) * each
                return (index, start..<min(rows, start + each))
            }
            first += units
        }
        return nil
    }

    private func run(_ index: Int, _ rows: Range<Int>, _ part: Int) {
        let product = products[index]
        let matrix = product.matrix
        let scratch = scratch.map { $0 + part * scratchStride }
        if matrix.format.isQuantized, let digits, let notes {
            multiplyIntegers(product, rows, digits, notes, scratch)
        } else if columns == 1 {
            instructions.products(
                matrix.format, matrix.base + rows.lowerBound * matrix.rowBytes, stride: matrix.rowBytes,
                count: rows.count, with: values, length: length, into: product.output + rows.lowerBound)
        } else if let scratch {
            multiplySingles(product, rows, scratch)
        }
    }

    private func multiplyIntegers(
        _ product: MatrixProduct, _ rows: Range<Int>, _ digits: UnsafePointer<Int8>, _ notes: UnsafePointer<Float>,
        _ scratch: UnsafeMutablePointer<Float>?
    ) {
        let blocks = length / 32
        let noteStride = compute_note_stride(blocks) * Int(COMPUTE_LISTS)
        var first = 0
        while first < columns {
            let count = min(Self.columnsAtATime, columns - first)
            var piece = compute_product(
                weights: product.matrix.base.assumingMemoryBound(to: UInt8.self),
                row_bytes: product.matrix.rowBytes, blocks: blocks,
                digits: digits + first * blocks * Int(COMPUTE_RUN_BYTES), notes: notes + first * noteStride,
                columns: count, output: product.output + first * product.stride,
                output_stride: product.stride, format: CInt(product.matrix.format.rawValue), scratch: scratch)
            instructions.multiply(&piece, format: product.matrix.format, rows: rows)
            first += count
        }
    }

    private func multiplySingles(_ product: MatrixProduct, _ rows: Range<Int>, _ scratch: UnsafeMutablePointer<Float>) {
        let matrix = product.matrix
        var row = rows.lowerBound
        while row < rows.upperBound {
            let count = min(4, rows.upperBound - row)
            var weights = UnsafePointer(scratch)
            var stride = length + 16
            if matrix.isPlain {
                weights = (matrix.base + row * matrix.rowBytes).assumingMemoryBound(to: Float.self)
                stride = length
            } else {
                for index in 0..<count {
                    instructions.widen(
                        matrix.format, matrix.base + (row + index) * matrix.rowBytes, length: length,
                        into: scratch + index * stride)
                }
            }
            instructions.columns(
                weights, rowStride: stride, rowCount: count, values, stride: length, count: columns, length: length,
                into: product.output + row, outputStride: product.stride)
            row += count
        }
    }
}
