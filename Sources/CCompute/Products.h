// SPDX-License-Identifier: Apache-2.0
// Products of quantised weights with activations stored as bytes. Included once for each width of registers; ROWS says
// how many rows are taken at a time. A vector holds the same sixteen weights of each row: four lanes of 32 bits a row.
// Layouts of the blocks: BlockFormat.swift says where each is fixed.

#define INLINE static inline __attribute__((always_inline, target(TARGET)))
#define FUNCTION static inline __attribute__((target(TARGET)))

#if ROWS == 4
typedef __m512i NAME(bytes);
typedef __m512 NAME(floats);
#define SIGNED_BIAS 128.0f
#else
typedef __m256i NAME(bytes);
typedef __m256 NAME(floats);
#define SIGNED_BIAS 0.0f
#endif
#define BYTES NAME(bytes)
#define FLOATS NAME(floats)

#if ROWS == 4
// Sixteen bytes of each row.
INLINE BYTES NAME(load)(const uint8_t *const *rows, long offset) {
    const __m128i a = _mm_loadu_si128((const __m128i *)(rows[0] + offset));
    const __m128i b = _mm_loadu_si128((const __m128i *)(rows[1] + offset));
    const __m128i c = _mm_loadu_si128((const __m128i *)(rows[2] + offset));
    const __m128i d = _mm_loadu_si128((const __m128i *)(rows[3] + offset));
    const __m256i ab = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
    const __m256i cd = _mm256_inserti128_si256(_mm256_castsi128_si256(c), d, 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(ab), cd, 1);
}
// The same sixteen activations for each row.
INLINE BYTES NAME(same)(const int8_t *x) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)x));
}
INLINE BYTES NAME(nibble)(BYTES v, int shift) {
    return _mm512_and_si512(_mm512_srl_epi16(v, _mm_cvtsi32_si128(shift)), _mm512_set1_epi8(15));
}
INLINE BYTES NAME(both)(BYTES a, BYTES b) { return _mm512_or_si512(a, b); }
INLINE BYTES NAME(bits)(BYTES v, int shift, int mask, int left) {
    const BYTES low = _mm512_srl_epi16(v, _mm_cvtsi32_si128(shift));
    return _mm512_sll_epi16(_mm512_and_si512(low, _mm512_set1_epi8((char)mask)), _mm_cvtsi32_si128(left));
}
INLINE BYTES NAME(zero)(void) { return _mm512_setzero_si512(); }
// Adds products of four neighbouring bytes each; weights are not negative.
INLINE BYTES NAME(dot)(BYTES sum, BYTES w, BYTES x) { return _mm512_dpbusd_epi32(sum, w, x); }
// The same for signed weights, raised by SIGNED_BIAS.
INLINE BYTES NAME(dot_signed)(BYTES sum, BYTES w, BYTES x) {
    return _mm512_dpbusd_epi32(sum, _mm512_xor_si512(w, _mm512_set1_epi8((char)0x80)), x);
}
INLINE FLOATS NAME(convert)(BYTES v) { return _mm512_cvtepi32_ps(v); }
INLINE FLOATS NAME(multiply)(FLOATS a, FLOATS b) { return _mm512_mul_ps(a, b); }
INLINE FLOATS NAME(add_product)(FLOATS sum, FLOATS a, FLOATS b) { return _mm512_fmadd_ps(a, b, sum); }
INLINE FLOATS NAME(repeat)(float v) { return _mm512_set1_ps(v); }
INLINE FLOATS NAME(nothing)(void) { return _mm512_setzero_ps(); }
// One number a row into the row's four lanes.
INLINE FLOATS NAME(spread)(__m128 v) {
    const __m512i order = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    return _mm512_permutexvar_ps(order, _mm512_castps128_ps512(v));
}
// Of two numbers a row, the first or the second into the row's four lanes.
INLINE FLOATS NAME(spread_pairs)(__m256 v, int second) {
    const __m512i order = _mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6);
    return _mm512_permutexvar_ps(
        _mm512_add_epi32(order, _mm512_set1_epi32(second)), _mm512_castps256_ps512(v));
}
// The sums of each row's four lanes.
INLINE __m128 NAME(gather)(FLOATS v) {
    v = _mm512_add_ps(v, _mm512_permute_ps(v, 0xB1));
    v = _mm512_add_ps(v, _mm512_permute_ps(v, 0x4E));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(order, v));
}
#else
INLINE BYTES NAME(load)(const uint8_t *const *rows, long offset) {
    const __m128i a = _mm_loadu_si128((const __m128i *)(rows[0] + offset));
    const __m128i b = _mm_loadu_si128((const __m128i *)(rows[1] + offset));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
}
INLINE BYTES NAME(same)(const int8_t *x) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)x));
}
INLINE BYTES NAME(nibble)(BYTES v, int shift) {
    return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128(shift)), _mm256_set1_epi8(15));
}
INLINE BYTES NAME(both)(BYTES a, BYTES b) { return _mm256_or_si256(a, b); }
INLINE BYTES NAME(bits)(BYTES v, int shift, int mask, int left) {
    const BYTES low = _mm256_srl_epi16(v, _mm_cvtsi32_si128(shift));
    return _mm256_sll_epi16(_mm256_and_si256(low, _mm256_set1_epi8((char)mask)), _mm_cvtsi32_si128(left));
}
INLINE BYTES NAME(zero)(void) { return _mm256_setzero_si256(); }
// No weight is above 63 here, so that a sum of two products fits 16 bits.
INLINE BYTES NAME(dot)(BYTES sum, BYTES w, BYTES x) {
    const BYTES pairs = _mm256_maddubs_epi16(w, x);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
// The weight's sign goes to the activation, which is never -128: 128 * 127 * 2 fits 16 bits.
INLINE BYTES NAME(dot_signed)(BYTES sum, BYTES w, BYTES x) {
    return NAME(dot)(sum, _mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}
INLINE FLOATS NAME(convert)(BYTES v) { return _mm256_cvtepi32_ps(v); }
INLINE FLOATS NAME(multiply)(FLOATS a, FLOATS b) { return _mm256_mul_ps(a, b); }
INLINE FLOATS NAME(add_product)(FLOATS sum, FLOATS a, FLOATS b) { return _mm256_fmadd_ps(a, b, sum); }
INLINE FLOATS NAME(repeat)(float v) { return _mm256_set1_ps(v); }
INLINE FLOATS NAME(nothing)(void) { return _mm256_setzero_ps(); }
INLINE FLOATS NAME(spread)(__m128 v) {
    const __m256i order = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(v), order);
}
INLINE FLOATS NAME(spread_pairs)(__m256 v, int second) {
    const __m256i order = _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2);
    return _mm256_permutevar8x32_ps(v, _mm256_add_epi32(order, _mm256_set1_epi32(second)));
}
INLINE __m128 NAME(gather)(FLOATS v) {
    v = _mm256_add_ps(v, _mm256_permute_ps(v, 0xB1));
    v = _mm256_add_ps(v, _mm256_permute_ps(v, 0x4E));
    const __m256i order = _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4);
    return _mm256_castps256_ps128(_mm256_permutevar8x32_ps(v, order));
}
#endif

