// SPDX-License-Identifier: Apache-2.0

internal import CVulkan

/// Steps of a plan recorded once, for as many rows as there may be, and run for every batch: what changes from run to
/// run is read from memory.
final class VulkanRecording {
    let commands: VkCommandBuffer?
    private let names: [String]
    private let staging: VulkanStaging
    private let context: VulkanContext
    private var timestamps: VkQueryPool?

    init(
        _ steps: Range<Int>, of plan: DispatchPlan, _ counts: VulkanDispatcher.Counts, _ dispatcher: VulkanDispatcher,
        _ sets: VulkanTexelSets, _ staging: VulkanStaging
    ) throws(ComputeError) {
        context = dispatcher.context
        self.staging = staging
        let device = context.device
        var commands: VkCommandBuffer?
        try vulkan_allocate_commands(device, staging.pool, &commands).check("commands")
        self.commands = commands

        // Everything that may fail for other reasons comes first.
        var work: [(StepAccess, String, [KernelCall])] = []
        for index in steps {
            let calls = try dispatcher.calls(plan.steps[index], counts).filter { $0.groups.0 > 0 && $0.groups.1 > 0 }
            if !calls.isEmpty { work.append((dispatcher.access(plan.steps[index]), plan.names[index], calls)) }
        }
        names = work.map(\.1)
        if dispatcher.options.profiles, context.facts.timestamp_bits > 0 {
            try vulkan_create_timestamps(device, UInt32(work.count + 1), &timestamps).check("timestamps")
        }

        try vulkan_begin(device, commands).check("recording")
        if let timestamps {
            vulkan_reset_timestamps(device, commands, timestamps, UInt32(work.count + 1))
            vulkan_timestamp(device, commands, timestamps, 0)
        }
        var (read, written): (Set<Int>, Set<Int>) = ([], [])
        for (index, (access, _, calls)) in work.enumerated() {
            let waits =
                access.reads.contains { written.contains($0) }
                || access.writes.contains { written.contains($0) || read.contains($0) }
            if waits || timestamps != nil && index > 0 {
                vulkan_barrier(device, commands, 0)
                (read, written) = ([], [])
            }
            read.formUnion(access.reads)
            written.formUnion(access.writes)
            for call in calls {
                let pipeline = try context.pipeline(call.kernel, call.constants)
                guard call.groups.0 <= 65_535, call.groups.1 <= 65_535 else {
                    throw ComputeError(
                        .shape, "\(call.groups) groups of kernel \(call.kernel) are more than a device takes")
                }
                vulkan_dispatch(
                    device, commands, context.layout, pipeline, try sets.set(call.texels), call.arguments.bytes,
                    UInt32(call.arguments.bytes.count), UInt32(call.groups.0), UInt32(call.groups.1), 1)
            }
            if let timestamps { vulkan_timestamp(device, commands, timestamps, UInt32(index + 1)) }
        }
        vulkan_barrier(device, commands, 1)
        try vulkan_end(device, commands).check("recording")
    }

    deinit {
        let functions = context.device.pointee
        if let timestamps { functions.DestroyQueryPool?(functions.handle, timestamps, nil) }
        var commands = commands
        if commands != nil { functions.FreeCommandBuffers?(functions.handle, staging.pool, 1, &commands) }
    }

    /// Runs, and adds up how long steps took if that is kept.
    func run(_ stopwatch: inout OperationStopwatch) throws(ComputeError) {
        try context.run(commands, fence: staging.fence)
        guard let timestamps else { return }
        var ticks = [UInt64](repeating: 0, count: names.count + 1)
        try vulkan_timestamps(context.device, timestamps, UInt32(ticks.count), &ticks).check("timestamps")
        let bits = context.facts.timestamp_bits
        let mask = bits >= 64 ? UInt64.max : (1 << UInt64(bits)) - 1
        for (index, name) in names.enumerated() {
            let passed = (ticks[index + 1] &- ticks[index]) & mask
            let time = Double(passed) * Double(context.facts.timestamp_period)
            // A clock that was set back is no time.
            guard time < 1e12 else { continue }
            stopwatch.note(name, duration: .nanoseconds(Int64(time)))
        }
    }
}

/// Sets of texels, one for each block that is read so: activations, and that block as quads and as words.
final class VulkanTexelSets {
    private let context: VulkanContext
    private let arena: VulkanBlock
    private var pools: [VkDescriptorPool] = []
    private var sets: [ObjectIdentifier: VkDescriptorSet] = [:]
    private var left = 0

    /// Programs with more blocks take further pools.
    private static let setsOfPool = 64

    init(_ arena: VulkanBlock, _ context: VulkanContext) {
        self.arena = arena
        self.context = context
    }

    deinit {
        let functions = context.device.pointee
        for pool in pools { functions.DestroyDescriptorPool?(functions.handle, pool, nil) }
    }

    func set(_ block: VulkanBlock?) throws(ComputeError) -> VkDescriptorSet? {
        guard context.hasTexels, let block else { return nil }
        if let set = sets[ObjectIdentifier(block)] { return set }
        if left == 0 {
            var pool: VkDescriptorPool?
            try vulkan_create_sets(context.device, UInt32(Self.setsOfPool), &pool).check("sets of texels")
            if let pool { pools.append(pool) }
            left = Self.setsOfPool
        }
        var set: VkDescriptorSet?
        try vulkan_create_set(
            context.device, pools.last, context.setLayout, arena.raw.quads, block.raw.quads, block.raw.words, &set
        ).check("a set of texels")
        left -= 1
        sets[ObjectIdentifier(block)] = set
        return set
    }
}
