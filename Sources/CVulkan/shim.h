// SPDX-License-Identifier: Apache-2.0
// Vulkan without linking to it: functions are found at run time, and calls whose arguments are trees of structures are
// put together here, where C says them best.
#pragma once

#define VK_NO_PROTOTYPES 1
#include <stdint.h>
#include <string.h>
#include <vulkan/vulkan_core.h>

#define VULKAN_INSTANCE_FUNCTIONS(X) \
    X(DestroyInstance) X(EnumeratePhysicalDevices) X(GetPhysicalDeviceProperties) X(GetPhysicalDeviceProperties2) \
    X(GetPhysicalDeviceFeatures2) X(GetPhysicalDeviceMemoryProperties) X(GetPhysicalDeviceQueueFamilyProperties) \
    X(CreateDevice) X(GetDeviceProcAddr)

#define VULKAN_DEVICE_FUNCTIONS(X) \
    X(DestroyDevice) X(GetDeviceQueue) X(DeviceWaitIdle) X(AllocateMemory) X(FreeMemory) X(MapMemory) X(CreateBuffer) \
    X(DestroyBuffer) X(GetBufferMemoryRequirements) X(BindBufferMemory) X(GetBufferDeviceAddress) X(CreateBufferView) \
    X(DestroyBufferView) X(CreateShaderModule) X(DestroyShaderModule) X(CreateDescriptorSetLayout) \
    X(DestroyDescriptorSetLayout) X(CreateDescriptorPool) X(DestroyDescriptorPool) X(AllocateDescriptorSets) \
    X(UpdateDescriptorSets) X(CreatePipelineLayout) X(DestroyPipelineLayout) X(CreatePipelineCache) \
    X(DestroyPipelineCache) X(GetPipelineCacheData) X(CreateComputePipelines) X(DestroyPipeline) X(CreateCommandPool) \
    X(DestroyCommandPool) X(AllocateCommandBuffers) X(FreeCommandBuffers) X(BeginCommandBuffer) X(EndCommandBuffer) \
    X(CmdBindPipeline) X(CmdBindDescriptorSets) X(CmdPushConstants) X(CmdDispatch) X(CmdPipelineBarrier) \
    X(CmdCopyBuffer) X(CmdResetQueryPool) X(CmdWriteTimestamp) X(CreateQueryPool) X(DestroyQueryPool) \
    X(GetQueryPoolResults) X(CreateFence) X(DestroyFence) X(ResetFences) X(WaitForFences) X(QueueSubmit)

// A driver with its functions.
struct vulkan_instance {
    VkInstance handle;
    uint32_t api;                   // what may be used: 1.2, or 1.3 where the loader knows it
    VkDebugUtilsMessengerEXT messenger;
    PFN_vkDestroyDebugUtilsMessengerEXT DestroyMessenger;
#define X(name) PFN_vk##name name;
    VULKAN_INSTANCE_FUNCTIONS(X)
#undef X
};

// A device with its functions.
struct vulkan_device {
    VkDevice handle;
    VkQueue queue;
#define X(name) PFN_vk##name name;
    VULKAN_DEVICE_FUNCTIONS(X)
#undef X
};

// What is asked of a device, and chosen by.
struct vulkan_facts {
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
    char driver[VK_MAX_DRIVER_NAME_SIZE];
    uint32_t api, driver_version, type;
    uint8_t uuid[VK_UUID_SIZE];
    uint64_t heap;                   // bytes of the largest heap of its own memory
    uint64_t largest_allocation;
    uint32_t queue_family;           // one that computes; UINT32_MAX if there is none
    uint32_t timestamp_bits;
    float timestamp_period;          // nanoseconds of a tick
    uint32_t subgroup_size, subgroup_operations, shared_memory, largest_group, texels;
    uint32_t addresses, size_control, computes_full_subgroups;
};

// What the validation layer says, the first of it; several threads may speak.
#define VULKAN_MESSAGES 16
struct vulkan_messages {
    uint32_t count;
    char text[VULKAN_MESSAGES][1024];
};

