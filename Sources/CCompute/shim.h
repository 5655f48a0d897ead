// SPDX-License-Identifier: Apache-2.0
// What Swift has no words for: instructions on bytes and halves in wide registers, for the kernels of Compute.
#pragma once
#include <stdint.h>
#include <stdbool.h>

// The formats of weights, by the raw values of Compute's BlockFormat.
enum compute_format {
    COMPUTE_F32 = 0,
    COMPUTE_F16 = 1,
    COMPUTE_BF16 = 2,
    COMPUTE_Q4_0 = 3,
    COMPUTE_Q4_1 = 4,
    COMPUTE_Q5_0 = 5,
    COMPUTE_Q8_0 = 6,
    COMPUTE_Q4_K = 7,
    COMPUTE_Q5_K = 8,
    COMPUTE_Q6_K = 9,
};

// Activations are integers of two digits that are signed bytes: 128 * upper + lower, with lower ones from -64 to 63 and
// upper ones from -127 to 127. A run of 32 is its 32 upper digits, and then its lower ones.
#define COMPUTE_DIGIT_BITS 7
#define COMPUTE_LARGEST (127 << COMPUTE_DIGIT_BITS)
#define COMPUTE_RUN_BYTES 64

// What belongs to runs of 32 activations: for each column six lists of as many numbers as it has runs, rounded up to a
// multiple of four and filled up with zeros. They are the scales; the sums of the integers times the scale, of all 32, of
// the first sixteen, of the last sixteen; and, twice as long, the scales and sums of all in turn.
#define COMPUTE_LISTS 6

static inline long compute_note_stride(long blocks) { return (blocks + 3) / 4 * 4; }

static inline void compute_set_note(float *notes, long stride, long at, float scale, float low, float high) {
    notes[at] = scale;
    notes[stride + at] = low + high;
    notes[2 * stride + at] = low;
    notes[3 * stride + at] = high;
    notes[4 * stride + 2 * at] = scale;
    notes[4 * stride + 2 * at + 1] = low + high;
}

// Fills up the lists of a column.
static inline void compute_end_notes(float *notes, long stride, long blocks) {
    for (long at = blocks; at < stride; at++) compute_set_note(notes, stride, at, 0, 0, 0);
}

// The product of rows of weights with columns of activations: output[column * output_stride + row].
struct compute_product {
    const uint8_t *weights;
    long row_bytes;
    long blocks;  // of 32 weights, in a row
    const int8_t *digits;  // columns one after the other, COMPUTE_RUN_BYTES * blocks each
    const float *notes;    // columns one after the other, COMPUTE_LISTS lists each
    long columns;
    float *output;
    long output_stride;
    int format;  // enum compute_format
    void *scratch;  // compute_scratch(blocks) bytes, on a border of 64 bytes
};

// Columns from which on weights are put in another order first, with registers for four or two rows.
#define COMPUTE_MANY (ROWS == 4 ? 4 : 5)

// Room that a product of rows of so many runs of 32 weights works in.
static inline long compute_scratch(long blocks) { return blocks * 12 * 64; }

// Positions that attention looks at at a time.
#define COMPUTE_POSITIONS 32

// Numbers of a head, filled up to whole registers.
static inline long compute_padded(long length) { return (length + 15) / 16 * 16; }

// Attention of tokens in the heads of queries that share a head of keys and values.
struct compute_attention {
    const float *queries;  // of the first of these heads; `length` numbers a head
    long query_stride;     // numbers from a token to the next, of the output, too
    const uint8_t *keys;   // of position 0
    const uint8_t *values;
    long key_stride;  // bytes from a position to the next
    long value_stride;
    int key_format;  // enum compute_format
    int value_format;
    long length;
    long group;   // heads of queries
    long first;   // position of the first token
    long count;   // tokens
    long window;  // positions that a token sees, its own included
    long begin;   // positions that are looked at
    long end;
    float scale;
    float *output;
    // Where output is not wanted yet: sums of values of compute_padded(length) numbers, the largest product and the sum
    // of powers of each query; token after token, and head after head.
    float *sums;
    float *largest;
    float *powers;
    float *scratch;  // compute_attention_scratch numbers
};

static inline long compute_attention_scratch(long length, long queries) {
    return (2 * queries + 2 * COMPUTE_POSITIONS) * compute_padded(length) + 4 * COMPUTE_POSITIONS + 2 * queries;
}

// Asks for memory that is about to be read.
static inline void compute_ask(const void *address, long bytes) {
    for (long at = 0; at < bytes; at += 64) __builtin_prefetch((const char *)address + at, 0, 3);
}

// The next of a list of things to do, and one further.
static inline long compute_take(long *next) { return __atomic_fetch_add(next, 1, __ATOMIC_RELAXED); }

// Tells the processor that this thread waits for another.
static inline void compute_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#if defined(__x86_64__)
#include <immintrin.h>

// Two rows at a time, eight lanes.
#define ROWS 2
#define VNNI 0
#define NAME(name) compute_avx2_##name
#define TARGET "avx2,fma,f16c"
#include "Kernels.h"

#define ROWS 2
#define VNNI 1
#define NAME(name) compute_avxvnni_##name
#define TARGET "avxvnni,avx2,fma,f16c"
#include "Kernels.h"

// Four rows at a time, sixteen lanes.
#define ROWS 4
#define VNNI 1
#define NAME(name) compute_avx512_##name
#define TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c"
#include "Kernels.h"
#endif
