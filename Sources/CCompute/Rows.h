// SPDX-License-Identifier: Apache-2.0
// Products and sums of rows in single precision, whose values are stored as F32, F16, BF16, Q8_0 or (products alone)
// Q4_1. Included once for each width of registers, like Products.h.

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
#define FRONT(v) _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(v))
INLINE __m128 NAME(quarter)(FLOATS v) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}
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
#define FRONT(v) _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(v))
INLINE __m128 NAME(quarter)(FLOATS v) {
    return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
}
#endif

INLINE float NAME(total)(FLOATS v) {
    __m128 sum = NAME(quarter)(v);
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_shuffle_ps(sum, sum, 1)));
}

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

// The product of one row with one column, as a vector whose total it is, but for the last numbers that fill none.
INLINE FLOATS NAME(row_sums)(int format, const uint8_t *row, const float *x, long length) {
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
        return a;
    }
    if (format == COMPUTE_Q4_1) {
        for (long i = 0; i < length; i += 32) {
            const uint8_t *block = row + i / 32 * 20;
            uint16_t scale, minimum;
            __builtin_memcpy(&scale, block, 2);
            __builtin_memcpy(&minimum, block + 2, 2);
            const __m128i packed = _mm_loadu_si128((const __m128i *)(block + 4));
            __m128i nibbles[2] = {
                _mm_and_si128(packed, _mm_set1_epi8(15)),
                _mm_and_si128(_mm_srli_epi16(packed, 4), _mm_set1_epi8(15)),
            };
            FLOATS products = ZERO(), values = ZERO();
#pragma unroll
            for (int k = 0; k < 32; k += WIDTH) {
                const FLOATS v = LOAD(x + i + k);
                products = ADD_PRODUCT(products, FRONT(nibbles[k / 16]), v);
                values = ADD(values, v);
                if (WIDTH == 8) nibbles[k / 16] = _mm_unpackhi_epi64(nibbles[k / 16], nibbles[k / 16]);
            }
            a = ADD_PRODUCT(a, products, REPEAT(_cvtsh_ss(scale)));
            b = ADD_PRODUCT(b, values, REPEAT(_cvtsh_ss(minimum)));
        }
        return ADD(a, b);
    }
    long i = 0;
    for (; i + 2 * WIDTH <= length; i += 2 * WIDTH) {
        a = ADD_PRODUCT(a, NAME(some)(format, row, i), LOAD(x + i));
        b = ADD_PRODUCT(b, NAME(some)(format, row, i + WIDTH), LOAD(x + i + WIDTH));
    }
    if (i + WIDTH <= length) a = ADD_PRODUCT(a, NAME(some)(format, row, i), LOAD(x + i));
    return ADD(a, b);
}

INLINE float NAME(row)(int format, const uint8_t *row, const float *x, long length) {
    float rest = 0;
    if (format != COMPUTE_Q8_0 && format != COMPUTE_Q4_1)
        for (long i = length / WIDTH * WIDTH; i < length; i++) rest += NAME(one)(format, row, i) * x[i];
    return NAME(total)(NAME(row_sums)(format, row, x, length)) + rest;
}

// Four rows at a time add up their vectors together.
INLINE void NAME(products_of)(
    int format, const uint8_t *rows, long stride, long count, const float *x, long length, float scale, float *output) {
    long r = 0;
    if (length % WIDTH == 0)
        for (; r + 4 <= count; r += 4) {
            const uint8_t *row = rows + r * stride;
            const __m128 a = NAME(quarter)(NAME(row_sums)(format, row, x, length));
            const __m128 b = NAME(quarter)(NAME(row_sums)(format, row + stride, x, length));
            const __m128 c = NAME(quarter)(NAME(row_sums)(format, row + 2 * stride, x, length));
            const __m128 d = NAME(quarter)(NAME(row_sums)(format, row + 3 * stride, x, length));
            const __m128 sums = _mm_hadd_ps(_mm_hadd_ps(a, b), _mm_hadd_ps(c, d));
            _mm_storeu_ps(output + r, _mm_mul_ps(sums, _mm_set1_ps(scale)));
        }
    for (; r < count; r++) output[r] = NAME(row)(format, rows + r * stride, x, length) * scale;
}