static inline VkBool32 VKAPI_PTR vulkan_note(
    VkDebugUtilsMessageSeverityFlagBitsEXT severity, VkDebugUtilsMessageTypeFlagsEXT types,
    const VkDebugUtilsMessengerCallbackDataEXT *data, void *context
) {
    struct vulkan_messages *messages = (struct vulkan_messages *)context;
    uint32_t index = __atomic_fetch_add(&messages->count, 1, __ATOMIC_ACQ_REL);
    if (index < VULKAN_MESSAGES && data->pMessage) strncpy(messages->text[index], data->pMessage, 1023);
    (void)severity;
    (void)types;
    return VK_FALSE;
}

static inline uint32_t vulkan_message_count(const struct vulkan_messages *messages) {
    return __atomic_load_n(&messages->count, __ATOMIC_ACQUIRE);
}

static inline const char *vulkan_message_at(const struct vulkan_messages *messages, uint32_t index) {
    return messages->text[index];
}

// Whether a layer is there.
static inline int vulkan_has_layer(PFN_vkGetInstanceProcAddr find, const char *name) {
    PFN_vkEnumerateInstanceLayerProperties list =
        (PFN_vkEnumerateInstanceLayerProperties)find(0, "vkEnumerateInstanceLayerProperties");
    VkLayerProperties found[64];
    uint32_t count = 64;
    if (!list || list(&count, found) < 0) return 0;
    for (uint32_t i = 0; i < count; i++)
        if (!strcmp(found[i].layerName, name)) return 1;
    return 0;
}

// Makes an instance; with `messages` the validation layer is loaded, and what it finds is noted there. `missing`
// becomes a function that the driver lacks.
static inline VkResult vulkan_create_instance(
    PFN_vkGetInstanceProcAddr find, struct vulkan_messages *messages, struct vulkan_instance *out, const char **missing
) {
    PFN_vkCreateInstance create = (PFN_vkCreateInstance)find(0, "vkCreateInstance");
    PFN_vkEnumerateInstanceVersion version =
        (PFN_vkEnumerateInstanceVersion)find(0, "vkEnumerateInstanceVersion");
    uint32_t api = 0;
    if (!create || !version || version(&api) != VK_SUCCESS || api < VK_API_VERSION_1_2)
        return VK_ERROR_INCOMPATIBLE_DRIVER;
    out->api = api < VK_API_VERSION_1_3 ? VK_API_VERSION_1_2 : VK_API_VERSION_1_3;
    VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .pApplicationName = "dreamer", .apiVersion = out->api};
    const char *layer = "VK_LAYER_KHRONOS_validation";
    const char *extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType =
            VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = vulkan_note, .pUserData = messages};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &application};
    if (messages) {
        info.pNext = &messenger;
        info.enabledLayerCount = 1;
        info.ppEnabledLayerNames = &layer;
        info.enabledExtensionCount = 1;
        info.ppEnabledExtensionNames = &extension;
    }
    VkResult result = create(&info, 0, &out->handle);
    if (result != VK_SUCCESS) return result;
