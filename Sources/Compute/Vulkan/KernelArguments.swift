// SPDX-License-Identifier: Apache-2.0

/// The arguments of a kernel as its `push_constant` block has them: addresses first, then numbers of four bytes.
struct KernelArguments {
    private(set) var bytes: [UInt8] = []

    mutating func append(_ address: UInt64) { withUnsafeBytes(of: address.littleEndian) { bytes += $0 } }
    mutating func append(_ number: Int) {
        withUnsafeBytes(of: UInt32(truncatingIfNeeded: number).littleEndian) { bytes += $0 }
    }
    mutating func append(_ number: Float) { withUnsafeBytes(of: number.bitPattern.littleEndian) { bytes += $0 } }

    init(addresses: [UInt64], numbers: [Int] = []) {
        for address in addresses { append(address) }
        for number in numbers { append(number) }
    }
}

/// A kernel with its constants and arguments, and for how many groups it runs.
struct KernelCall {
    let kernel: VulkanKernel
    let constants: [UInt32]
    let arguments: KernelArguments
    let groups: (Int, Int)
    /// The block whose texels it reads besides activations: weights or a cache.
    let texels: VulkanBlock?

    init(
        _ kernel: VulkanKernel, _ constants: [Int], _ arguments: KernelArguments, groups: (Int, Int),
        texels: VulkanBlock? = nil
    ) {
        self.kernel = kernel
        self.constants = constants.map { UInt32(truncatingIfNeeded: $0) }
        self.arguments = arguments
        self.groups = groups
        self.texels = texels
    }
}

/// What a step reads and writes, by number: what depends on what.
struct StepAccess {
    var reads: [Int] = []
    var writes: [Int] = []
}
