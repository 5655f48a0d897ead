// SPDX-License-Identifier: Apache-2.0
// Registers that hold something of ROWS rows, four lanes of 32 bits a row: what the kernels of Blocks.h and Products.h
// are written with. Included once for each width, before them.

#define INLINE static inline __attribute__((always_inline, target(TARGET)))
#define FUNCTION static inline __attribute__((target(TARGET)))

#if ROWS == 4
typedef __m512i NAME(bytes);
typedef __m512 NAME(floats);
typedef __m256i NAME(packed);  // half as wide: a half for each lane
#else
typedef __m256i NAME(bytes);
typedef __m256 NAME(floats);
typedef __m128i NAME(packed);
#endif
#define BYTES NAME(bytes)
#define FLOATS NAME(floats)
#define PACKED NAME(packed)

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
// The same sixteen bytes for each row.
INLINE BYTES NAME(same)(const void *x) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)x)); }
// The same four numbers for each row.
INLINE FLOATS NAME(four)(const float *x) { return _mm512_broadcast_f32x4(_mm_loadu_ps(x)); }
INLINE BYTES NAME(and)(BYTES v, int mask) { return _mm512_and_si512(v, _mm512_set1_epi8((char)mask)); }
INLINE BYTES NAME(or)(BYTES a, BYTES b) { return _mm512_or_si512(a, b); }
// Shifts by constants; bits that cross a border of bytes are for the mask that follows.
INLINE BYTES NAME(right)(BYTES v, int shift) { return _mm512_srl_epi16(v, _mm_cvtsi32_si128(shift)); }
INLINE BYTES NAME(left)(BYTES v, int shift) { return _mm512_sll_epi16(v, _mm_cvtsi32_si128(shift)); }
INLINE BYTES NAME(shuffle)(BYTES v, __m128i order) { return _mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(order)); }
INLINE BYTES NAME(zero)(void) { return _mm512_setzero_si512(); }
INLINE BYTES NAME(repeat_word)(int v) { return _mm512_set1_epi32(v); }
INLINE BYTES NAME(low_words)(BYTES a, BYTES b) { return _mm512_unpacklo_epi32(a, b); }
INLINE BYTES NAME(high_words)(BYTES a, BYTES b) { return _mm512_unpackhi_epi32(a, b); }
INLINE BYTES NAME(low_halves)(BYTES a, BYTES b) { return _mm512_unpacklo_epi64(a, b); }
INLINE BYTES NAME(high_halves)(BYTES a, BYTES b) { return _mm512_unpackhi_epi64(a, b); }
INLINE BYTES NAME(bits)(FLOATS v) { return _mm512_castps_si512(v); }
INLINE FLOATS NAME(of_bits)(BYTES v) { return _mm512_castsi512_ps(v); }
INLINE BYTES NAME(flip)(BYTES v) { return _mm512_xor_si512(v, _mm512_set1_epi8((char)0x80)); }
INLINE void NAME(store)(float *p, FLOATS v) { _mm512_storeu_ps(p, v); }
// Adds products of four neighbouring bytes each; weights are not negative.
INLINE BYTES NAME(dot)(BYTES sum, BYTES w, BYTES x) { return _mm512_dpbusd_epi32(sum, w, x); }
INLINE BYTES NAME(dot_both)(BYTES w, BYTES x, BYTES high, BYTES high_x) {
    return NAME(dot)(NAME(dot)(NAME(zero)(), w, x), high, high_x);
}
// The same for signed weights, which are raised by SIGNED_BIAS.
#define SIGNED_BIAS 128
INLINE BYTES NAME(dot_signed)(BYTES w, BYTES x, BYTES high, BYTES high_x) {
    return NAME(dot_both)(NAME(flip)(w), x, NAME(flip)(high), high_x);
}
INLINE BYTES NAME(top)(BYTES v) { return _mm512_srai_epi32(v, 24); }
INLINE FLOATS NAME(convert)(BYTES v) { return _mm512_cvtepi32_ps(v); }
INLINE FLOATS NAME(widen)(PACKED v) { return _mm512_cvtph_ps(v); }
INLINE FLOATS NAME(multiply)(FLOATS a, FLOATS b) { return _mm512_mul_ps(a, b); }
INLINE FLOATS NAME(add)(FLOATS a, FLOATS b) { return _mm512_add_ps(a, b); }
INLINE FLOATS NAME(add_product)(FLOATS sum, FLOATS a, FLOATS b) { return _mm512_fmadd_ps(a, b, sum); }
INLINE FLOATS NAME(repeat)(float v) { return _mm512_set1_ps(v); }
INLINE FLOATS NAME(nothing)(void) { return _mm512_setzero_ps(); }
// Of each row's four numbers one, into all its lanes.
INLINE FLOATS NAME(pick)(FLOATS v, int k) { return _mm512_permutevar_ps(v, _mm512_set1_epi32(k)); }
// One number a row into the row's four lanes.
INLINE FLOATS NAME(spread)(__m128 v) {
    const __m512i order = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    return _mm512_permutexvar_ps(order, _mm512_castps128_ps512(v));
}
// Of two numbers a row the first.
INLINE FLOATS NAME(spread_first)(__m256 v) {
    const __m512i order = _mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6);
    return _mm512_permutexvar_ps(order, _mm512_castps256_ps512(v));
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
INLINE BYTES NAME(same)(const void *x) { return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)x)); }
INLINE FLOATS NAME(four)(const float *x) { return _mm256_broadcast_ps((const __m128 *)(const void *)x); }
INLINE BYTES NAME(and)(BYTES v, int mask) { return _mm256_and_si256(v, _mm256_set1_epi8((char)mask)); }
INLINE BYTES NAME(or)(BYTES a, BYTES b) { return _mm256_or_si256(a, b); }
INLINE BYTES NAME(right)(BYTES v, int shift) { return _mm256_srl_epi16(v, _mm_cvtsi32_si128(shift)); }
INLINE BYTES NAME(left)(BYTES v, int shift) { return _mm256_sll_epi16(v, _mm_cvtsi32_si128(shift)); }
INLINE BYTES NAME(shuffle)(BYTES v, __m128i order) {
    return _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(order));
}
INLINE BYTES NAME(zero)(void) { return _mm256_setzero_si256(); }
INLINE BYTES NAME(repeat_word)(int v) { return _mm256_set1_epi32(v); }
INLINE BYTES NAME(low_words)(BYTES a, BYTES b) { return _mm256_unpacklo_epi32(a, b); }
INLINE BYTES NAME(high_words)(BYTES a, BYTES b) { return _mm256_unpackhi_epi32(a, b); }
INLINE BYTES NAME(low_halves)(BYTES a, BYTES b) { return _mm256_unpacklo_epi64(a, b); }
INLINE BYTES NAME(high_halves)(BYTES a, BYTES b) { return _mm256_unpackhi_epi64(a, b); }
INLINE BYTES NAME(bits)(FLOATS v) { return _mm256_castps_si256(v); }
INLINE FLOATS NAME(of_bits)(BYTES v) { return _mm256_castsi256_ps(v); }
INLINE BYTES NAME(flip)(BYTES v) { return _mm256_xor_si256(v, _mm256_set1_epi8((char)0x80)); }
INLINE void NAME(store)(float *p, FLOATS v) { _mm256_storeu_ps(p, v); }
#if VNNI
INLINE BYTES NAME(dot)(BYTES sum, BYTES w, BYTES x) { return _mm256_dpbusd_avx_epi32(sum, w, x); }
INLINE BYTES NAME(dot_both)(BYTES w, BYTES x, BYTES high, BYTES high_x) {
    return NAME(dot)(NAME(dot)(NAME(zero)(), w, x), high, high_x);
}
#else
// No weight is above 63 here: a sum of two products fits 16 bits, and one of four where none is above 31.
INLINE BYTES NAME(dot)(BYTES sum, BYTES w, BYTES x) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
}
INLINE BYTES NAME(dot_both)(BYTES w, BYTES x, BYTES high, BYTES high_x) {
    const BYTES pairs = _mm256_add_epi16(_mm256_maddubs_epi16(w, x), _mm256_maddubs_epi16(high, high_x));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
#endif
// The weight's sign goes to the activation, which is never -128: 128 * 127 * 2 fits 16 bits.
#define SIGNED_BIAS 0
INLINE BYTES NAME(dot_signed)(BYTES w, BYTES x, BYTES high, BYTES high_x) {
    const BYTES first = NAME(dot)(NAME(zero)(), _mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return NAME(dot)(first, _mm256_abs_epi8(high), _mm256_sign_epi8(high_x, high));
}
INLINE BYTES NAME(top)(BYTES v) { return _mm256_srai_epi32(v, 24); }
INLINE FLOATS NAME(convert)(BYTES v) { return _mm256_cvtepi32_ps(v); }
INLINE FLOATS NAME(widen)(PACKED v) { return _mm256_cvtph_ps(v); }
INLINE FLOATS NAME(multiply)(FLOATS a, FLOATS b) { return _mm256_mul_ps(a, b); }
INLINE FLOATS NAME(add)(FLOATS a, FLOATS b) { return _mm256_add_ps(a, b); }
INLINE FLOATS NAME(add_product)(FLOATS sum, FLOATS a, FLOATS b) { return _mm256_fmadd_ps(a, b, sum); }
INLINE FLOATS NAME(repeat)(float v) { return _mm256_set1_ps(v); }
INLINE FLOATS NAME(nothing)(void) { return _mm256_setzero_ps(); }
INLINE FLOATS NAME(pick)(FLOATS v, int k) { return _mm256_permutevar_ps(v, _mm256_set1_epi32(k)); }
INLINE FLOATS NAME(spread)(__m128 v) {
    const __m256i order = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(v), order);
}
INLINE FLOATS NAME(spread_first)(__m256 v) {
    return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2));
}
INLINE __m128 NAME(gather)(FLOATS v) {
    v = _mm256_add_ps(v, _mm256_permute_ps(v, 0xB1));
    v = _mm256_add_ps(v, _mm256_permute_ps(v, 0x4E));
    const __m256i order = _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4);
    return _mm256_castps256_ps128(_mm256_permutevar8x32_ps(v, order));
}
#endif

