// SPDX-License-Identifier: Apache-2.0
// Products and sums of rows in single precision, whose values are stored as F32, F16, BF16 or Q8_0. Included once for
// each width of registers, like Products.h.

#define INLINE static inline __attribute__((always_inline, target(TARGET)))
#define FUNCTION static inline __attribute__((target(TARGET)))

#if ROWS == 4
#define WIDTH 16
#define FLOATS __m512
#define ZERO() _mm512_setzero_ps()
#define REPEAT(v) _mm512_set1_ps(v)
#define LOAD(p) _mm512_loadu_ps(p)
#define STORE(p, v) _mm512_storeu_ps(p, v)
#define ADD_PRODUCT(sum, a, b) _mm512_fmadd_ps(a, b, sum)
#define MULTIPLY(a, b) _mm512_mul_ps(a, b)
#define ADD(a, b) _mm512_add_ps(a, b)
#define HALVES(p) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p)))
#define BRAIN(p) _mm512_castsi512_ps(_mm512_slli_epi32( \
    _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(p))), 16))
#define SMALL(p) _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(p))))
INLINE float NAME(total)(FLOATS v) { return _mm512_reduce_add_ps(v); }
#else
#define WIDTH 8
#define FLOATS __m256
#define ZERO() _mm256_setzero_ps()
#define REPEAT(v) _mm256_set1_ps(v)
#define LOAD(p) _mm256_loadu_ps(p)
#define STORE(p, v) _mm256_storeu_ps(p, v)
#define ADD_PRODUCT(sum, a, b) _mm256_fmadd_ps(a, b, sum)
#define MULTIPLY(a, b) _mm256_mul_ps(a, b)
#define ADD(a, b) _mm256_add_ps(a, b)
#define HALVES(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p)))
#define BRAIN(p) _mm256_castsi256_ps(_mm256_slli_epi32( \
    _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p))), 16))
#define SMALL(p) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p))))
INLINE float NAME(total)(FLOATS v) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_shuffle_ps(sum, sum, 1)));
}
#endif

INLINE float NAME(one)(int format, const uint8_t *row, long i) {
    uint16_t half;
    uint32_t word;
    float value;
    switch (format) {
    case COMPUTE_F32:
        __builtin_memcpy(&value, row + i * 4, 4);
        return value;
    case COMPUTE_F16:
        __builtin_memcpy(&half, row + i * 2, 2);
        return _cvtsh_ss(half);
    default:
        __builtin_memcpy(&half, row + i * 2, 2);
        word = (uint32_t)half << 16;
        __builtin_memcpy(&value, &word, 4);
        return value;
    }
}

INLINE FLOATS NAME(some)(int format, const uint8_t *row, long i) {
    switch (format) {
    case COMPUTE_F32: return LOAD((const float *)(const void *)(row + i * 4));
    case COMPUTE_F16: return HALVES(row + i * 2);
    default: return BRAIN(row + i * 2);
    }
}

// The product of one row with one column.
INLINE float NAME(row)(int format, const uint8_t *row, const float *x, long length) {
    FLOATS a = ZERO(), b = ZERO();
    if (format == COMPUTE_Q8_0) {
        for (long i = 0; i < length; i += 32) {
            const uint8_t *block = row + i / 32 * 34;
            uint16_t half;
            __builtin_memcpy(&half, block, 2);
            FLOATS sum = MULTIPLY(SMALL(block + 2), LOAD(x + i));
#pragma unroll
            for (int k = WIDTH; k < 32; k += WIDTH) sum = ADD_PRODUCT(sum, SMALL(block + 2 + k), LOAD(x + i + k));
            a = ADD_PRODUCT(a, sum, REPEAT(_cvtsh_ss(half)));
        }
        return NAME(total)(a);
    }
    long i = 0;
    for (; i + 2 * WIDTH <= length; i += 2 * WIDTH) {
        a = ADD_PRODUCT(a, NAME(some)(format, row, i), LOAD(x + i));
        b = ADD_PRODUCT(b, NAME(some)(format, row, i + WIDTH), LOAD(x + i + WIDTH));
    }
    for (; i + WIDTH <= length; i += WIDTH) a = ADD_PRODUCT(a, NAME(some)(format, row, i), LOAD(x + i));
    float rest = 0;
    for (; i < length; i++) rest += NAME(one)(format, row, i) * x[i];
    return NAME(total)(ADD(a, b)) + rest;
}

// output[r] = scale * (row r · x) for `count` rows at distances of `stride` bytes.
FUNCTION void NAME(products)(
    int format, const void *rows, long stride, long count, const float *x, long length, float scale, float *output) {
    for (long r = 0; r < count; r++) {
        const uint8_t *row = (const uint8_t *)rows + r * stride;
        float value;
        switch (format) {
        case COMPUTE_F32: value = NAME(row)(COMPUTE_F32, row, x, length); break;
        case COMPUTE_F16: value = NAME(row)(COMPUTE_F16, row, x, length); break;
        case COMPUTE_BF16: value = NAME(row)(COMPUTE_BF16, row, x, length); break;
        default: value = NAME(row)(COMPUTE_Q8_0, row, x, length); break;
        }
        output[r] = value * scale;
    }
}

