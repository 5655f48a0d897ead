// SPDX-License-Identifier: Apache-2.0

internal import CVulkan
internal import Glibc

/// A device of Vulkan 1.2: weights are copied to its memory, and a batch is one recorded sequence of kernels.
public final class VulkanDevice: ComputeDevice {
    /// With what a device is opened.
    public struct Options: Hashable, Sendable {
        /// Which device: its number, or a part of its name; the best when `nil`.
        public var selection: String?
        /// A folder that exists, where compiled kernels are kept; nothing is kept when `nil`.
        public var cacheFolder: String?
        /// Whether the validation layer listens, where it is installed.
        public var validates: Bool
        /// For which kind of device kernels are taken; as the device is when `nil`.
        public var kernels: Kernels?
        /// Whether bytes go to the device and back through copies, even where the host sees its memory.
        package var hidesMemory = false

        /// Options; the best device by default, or that which `DREAMER_VULKAN_DEVICE` selects in the environment.
        public init(
            selection: String? = nil, cacheFolder: String? = nil, validates: Bool = false, kernels: Kernels? = nil
        ) {
            self.selection = selection ?? getenv("DREAMER_VULKAN_DEVICE").map { String(cString: $0) }
            self.cacheFolder = cacheFolder
            self.validates = validates
            self.kernels = kernels
        }
    }

    /// Two ways to write the same kernels.
    public enum Kernels: String, CaseIterable, Sendable {
        /// For processors that pretend to be devices: an invocation takes rows of its own; no shared memory.
        case lanes
        /// For devices with many threads: subgroups share rows, and groups share tiles.
        case subgroups
    }

    /// Its name, kind and driver, and which kernels it runs.
    public let name: String
    /// Why this device was chosen, in words.
    public let reason: String
    /// Bytes of its own memory.
    public let memoryBytes: Int
    /// Whether it is the processor under another name, where ``CPUDevice`` is faster.
    public let isProcessor: Bool

    let context: VulkanContext

    /// Opens a device; throws ``ComputeError/Code/unavailable`` with what was looked at where there is none that will
    /// do.
    public init(_ options: Options = Options()) throws(ComputeError) {
        let library = try VulkanLibrary(validates: options.validates)
        let (adapter, reason) = try VulkanAdapter.choose(options.selection, in: library)
        context = try VulkanContext(adapter, options)
        name = "vulkan, \(adapter.name) (\(adapter.kind), \(adapter.driver)), \(context.kernels.rawValue)"
        self.reason = reason
        memoryBytes = Int(clamping: adapter.facts.heap)
        isProcessor = adapter.isProcessor
    }

    /// What the validation layer has found wrong.
    package var complaints: [String] { context.library.complaints }

    /// Whether the validation layer listens.
    package var validates: Bool { context.library.validates }

    /// Takes memory for activations and caches. Kernels are compiled when they first run.
    public func compile(_ program: Program, options: ExecutionOptions) throws(ComputeError) -> any Executable {
        try options.check(program)
        return try VulkanExecutable(program, options: options, context: context)
    }
}
