// SPDX-License-Identifier: Apache-2.0
import Glibc
import SCTP

/// How the C library allocates memory in this program.
///
/// usrsctp allocates and frees ten pieces of memory a packet, in bursts of many packets. glibc's caches of each thread,
/// which cost a few nanoseconds, hold 7 pieces of a size and none above 1,032 bytes; larger ones are only to be had by
/// an environment variable that is read when a program starts (mallopt has no such parameter).
enum AllocatorTuning {
    private static let variable = "GLIBC_TUNABLES"
    /// 2,048 pieces: a window of 1 MiB. 8 KiB: usrsctp's clusters and bundles.
    private static let setting = "glibc.malloc.tcache_count=2048:glibc.malloc.tcache_max=8192"

    /// Sets what can be set, and for the rest starts the program anew, once; a variable that the user has set stays.
    static func apply() {
        SCTPRuntime.tuneAllocator()
        // A privileged program is not started anew: the loader may take the variable away each time.
        guard getenv(variable) == nil, getuid() == geteuid(), getgid() == getegid() else { return }
        // The path itself, so that the process keeps its name.
        var path = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        guard readlink("/proc/self/exe", &path, Int(PATH_MAX)) > 0 else { return }
        setenv(variable, setting, 1)
        // It returns only where that failed, and then nothing is lost but speed.
        execv(path, CommandLine.unsafeArgv)
    }
}
