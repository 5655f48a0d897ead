// SPDX-License-Identifier: Apache-2.0

internal import CVulkan
internal import Glibc

/// The loader of Vulkan, opened at run time, with an instance of it.
final class VulkanLibrary: @unchecked Sendable {
    // Unchecked: functions and handles do not change, and messages are only added.

    let instance: UnsafeMutablePointer<vulkan_instance>
    private let messages: UnsafeMutablePointer<vulkan_messages>
    /// Whether the validation layer listens.
    let validates: Bool

    /// Opens libvulkan.so.1; throws what it was that is not there.
    init(validates: Bool) throws(ComputeError) {
        // It stays open: drivers leave threads behind that run its code.
        guard let library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL) else {
            throw ComputeError(.unavailable, "there is no Vulkan here: libvulkan.so.1 cannot be opened")
        }
        guard let symbol = dlsym(library, "vkGetInstanceProcAddr") else {
            throw ComputeError(.unavailable, "libvulkan.so.1 has no vkGetInstanceProcAddr")
        }
        let find = unsafeBitCast(symbol, to: PFN_vkGetInstanceProcAddr.self)
        self.validates = validates && vulkan_has_layer(find, "VK_LAYER_KHRONOS_validation") != 0
        instance = .allocate(capacity: 1)
        instance.initialize(to: vulkan_instance())
        messages = .allocate(capacity: 1)
        messages.initialize(to: vulkan_messages())
        var missing: UnsafePointer<CChar>?
        let result = vulkan_create_instance(find, self.validates ? messages : nil, instance, &missing)
        if result != VK_SUCCESS {
            let lacking = missing.map { "the driver lacks \(String(cString: $0))" }
            vulkan_destroy_instance(instance)
            throw ComputeError(
                .unavailable,
                "Vulkan 1.2 cannot be started: " + (lacking ?? "\(result.words) (is a driver installed?)"))
        }
    }

    deinit {
        vulkan_destroy_instance(instance)
        instance.deallocate()
        messages.deallocate()
    }

    /// What the validation layer has said so far.
    var complaints: [String] {
        (0..<min(Int(vulkan_message_count(messages)), Int(VULKAN_MESSAGES))).map {
            String(cString: vulkan_message_at(messages, UInt32($0)))
        }
    }

    /// All devices that the drivers have.
    var adapters: [VulkanAdapter] {
        var handles = [VkPhysicalDevice?](repeating: nil, count: 32)
        let count = vulkan_devices(instance, &handles, UInt32(handles.count))
        return handles.prefix(Int(count)).enumerated().compactMap { index, handle in
            handle.map { VulkanAdapter(index: index, $0, in: self) }
        }
    }
}

extension VkResult {
    /// Vulkan's own name of the usual ones.
    var words: String {
        switch self {
        case VK_ERROR_OUT_OF_HOST_MEMORY: "out of host memory"
        case VK_ERROR_OUT_OF_DEVICE_MEMORY: "out of device memory"
        case VK_ERROR_INITIALIZATION_FAILED: "initialization failed"
        case VK_ERROR_DEVICE_LOST: "device lost"
        case VK_ERROR_LAYER_NOT_PRESENT: "a layer is not there"
        case VK_ERROR_EXTENSION_NOT_PRESENT: "an extension is not there"
        case VK_ERROR_FEATURE_NOT_PRESENT: "a feature is not there"
        case VK_ERROR_INCOMPATIBLE_DRIVER: "no compatible driver"
        case VK_ERROR_TOO_MANY_OBJECTS: "too many objects"
        default: "error \(rawValue)"
        }
    }

    /// Throws for what is not a success, saying what was being done.
    func check(_ action: @autoclosure () -> String) throws(ComputeError) {
        if rawValue >= 0 { return }
        let code: ComputeError.Code =
            switch self {
            case VK_ERROR_OUT_OF_DEVICE_MEMORY, VK_ERROR_OUT_OF_HOST_MEMORY: .outOfMemory
            case VK_ERROR_DEVICE_LOST: .deviceLost
            default: .system
            }
        throw ComputeError(code, "Vulkan: \(action()): \(words)")
    }
}
