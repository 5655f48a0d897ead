// SPDX-License-Identifier: Apache-2.0

// Synchronization.Mutex of Linux takes a free lock in code that is compiled into its user, where ThreadSanitizer sees it. Where
// threads contend it calls two functions of the standard library, which is not instrumented: what one thread did under the
// lock would seem to race with what the next one does. The linker leads the calls here (--wrap), and these tell.

#include "annotations.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#include <stdint.h>

void __tsan_acquire(void *address);
void __tsan_release(void *address);

// _MutexHandle._lockSlow(_: UInt32) and _MutexHandle._unlockSlow(); the handle begins with the word that is locked.
__attribute__((swiftcall)) void real_lock(uint32_t thread, __attribute__((swift_context)) void *handle)
    __asm__("__real_$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF");
__attribute__((swiftcall)) void real_unlock(__attribute__((swift_context)) void *handle)
    __asm__("__real_$s15Synchronization12_MutexHandleV11_unlockSlowyyF");
__attribute__((swiftcall)) void wrap_lock(uint32_t thread, __attribute__((swift_context)) void *handle)
    __asm__("__wrap_$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF");
__attribute__((swiftcall)) void wrap_unlock(__attribute__((swift_context)) void *handle)
    __asm__("__wrap_$s15Synchronization12_MutexHandleV11_unlockSlowyyF");

__attribute__((swiftcall)) void wrap_lock(uint32_t thread, __attribute__((swift_context)) void *handle) {
    real_lock(thread, handle);
    __tsan_acquire(handle);
}

__attribute__((swiftcall)) void wrap_unlock(__attribute__((swift_context)) void *handle) {
    __tsan_release(handle);
    real_unlock(handle);
}
#endif
#endif
