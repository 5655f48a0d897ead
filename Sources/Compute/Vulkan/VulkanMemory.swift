// SPDX-License-Identifier: Apache-2.0

internal import CVulkan

/// Which kinds of memory a device has, and which of them is taken for what.
struct VulkanMemoryTypes {
    /// Where weights, activations and caches are.
    let main: Int
    /// Whether the host writes to it where it lies.
    let isMapped: Bool
    /// Whether the host reads it there at the speed of memory.
    let isReadable: Bool
    /// What the host reads and writes: staging.
    let host: Int
    /// What the host writes and every kernel reads: small values of a run, near the device if it can be.
    let shared: Int
    /// The most bytes of one allocation.
    let largest: UInt64

    /// - Parameters:
    ///   - usable: the types that buffers may lie in (`memoryTypeBits`).
    ///   - hides: whether the host is not to see the device's memory, as if they were apart.
    init(_ adapter: VulkanAdapter, usable: UInt32, hides: Bool) throws(ComputeError) {
        var properties = VkPhysicalDeviceMemoryProperties()
        adapter.library.instance.pointee.GetPhysicalDeviceMemoryProperties?(adapter.handle, &properties)
        func find(_ flags: VkMemoryPropertyFlagBits...) -> Int? {
            let index = vulkan_memory_type(&properties, usable, flags.reduce(0) { $0 | UInt32($1.rawValue) })
            return index < 0 ? nil : Int(index)
        }
        let staging = find(VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT, VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
        guard var main = find(VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT) ?? staging, let staging else {
            throw ComputeError(
                .unavailable, "\(adapter.summary): buffers have no memory that the host writes (of types \(usable))")
        }
        var isMapped = false
        if !hides,
            let visible = find(
                VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT,
                VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
        {
            // A small window on a device's memory is no place for weights.
            let type = vulkan_type_at(&properties, UInt32(visible))
            if vulkan_heap_at(&properties, type.heapIndex).size >= adapter.facts.heap / 2 {
                main = visible
                isMapped = true
            }
        }
        let flags = vulkan_type_at(&properties, UInt32(main)).propertyFlags
        self.main = main
        self.isMapped = isMapped
        isReadable = isMapped && flags & UInt32(VK_MEMORY_PROPERTY_HOST_CACHED_BIT.rawValue) != 0
        host =
            find(
                VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT, VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
                VK_MEMORY_PROPERTY_HOST_CACHED_BIT)
            ?? staging
        shared =
            find(
                VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT,
                VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
            ?? host
        largest = adapter.facts.largest_allocation
    }
}

/// A piece of a device's memory, with one buffer over all of it. Others take their places in it.
final class VulkanBlock {
    private(set) var raw = vulkan_block()
    private let context: VulkanContext

    /// Where the host sees it.
    var mapped: UnsafeMutableRawPointer? { raw.mapped }
    var address: UInt64 { raw.address }
    var size: Int { Int(raw.size) }

    /// Whose memory it is.
    enum Kind {
        /// The device's: weights, activations, caches.
        case main
        /// The host's.
        case host
        /// What the host writes and the device reads.
        case shared
    }

    /// Takes memory.
    init(
        _ size: Int, of purpose: String, kind: Kind = .main, _ context: VulkanContext
    ) throws(ComputeError) {
        self.context = context
        let memory = context.memory
        let bytes = max(16, (size + 15) & ~15)
        let type = kind == .main ? memory.main : kind == .host ? memory.host : memory.shared
        let result = vulkan_allocate(
            context.device, UInt64(bytes), CInt(type), kind != .main || memory.isMapped ? 1 : 0,
            kind == .main && context.hasTexels ? 1 : 0, &raw)
        try result.check(
            "\(bytes >> 20) MiB for \(purpose) (the device has \(context.facts.heap >> 20) MiB, in pieces of at most "
                + "\(memory.largest >> 20))")
    }

    deinit {
        vulkan_free(context.device, &raw)
    }
}

/// Lays pieces out in as few blocks as there can be; the blocks are taken later, when they are used.
struct VulkanLayout {
    /// Where a piece lies.
    struct Place: Hashable {
        let block: Int
        let offset: Int
    }

    /// Bytes of each block.
    private(set) var sizes: [Int] = []
    private let largest: Int

    /// Larger blocks bring no more; smaller ones are more exactly as large as what is bound.
    private static let usual = 256 << 20

    init(_ context: VulkanContext) {
        let texels = context.hasTexels ? Int(context.facts.texels) * 4 : .max
        largest = min(Int(clamping: context.memory.largest), texels)
    }

    /// A place for so many bytes.
    mutating func place(_ bytes: Int, of purpose: @autoclosure () -> String) throws(ComputeError) -> Place {
        // 256 is as strict as devices are about offsets.
        let size = (bytes + 255) & ~255
        guard size <= largest else {
            throw ComputeError(
                .outOfMemory,
                "\(purpose()) takes \(bytes >> 20) MiB, the device gives \(largest >> 20) MiB in one piece")
        }
        if let last = sizes.last, last + size <= min(Self.usual, largest) {
            sizes[sizes.count - 1] = last + size
        } else {
            sizes.append(size)
        }
        return Place(block: sizes.count - 1, offset: sizes[sizes.count - 1] - size)
    }
}
