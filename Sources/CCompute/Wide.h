// SPDX-License-Identifier: Apache-2.0
// Products with many columns: a row in each lane of 32 bits, of WIDE rows at a time. Their weights are first written out in
// that order, as bytes that are not negative, to memory that stays near; then each instruction multiplies four weights of
// each row with the same four activations, and no lanes need to be added up. Included once for each width of registers,
// after Blocks.h.

#define WIDE (4 * ROWS)

// Columns at a time: what there are registers for, beside the weights of a run.
#define WIDE_COLUMNS (ROWS == 4 ? 16 : 4)

// A run of 32 weights of WIDE rows: weights 4j to 4j + 3 of each row, for j from 0 to 7; and what belongs to them.
struct NAME(wide) {
    BYTES quants[8];
    FLOATS scale, minimum, high_scale, high_minimum;
};

// Of four registers, the first four bytes of each quarter (half, where there are two); and so on.
INLINE void NAME(transpose)(BYTES a, BYTES b, BYTES c, BYTES d, BYTES *output) {
    const BYTES ab = NAME(low_words)(a, b), cd = NAME(low_words)(c, d);
    const BYTES high_ab = NAME(high_words)(a, b), high_cd = NAME(high_words)(c, d);
    output[0] = NAME(low_halves)(ab, cd);
    output[1] = NAME(high_halves)(ab, cd);
    output[2] = NAME(low_halves)(high_ab, high_cd);
    output[3] = NAME(high_halves)(high_ab, high_cd);
}

INLINE void NAME(transpose_floats)(const FLOATS *v, FLOATS *output) {
    BYTES bits[4];
    NAME(transpose)(NAME(bits)(v[0]), NAME(bits)(v[1]), NAME(bits)(v[2]), NAME(bits)(v[3]), bits);
    for (int i = 0; i < 4; i++) output[i] = NAME(of_bits)(bits[i]);
}

