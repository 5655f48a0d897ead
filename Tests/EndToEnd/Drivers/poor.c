// SPDX-License-Identifier: Apache-2.0
// A layer of Vulkan that makes the driver beneath it poorer, as variables of the environment say; for tests of what is
// said then. One instance and one device in a process.
//
//   POOR_API=1.1        the device has this version
//   POOR_ADDRESSES=0    it has no addresses of buffers
//   POOR_SUBGROUPS=0    its subgroups have no operations
//   POOR_MEMORY=BYTES   it is out of memory when so many bytes are taken
//   POOR_SUBMITS=COUNT  it is lost after so many submissions
//   POOR_TYPES=1        its first type of memory, which looks like the others, is not for buffers
#define VK_NO_PROTOTYPES 1
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan_core.h>

#define SHOWN __attribute__((visibility("default")))

static PFN_vkGetInstanceProcAddr next_instance;
static PFN_vkGetDeviceProcAddr next_device;
static uint64_t taken, submits;

// What is beneath. It is asked for when instance and device are made: later the loader answers with the uppermost layer.
#define OF_INSTANCE(X) \
    X(CreateDevice) X(GetPhysicalDeviceProperties) X(GetPhysicalDeviceProperties2) X(GetPhysicalDeviceFeatures2) \
    X(GetPhysicalDeviceMemoryProperties)
#define OF_DEVICE(X) X(GetBufferMemoryRequirements) X(AllocateMemory) X(QueueSubmit)
static struct {
#define X(name) PFN_vk##name name;
    OF_INSTANCE(X)
    OF_DEVICE(X)
#undef X
} beneath;

static uint64_t setting(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text ? strtoull(text, 0, 10) : otherwise;
}

static VKAPI_ATTR VkResult VKAPI_CALL CreateInstance(
    const VkInstanceCreateInfo *info, const VkAllocationCallbacks *allocator, VkInstance *out
) {
    VkLayerInstanceCreateInfo *chain = (VkLayerInstanceCreateInfo *)info->pNext;
    while (chain && !(chain->sType == VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO
                      && chain->function == VK_LAYER_LINK_INFO))
        chain = (VkLayerInstanceCreateInfo *)chain->pNext;
    if (!chain) return VK_ERROR_INITIALIZATION_FAILED;
    next_instance = chain->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    chain->u.pLayerInfo = chain->u.pLayerInfo->pNext;
    VkResult result = ((PFN_vkCreateInstance)next_instance(0, "vkCreateInstance"))(info, allocator, out);
    if (result != VK_SUCCESS) return result;
#define X(name) beneath.name = (PFN_vk##name)next_instance(*out, "vk" #name);
    OF_INSTANCE(X)
#undef X
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL CreateDevice(
    VkPhysicalDevice physical, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *allocator, VkDevice *out
) {
    VkLayerDeviceCreateInfo *chain = (VkLayerDeviceCreateInfo *)info->pNext;
    while (chain && !(chain->sType == VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO
                      && chain->function == VK_LAYER_LINK_INFO))
        chain = (VkLayerDeviceCreateInfo *)chain->pNext;
    if (!chain) return VK_ERROR_INITIALIZATION_FAILED;
    next_device = chain->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    chain->u.pLayerInfo = chain->u.pLayerInfo->pNext;
    VkResult result = beneath.CreateDevice(physical, info, allocator, out);
    if (result != VK_SUCCESS) return result;
#define X(name) beneath.name = (PFN_vk##name)next_device(*out, "vk" #name);
    OF_DEVICE(X)
#undef X
    return VK_SUCCESS;
}

static void impoverish(VkPhysicalDeviceProperties *properties) {
    const char *api = getenv("POOR_API");
    unsigned major, minor;
    if (api && sscanf(api, "%u.%u", &major, &minor) == 2)
        properties->apiVersion = VK_MAKE_API_VERSION(0, major, minor, 0);
}

static VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceProperties(
    VkPhysicalDevice physical, VkPhysicalDeviceProperties *properties
) {
    beneath.GetPhysicalDeviceProperties(physical, properties);
    impoverish(properties);
}

static VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceProperties2(
    VkPhysicalDevice physical, VkPhysicalDeviceProperties2 *properties
) {
    beneath.GetPhysicalDeviceProperties2(physical, properties);
    impoverish(&properties->properties);
    for (VkBaseOutStructure *next = properties->pNext; next; next = next->pNext)
        if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES && !setting("POOR_SUBGROUPS", 1))
            ((VkPhysicalDeviceSubgroupProperties *)next)->supportedOperations = 0;
}

static VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceFeatures2(
    VkPhysicalDevice physical, VkPhysicalDeviceFeatures2 *features
) {
    beneath.GetPhysicalDeviceFeatures2(physical, features);
    for (VkBaseOutStructure *next = features->pNext; next; next = next->pNext)
        if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES && !setting("POOR_ADDRESSES", 1))
            ((VkPhysicalDeviceVulkan12Features *)next)->bufferDeviceAddress = VK_FALSE;
}

// The driver's types come second; before them is one more that looks like the first of them.
static VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceMemoryProperties(
    VkPhysicalDevice physical, VkPhysicalDeviceMemoryProperties *memory
) {
    beneath.GetPhysicalDeviceMemoryProperties(physical, memory);
    if (!setting("POOR_TYPES", 0) || memory->memoryTypeCount == VK_MAX_MEMORY_TYPES) return;
    memmove(memory->memoryTypes + 1, memory->memoryTypes, memory->memoryTypeCount * sizeof *memory->memoryTypes);
    memory->memoryTypeCount++;
}

static VKAPI_ATTR void VKAPI_CALL GetBufferMemoryRequirements(
    VkDevice device, VkBuffer buffer, VkMemoryRequirements *needs
) {
    beneath.GetBufferMemoryRequirements(device, buffer, needs);
    if (setting("POOR_TYPES", 0)) needs->memoryTypeBits <<= 1;
}

static VKAPI_ATTR VkResult VKAPI_CALL AllocateMemory(
    VkDevice device, const VkMemoryAllocateInfo *info, const VkAllocationCallbacks *allocator, VkDeviceMemory *out
) {
    VkMemoryAllocateInfo ours = *info;
    if (setting("POOR_TYPES", 0)) {
        if (ours.memoryTypeIndex == 0) return VK_ERROR_UNKNOWN;
        ours.memoryTypeIndex--;
    }
    if (taken + info->allocationSize > setting("POOR_MEMORY", UINT64_MAX)) return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    taken += info->allocationSize;
    return beneath.AllocateMemory(device, &ours, allocator, out);
}

static VKAPI_ATTR VkResult VKAPI_CALL QueueSubmit(
    VkQueue queue, uint32_t count, const VkSubmitInfo *infos, VkFence fence
) {
    if (submits++ >= setting("POOR_SUBMITS", UINT64_MAX)) return VK_ERROR_DEVICE_LOST;
    return beneath.QueueSubmit(queue, count, infos, fence);
}

static PFN_vkVoidFunction ours(const char *name);

SHOWN VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vkGetDeviceProcAddr(VkDevice device, const char *name) {
    PFN_vkVoidFunction function = ours(name);
    return function ? function : next_device(device, name);
}

SHOWN VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vkGetInstanceProcAddr(VkInstance of, const char *name) {
    PFN_vkVoidFunction function = ours(name);
    return function ? function : next_instance ? next_instance(of, name) : 0;
}

static PFN_vkVoidFunction ours(const char *name) {
#define OURS(function) if (!strcmp(name, "vk" #function)) return (PFN_vkVoidFunction)function;
    OURS(CreateInstance)
    OF_INSTANCE(OURS)
    OF_DEVICE(OURS)
    if (!strcmp(name, "vkGetInstanceProcAddr")) return (PFN_vkVoidFunction)vkGetInstanceProcAddr;
    if (!strcmp(name, "vkGetDeviceProcAddr")) return (PFN_vkVoidFunction)vkGetDeviceProcAddr;
    return 0;
}

SHOWN VKAPI_ATTR VkResult VKAPI_CALL vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *interface) {
    interface->loaderLayerInterfaceVersion = 2;
    interface->pfnGetInstanceProcAddr = vkGetInstanceProcAddr;
    interface->pfnGetDeviceProcAddr = vkGetDeviceProcAddr;
    interface->pfnGetPhysicalDeviceProcAddr = 0;
    return VK_SUCCESS;
}