#define X(name) \
    if (!(out->name = (PFN_vk##name)find(out->handle, "vk" #name))) *missing = "vk" #name;
    VULKAN_INSTANCE_FUNCTIONS(X)
#undef X
    if (*missing) return VK_ERROR_INCOMPATIBLE_DRIVER;
    if (messages) {
        PFN_vkCreateDebugUtilsMessengerEXT listen =
            (PFN_vkCreateDebugUtilsMessengerEXT)find(out->handle, "vkCreateDebugUtilsMessengerEXT");
        out->DestroyMessenger =
            (PFN_vkDestroyDebugUtilsMessengerEXT)find(out->handle, "vkDestroyDebugUtilsMessengerEXT");
        if (listen) listen(out->handle, &messenger, 0, &out->messenger);
    }
    return VK_SUCCESS;
}

static inline void vulkan_destroy_instance(struct vulkan_instance *instance) {
    if (!instance->handle) return;
    if (instance->messenger && instance->DestroyMessenger)
        instance->DestroyMessenger(instance->handle, instance->messenger, 0);
    if (instance->DestroyInstance) instance->DestroyInstance(instance->handle, 0);
    instance->handle = 0;
}

// Up to `count` devices; their number.
static inline uint32_t vulkan_devices(
    const struct vulkan_instance *instance, VkPhysicalDevice *devices, uint32_t count
) {
    VkResult result = instance->EnumeratePhysicalDevices(instance->handle, &count, devices);
    return result < 0 ? 0 : count;
}

static inline void vulkan_describe(
    const struct vulkan_instance *instance, VkPhysicalDevice device, struct vulkan_facts *facts
) {
    memset(facts, 0, sizeof *facts);
    VkPhysicalDeviceProperties plain;
    instance->GetPhysicalDeviceProperties(device, &plain);
    memcpy(facts->name, plain.deviceName, sizeof facts->name);
    memcpy(facts->uuid, plain.pipelineCacheUUID, sizeof facts->uuid);
    facts->api = plain.apiVersion < instance->api ? plain.apiVersion : instance->api;
    facts->driver_version = plain.driverVersion;
    facts->type = plain.deviceType;
    facts->queue_family = UINT32_MAX;
    VkPhysicalDeviceMemoryProperties memory;
    instance->GetPhysicalDeviceMemoryProperties(device, &memory);
    for (uint32_t i = 0; i < memory.memoryHeapCount; i++)
        if ((memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) && memory.memoryHeaps[i].size > facts->heap)
            facts->heap = memory.memoryHeaps[i].size;
    if (facts->api < VK_API_VERSION_1_2) return;

    VkPhysicalDeviceSubgroupSizeControlProperties size = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
    VkPhysicalDeviceMaintenance3Properties maintenance = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES};
    VkPhysicalDeviceSubgroupProperties subgroups = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES, .pNext = &maintenance};
    VkPhysicalDeviceDriverProperties driver = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES, .pNext = &subgroups};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &driver};
    VkPhysicalDeviceVulkan12Features features12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    VkPhysicalDeviceSubgroupSizeControlFeatures control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES};
    VkPhysicalDeviceFeatures2 features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &features12};
    if (facts->api >= VK_API_VERSION_1_3) {
        maintenance.pNext = &size;
        features12.pNext = &control;
    }
    instance->GetPhysicalDeviceProperties2(device, &properties);
    instance->GetPhysicalDeviceFeatures2(device, &features);
    memcpy(facts->driver, driver.driverName, sizeof facts->driver);
    facts->largest_allocation = maintenance.maxMemoryAllocationSize;
    facts->timestamp_period = plain.limits.timestampPeriod;
    facts->subgroup_size = subgroups.subgroupSize;
    facts->subgroup_operations =
        subgroups.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT ? subgroups.supportedOperations : 0;
    facts->shared_memory = plain.limits.maxComputeSharedMemorySize;
    facts->largest_group = plain.limits.maxComputeWorkGroupInvocations;
    facts->texels = plain.limits.maxTexelBufferElements;
    facts->addresses = features12.bufferDeviceAddress;
    facts->size_control =
        control.subgroupSizeControl && (size.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT);
    facts->computes_full_subgroups = control.computeFullSubgroups;

    VkQueueFamilyProperties families[32];
    uint32_t count = 32;
    instance->GetPhysicalDeviceQueueFamilyProperties(device, &count, families);
    for (uint32_t i = 0; i < count; i++) {
        if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT)) continue;
        // A family for computing alone is not in the way of what draws.
        int better = facts->queue_family == UINT32_MAX || !(families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT);
        if (!better) continue;
        facts->queue_family = i;
        facts->timestamp_bits = families[i].timestampValidBits;
        if (!(families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT)) break;
    }
}

static inline VkResult vulkan_create_device(
    const struct vulkan_instance *instance, VkPhysicalDevice physical, const struct vulkan_facts *facts,
    struct vulkan_device *out, const char **missing
) {
    float priority = 1;
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueFamilyIndex = facts->queue_family, .queueCount = 1,
        .pQueuePriorities = &priority};
    VkPhysicalDeviceSubgroupSizeControlFeatures control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
        .subgroupSizeControl = facts->size_control, .computeFullSubgroups = facts->computes_full_subgroups};
    VkPhysicalDeviceVulkan12Features features12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES, .bufferDeviceAddress = VK_TRUE};
    VkPhysicalDeviceFeatures2 features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &features12};
    if (facts->api >= VK_API_VERSION_1_3) features12.pNext = &control;
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .pNext = &features, .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue};
    VkResult result = instance->CreateDevice(physical, &info, 0, &out->handle);
    if (result != VK_SUCCESS) return result;