// Four vectors of sums at a time stay in registers while all rows go by.
INLINE void NAME(mix_rows)(
    int format, const uint8_t *rows, long stride, long count, const float *weights, float *sum, long length) {
    long i = 0;
    if (format == COMPUTE_Q8_0) {
        for (; i < length; i += 32) {
            FLOATS sums[32 / WIDTH];
#pragma unroll
            for (int k = 0; k < 32 / WIDTH; k++) sums[k] = LOAD(sum + i + k * WIDTH);
            for (long r = 0; r < count; r++) {
                const uint8_t *block = rows + r * stride + i / 32 * 34;
                uint16_t half;
                __builtin_memcpy(&half, block, 2);
                const FLOATS scale = REPEAT(_cvtsh_ss(half) * weights[r]);
#pragma unroll
                for (int k = 0; k < 32 / WIDTH; k++)
                    sums[k] = ADD_PRODUCT(sums[k], SMALL(block + 2 + k * WIDTH), scale);
            }
#pragma unroll
            for (int k = 0; k < 32 / WIDTH; k++) STORE(sum + i + k * WIDTH, sums[k]);
        }
        return;
    }
    for (; i + 4 * WIDTH <= length; i += 4 * WIDTH) {
        FLOATS a = LOAD(sum + i), b = LOAD(sum + i + WIDTH);
        FLOATS c = LOAD(sum + i + 2 * WIDTH), d = LOAD(sum + i + 3 * WIDTH);
        for (long r = 0; r < count; r++) {
            const uint8_t *row = rows + r * stride;
            const FLOATS scale = REPEAT(weights[r]);
            a = ADD_PRODUCT(a, NAME(some)(format, row, i), scale);
            b = ADD_PRODUCT(b, NAME(some)(format, row, i + WIDTH), scale);
            c = ADD_PRODUCT(c, NAME(some)(format, row, i + 2 * WIDTH), scale);
            d = ADD_PRODUCT(d, NAME(some)(format, row, i + 3 * WIDTH), scale);
        }
        STORE(sum + i, a);
        STORE(sum + i + WIDTH, b);
        STORE(sum + i + 2 * WIDTH, c);
        STORE(sum + i + 3 * WIDTH, d);
    }
    for (; i < length; i++) {
        float value = sum[i];
        for (long r = 0; r < count; r++) value += NAME(one)(format, rows + r * stride, i) * weights[r];
        sum[i] = value;
    }
}

// sum += weights[r] * row r, over `count` rows at distances of `stride` bytes.
FUNCTION void NAME(mix)(
    int format, const void *rows, long stride, long count, const float *weights, float *sum, long length) {
    const uint8_t *bytes = (const uint8_t *)rows;
    switch (format) {
    case COMPUTE_F32: return NAME(mix_rows)(COMPUTE_F32, bytes, stride, count, weights, sum, length);
    case COMPUTE_F16: return NAME(mix_rows)(COMPUTE_F16, bytes, stride, count, weights, sum, length);
    case COMPUTE_BF16: return NAME(mix_rows)(COMPUTE_BF16, bytes, stride, count, weights, sum, length);
    default: return NAME(mix_rows)(COMPUTE_Q8_0, bytes, stride, count, weights, sum, length);
    }
}

// output[c] = row · column c: four columns at a time, so that the row is read once for them.
FUNCTION void NAME(columns)(
    const float *row, const float *x, long stride, long columns, long length, float *output, long output_stride) {
    long c = 0;
    for (; c + 4 <= columns; c += 4) {
        const float *x0 = x + c * stride, *x1 = x0 + stride, *x2 = x1 + stride, *x3 = x2 + stride;
        FLOATS a = ZERO(), b = ZERO(), d = ZERO(), e = ZERO();
        long i = 0;
        for (; i + WIDTH <= length; i += WIDTH) {
            const FLOATS w = LOAD(row + i);
            a = ADD_PRODUCT(a, w, LOAD(x0 + i));
            b = ADD_PRODUCT(b, w, LOAD(x1 + i));
            d = ADD_PRODUCT(d, w, LOAD(x2 + i));
            e = ADD_PRODUCT(e, w, LOAD(x3 + i));
        }
        float ra = 0, rb = 0, rd = 0, re = 0;
        for (; i < length; i++) {
            ra += row[i] * x0[i];
            rb += row[i] * x1[i];
            rd += row[i] * x2[i];
            re += row[i] * x3[i];
        }
        output[c * output_stride] = NAME(total)(a) + ra;
        output[(c + 1) * output_stride] = NAME(total)(b) + rb;
        output[(c + 2) * output_stride] = NAME(total)(d) + rd;
        output[(c + 3) * output_stride] = NAME(total)(e) + re;
    }
    for (; c < columns; c++)
        output[c * output_stride] = NAME(row)(COMPUTE_F32, (const uint8_t *)row, x + c * stride, length);
}

#undef WIDTH
#undef FLOATS
#undef ZERO
#undef REPEAT
#undef LOAD
#undef STORE
#undef ADD_PRODUCT
#undef MULTIPLY
#undef ADD
#undef HALVES
#undef BRAIN
#undef SMALL
#undef INLINE
#undef FUNCTION
