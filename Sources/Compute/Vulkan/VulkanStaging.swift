// SPDX-License-Identifier: Apache-2.0

internal import CVulkan

/// Commands that run one after the other, and how bytes get to a device's memory and back: where the host sees it they
/// are written there, otherwise through a small piece of memory that both see.
final class VulkanStaging {
    private let context: VulkanContext
    private(set) var pool: VkCommandPool?
    private(set) var fence: VkFence?
    private var commands: VkCommandBuffer?
    private var block: VulkanBlock?

    /// Large enough that waiting for each copy is little.
    private static let room = 8 << 20

    init(_ context: VulkanContext) throws(ComputeError) {
        self.context = context
        try vulkan_create_commands(context.device, context.facts.queue_family, &pool).check("commands")
        try vulkan_create_fence(context.device, &fence).check("a fence")
        try vulkan_allocate_commands(context.device, pool, &commands).check("commands")
    }

    deinit {
        let functions = context.device.pointee
        if let fence { functions.DestroyFence?(functions.handle, fence, nil) }
        if let pool { functions.DestroyCommandPool?(functions.handle, pool, nil) }
    }

    /// Fills bytes of a block: `fill` is given where to, from which of the bytes on, and how many, always a multiple of
    /// `unit`.
    func write(
        _ count: Int, unit: Int = 1, to target: VulkanBlock, at offset: Int,
        fill: (UnsafeMutableRawPointer, Int, Int) -> Void
    ) throws(ComputeError) {
        if let mapped = target.mapped { return fill(mapped + offset, 0, count) }
        let staging = try staging(unit)
        guard let mapped = staging.mapped else {
            throw ComputeError(.system, "Vulkan: memory of the host is not mapped")
        }
        let step = max(unit, staging.size / unit * unit)
        var start = 0
        while start < count {
            let length = min(step, count - start)
            fill(mapped, start, length)
            try copy(from: staging, 0, to: target, offset + start, length)
            start += length
        }
    }

    /// Hands over bytes of a block, piece by piece: where they are, the first one's number, how many.
    func read(
        _ count: Int, from source: VulkanBlock, at offset: Int, take: (UnsafeRawPointer, Int, Int) -> Void
    ) throws(ComputeError) {
        if context.memory.isReadable, let mapped = source.mapped {
            return take(UnsafeRawPointer(mapped + offset), 0, count)
        }
        let staging = try staging(1)
        guard let mapped = staging.mapped else {
            throw ComputeError(.system, "Vulkan: memory of the host is not mapped")
        }
        var start = 0
        while start < count {
            let length = min(staging.size, count - start)
            try copy(from: source, offset + start, to: staging, 0, length)
            take(UnsafeRawPointer(mapped), start, length)
            start += length
        }
    }

    private func staging(_ unit: Int) throws(ComputeError) -> VulkanBlock {
        if let block, block.size >= unit { return block }
        let made = try VulkanBlock(max(Self.room, unit), of: "staging", kind: .host, context)
        block = made
        return made
    }

    private func copy(
        from source: VulkanBlock, _ start: Int, to target: VulkanBlock, _ offset: Int, _ count: Int
    ) throws(ComputeError) {
        try vulkan_begin(context.device, commands).check("recording a copy")
        vulkan_copy(
            context.device, commands, source.raw.buffer, UInt64(start), target.raw.buffer, UInt64(offset), UInt64(count)
        )
        vulkan_barrier(context.device, commands, 1)
        try vulkan_end(context.device, commands).check("recording a copy")
        try context.run(commands, fence: fence)
    }
}
