// SPDX-License-Identifier: Apache-2.0
// Arithmetic of tokens, as in VectorMath.swift, which says what is computed. Included once for each width of registers,
// after Singles.h.

// e^x: 0 below -87.3, infinite above 89, NaN of NaN, which the order of operands lets pass.
INLINE FLOATS NAME(exp)(FLOATS x) {
    const FLOATS low = REPEAT(-87.3f), inside = SMALLER(REPEAT(89.0f), x);
#if WIDTH == 16
    const FLOATS n = _mm512_roundscale_ps(MULTIPLY(inside, REPEAT(1.44269504f)), 0);
#else
    const FLOATS n = _mm256_round_ps(MULTIPLY(inside, REPEAT(1.44269504f)), _MM_FROUND_TO_NEAREST_INT);
#endif
    FLOATS r = ADD_PRODUCT(inside, n, REPEAT(-0.693359375f));
    r = ADD_PRODUCT(r, n, REPEAT(2.1219444e-4f));
    FLOATS p = REPEAT(1.98756915e-4f);
    p = ADD_PRODUCT(REPEAT(1.39819995e-3f), p, r);
    p = ADD_PRODUCT(REPEAT(8.3334519e-3f), p, r);
    p = ADD_PRODUCT(REPEAT(4.1665796e-2f), p, r);
    p = ADD_PRODUCT(REPEAT(1.66666655e-1f), p, r);
    p = ADD_PRODUCT(REPEAT(0.5f), p, r);
    p = ADD(ADD_PRODUCT(r, MULTIPLY(p, r), r), REPEAT(1));
#if WIDTH == 16
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, low, _CMP_NLT_UQ), p, n);
#else
    // In two steps: 2^128 is no number.
    const __m256i exponent = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(exponent, 1);
    const __m256i one = _mm256_set1_epi32(127), rest = _mm256_sub_epi32(exponent, half);
    p = MULTIPLY(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, one), 23)));
    p = MULTIPLY(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, one), 23)));
    return _mm256_andnot_ps(_mm256_cmp_ps(x, low, _CMP_LT_OQ), p);
#endif
}

INLINE FLOATS NAME(gate_of)(int gelu, FLOATS gate, FLOATS up) {
    FLOATS inner = SUBTRACT(ZERO(), gate);
    if (gelu) {
        const FLOATS cubic = ADD_PRODUCT(gate, MULTIPLY(MULTIPLY(gate, gate), gate), REPEAT(0.044715f));
        inner = MULTIPLY(cubic, REPEAT(-2 * 0.7978846f));
    }
    return MULTIPLY(DIVIDE(gate, ADD(NAME(exp)(inner), REPEAT(1))), up);
}

INLINE void NAME(gates)(int gelu, const float *gate, const float *up, long count, float *output) {
    long i = 0;
    for (; i + WIDTH <= count; i += WIDTH)
        STORE(output + i, NAME(gate_of)(gelu, LOAD(gate + i), LOAD(up + i)));
    if (i == count) return;
    float a[WIDTH] = {0}, b[WIDTH] = {0};
    for (long k = i; k < count; k++) {
        a[k - i] = gate[k];
        b[k - i] = up[k];
    }
    STORE(a, NAME(gate_of)(gelu, LOAD(a), LOAD(b)));
    for (long k = i; k < count; k++) output[k] = a[k - i];
}

FUNCTION void NAME(gate)(bool gelu, const float *gate, const float *up, long count, float *output) {
    if (gelu) NAME(gates)(1, gate, up, count, output);
    else NAME(gates)(0, gate, up, count, output);
}

FUNCTION void NAME(add_numbers)(const float *x, float *y, long count) {
    long i = 0;
    for (; i + WIDTH <= count; i += WIDTH) STORE(y + i, ADD(LOAD(x + i), LOAD(y + i)));
    for (; i < count; i++) y[i] += x[i];
}

// Squares are added up in double precision.
FUNCTION void NAME(norm)(const float *x, const float *weight, float epsilon, long count, float *output) {
    double lanes[WIDTH / 2] = {0}, sum = 0;
    long i = 0;
#if WIDTH == 16
    __m512d sums = _mm512_setzero_pd();
    for (; i + 8 <= count; i += 8) {
        const __m512d v = _mm512_cvtps_pd(_mm256_loadu_ps(x + i));
        sums = _mm512_fmadd_pd(v, v, sums);
    }
    _mm512_storeu_pd(lanes, sums);
#else
    __m256d sums = _mm256_setzero_pd();
    for (; i + 4 <= count; i += 4) {
        const __m256d v = _mm256_cvtps_pd(_mm_loadu_ps(x + i));
        sums = _mm256_fmadd_pd(v, v, sums);
    }
    _mm256_storeu_pd(lanes, sums);
#endif
    for (; i < count; i++) sum += (double)x[i] * (double)x[i];
    for (int k = 0; k < WIDTH / 2; k++) sum += lanes[k];
    const float factor = (float)(1 / __builtin_sqrt(sum / (double)count + (double)epsilon));
    for (i = 0; i + WIDTH <= count; i += WIDTH)
        STORE(output + i, MULTIPLY(MULTIPLY(LOAD(x + i), REPEAT(factor)), LOAD(weight + i)));
    for (; i < count; i++) output[i] = x[i] * factor * weight[i];
}