INLINE uint32_t NAME(word)(const uint8_t *p) {
    uint32_t word;
    __builtin_memcpy(&word, p, 4);
    return word;
}

INLINE uint16_t NAME(half)(const uint8_t *p) {
    uint16_t half;
    __builtin_memcpy(&half, p, 2);
    return half;
}

// The half at an offset of each row.
INLINE __m128 NAME(halves)(const uint8_t *const *rows, long offset) {
    __m128i v = _mm_cvtsi32_si128(NAME(half)(rows[0] + offset));
    v = _mm_insert_epi16(v, NAME(half)(rows[1] + offset), 1);
#if ROWS == 4
    v = _mm_insert_epi16(v, NAME(half)(rows[2] + offset), 2);
    v = _mm_insert_epi16(v, NAME(half)(rows[3] + offset), 3);
#endif
    return _mm_cvtph_ps(v);
}

// The two halves at an offset of each row: a scale and a minimum.
INLINE __m256 NAME(pairs)(const uint8_t *const *rows, long offset) {
    __m128i v = _mm_cvtsi32_si128((int)NAME(word)(rows[0] + offset));
    v = _mm_insert_epi32(v, (int)NAME(word)(rows[1] + offset), 1);
#if ROWS == 4
    v = _mm_insert_epi32(v, (int)NAME(word)(rows[2] + offset), 2);
    v = _mm_insert_epi32(v, (int)NAME(word)(rows[3] + offset), 3);
#endif
    return _mm256_cvtph_ps(v);
}

