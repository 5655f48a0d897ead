// SPDX-License-Identifier: Apache-2.0
// Products with many columns: of sixteen rows at a time, a row in each lane of 32 bits. Their weights are first written
// out in that order, as bytes that are not negative, to memory that stays near; then each instruction multiplies four
// weights of each row with the same four activations, and no lanes need to be added up. After Products.h, for registers
// of 64 bytes alone.

// A run of 32 weights of sixteen rows: weights 4j to 4j + 3 of each row, for j from 0 to 7; and what belongs to them.
struct NAME(wide) {
    __m512i quants[8];
    __m512 scale, minimum, high_scale, high_minimum;
};

// Of four registers, the first four bytes of each quarter; and so on.
INLINE void NAME(transpose)(__m512i a, __m512i b, __m512i c, __m512i d, __m512i *output) {
    const __m512i ab = _mm512_unpacklo_epi32(a, b), cd = _mm512_unpacklo_epi32(c, d);
    const __m512i high_ab = _mm512_unpackhi_epi32(a, b), high_cd = _mm512_unpackhi_epi32(c, d);
    output[0] = _mm512_unpacklo_epi64(ab, cd);
    output[1] = _mm512_unpackhi_epi64(ab, cd);
    output[2] = _mm512_unpacklo_epi64(high_ab, high_cd);
    output[3] = _mm512_unpackhi_epi64(high_ab, high_cd);
}

INLINE void NAME(transpose_floats)(const __m512 *v, __m512 *output) {
    __m512i bits[4];
    NAME(transpose)(
        _mm512_castps_si512(v[0]), _mm512_castps_si512(v[1]), _mm512_castps_si512(v[2]), _mm512_castps_si512(v[3]),
        bits);
    for (int i = 0; i < 4; i++) output[i] = _mm512_castsi512_ps(bits[i]);
}

// `count` runs, at most four. Register g has rows g, 4 + g, 8 + g and 12 + g: so do the pointers lie.
INLINE void NAME(widen_runs)(
    int format, const uint8_t *const (*rows)[4], long index, long count, struct NAME(wide) *output) {
    __m512 scales[4], minima[4], high_scales[4], high_minima[4], lists[4][4];
#pragma unroll
    for (int g = 0; g < 4; g++) {
        const struct NAME(numbers) numbers = NAME(numbers_of)(format, rows[g], index, count);
        scales[g] = numbers.scale;
        minima[g] = numbers.minimum;
        high_scales[g] = numbers.high_scale;
        high_minima[g] = numbers.high_minimum;
    }
    NAME(transpose_floats)(scales, lists[0]);
    NAME(transpose_floats)(minima, lists[1]);
    if (format == COMPUTE_Q6_K) {
        NAME(transpose_floats)(high_scales, lists[2]);
        NAME(transpose_floats)(high_minima, lists[3]);
    }
#pragma unroll
    for (int k = 0; k < count; k++) {
        struct NAME(quants) q[4];
#pragma unroll
        for (int g = 0; g < 4; g++) {
            q[g] = NAME(quants_of)(format, rows[g], index, k);
            if (format != COMPUTE_Q8_0) continue;
            q[g].low = _mm512_xor_si512(q[g].low, _mm512_set1_epi8((char)SIGNED_BIAS));
            q[g].high = _mm512_xor_si512(q[g].high, _mm512_set1_epi8((char)SIGNED_BIAS));
        }
        NAME(transpose)(q[0].low, q[1].low, q[2].low, q[3].low, output[k].quants);
        NAME(transpose)(q[0].high, q[1].high, q[2].high, q[3].high, output[k].quants + 4);
        output[k].scale = lists[0][k];
        output[k].minimum = lists[1][k];
        if (format != COMPUTE_Q6_K) continue;
        output[k].high_scale = lists[2][k];
        output[k].high_minimum = lists[3][k];
    }
}

