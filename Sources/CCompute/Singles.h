// SPDX-License-Identifier: Apache-2.0
// Registers of single-precision numbers, and rows of stored numbers as such. Included once for each width of registers,
// before Rows.h, Attention.h and Elements.h.

#if ROWS == 4
#define WIDTH 16
#define ZERO() _mm512_setzero_ps()
#define REPEAT(v) _mm512_set1_ps(v)
#define LOAD(p) _mm512_loadu_ps(p)
#define STORE(p, v) _mm512_storeu_ps(p, v)
#define ADD_PRODUCT(sum, a, b) _mm512_fmadd_ps(a, b, sum)
#define MULTIPLY(a, b) _mm512_mul_ps(a, b)
#define SUBTRACT(a, b) _mm512_sub_ps(a, b)
#define DIVIDE(a, b) _mm512_div_ps(a, b)
#define LARGER(a, b) _mm512_max_ps(a, b)
#define SMALLER(a, b) _mm512_min_ps(a, b)
#define FIRST(v) _mm512_cvtss_f32(v)
#define LOW_PAIRS(a, b) _mm512_unpacklo_ps(a, b)
#define HIGH_PAIRS(a, b) _mm512_unpackhi_ps(a, b)
#define LOW_HALVES(a, b) _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
#define HIGH_HALVES(a, b) _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
#define ADD(a, b) _mm512_add_ps(a, b)
#define HALVES(p) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p)))
#define BRAIN(p) _mm512_castsi512_ps(_mm512_slli_epi32( \
    _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(p))), 16))
#define SMALL(v) _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(v))
INLINE __m128 NAME(quarter)(FLOATS v) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}
#else
#define WIDTH 8
#define ZERO() _mm256_setzero_ps()
#define REPEAT(v) _mm256_set1_ps(v)
#define LOAD(p) _mm256_loadu_ps(p)
#define STORE(p, v) _mm256_storeu_ps(p, v)
#define ADD_PRODUCT(sum, a, b) _mm256_fmadd_ps(a, b, sum)
#define MULTIPLY(a, b) _mm256_mul_ps(a, b)
#define SUBTRACT(a, b) _mm256_sub_ps(a, b)
#define DIVIDE(a, b) _mm256_div_ps(a, b)
#define LARGER(a, b) _mm256_max_ps(a, b)
#define SMALLER(a, b) _mm256_min_ps(a, b)
#define FIRST(v) _mm256_cvtss_f32(v)
#define LOW_PAIRS(a, b) _mm256_unpacklo_ps(a, b)
#define HIGH_PAIRS(a, b) _mm256_unpackhi_ps(a, b)
#define LOW_HALVES(a, b) _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)))
#define HIGH_HALVES(a, b) _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)))
#define ADD(a, b) _mm256_add_ps(a, b)
#define HALVES(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p)))
#define BRAIN(p) _mm256_castsi256_ps(_mm256_slli_epi32( \
    _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p))), 16))
#define SMALL(v) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v))
INLINE __m128 NAME(quarter)(FLOATS v) {
    return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
}
#endif

INLINE float NAME(largest)(FLOATS v) {
#if WIDTH == 16
    const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#else
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
#endif
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    return _mm_cvtss_f32(_mm_max_ss(most, _mm_shuffle_ps(most, most, 1)));
}

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

// 32 weights of a block: scale * quant + minimum, of which the last sixteen have a scale of their own.
struct NAME(run) {
    __m128i low, high;
    float scale, high_scale, minimum;
};

INLINE float NAME(half_at)(const uint8_t *p) {
    uint16_t half;
    __builtin_memcpy(&half, p, 2);
    return _cvtsh_ss(half);
}

// The scale and minimum of run `sub` of a block of Q4_K or Q5_K: QuantizedBlock in Dequantization.swift says more.
INLINE void NAME(six_bits_of)(const uint8_t *block, int sub, struct NAME(run) *run) {
    const uint8_t *s = block + 4;
    const int scale = sub < 4 ? s[sub] & 63 : (s[sub + 4] & 15) | (s[sub - 4] >> 6) << 4;
    const int minimum = sub < 4 ? s[sub + 4] & 63 : s[sub + 4] >> 4 | (s[sub] >> 6) << 4;
    run->scale = NAME(half_at)(block) * (float)scale;
    run->minimum = -(NAME(half_at)(block + 2) * (float)minimum);
}

INLINE __m128i NAME(sixteen)(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)p); }
INLINE __m128i NAME(nibbles)(__m128i v, int shift) {
    return _mm_and_si128(_mm_srl_epi16(v, _mm_cvtsi32_si128(shift)), _mm_set1_epi8(15));
}
// The bits of `mask`, `shift` from the lowest, to the places of 16 and above.
INLINE __m128i NAME(above)(__m128i v, int shift, int mask) {
    const __m128i bits = _mm_and_si128(_mm_srl_epi16(v, _mm_cvtsi32_si128(shift)), _mm_set1_epi8((char)mask));
    return _mm_slli_epi16(bits, 4);
}
INLINE __m128i NAME(fifths)(const uint8_t *p) {
    uint16_t bits;
    __builtin_memcpy(&bits, p, 2);
    const __m128i order = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m128i bit = _mm_set1_epi64x((long long)0x8040201008040201ull);
    const __m128i set = _mm_and_si128(_mm_shuffle_epi8(_mm_cvtsi32_si128(bits), order), bit);
    return _mm_and_si128(_mm_cmpeq_epi8(set, bit), _mm_set1_epi8(16));
}