// The bits of a 16-bit mask of each row as bytes of 16 or 0.
INLINE BYTES NAME(fifth)(const uint8_t *const *rows, long offset) {
    const __m128i each = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m128i bit = _mm_set1_epi64x((long long)0x8040201008040201ull);
    const __m128i sixteen = _mm_set1_epi8(16);
    __m128i lanes[ROWS];
    for (int i = 0; i < ROWS; i++) {
        const __m128i spread = _mm_shuffle_epi8(_mm_cvtsi32_si128(NAME(half)(rows[i] + offset)), each);
        lanes[i] = _mm_and_si128(_mm_cmpeq_epi8(_mm_and_si128(spread, bit), bit), sixteen);
    }
    const __m256i ab = _mm256_inserti128_si256(_mm256_castsi128_si256(lanes[0]), lanes[1], 1);
#if ROWS == 4
    const __m256i cd = _mm256_inserti128_si256(_mm256_castsi128_si256(lanes[2]), lanes[3], 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(ab), cd, 1);
#else
    return ab;
#endif
}

// 32 weights of each row: value = scale * byte + minimum. Where the two halves of them have scales of their own (Q6_K),
// those without a name are the first half's.
struct NAME(block) {
    BYTES low, high;
    FLOATS scale, minimum, high_scale, high_minimum;
};

// The scales and minima of 32 weights of a Q4_K or Q5_K block: twelve bytes hold eight of each, with six bits.
INLINE void NAME(scales)(const uint8_t *const *rows, long offset, int sub, struct NAME(block) *block) {
    float numbers[8] = {0};  // a scale and a minimum of each row
    for (int i = 0; i < ROWS; i++) {
        const uint8_t *s = rows[i] + offset + 4;
        if (sub < 4) {
            numbers[2 * i] = (float)(s[sub] & 63);
            numbers[2 * i + 1] = -(float)(s[sub + 4] & 63);
        } else {
            numbers[2 * i] = (float)((s[sub + 4] & 15) | (s[sub - 4] >> 6) << 4);
            numbers[2 * i + 1] = -(float)(s[sub + 4] >> 4 | (s[sub] >> 6) << 4);
        }
    }
    const __m256 pairs = _mm256_mul_ps(NAME(pairs)(rows, offset), _mm256_loadu_ps(numbers));
    block->scale = NAME(spread_pairs)(pairs, 0);
    block->minimum = NAME(spread_pairs)(pairs, 1);
}