// Sixteen rows from one on.
INLINE void NAME(widen_rows)(int format, const struct compute_product *p, long row) {
    const uint8_t *base = p->weights + row * p->row_bytes;
    const uint8_t *rows[4][4];
    for (int i = 0; i < 16; i++) rows[i % 4][i / 4] = base + i * p->row_bytes;
    struct NAME(wide) *output = (struct NAME(wide) *)p->scratch;
    const uint8_t *next = base + 16 * p->row_bytes;
    const long blocks = p->blocks, whole = blocks / 4 * 4;
    for (long index = 0; index < whole; index += 4) {
#pragma unroll
        for (long at = 0; at < 16 * NAME(four_runs)(format); at += 64) __builtin_prefetch(next + at, 0, 3);
        next += 16 * NAME(four_runs)(format);
        NAME(widen_runs)(format, (const uint8_t *const(*)[4])rows, index, 4, output + index);
    }
    if (whole == blocks || format >= COMPUTE_Q4_K) return;
    for (long index = whole; index < blocks; index++)
        NAME(widen_runs)(format, (const uint8_t *const(*)[4])rows, index, 1, output + index);
}

// Sixteen rows by `columns` columns, a constant. `halves` says that halves of runs have scales of their own.
INLINE void NAME(wide_tile)(int halves, int columns, const struct compute_product *p, long row, long column) {
    const struct NAME(wide) *weights = (const struct NAME(wide) *)p->scratch;
    const long blocks = p->blocks, stride = compute_note_stride(blocks);
    const int8_t *x = p->quants + column * blocks * 32;
    const float *notes = p->notes + column * COMPUTE_LISTS * stride;
    __m512 sums[16];
#pragma unroll
    for (int c = 0; c < columns; c++) sums[c] = _mm512_setzero_ps();
    for (long b = 0; b < blocks; b++, weights++, x += 32, notes++) {
        __m512i w[8];
#pragma unroll
        for (int j = 0; j < 8; j++) w[j] = weights->quants[j];
#pragma unroll
        for (int c = 0; c < columns; c++) {
            const int8_t *four = x + c * blocks * 32;
            const float *note = notes + c * COMPUTE_LISTS * stride;
            __m512i low = _mm512_setzero_si512(), high = _mm512_setzero_si512();
#pragma unroll
            for (int j = 0; j < 4; j++) low = _mm512_dpbusd_epi32(low, w[j], _mm512_set1_epi32(NAME(word)(four + 4 * j)));
            if (!halves) high = low;
#pragma unroll
            for (int j = 4; j < 8; j++) high = _mm512_dpbusd_epi32(high, w[j], _mm512_set1_epi32(NAME(word)(four + 4 * j)));
            const __m512 scale = _mm512_set1_ps(note[0]);
            __m512 sum = sums[c];
            if (halves) {
                sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(low), _mm512_mul_ps(weights->scale, scale), sum);
                sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), _mm512_mul_ps(weights->high_scale, scale), sum);
                sum = _mm512_fmadd_ps(weights->minimum, _mm512_set1_ps(note[2 * stride]), sum);
                sum = _mm512_fmadd_ps(weights->high_minimum, _mm512_set1_ps(note[3 * stride]), sum);
            } else {
                sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), _mm512_mul_ps(weights->scale, scale), sum);
                sum = _mm512_fmadd_ps(weights->minimum, _mm512_set1_ps(note[stride]), sum);
            }
            sums[c] = sum;
        }
    }
#pragma unroll
    for (int c = 0; c < columns; c++) _mm512_storeu_ps(p->output + (column + c) * p->output_stride + row, sums[c]);
}

INLINE void NAME(wide_columns)(int halves, const struct compute_product *p, long row) {
    long column = 0;
    for (; column + 16 <= p->columns; column += 16) NAME(wide_tile)(halves, 16, p, row, column);
    for (; column + 8 <= p->columns; column += 8) NAME(wide_tile)(halves, 8, p, row, column);
    for (; column + 4 <= p->columns; column += 4) NAME(wide_tile)(halves, 4, p, row, column);
    for (; column < p->columns; column++) NAME(wide_tile)(halves, 1, p, row, column);
}

FUNCTION void NAME(wide_columns_whole)(const struct compute_product *p, long row) { NAME(wide_columns)(0, p, row); }
FUNCTION void NAME(wide_columns_halves)(const struct compute_product *p, long row) { NAME(wide_columns)(1, p, row); }

// Rows from `first` on as long as there are sixteen; returns how far it came.
INLINE long NAME(wide_rows)(int format, const struct compute_product *p, long first, long end) {
    for (; first + 16 <= end; first += 16) {
        NAME(widen_rows)(format, p, first);
        if (format == COMPUTE_Q6_K) NAME(wide_columns_halves)(p, first);
        else NAME(wide_columns_whole)(p, first);
    }
    return first;
}
