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

// What belongs to 32 activations that are stored as bytes. The sums are those of the bytes times the scale, divided by
// four: they are added in each of the four lanes that a row has.
struct compute_note {
    float scale;
    float quarter_sum;
    float quarter_low;   // of the first sixteen alone
    float quarter_high;  // of the last sixteen alone
};

// The product of rows of weights with columns of activations: output[column * output_stride + row].
struct compute_product {
    const uint8_t *weights;
    long row_bytes;
    long blocks;  // of 32 weights, in a row
    const int8_t *quants;              // columns one after the other, 32 * blocks each
    const struct compute_note *notes;  // columns one after the other, `blocks` each
    long columns;
    float *output;
    long output_stride;
    int format;  // enum compute_format
};

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
#define NAME(name) compute_avx2_##name
#define TARGET "avx2,fma,f16c"
#include "Products.h"
#include "Rows.h"
#undef ROWS
#undef NAME
#undef TARGET

// Four rows at a time, sixteen lanes.
#define ROWS 4
#define NAME(name) compute_avx512_##name
#define TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c"
#include "Products.h"
#include "Rows.h"
#undef ROWS
#undef NAME
#undef TARGET
#endif