INLINE struct NAME(block) NAME(unpack)(int format, const uint8_t *const *rows, long index) {
    struct NAME(block) block;
    block.high_scale = block.high_minimum = NAME(nothing)();
    switch (format) {
    case COMPUTE_Q4_0: {
        const long offset = index * 18;
        const BYTES packed = NAME(load)(rows, offset + 2);
        block.low = NAME(nibble)(packed, 0);
        block.high = NAME(nibble)(packed, 4);
        block.scale = NAME(spread)(NAME(halves)(rows, offset));
        block.minimum = NAME(multiply)(block.scale, NAME(repeat)(-8.0f));
        break;
    }
    case COMPUTE_Q4_1: {
        const long offset = index * 20;
        const BYTES packed = NAME(load)(rows, offset + 4);
        const __m256 pairs = NAME(pairs)(rows, offset);
        block.low = NAME(nibble)(packed, 0);
        block.high = NAME(nibble)(packed, 4);
        block.scale = NAME(spread_pairs)(pairs, 0);
        block.minimum = NAME(spread_pairs)(pairs, 1);
        break;
    }
    case COMPUTE_Q5_0: {
        const long offset = index * 22;
        const BYTES packed = NAME(load)(rows, offset + 6);
        block.low = NAME(both)(NAME(nibble)(packed, 0), NAME(fifth)(rows, offset + 2));
        block.high = NAME(both)(NAME(nibble)(packed, 4), NAME(fifth)(rows, offset + 4));
        block.scale = NAME(spread)(NAME(halves)(rows, offset));
        block.minimum = NAME(multiply)(block.scale, NAME(repeat)(-16.0f));
        break;
    }
    case COMPUTE_Q8_0: {
        const long offset = index * 34;
        block.low = NAME(load)(rows, offset + 2);
        block.high = NAME(load)(rows, offset + 18);
        block.scale = NAME(spread)(NAME(halves)(rows, offset));
        block.minimum = NAME(multiply)(block.scale, NAME(repeat)(-SIGNED_BIAS));
        break;
    }
    case COMPUTE_Q4_K: {
        const long offset = index / 8 * 144;
        const int sub = (int)(index % 8), shift = sub % 2 * 4;
        block.low = NAME(nibble)(NAME(load)(rows, offset + 16 + sub / 2 * 32), shift);
        block.high = NAME(nibble)(NAME(load)(rows, offset + 32 + sub / 2 * 32), shift);
        NAME(scales)(rows, offset, sub, &block);
        break;
    }
    case COMPUTE_Q5_K: {
        const long offset = index / 8 * 176;
        const int sub = (int)(index % 8), shift = sub % 2 * 4;
        block.low = NAME(nibble)(NAME(load)(rows, offset + 48 + sub / 2 * 32), shift);
        block.high = NAME(nibble)(NAME(load)(rows, offset + 64 + sub / 2 * 32), shift);
        block.low = NAME(both)(block.low, NAME(bits)(NAME(load)(rows, offset + 16), sub, 1, 4));
        block.high = NAME(both)(block.high, NAME(bits)(NAME(load)(rows, offset + 32), sub, 1, 4));
        NAME(scales)(rows, offset, sub, &block);
        break;
    }
    default: {  // Q6_K
        const long offset = index / 8 * 210;
        const int half = (int)(index % 8) / 4, quarter = (int)(index % 4), shift = quarter / 2 * 4;
        const long four = offset + half * 64 + quarter % 2 * 32, two = offset + 128 + half * 32;
        block.low = NAME(nibble)(NAME(load)(rows, four), shift);
        block.high = NAME(nibble)(NAME(load)(rows, four + 16), shift);
        block.low = NAME(both)(block.low, NAME(bits)(NAME(load)(rows, two), quarter * 2, 3, 4));
        block.high = NAME(both)(block.high, NAME(bits)(NAME(load)(rows, two + 16), quarter * 2, 3, 4));
        float first[4] = {0}, second[4] = {0};
        for (int i = 0; i < ROWS; i++) {
            const int8_t *s = (const int8_t *)rows[i] + offset + 192 + half * 8 + quarter * 2;
            first[i] = s[0];
            second[i] = s[1];
        }
        const __m128 scale = NAME(halves)(rows, offset + 208);
        block.scale = NAME(spread)(_mm_mul_ps(scale, _mm_loadu_ps(first)));
        block.high_scale = NAME(spread)(_mm_mul_ps(scale, _mm_loadu_ps(second)));
        block.minimum = NAME(multiply)(block.scale, NAME(repeat)(-32.0f));
        block.high_minimum = NAME(multiply)(block.high_scale, NAME(repeat)(-32.0f));
    }
    }
    return block;
}