// Weights `index * 32` and following of a row.
INLINE struct NAME(run) NAME(run_of)(int format, const uint8_t *row, long index) {
    struct NAME(run) run;
    run.minimum = 0;
    switch (format) {
    case COMPUTE_Q8_0: {
        const uint8_t *block = row + index * 34;
        run.low = NAME(sixteen)(block + 2);
        run.high = NAME(sixteen)(block + 18);
        run.scale = NAME(half_at)(block);
        break;
    }
    case COMPUTE_Q4_0:
    case COMPUTE_Q4_1:
    case COMPUTE_Q5_0: {
        const long head = format == COMPUTE_Q4_0 ? 2 : format == COMPUTE_Q4_1 ? 4 : 6;
        const uint8_t *block = row + index * (head + 16);
        const __m128i packed = NAME(sixteen)(block + head);
        run.low = NAME(nibbles)(packed, 0);
        run.high = NAME(nibbles)(packed, 4);
        run.scale = NAME(half_at)(block);
        if (format == COMPUTE_Q4_1) run.minimum = NAME(half_at)(block + 2);
        if (format == COMPUTE_Q5_0) {
            run.low = _mm_or_si128(run.low, NAME(fifths)(block + 2));
            run.high = _mm_or_si128(run.high, NAME(fifths)(block + 4));
        }
        if (format != COMPUTE_Q4_1) {
            const __m128i middle = _mm_set1_epi8(format == COMPUTE_Q4_0 ? 8 : 16);
            run.low = _mm_sub_epi8(run.low, middle);
            run.high = _mm_sub_epi8(run.high, middle);
        }
        break;
    }
    case COMPUTE_Q4_K:
    case COMPUTE_Q5_K: {
        const uint8_t *block = row + index / 8 * (format == COMPUTE_Q4_K ? 144 : 176);
        const int sub = (int)(index % 8);
        const uint8_t *nibbles = block + (format == COMPUTE_Q4_K ? 16 : 48) + sub / 2 * 32;
        run.low = NAME(nibbles)(NAME(sixteen)(nibbles), sub % 2 * 4);
        run.high = NAME(nibbles)(NAME(sixteen)(nibbles + 16), sub % 2 * 4);
        if (format == COMPUTE_Q5_K) {
            run.low = _mm_or_si128(run.low, NAME(above)(NAME(sixteen)(block + 16), sub, 1));
            run.high = _mm_or_si128(run.high, NAME(above)(NAME(sixteen)(block + 32), sub, 1));
        }
        NAME(six_bits_of)(block, sub, &run);
        break;
    }
    default: {  // Q6_K
        const uint8_t *block = row + index / 8 * 210;
        const int half = (int)(index % 8) / 4, quarter = (int)(index % 4);
        const uint8_t *nibbles = block + half * 64 + quarter % 2 * 32, *pairs = block + 128 + half * 32;
        const __m128i middle = _mm_set1_epi8(32);
        run.low = NAME(nibbles)(NAME(sixteen)(nibbles), quarter / 2 * 4);
        run.high = NAME(nibbles)(NAME(sixteen)(nibbles + 16), quarter / 2 * 4);
        run.low = _mm_or_si128(run.low, NAME(above)(NAME(sixteen)(pairs), quarter * 2, 3));
        run.high = _mm_or_si128(run.high, NAME(above)(NAME(sixteen)(pairs + 16), quarter * 2, 3));
        run.low = _mm_sub_epi8(run.low, middle);
        run.high = _mm_sub_epi8(run.high, middle);
        const int8_t *scales = (const int8_t *)block + 192 + half * 8 + quarter * 2;
        const float scale = NAME(half_at)(block + 208);
        run.scale = scale * (float)scales[0];
        run.high_scale = scale * (float)scales[1];
        return run;
    }
    }
    run.high_scale = run.scale;
    return run;
}

// The same as 32 / WIDTH registers of numbers.
INLINE void NAME(weights_of)(int format, const uint8_t *row, long index, FLOATS *weights) {
    const struct NAME(run) run = NAME(run_of)(format, row, index);
    const FLOATS scale = REPEAT(run.scale), high_scale = format == COMPUTE_Q6_K ? REPEAT(run.high_scale) : scale;
#if WIDTH == 16
    weights[0] = MULTIPLY(SMALL(run.low), scale);
    weights[1] = MULTIPLY(SMALL(run.high), high_scale);
#else
    weights[0] = MULTIPLY(SMALL(run.low), scale);
    weights[1] = MULTIPLY(SMALL(_mm_unpackhi_epi64(run.low, run.low)), scale);
    weights[2] = MULTIPLY(SMALL(run.high), high_scale);
    weights[3] = MULTIPLY(SMALL(_mm_unpackhi_epi64(run.high, run.high)), high_scale);
#endif
    if (format != COMPUTE_Q4_1 && format != COMPUTE_Q4_K && format != COMPUTE_Q5_K) return;
#pragma unroll
    for (int k = 0; k < 32 / WIDTH; k++) weights[k] = ADD(weights[k], REPEAT(run.minimum));
}

// `length` numbers of a row, and zeros up to a multiple of WIDTH.
INLINE void NAME(widened)(int format, const uint8_t *row, long length, float *output) {
    long i = 0;
    if (format >= COMPUTE_Q4_0) {
        for (; i < length; i += 32) {
            FLOATS weights[32 / WIDTH];
            NAME(weights_of)(format, row, i / 32, weights);
#pragma unroll
            for (int k = 0; k < 32 / WIDTH; k++) STORE(output + i + k * WIDTH, weights[k]);
        }
        return;
    }
    for (; i + WIDTH <= length; i += WIDTH) STORE(output + i, NAME(some)(format, row, i));
    if (i == length) return;
    STORE(output + i, ZERO());
    for (; i < length; i++) output[i] = NAME(one)(format, row, i);
}
