// SPDX-License-Identifier: Apache-2.0
// CRC32c (RFC 9260 Appendix A) of packets: with SSE 4.2 and PCLMULQDQ where the processor has them, else from a table.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Adds bytes to a running remainder, four bits at a time: the way for processors without a CRC instruction.
static inline uint32_t cusrsctp_crc32c_portable(uint32_t crc, const uint8_t *bytes, size_t length) {
    // The remainders of the sixteen 4-bit values under the reflected polynomial 0x82F63B78.
    static const uint32_t table[16] = {
        0x00000000, 0x105EC76F, 0x20BD8EDE, 0x30E349B1, 0x417B1DBC, 0x5125DAD3, 0x61C69362, 0x7198540D,
        0x82F63B78, 0x92A8FC17, 0xA24BB5A6, 0xB21572C9, 0xC38D26C4, 0xD3D3E1AB, 0xE330A81A, 0xF36E6F75};
    while (length--) {
        crc ^= *bytes++;
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return crc;
}

#if defined(__x86_64__)
#include <immintrin.h>

// Multiplies a remainder by x^(8n), where `constant` is x^(8n - 33) mod P in reflected form.
__attribute__((target("sse4.2,pclmul")))
static inline uint64_t cusrsctp_crc32c_shift(uint64_t crc, uint32_t constant) {
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc), _mm_cvtsi32_si128((int)constant), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

// The CRC instruction has a latency of three cycles, so three stretches are worked at a time and joined afterwards.
__attribute__((target("sse4.2,pclmul")))
static inline uint32_t cusrsctp_crc32c_hardware(uint32_t start, const uint8_t *bytes, size_t length) {
    uint64_t crc = start;
#define CUSRSCTP_STRETCH(size, twice, once)                                                                       \
    while (length >= 3 * (size)) {                                                                                \
        uint64_t second = 0, third = 0;                                                                           \
        for (size_t i = 0; i < (size); i += 8) {                                                                  \
            uint64_t a, b, c;                                                                                     \
            memcpy(&a, bytes + i, 8);                                                                             \
            memcpy(&b, bytes + (size) + i, 8);                                                                    \
            memcpy(&c, bytes + 2 * (size) + i, 8);                                                                \
            crc = _mm_crc32_u64(crc, a);                                                                          \
            second = _mm_crc32_u64(second, b);                                                                    \
            third = _mm_crc32_u64(third, c);                                                                      \
        }                                                                                                         \
        crc = cusrsctp_crc32c_shift(crc, twice) ^ cusrsctp_crc32c_shift(second, once) ^ third;                    \
        bytes += 3 * (size);                                                                                      \
        length -= 3 * (size);                                                                                     \
    }
    // x^(8·2n - 33) and x^(8n - 33) mod P.
    CUSRSCTP_STRETCH(256, 0xDD7E3B0C, 0xB9E02B86)
    CUSRSCTP_STRETCH(64, 0x0D3B6092, 0x9E4ADDF8)
#undef CUSRSCTP_STRETCH
    while (length >= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        crc = _mm_crc32_u64(crc, word);
        bytes += 8;
        length -= 8;
    }
    while (length--) crc = _mm_crc32_u8((uint32_t)crc, *bytes++);
    return (uint32_t)crc;
}

static inline int cusrsctp_has_hardware_crc32c(void) {
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}
#else
static inline uint32_t cusrsctp_crc32c_hardware(uint32_t start, const uint8_t *bytes, size_t length) {
    return cusrsctp_crc32c_portable(start, bytes, length);
}

static inline int cusrsctp_has_hardware_crc32c(void) { return 0; }
#endif

// The checksum of a packet, its own field taken as zero, as the number whose little-endian bytes stand in that field.
// `length` is at least 12.
static inline uint32_t cusrsctp_packet_checksum(const uint8_t *packet, size_t length, int hardware) {
    uint8_t header[12];
    memcpy(header, packet, 8);
    memset(header + 8, 0, 4);
    if (hardware) {
        return ~cusrsctp_crc32c_hardware(
            cusrsctp_crc32c_hardware(0xFFFFFFFF, header, 12), packet + 12, length - 12);
    }
    return ~cusrsctp_crc32c_portable(cusrsctp_crc32c_portable(0xFFFFFFFF, header, 12), packet + 12, length - 12);
}

static inline uint32_t cusrsctp_read_checksum(const uint8_t *packet) {
    return (uint32_t)packet[8] | (uint32_t)packet[9] << 8 | (uint32_t)packet[10] << 16 | (uint32_t)packet[11] << 24;
}

static inline void cusrsctp_write_checksum(uint8_t *packet, uint32_t crc) {
    packet[8] = (uint8_t)crc;
    packet[9] = (uint8_t)(crc >> 8);
    packet[10] = (uint8_t)(crc >> 16);
    packet[11] = (uint8_t)(crc >> 24);
}
