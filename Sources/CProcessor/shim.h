// SPDX-License-Identifier: Apache-2.0
// What Swift has no words for: which instructions this processor has, and a hint to its caches.
#pragma once
#include <stdbool.h>

struct processor_features {
    bool sse41;
    bool avx2;
    // The parts of AVX-512 that every server processor with it has: F, BW, DQ and VL.
    bool avx512;
    // Fused multiply-add, and conversions between half and single precision.
    bool fma;
    bool f16c;
    // Dot products of bytes in registers of 256 bits, as processors without AVX-512 have them.
    bool avx_vnni;
    // The same in registers of 512 bits.
    bool avx512_vnni;
};

#if defined(__x86_64__)
#include <cpuid.h>

// The register states that the system saves (XCR0); Intel SDM volume 1 §13.3.
static inline unsigned long long processor_saved_states(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((unsigned long long)high << 32) | low;
}

static inline struct processor_features processor_features(void) {
    struct processor_features features = {0};
    unsigned a, b, c, d;
    if (!__get_cpuid_count(1, 0, &a, &b, &c, &d)) return features;
    features.sse41 = (c & bit_SSE4_1) != 0;
    if (!(c & bit_OSXSAVE)) return features;
    const unsigned long long states = processor_saved_states();
    features.fma = (c & bit_FMA) != 0 && (states & 0x06) == 0x06;
    features.f16c = (c & bit_F16C) != 0 && (states & 0x06) == 0x06;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return features;
    // XMM and YMM: bits 1 and 2; opmask and both parts of ZMM: bits 5 to 7.
    features.avx2 = (b & bit_AVX2) != 0 && (states & 0x06) == 0x06;
    const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    features.avx512 = (b & avx512) == avx512 && (states & 0xE6) == 0xE6;
    features.avx512_vnni = features.avx512 && (c & bit_AVX512VNNI) != 0;
    // EAX of leaf 7 is the last of its subleaves; bit 4 of EAX of the first one is AVX-VNNI.
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) features.avx_vnni = features.avx2 && (a & 1u << 4) != 0;
    return features;
}
#else
static inline struct processor_features processor_features(void) {
    return (struct processor_features){0};
}
#endif

// Asks for the cache line at an address that is about to be read; no address is wrong.
static inline void processor_prefetch(const void *address) {
    __builtin_prefetch(address, 0, 3);
}
