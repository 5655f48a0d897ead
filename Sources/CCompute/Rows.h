// SPDX-License-Identifier: Apache-2.0
// Products of rows in single precision. Included once for each width of registers, after Singles.h.

// The product of one row with one column, as a vector whose total it is, but for the last numbers that fill none.
INLINE FLOATS NAME(row_sums)(int format, const uint8_t *row, const float *x, long length) {
    FLOATS a = ZERO(), b = ZERO();
    long i = 0;
    if (format >= COMPUTE_Q4_0) {
        for (; i < length; i += 32) {
            FLOATS weights[32 / WIDTH];
            NAME(weights_of)(format, row, i / 32, weights);
#pragma unroll
            for (int k = 0; k < 32 / WIDTH; k += 2) {
                a = ADD_PRODUCT(a, weights[k], LOAD(x + i + k * WIDTH));
                b = ADD_PRODUCT(b, weights[k + 1], LOAD(x + i + k * WIDTH + WIDTH));
            }
        }
        return ADD(a, b);
    }
    for (; i + 2 * WIDTH <= length; i += 2 * WIDTH) {
        a = ADD_PRODUCT(a, NAME(some)(format, row, i), LOAD(x + i));
        b = ADD_PRODUCT(b, NAME(some)(format, row, i + WIDTH), LOAD(x + i + WIDTH));
    }
    if (i + WIDTH <= length) a = ADD_PRODUCT(a, NAME(some)(format, row, i), LOAD(x + i));
    return ADD(a, b);
}

// output[r] = row r · x for `count` rows at distances of `stride` bytes.
INLINE void NAME(products_of)(
    int format, const uint8_t *rows, long stride, long count, const float *x, long length, float *output) {
    for (long r = 0; r < count; r++) {
        const uint8_t *row = rows + r * stride;
        float rest = 0;
        if (format < COMPUTE_Q4_0)
            for (long i = length / WIDTH * WIDTH; i < length; i++) rest += NAME(one)(format, row, i) * x[i];
        output[r] = NAME(total)(NAME(row_sums)(format, row, x, length)) + rest;
    }
}

#define EACH_FORMAT(CASE) \
    CASE(COMPUTE_F32) CASE(COMPUTE_F16) CASE(COMPUTE_BF16) CASE(COMPUTE_Q4_0) CASE(COMPUTE_Q4_1) CASE(COMPUTE_Q5_0) \
    CASE(COMPUTE_Q8_0) CASE(COMPUTE_Q4_K) CASE(COMPUTE_Q5_K) CASE(COMPUTE_Q6_K)

FUNCTION void NAME(products)(
    int format, const void *rows, long stride, long count, const float *x, long length, float *output) {
    const uint8_t *bytes = (const uint8_t *)rows;
    switch (format) {
#define CASE(name) \
    case name: return NAME(products_of)(name, bytes, stride, count, x, length, output);
        EACH_FORMAT(CASE)
#undef CASE
    }
}

// Rows as single-precision numbers.
FUNCTION void NAME(widen_row)(int format, const void *row, long length, float *output) {
    const uint8_t *bytes = (const uint8_t *)row;
    switch (format) {
#define CASE(name) \
    case name: return NAME(widened)(name, bytes, length, output);
        EACH_FORMAT(CASE)
#undef CASE
    }
}

// Rows by columns, both constants: each number that is read is used as often as there are of the other.
INLINE void NAME(block)(
    int rows, int columns, const float *w, long row_stride, const float *x, long stride, long length, float *output,
    long output_stride) {
    FLOATS sums[16];
#pragma unroll
    for (int i = 0; i < rows * columns; i++) sums[i] = ZERO();
    long i = 0;
    for (; i + WIDTH <= length; i += WIDTH) {
        FLOATS weights[4];
#pragma unroll
        for (int r = 0; r < rows; r++) weights[r] = LOAD(w + r * row_stride + i);
#pragma unroll
        for (int c = 0; c < columns; c++) {
            const FLOATS v = LOAD(x + c * stride + i);
#pragma unroll
            for (int r = 0; r < rows; r++) sums[r * columns + c] = ADD_PRODUCT(sums[r * columns + c], weights[r], v);
        }
    }
#pragma unroll
    for (int r = 0; r < rows; r++)
#pragma unroll
        for (int c = 0; c < columns; c++) {
            float rest = 0;
            for (long k = i; k < length; k++) rest += w[r * row_stride + k] * x[c * stride + k];
            output[c * output_stride + r] = NAME(total)(sums[r * columns + c]) + rest;
        }
}

// output[c * output_stride + r] = row r · column c, rows and columns at distances of so many numbers.
FUNCTION void NAME(columns)(
    const float *rows, long row_stride, long row_count, const float *x, long stride, long columns, long length,
    float *output, long output_stride) {
    const long step = ROWS;  // what there are registers for
    for (long r = 0; r < row_count;) {
        const float *w = rows + r * row_stride;
        float *to = output + r;
        long c = 0;
        if (r + 4 <= row_count) {
            for (; c + step <= columns; c += step)
                NAME(block)(
                    4, ROWS, w, row_stride, x + c * stride, stride, length, to + c * output_stride, output_stride);
            for (; c < columns; c++)
                NAME(block)(4, 1, w, row_stride, x + c * stride, stride, length, to + c * output_stride, output_stride);
            r += 4;
        } else {
            for (; c + 4 <= columns; c += 4)
                NAME(block)(1, 4, w, row_stride, x + c * stride, stride, length, to + c * output_stride, output_stride);
            for (; c < columns; c++)
                NAME(block)(1, 1, w, row_stride, x + c * stride, stride, length, to + c * output_stride, output_stride);
            r += 1;
        }
    }
}