#define X(name) \
    if (!(out->name = (PFN_vk##name)instance->GetDeviceProcAddr(out->handle, "vk" #name))) *missing = "vk" #name;
    VULKAN_DEVICE_FUNCTIONS(X)
#undef X
    if (*missing) return VK_ERROR_INCOMPATIBLE_DRIVER;
    out->GetDeviceQueue(out->handle, facts->queue_family, 0, &out->queue);
    return VK_SUCCESS;
}

static inline void vulkan_destroy_device(struct vulkan_device *device) {
    if (device->handle && device->DestroyDevice) device->DestroyDevice(device->handle, 0);
    device->handle = 0;
}

// MARK: Memory

// Memory with a buffer over all of it.
struct vulkan_block {
    VkBuffer buffer;
    VkDeviceMemory memory;
    VkBufferView quads, words;      // as texels of four words and of one, where asked for
    uint64_t address;
    void *mapped;                   // where the host sees it; null where it does not
    uint64_t size;
};

// The first type of memory that has `wanted`; -1 if there is none.
static inline int vulkan_memory_type(const VkPhysicalDeviceMemoryProperties *memory, uint32_t mask, uint32_t wanted) {
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++)
        if ((mask >> i & 1) && (memory->memoryTypes[i].propertyFlags & wanted) == wanted) return (int)i;
    return -1;
}

static inline VkMemoryType vulkan_type_at(const VkPhysicalDeviceMemoryProperties *memory, uint32_t index) {
    return memory->memoryTypes[index];
}

static inline VkMemoryHeap vulkan_heap_at(const VkPhysicalDeviceMemoryProperties *memory, uint32_t index) {
    return memory->memoryHeaps[index];
}

static inline void vulkan_free(const struct vulkan_device *d, struct vulkan_block *block) {
    if (block->quads) d->DestroyBufferView(d->handle, block->quads, 0);
    if (block->words) d->DestroyBufferView(d->handle, block->words, 0);
    if (block->buffer) d->DestroyBuffer(d->handle, block->buffer, 0);
    if (block->memory) d->FreeMemory(d->handle, block->memory, 0);
    memset(block, 0, sizeof *block);
}

static inline VkResult vulkan_create_buffer(
    const struct vulkan_device *d, uint64_t size, int has_texels, VkBuffer *out
) {
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = size,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT
            | VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT
            | (has_texels ? VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT : 0)};
    return d->CreateBuffer(d->handle, &info, 0, out);
}

// Which types of memory buffers may lie in, a bit for each: the same for all buffers that are used alike.
static inline VkResult vulkan_buffer_types(const struct vulkan_device *d, uint32_t *out) {
    *out = UINT32_MAX;
    for (int has_texels = 0; has_texels < 2; has_texels++) {
        VkBuffer buffer;
        VkResult result = vulkan_create_buffer(d, 16, has_texels, &buffer);
        if (result != VK_SUCCESS) return result;
        VkMemoryRequirements needs;
        d->GetBufferMemoryRequirements(d->handle, buffer, &needs);
        d->DestroyBuffer(d->handle, buffer, 0);
        *out &= needs.memoryTypeBits;
    }
    return VK_SUCCESS;
}

// A buffer view takes the buffer to its end, so that sizes are multiples of 16.
static inline VkResult vulkan_allocate(
    const struct vulkan_device *d, uint64_t size, int type, int is_mapped, int has_texels, struct vulkan_block *out
) {
    memset(out, 0, sizeof *out);
    VkResult result = vulkan_create_buffer(d, size, has_texels, &out->buffer);
    if (result != VK_SUCCESS) return result;
    VkMemoryRequirements needs;
    d->GetBufferMemoryRequirements(d->handle, out->buffer, &needs);
    VkMemoryAllocateFlagsInfo flags = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO, .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    VkMemoryAllocateInfo memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .pNext = &flags, .allocationSize = needs.size,
        .memoryTypeIndex = (uint32_t)type};
    result = d->AllocateMemory(d->handle, &memory, 0, &out->memory);
    if (result == VK_SUCCESS) result = d->BindBufferMemory(d->handle, out->buffer, out->memory, 0);
    if (result == VK_SUCCESS && is_mapped)
        result = d->MapMemory(d->handle, out->memory, 0, VK_WHOLE_SIZE, 0, &out->mapped);
    for (int i = 0; i < 2 && has_texels && result == VK_SUCCESS; i++) {
        VkBufferViewCreateInfo view = {
            .sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO, .buffer = out->buffer,
            .format = i ? VK_FORMAT_R32_UINT : VK_FORMAT_R32G32B32A32_UINT, .range = VK_WHOLE_SIZE};
        result = d->CreateBufferView(d->handle, &view, 0, i ? &out->words : &out->quads);
    }
    if (result != VK_SUCCESS) {
        vulkan_free(d, out);
        return result;
    }
    VkBufferDeviceAddressInfo address = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, .buffer = out->buffer};
    out->address = d->GetBufferDeviceAddress(d->handle, &address);
    out->size = size;
    return VK_SUCCESS;
}