// output[r] = scale * (row r · x) for `count` rows at distances of `stride` bytes.
FUNCTION void NAME(products)(
    int format, const void *rows, long stride, long count, const float *x, long length, float scale, float *output) {
    const uint8_t *bytes = (const uint8_t *)rows;
    switch (format) {
    case COMPUTE_F32: return NAME(products_of)(COMPUTE_F32, bytes, stride, count, x, length, scale, output);
    case COMPUTE_F16: return NAME(products_of)(COMPUTE_F16, bytes, stride, count, x, length, scale, output);
    case COMPUTE_BF16: return NAME(products_of)(COMPUTE_BF16, bytes, stride, count, x, length, scale, output);
    case COMPUTE_Q4_1: return NAME(products_of)(COMPUTE_Q4_1, bytes, stride, count, x, length, scale, output);
    default: return NAME(products_of)(COMPUTE_Q8_0, bytes, stride, count, x, length, scale, output);
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

// Blocks of 32 activations as bytes: QuantizedColumns.swift says what they are.
FUNCTION void NAME(quantize)(const float *x, long blocks, int8_t *quants, struct compute_note *notes) {
    const __m256 sign = _mm256_set1_ps(-0.0f), zero = _mm256_setzero_ps();
    for (long b = 0; b < blocks; b++, x += 32, quants += 32) {
        const __m256 v0 = _mm256_loadu_ps(x), v1 = _mm256_loadu_ps(x + 8);
        const __m256 v2 = _mm256_loadu_ps(x + 16), v3 = _mm256_loadu_ps(x + 24);
        // Zero times what is not finite is NaN.
        __m256 check = _mm256_fmadd_ps(v0, zero, _mm256_mul_ps(v1, zero));
        check = _mm256_fmadd_ps(v2, zero, _mm256_fmadd_ps(v3, zero, check));
        if (_mm256_movemask_ps(_mm256_cmp_ps(check, check, _CMP_UNORD_Q))) {
            const float nan = __builtin_nanf("");
            _mm256_storeu_si256((__m256i *)quants, _mm256_setzero_si256());
            notes[b] = (struct compute_note){nan, nan, nan, nan};
            continue;
        }
        const __m256 a01 = _mm256_max_ps(_mm256_andnot_ps(sign, v0), _mm256_andnot_ps(sign, v1));
        const __m256 a23 = _mm256_max_ps(_mm256_andnot_ps(sign, v2), _mm256_andnot_ps(sign, v3));
        const __m256 a = _mm256_max_ps(a01, a23);
        __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
        m = _mm_max_ps(m, _mm_movehl_ps(m, m));
        const float largest = _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
        const float scale = largest / 127.0f, quotient = 127.0f / largest;
        const __m256 inverse = _mm256_set1_ps(quotient <= 3.402823466e38f ? quotient : 0.0f);
        const __m256i q0 = _mm256_cvtps_epi32(_mm256_mul_ps(v0, inverse));
        const __m256i q1 = _mm256_cvtps_epi32(_mm256_mul_ps(v1, inverse));
        const __m256i q2 = _mm256_cvtps_epi32(_mm256_mul_ps(v2, inverse));
        const __m256i q3 = _mm256_cvtps_epi32(_mm256_mul_ps(v3, inverse));
        const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(q0, q1), _mm256_packs_epi32(q2, q3));
        const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        _mm256_storeu_si256((__m256i *)quants, _mm256_permutevar8x32_epi32(packed, order));
        const __m256i both = _mm256_hadd_epi32(_mm256_add_epi32(q0, q1), _mm256_add_epi32(q2, q3));
        __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
        sums = _mm_hadd_epi32(sums, sums);
        const float quarter = scale * 0.25f;
        const float low = (float)_mm_cvtsi128_si32(sums), high = (float)_mm_extract_epi32(sums, 1);
        notes[b] = (struct compute_note){scale, quarter * (low + high), quarter * low, quarter * high};
    }
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
#undef FRONT
#undef INLINE
#undef FUNCTION
