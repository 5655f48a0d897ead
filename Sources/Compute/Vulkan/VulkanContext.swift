// SPDX-License-Identifier: Apache-2.0

internal import CVulkan
internal import Synchronization

/// A device of a driver, open as long as this is there.
private final class OpenDevice {
    let pointer: UnsafeMutablePointer<vulkan_device>
    /// An instance outlives its devices.
    let library: VulkanLibrary

    init(_ adapter: VulkanAdapter) throws(ComputeError) {
        library = adapter.library
        pointer = .allocate(capacity: 1)
        pointer.initialize(to: vulkan_device())
        var facts = adapter.facts
        var missing: UnsafePointer<CChar>?
        let result = vulkan_create_device(library.instance, adapter.handle, &facts, pointer, &missing)
        if let missing {
            throw ComputeError(.unavailable, "\(adapter.summary): the driver lacks \(String(cString: missing))")
        }
        try result.check("opening \(adapter.summary)")
    }

    deinit {
        vulkan_destroy_device(pointer)
        pointer.deallocate()
    }
}

/// An open device with what all executables on it share: its queue, the layout of kernels' arguments, and kernels.
final class VulkanContext: @unchecked Sendable {
    // Unchecked: handles do not change; the queue is under a lock.

    let facts: vulkan_facts
    let kernels: VulkanDevice.Kernels
    private let opened: OpenDevice
    let memory: VulkanMemoryTypes
    private(set) var setLayout: VkDescriptorSetLayout?
    private(set) var layout: VkPipelineLayout?
    private var pipelines: VulkanPipelines?
    private let queue = Mutex(())

    /// The room for arguments that every device has (`maxPushConstantsSize`).
    static let argumentBytes = 128

    var library: VulkanLibrary { opened.library }
    var device: UnsafeMutablePointer<vulkan_device> { opened.pointer }
    /// Invocations of a subgroup.
    var subgroup: Int { Int(facts.subgroup_size) }
    /// Memory that a group of invocations shares, in bytes.
    var sharedBytes: Int { Int(facts.shared_memory) }
    /// Whether activations and weights are read as texels.
    var hasTexels: Bool { kernels == .lanes }

    init(_ adapter: VulkanAdapter, _ options: VulkanDevice.Options) throws(ComputeError) {
        facts = adapter.facts
        opened = try OpenDevice(adapter)
        var usable: UInt32 = 0
        try vulkan_buffer_types(opened.pointer, &usable).check("asking where buffers may lie")
        memory = try VulkanMemoryTypes(adapter, usable: usable, hides: options.hidesMemory)
        // Eight invocations of `lanes` share a column, and its weights are rearranged where they lie.
        let suits = facts.subgroup_size >= 8 && memory.isMapped
        kernels = options.kernels ?? (adapter.isProcessor && suits ? .lanes : .subgroups)
        guard kernels == .subgroups || suits else {
            throw ComputeError(
                .unavailable, "\(adapter.summary): kernels for \(kernels) want subgroups of 8 and memory that is mapped"
            )
        }
        try vulkan_create_layouts(device, UInt32(Self.argumentBytes), &setLayout, &layout).check(
            "a layout of arguments")
        pipelines = try VulkanPipelines(device, facts: facts, layout: layout, cacheFolder: options.cacheFolder)
    }

    deinit {
        pipelines = nil
        if let device = device.pointee.handle {
            if let layout { self.device.pointee.DestroyPipelineLayout?(device, layout, nil) }
            if let setLayout { self.device.pointee.DestroyDescriptorSetLayout?(device, setLayout, nil) }
        }
    }

    /// The pipeline of a kernel with its constants, compiled if it was not.
    func pipeline(_ kernel: VulkanKernel, _ constants: [UInt32]) throws(ComputeError) -> VkPipeline {
        guard let pipelines else { throw ComputeError(.system, "Vulkan: no pipelines") }
        return try pipelines.pipeline(kernel, constants)
    }

    /// Keeps compiled kernels on disk, if there is a folder for them and any are new.
    func keepPipelines() {
        pipelines?.keep()
    }

    /// Runs commands and waits for them.
    func run(_ commands: VkCommandBuffer?, fence: VkFence?) throws(ComputeError) {
        let result = queue.withLock { _ in vulkan_run(device, commands, fence) }
        try result.check("running on the device")
    }
}