// MARK: Kernels

// Three buffers of texels: activations, and of weights or a cache the quads and the words.
static inline VkResult vulkan_create_layouts(
    const struct vulkan_device *d, uint32_t constants, VkDescriptorSetLayout *set, VkPipelineLayout *layout
) {
    VkDescriptorSetLayoutBinding bindings[3];
    memset(bindings, 0, sizeof bindings);
    for (uint32_t i = 0; i < 3; i++) {
        bindings[i].binding = i;
        bindings[i].descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER;
        bindings[i].descriptorCount = 1;
        bindings[i].stageFlags = VK_SHADER_STAGE_COMPUTE_BIT;
    }
    VkDescriptorSetLayoutCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO, .bindingCount = 3, .pBindings = bindings};
    VkResult result = d->CreateDescriptorSetLayout(d->handle, &info, 0, set);
    if (result != VK_SUCCESS) return result;
    VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = constants};
    VkPipelineLayoutCreateInfo pipeline = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO, .setLayoutCount = 1, .pSetLayouts = set,
        .pushConstantRangeCount = 1, .pPushConstantRanges = &range};
    return d->CreatePipelineLayout(d->handle, &pipeline, 0, layout);
}

static inline VkResult vulkan_create_module(
    const struct vulkan_device *d, const uint32_t *words, uint64_t bytes, VkShaderModule *out
) {
    VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = bytes, .pCode = words};
    return d->CreateShaderModule(d->handle, &info, 0, out);
}

// A pipeline with its first constants set; `subgroup` is a size that is required, or 0.
static inline VkResult vulkan_create_pipeline(
    const struct vulkan_device *d, VkPipelineCache cache, VkPipelineLayout layout, VkShaderModule module,
    const uint32_t *constants, uint32_t count, uint32_t subgroup, VkPipeline *out
) {
    VkSpecializationMapEntry entries[16];
    if (count > 16) return VK_ERROR_UNKNOWN;
    for (uint32_t i = 0; i < count; i++) {
        entries[i].constantID = i;
        entries[i].offset = i * 4;
        entries[i].size = 4;
    }
    VkSpecializationInfo special = {
        .mapEntryCount = count, .pMapEntries = entries, .dataSize = count * 4, .pData = constants};
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = subgroup};
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO, .pNext = subgroup ? &size : 0,
            .stage = VK_SHADER_STAGE_COMPUTE_BIT, .module = module, .pName = "main", .pSpecializationInfo = &special},
        .layout = layout};
    return d->CreateComputePipelines(d->handle, cache, 1, &info, 0, out);
}

static inline VkResult vulkan_create_cache(
    const struct vulkan_device *d, const void *data, uint64_t size, VkPipelineCache *out
) {
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO, .initialDataSize = size, .pInitialData = data};
    return d->CreatePipelineCache(d->handle, &info, 0, out);
}

static inline VkResult vulkan_create_sets(
    const struct vulkan_device *d, uint32_t count, VkDescriptorPool *out
) {
    VkDescriptorPoolSize size = {.type = VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, .descriptorCount = 3 * count};
    VkDescriptorPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO, .maxSets = count, .poolSizeCount = 1,
        .pPoolSizes = &size};
    return d->CreateDescriptorPool(d->handle, &info, 0, out);
}

static inline VkResult vulkan_create_set(
    const struct vulkan_device *d, VkDescriptorPool pool, VkDescriptorSetLayout layout, VkBufferView first,
    VkBufferView second, VkBufferView third, VkDescriptorSet *out
) {
    VkDescriptorSetAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO, .descriptorPool = pool, .descriptorSetCount = 1,
        .pSetLayouts = &layout};
    VkResult result = d->AllocateDescriptorSets(d->handle, &info, out);
    if (result != VK_SUCCESS) return result;
    VkBufferView views[3] = {first, second, third};
    VkWriteDescriptorSet write = {
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET, .dstSet = *out, .descriptorCount = 3,
        .descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, .pTexelBufferView = views};
    // One write runs over the bindings that follow, as they are alike.
    d->UpdateDescriptorSets(d->handle, 1, &write, 0, 0);
    return VK_SUCCESS;
}

