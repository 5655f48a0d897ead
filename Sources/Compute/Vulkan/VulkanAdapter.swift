// SPDX-License-Identifier: Apache-2.0

internal import CVulkan

/// A device that a driver has, before it is opened: what it is, and whether it will do.
struct VulkanAdapter {
    let index: Int
    let handle: VkPhysicalDevice
    let library: VulkanLibrary
    let facts: vulkan_facts

    init(index: Int, _ handle: VkPhysicalDevice, in library: VulkanLibrary) {
        self.index = index
        self.handle = handle
        self.library = library
        var facts = vulkan_facts()
        vulkan_describe(library.instance, handle, &facts)
        self.facts = facts
    }

    var name: String { Self.string(facts.name) }
    var driver: String { Self.string(facts.driver) }

    /// What kind of device it is, in words.
    var kind: String {
        switch facts.type {
        case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU.rawValue: "discrete"
        case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU.rawValue: "integrated"
        case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU.rawValue: "virtual"
        case VK_PHYSICAL_DEVICE_TYPE_CPU.rawValue: "on the processor"
        default: "of another kind"
        }
    }

    /// Whether it is the processor under another name.
    var isProcessor: Bool { facts.type == VK_PHYSICAL_DEVICE_TYPE_CPU.rawValue }

    /// Higher is better: kinds first, then memory.
    var rank: (Int, UInt64) {
        let order = ["discrete": 4, "integrated": 3, "virtual": 2, "on the processor": 1]
        return (order[kind] ?? 0, facts.heap)
    }

    /// As in `0: llvmpipe, on the processor, 2048 MiB`.
    var summary: String { "\(index): \(name), \(kind), \(facts.heap >> 20) MiB" }

    /// What it lacks, in words; `nil` if it will do.
    var shortcoming: String? {
        let major = facts.api >> 22 & 0x7F
        let minor = facts.api >> 12 & 0x3FF
        if (major, minor) < (1, 2) { return "it has Vulkan \(major).\(minor), 1.2 is needed" }
        if facts.queue_family == UInt32.max { return "it has no queue that computes" }
        if facts.addresses == 0 { return "it has no addresses of buffers (bufferDeviceAddress)" }
        let wanted: [(VkSubgroupFeatureFlagBits, String)] = [
            (VK_SUBGROUP_FEATURE_BASIC_BIT, "basic"), (VK_SUBGROUP_FEATURE_ARITHMETIC_BIT, "arithmetic"),
            (VK_SUBGROUP_FEATURE_SHUFFLE_BIT, "shuffle"),
        ]
        for (bit, name) in wanted where facts.subgroup_operations & bit.rawValue == 0 {
            return "its subgroups lack operations: \(name)"
        }
        if facts.subgroup_size < 4 { return "its subgroups have \(facts.subgroup_size) invocations, 4 are needed" }
        // The tiles of products.
        if facts.shared_memory < 16_640 || facts.largest_group < 256 {
            return "its groups have \(facts.shared_memory) bytes and \(facts.largest_group) invocations"
        }
        return nil
    }

    /// The best of the devices, or that which a number or a part of a name selects.
    static func choose(
        _ selection: String?, in library: VulkanLibrary
    ) throws(ComputeError) -> (adapter: VulkanAdapter, reason: String) {
        let all = library.adapters
        if all.isEmpty { throw ComputeError(.unavailable, "no driver of Vulkan has a device") }
        let list = all.map { "\($0.summary)" + ($0.shortcoming.map { ": \($0)" } ?? "") }.joined(separator: "; ")
        if let selection {
            let named = all.filter {
                Int(selection) == $0.index || $0.name.lowercased().contains(selection.lowercased())
            }
            guard let adapter = named.first else {
                throw ComputeError(.unavailable, "no device of Vulkan is called \(selection.prefix(60)): \(list)")
            }
            if let shortcoming = adapter.shortcoming {
                throw ComputeError(.unavailable, "\(adapter.summary): \(shortcoming)")
            }
            return (adapter, "it was asked for")
        }
        let usable = all.filter { $0.shortcoming == nil }
        guard let best = usable.max(by: { $0.rank < $1.rank }) else {
            throw ComputeError(.unavailable, "no device of Vulkan will do: \(list)")
        }
        return (best, all.count == 1 ? "it is the only one" : "the best of \(list)")
    }

    private static func string<Characters>(_ characters: Characters) -> String {
        withUnsafeBytes(of: characters) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
