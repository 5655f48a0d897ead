// SPDX-License-Identifier: Apache-2.0

internal import CVulkan
internal import Glibc
internal import Synchronization

/// The kernels that there are.
enum VulkanKernel: String, CaseIterable {
    case embed, embedLanes, normalize, normalizeLanes, elements, rotate, store, attend, attendLanes, productLanes
    case productRows, productTile, route

    /// Its SPIR-V as base64.
    var code: StaticString {
        switch self {
        case .embed: CompiledKernels.embed
        case .embedLanes: CompiledKernels.embedLanes
        case .normalize: CompiledKernels.normalize
        case .normalizeLanes: CompiledKernels.normalizeLanes
        case .elements: CompiledKernels.elements
        case .rotate: CompiledKernels.rotate
        case .store: CompiledKernels.store
        case .attend: CompiledKernels.attend
        case .attendLanes: CompiledKernels.attendLanes
        case .productLanes: CompiledKernels.productLanes
        case .productRows: CompiledKernels.productRows
        case .productTile: CompiledKernels.productTile
        case .route: CompiledKernels.route
        }
    }

    /// Its SPIR-V.
    var words: [UInt32] {
        code.withUTF8Buffer { text in
            var words: [UInt32] = []
            words.reserveCapacity(text.count * 3 / 16)
            var (bits, count, word, shift): (UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0)
            for character in text {
                let six: UInt8
                switch character {
                case UInt8(ascii: "A")...UInt8(ascii: "Z"): six = character - UInt8(ascii: "A")
                case UInt8(ascii: "a")...UInt8(ascii: "z"): six = character - UInt8(ascii: "a") + 26
                case UInt8(ascii: "0")...UInt8(ascii: "9"): six = character - UInt8(ascii: "0") + 52
                case UInt8(ascii: "+"): six = 62
                case UInt8(ascii: "/"): six = 63
                default: continue
                }
                bits = bits << 6 | UInt32(six)
                count += 6
                guard count >= 8 else { continue }
                count -= 8
                word |= (bits >> count & 0xFF) << shift
                shift += 8
                guard shift == 32 else { continue }
                words.append(word)
                (word, shift) = (0, 0)
            }
            return words
        }
    }
}

/// Kernels compiled for a device, each with its constants, and what of it is kept on disk.
final class VulkanPipelines: @unchecked Sendable {
    // Unchecked: what changes is under a lock.

    private struct Key: Hashable {
        let kernel: VulkanKernel
        let constants: [UInt32]
    }

    private let device: UnsafeMutablePointer<vulkan_device>
    private let layout: VkPipelineLayout?
    private let requiredSubgroup: UInt32
    private let path: String?
    private var cache: VkPipelineCache?
    private var modules: [VulkanKernel: VkShaderModule] = [:]
    private var pipelines: [Key: VkPipeline] = [:]
    private var hasNews = false
    private let lock = Mutex(())

    /// Larger files are not ours.
    private static let largestCache = 64 << 20

    init(
        _ device: UnsafeMutablePointer<vulkan_device>, facts: vulkan_facts, layout: VkPipelineLayout?,
        cacheFolder: String?
    ) throws(ComputeError) {
        self.device = device
        self.layout = layout
        requiredSubgroup = facts.size_control != 0 ? facts.subgroup_size : 0
        path = cacheFolder.map { "\($0)/\(Self.name(facts))" }
        let bytes = path.flatMap { Self.read($0) } ?? []
        // Drivers check what they are given, and begin with nothing where it is not theirs.
        var result = bytes.withUnsafeBytes { vulkan_create_cache(device, $0.baseAddress, UInt64($0.count), &cache) }
        if result != VK_SUCCESS { result = vulkan_create_cache(device, nil, 0, &cache) }
        try result.check("a cache of pipelines")
    }

    deinit {
        let functions = device.pointee
        for pipeline in pipelines.values { functions.DestroyPipeline?(functions.handle, pipeline, nil) }
        for module in modules.values { functions.DestroyShaderModule?(functions.handle, module, nil) }
        if let cache { functions.DestroyPipelineCache?(functions.handle, cache, nil) }
    }

    /// The pipeline of a kernel with its constants, compiled if it was not.
    func pipeline(_ kernel: VulkanKernel, _ constants: [UInt32]) throws(ComputeError) -> VkPipeline {
        try lock.withLock { _ throws(ComputeError) in try compiled(kernel, constants) }
    }

    private func compiled(_ kernel: VulkanKernel, _ constants: [UInt32]) throws(ComputeError) -> VkPipeline {
        let key = Key(kernel: kernel, constants: constants)
        if let pipeline = pipelines[key] { return pipeline }
        var module = modules[kernel]
        if module == nil {
            let words = kernel.words
            let result = words.withUnsafeBufferPointer {
                vulkan_create_module(device, $0.baseAddress, UInt64($0.count * 4), &module)
            }
            try result.check("kernel \(kernel)")
            modules[kernel] = module
        }
        var pipeline: VkPipeline?
        try vulkan_create_pipeline(
            device, cache, layout, module, constants, UInt32(constants.count), requiredSubgroup, &pipeline
        ).check("compiling kernel \(kernel)")
        guard let pipeline else { throw ComputeError(.system, "Vulkan: kernel \(kernel) is not compiled") }
        pipelines[key] = pipeline
        hasNews = true
        return pipeline
    }

    // MARK: On disk

    /// A file for each device and driver.
    private static func name(_ facts: vulkan_facts) -> String {
        let digits = Array("0123456789abcdef")
        let uuid = withUnsafeBytes(of: facts.uuid) { bytes in
            String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
        }
        return "vulkan-\(uuid)-\(facts.driver_version).pipelines"
    }

    private static func read(_ path: String) -> [UInt8]? {
        guard let file = fopen(path, "rb") else { return nil }
        defer { fclose(file) }
        guard fseek(file, 0, SEEK_END) == 0 else { return nil }
        let size = ftell(file)
        guard size > 0, size <= largestCache, fseek(file, 0, SEEK_SET) == 0 else { return nil }
        var bytes = [UInt8](repeating: 0, count: size)
        let count = fread(&bytes, 1, size, file)
        return count == size ? bytes : nil
    }

    /// Writes beside the file and puts it in its place; without success there is none, and next time is slower.
    func keep() {
        lock.withLock { _ in write() }
    }

    private func write() {
        guard hasNews, let path, let cache else { return }
        hasNews = false
        let functions = device.pointee
        var size = 0
        guard functions.GetPipelineCacheData?(functions.handle, cache, &size, nil) == VK_SUCCESS, size > 0,
            size <= Self.largestCache
        else { return }
        var bytes = [UInt8](repeating: 0, count: size)
        guard functions.GetPipelineCacheData?(functions.handle, cache, &size, &bytes) == VK_SUCCESS else { return }
        let beside = "\(path).\(getpid())"
        guard let file = fopen(beside, "wb") else { return }
        let written = fwrite(bytes, 1, size, file)
        if fclose(file) != 0 || written != size || rename(beside, path) != 0 { unlink(beside) }
    }
}