// MARK: Commands

static inline VkResult vulkan_create_commands(const struct vulkan_device *d, uint32_t family, VkCommandPool *out) {
    VkCommandPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT, .queueFamilyIndex = family};
    return d->CreateCommandPool(d->handle, &info, 0, out);
}

static inline VkResult vulkan_allocate_commands(
    const struct vulkan_device *d, VkCommandPool pool, VkCommandBuffer *out
) {
    VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY, .commandBufferCount = 1};
    return d->AllocateCommandBuffers(d->handle, &info, out);
}

static inline VkResult vulkan_begin(const struct vulkan_device *d, VkCommandBuffer commands) {
    VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    return d->BeginCommandBuffer(commands, &info);
}

static inline VkResult vulkan_end(const struct vulkan_device *d, VkCommandBuffer commands) {
    return d->EndCommandBuffer(commands);
}

static inline void vulkan_dispatch(
    const struct vulkan_device *d, VkCommandBuffer commands, VkPipelineLayout layout, VkPipeline pipeline,
    VkDescriptorSet set, const void *constants, uint32_t bytes, uint32_t x, uint32_t y, uint32_t z
) {
    d->CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    if (set) d->CmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, 1, &set, 0, 0);
    d->CmdPushConstants(commands, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, bytes, constants);
    d->CmdDispatch(commands, x, y, z);
}

// What was written is seen by what follows: of kernels, or (`to_host`) by the host, or by copies.
static inline void vulkan_barrier(const struct vulkan_device *d, VkCommandBuffer commands, int to_host) {
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = to_host
            ? VK_ACCESS_HOST_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT
            : VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
    VkPipelineStageFlags after = to_host
        ? VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT : VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    d->CmdPipelineBarrier(
        commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT, after, 0, 1, &barrier, 0, 0, 0,
        0);
}

static inline void vulkan_copy(
    const struct vulkan_device *d, VkCommandBuffer commands, VkBuffer from, uint64_t source, VkBuffer to,
    uint64_t target, uint64_t size
) {
    VkBufferCopy region = {.srcOffset = source, .dstOffset = target, .size = size};
    d->CmdCopyBuffer(commands, from, to, 1, &region);
}

static inline VkResult vulkan_create_timestamps(const struct vulkan_device *d, uint32_t count, VkQueryPool *out) {
    VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO, .queryType = VK_QUERY_TYPE_TIMESTAMP, .queryCount = count};
    return d->CreateQueryPool(d->handle, &info, 0, out);
}

static inline void vulkan_reset_timestamps(
    const struct vulkan_device *d, VkCommandBuffer commands, VkQueryPool pool, uint32_t count
) {
    d->CmdResetQueryPool(commands, pool, 0, count);
}

static inline void vulkan_timestamp(
    const struct vulkan_device *d, VkCommandBuffer commands, VkQueryPool pool, uint32_t index
) {
    d->CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, pool, index);
}

static inline VkResult vulkan_timestamps(
    const struct vulkan_device *d, VkQueryPool pool, uint32_t count, uint64_t *out
) {
    return d->GetQueryPoolResults(
        d->handle, pool, 0, count, count * sizeof *out, out, sizeof *out,
        VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
}

static inline VkResult vulkan_create_fence(const struct vulkan_device *d, VkFence *out) {
    VkFenceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    return d->CreateFence(d->handle, &info, 0, out);
}

// Runs commands and waits until they are done.
static inline VkResult vulkan_run(const struct vulkan_device *d, VkCommandBuffer commands, VkFence fence) {
    VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &commands};
    VkResult result = d->QueueSubmit(d->queue, 1, &info, fence);
    if (result == VK_SUCCESS) result = d->WaitForFences(d->handle, 1, &fence, VK_TRUE, UINT64_MAX);
    if (result == VK_SUCCESS) result = d->ResetFences(d->handle, 1, &fence);
    return result;
}