// `count` runs, at most four. Register g has rows g, 4 + g and so on: thus do the pointers lie.
INLINE void NAME(widen_runs)(
    int format, const uint8_t *const (*rows)[ROWS], long index, long count, struct NAME(wide) *output) {
    FLOATS scales[4], minima[4], high_scales[4], high_minima[4], lists[4][4];
#pragma unroll
    for (int g = 0; g < 4; g++) {
        const struct NAME(numbers) numbers = NAME(numbers_of)(format, rows[g], index, count);
        scales[g] = numbers.scale;
        minima[g] = format == COMPUTE_Q8_0 ? NAME(multiply)(numbers.scale, NAME(repeat)(-128)) : numbers.minimum;
        if (format != COMPUTE_Q6_K) continue;
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
            q[g].low = NAME(flip)(q[g].low);
            q[g].high = NAME(flip)(q[g].high);
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

// WIDE rows from one on.
INLINE void NAME(widen_rows)(int format, const struct compute_product *p, long row) {
    const uint8_t *base = p->weights + row * p->row_bytes;
    const uint8_t *rows[4][ROWS];
    for (int i = 0; i < WIDE; i++) rows[i % 4][i / 4] = base + i * p->row_bytes;
    struct NAME(wide) *output = (struct NAME(wide) *)p->scratch;
    const uint8_t *next = base + WIDE * p->row_bytes;
    const long blocks = p->blocks, whole = blocks / 4 * 4;
    for (long index = 0; index < whole; index += 4) {
        compute_ask(next, WIDE * NAME(four_runs)(format));
        next += WIDE * NAME(four_runs)(format);
        NAME(widen_runs)(format, (const uint8_t *const(*)[ROWS])rows, index, 4, output + index);
    }
    if (whole == blocks || format >= COMPUTE_Q4_K) return;
    for (long index = whole; index < blocks; index++)
        NAME(widen_runs)(format, (const uint8_t *const(*)[ROWS])rows, index, 1, output + index);
}

// Products of `count` times four weights of each row, whose quants have so many bits, and activations.
INLINE BYTES NAME(wide_dot)(int bits, int count, const BYTES *w, const int8_t *x) {
    BYTES sum = NAME(zero)();
#if ROWS == 4 || VNNI
    (void)bits;
#pragma unroll
    for (int j = 0; j < count; j++) sum = NAME(dot)(sum, w[j], NAME(repeat_word)(NAME(word)(x + 4 * j)));
#else
    // So many sums of two products fit 16 bits: 8 * 2 * 15 * 127, 4 * 2 * 31 * 127, 2 * 2 * 63 * 127.
    const int together = bits == 4 ? 8 : bits == 5 ? 4 : 2;
#pragma unroll
    for (int j = 0; j < count; j += together) {
        BYTES pairs = _mm256_maddubs_epi16(w[j], NAME(repeat_word)(NAME(word)(x + 4 * j)));
#pragma unroll
        for (int k = j + 1; k < j + together; k++)
            pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(w[k], NAME(repeat_word)(NAME(word)(x + 4 * k))));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
#endif
    return sum;
}

// WIDE rows by `columns` columns, a constant. With quants of six bits halves of runs have scales of their own.
INLINE void NAME(wide_tile)(int bits, int columns, const struct compute_product *p, long row, long column) {
    const struct NAME(wide) *weights = (const struct NAME(wide) *)p->scratch;
    const long blocks = p->blocks, stride = compute_note_stride(blocks);
    const int8_t *x = p->quants + column * blocks * 32;
    const float *notes = p->notes + column * COMPUTE_LISTS * stride;
    FLOATS sums[16];
#pragma unroll
    for (int c = 0; c < columns; c++) sums[c] = NAME(nothing)();
    for (long b = 0; b < blocks; b++, weights++, x += 32, notes++) {
        BYTES w[8];
#pragma unroll
        for (int j = 0; j < 8; j++) w[j] = weights->quants[j];
#pragma unroll
        for (int c = 0; c < columns; c++) {
            const int8_t *of = x + c * blocks * 32;
            const float *note = notes + c * COMPUTE_LISTS * stride;
            const FLOATS scale = NAME(repeat)(note[0]);
            FLOATS sum = sums[c];
            if (bits == 6) {
                const FLOATS low = NAME(convert)(NAME(wide_dot)(bits, 4, w, of));
                const FLOATS high = NAME(convert)(NAME(wide_dot)(bits, 4, w + 4, of + 16));
                sum = NAME(add_product)(sum, low, NAME(multiply)(weights->scale, scale));
                sum = NAME(add_product)(sum, high, NAME(multiply)(weights->high_scale, scale));
                sum = NAME(add_product)(sum, weights->minimum, NAME(repeat)(note[2 * stride]));
                sum = NAME(add_product)(sum, weights->high_minimum, NAME(repeat)(note[3 * stride]));
            } else {
                const FLOATS all = NAME(convert)(NAME(wide_dot)(bits, 8, w, of));
                sum = NAME(add_product)(sum, all, NAME(multiply)(weights->scale, scale));
                sum = NAME(add_product)(sum, weights->minimum, NAME(repeat)(note[stride]));
            }
            sums[c] = sum;
        }
    }
#pragma unroll
    for (int c = 0; c < columns; c++) NAME(store)(p->output + (column + c) * p->output_stride + row, sums[c]);
}

INLINE void NAME(wide_columns)(int bits, const struct compute_product *p, long row) {
    long column = 0;
    for (; column + WIDE_COLUMNS <= p->columns; column += WIDE_COLUMNS)
        NAME(wide_tile)(bits, WIDE_COLUMNS, p, row, column);
#if ROWS == 4
    for (; column + 4 <= p->columns; column += 4) NAME(wide_tile)(bits, 4, p, row, column);
#endif
    for (; column < p->columns; column++) NAME(wide_tile)(bits, 1, p, row, column);
}

FUNCTION void NAME(wide_columns_4)(const struct compute_product *p, long row) { NAME(wide_columns)(4, p, row); }
FUNCTION void NAME(wide_columns_5)(const struct compute_product *p, long row) { NAME(wide_columns)(5, p, row); }
FUNCTION void NAME(wide_columns_6)(const struct compute_product *p, long row) { NAME(wide_columns)(6, p, row); }

// Whether rows of a format are taken in this way: sums of eight bits by seven do not fit sixteen.
INLINE bool NAME(has_wide)(int format) { return format != COMPUTE_Q8_0 || ROWS == 4 || VNNI; }

// Rows from `first` on as long as there are WIDE; returns how far it came.
INLINE long NAME(wide_rows)(int format, const struct compute_product *p, long first, long end) {
    for (; first + WIDE <= end; first += WIDE) {
        NAME(widen_rows)(format, p, first);
        // What has no limit is as good as four bits.
        if (format == COMPUTE_Q6_K) NAME(wide_columns_6)(p, first);
        else if (format == COMPUTE_Q5_0 || format == COMPUTE_Q5_K) NAME(wide_columns_5)(p, first);
        else NAME(wide_columns_4)(p, first);
    }
    return first;
}

#undef WIDE
#undef WIDE_COLUMNS