// `count` rows, at most ROWS, by `columns` columns, a constant: weights are unpacked once for all of them.
INLINE void NAME(tile)(
    int format, int columns, const struct compute_product *p, long row, long count, long column) {
    const uint8_t *rows[ROWS];
    for (int i = 0; i < ROWS; i++) rows[i] = p->weights + (row + (i < count ? i : count - 1)) * p->row_bytes;
    FLOATS sums[8];
#pragma unroll
    for (int c = 0; c < columns; c++) sums[c] = NAME(nothing)();
    // Of a single column the minima are added up apart, or each sum would wait for the one before.
    FLOATS minima = NAME(nothing)();
    const long blocks = p->blocks;
    for (long b = 0; b < blocks; b++) {
        const struct NAME(block) w = NAME(unpack)(format, rows, b);
        const int8_t *x = p->quants + (column * blocks + b) * 32;
        const struct compute_note *note = p->notes + column * blocks + b;
#pragma unroll
        for (int c = 0; c < columns; c++) {
            const BYTES low = NAME(same)(x + c * blocks * 32), high = NAME(same)(x + c * blocks * 32 + 16);
            const struct compute_note *n = note + c * blocks;
            const FLOATS scale = NAME(repeat)(n->scale);
            FLOATS sum = sums[c];
            if (format == COMPUTE_Q6_K) {
                const FLOATS first = NAME(convert)(NAME(dot)(NAME(zero)(), w.low, low));
                const FLOATS second = NAME(convert)(NAME(dot)(NAME(zero)(), w.high, high));
                sum = NAME(add_product)(sum, first, NAME(multiply)(w.scale, scale));
                sum = NAME(add_product)(sum, second, NAME(multiply)(w.high_scale, scale));
                sum = NAME(add_product)(sum, w.minimum, NAME(repeat)(n->quarter_low));
                sum = NAME(add_product)(sum, w.high_minimum, NAME(repeat)(n->quarter_high));
            } else if (format == COMPUTE_Q8_0) {
                const BYTES both = NAME(dot_signed)(NAME(dot_signed)(NAME(zero)(), w.low, low), w.high, high);
                sum = NAME(add_product)(sum, NAME(convert)(both), NAME(multiply)(w.scale, scale));
                if (SIGNED_BIAS != 0) sum = NAME(add_product)(sum, w.minimum, NAME(repeat)(n->quarter_sum));
            } else {
                const BYTES both = NAME(dot)(NAME(dot)(NAME(zero)(), w.low, low), w.high, high);
                sum = NAME(add_product)(sum, NAME(convert)(both), NAME(multiply)(w.scale, scale));
                if (columns == 1) minima = NAME(add_product)(minima, w.minimum, NAME(repeat)(n->quarter_sum));
                else sum = NAME(add_product)(sum, w.minimum, NAME(repeat)(n->quarter_sum));
            }
            sums[c] = sum;
        }
    }
    if (columns == 1) sums[0] = NAME(add_product)(sums[0], minima, NAME(repeat)(1));
#pragma unroll
    for (int c = 0; c < columns; c++) {
        float results[4];
        _mm_storeu_ps(results, NAME(gather)(sums[c]));
        float *output = p->output + (column + c) * p->output_stride + row;
        for (long i = 0; i < count; i++) output[i] = results[i];
    }
}

INLINE void NAME(rows)(int format, const struct compute_product *p, long first, long end) {
    for (long row = first; row < end; row += ROWS) {
        const long count = end - row < ROWS ? end - row : ROWS;
        long column = 0;
#if ROWS == 4
        for (; column + 8 <= p->columns; column += 8) NAME(tile)(format, 8, p, row, count, column);
#endif
        for (; column + 4 <= p->columns; column += 4) NAME(tile)(format, 4, p, row, count, column);
        for (; column < p->columns; column++) NAME(tile)(format, 1, p, row, count, column);
    }
}

#define FORMAT(name, number) \
    FUNCTION void NAME(rows_##name)(const struct compute_product *p, long first, long end) { \
        NAME(rows)(number, p, first, end); \
    }
FORMAT(q4_0, COMPUTE_Q4_0)
FORMAT(q4_1, COMPUTE_Q4_1)
FORMAT(q5_0, COMPUTE_Q5_0)
FORMAT(q8_0, COMPUTE_Q8_0)
FORMAT(q4_k, COMPUTE_Q4_K)
FORMAT(q5_k, COMPUTE_Q5_K)
FORMAT(q6_k, COMPUTE_Q6_K)
#undef FORMAT

// Rows `first` to before `end` of a product whose format has blocks.
FUNCTION void NAME(product)(const struct compute_product *p, long first, long end) {
    switch (p->format) {
    case COMPUTE_Q4_0: return NAME(rows_q4_0)(p, first, end);
    case COMPUTE_Q4_1: return NAME(rows_q4_1)(p, first, end);
    case COMPUTE_Q5_0: return NAME(rows_q5_0)(p, first, end);
    case COMPUTE_Q8_0: return NAME(rows_q8_0)(p, first, end);
    case COMPUTE_Q4_K: return NAME(rows_q4_k)(p, first, end);
    case COMPUTE_Q5_K: return NAME(rows_q5_k)(p, first, end);
    case COMPUTE_Q6_K: return NAME(rows_q6_k)(p, first, end);
    }
}

#undef BYTES
#undef FLOATS
#undef SIGNED_BIAS
#undef INLINE
#undef FUNCTION