INLINE uint16_t NAME(half)(const uint8_t *p) {
    uint16_t half;
    __builtin_memcpy(&half, p, 2);
    return half;
}

// Halves at an offset of each row, `count` of at most four that are `step` bytes apart; the rest are zero.
INLINE FLOATS NAME(halves)(const uint8_t *const *rows, long offset, long step, long count) {
    __m128i pairs[ROWS / 2];
#pragma unroll
    for (int i = 0; i < ROWS / 2; i++) {
        const uint8_t *a = rows[2 * i] + offset, *b = rows[2 * i + 1] + offset;
        __m128i v = _mm_cvtsi32_si128(NAME(half)(a));
        v = _mm_insert_epi16(v, NAME(half)(b), 4);
        if (count > 1) {
            v = _mm_insert_epi16(v, NAME(half)(a + step), 1);
            v = _mm_insert_epi16(v, NAME(half)(b + step), 5);
        }
        if (count > 2) {
            v = _mm_insert_epi16(v, NAME(half)(a + 2 * step), 2);
            v = _mm_insert_epi16(v, NAME(half)(b + 2 * step), 6);
        }
        if (count > 3) {
            v = _mm_insert_epi16(v, NAME(half)(a + 3 * step), 3);
            v = _mm_insert_epi16(v, NAME(half)(b + 3 * step), 7);
        }
        pairs[i] = v;
    }
#if ROWS == 4
    FLOATS numbers = NAME(widen)(_mm256_inserti128_si256(_mm256_castsi128_si256(pairs[0]), pairs[1], 1));
#else
    FLOATS numbers = NAME(widen)(pairs[0]);
#endif
    // Clang 21 may move what follows, where it shuffles quarters, before the conversion, where they are of half the size.
    __asm__("" : "+x"(numbers));
    return numbers;
}

// The half at an offset of each row.
INLINE __m128 NAME(half_each)(const uint8_t *const *rows, long offset) {
    __m128i v = _mm_cvtsi32_si128(NAME(half)(rows[0] + offset));
    v = _mm_insert_epi16(v, NAME(half)(rows[1] + offset), 1);
#if ROWS == 4
    v = _mm_insert_epi16(v, NAME(half)(rows[2] + offset), 2);
    v = _mm_insert_epi16(v, NAME(half)(rows[3] + offset), 3);
#endif
    return _mm_cvtph_ps(v);
}

INLINE int NAME(word)(const void *p) {
    int word;
    __builtin_memcpy(&word, p, 4);
    return word;
}

// The two halves at an offset of each row.
INLINE __m256 NAME(two_each)(const uint8_t *const *rows, long offset) {
    __m128i v = _mm_cvtsi32_si128(NAME(word)(rows[0] + offset));
    v = _mm_insert_epi32(v, NAME(word)(rows[1] + offset), 1);
#if ROWS == 4
    v = _mm_insert_epi32(v, NAME(word)(rows[2] + offset), 2);
    v = _mm_insert_epi32(v, NAME(word)(rows[3] + offset), 3);
#endif
    return _mm256_cvtph_ps(v);
}
