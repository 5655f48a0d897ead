// SPDX-License-Identifier: Apache-2.0
// Products of quantised weights with activations that are integers of two digits, and the making of those. Included once
// for each width of registers, after Wide.h. A vector holds the same sixteen weights of each of ROWS rows.

// How far ahead of what is multiplied memory is asked for, beyond the rows that follow: some 100 ns at 20 GB/s.
#define AHEAD 1024

// Adds `count` runs of weights, at most four, times `columns` columns, a constant.
INLINE void NAME(runs)(
    int format, int columns, long count, const struct compute_product *p, const uint8_t *const *rows, long index,
    long column, const uint8_t *next, FLOATS *sums) {
    const long blocks = p->blocks, stride = compute_note_stride(blocks);
    const struct NAME(numbers) numbers = NAME(numbers_of)(format, rows, index, count);
    const int8_t *x = p->digits + (column * blocks + index) * COMPUTE_RUN_BYTES;
    const float *notes = p->notes + column * COMPUTE_LISTS * stride + index;
    const long run = NAME(four_runs)(format) / 4;
    FLOATS scales[4], high_scales[4];
#pragma unroll
    for (int c = 0; c < columns; c++) {
        const FLOATS scale = NAME(four)(notes + c * COMPUTE_LISTS * stride);
        scales[c] = NAME(multiply)(numbers.scale, scale);
        if (format == COMPUTE_Q6_K) high_scales[c] = NAME(multiply)(numbers.high_scale, scale);
    }
#pragma unroll
    for (int k = 0; k < count; k++) {
        // What lies behind the weights is asked for, too: no address is wrong.
#pragma unroll
        for (long at = 0; at < ROWS * run; at += 64) __builtin_prefetch(next + k * ROWS * run + at, 0, 3);
        const struct NAME(quants) w = NAME(quants_of)(format, rows, index, k);
#pragma unroll
        for (int c = 0; c < columns; c++) {
            const int8_t *digits = x + (c * blocks + k) * COMPUTE_RUN_BYTES;
            const struct NAME(digits) low = NAME(digits_at)(digits), high = NAME(digits_at)(digits + 16);
            // Sums of a single column would wait for each other.
            FLOATS *sum = sums + (columns == 1 ? k % 2 : c);
            if (format == COMPUTE_Q6_K) {
                const FLOATS first = NAME(convert)(NAME(dot)(w.low, low));
                const FLOATS second = NAME(convert)(NAME(dot)(w.high, high));
                *sum = NAME(add_product)(*sum, first, NAME(pick)(scales[c], k));
                *sum = NAME(add_product)(*sum, second, NAME(pick)(high_scales[c], k));
            } else {
                const BYTES both = format == COMPUTE_Q8_0 ? NAME(dot_signed)(w.low, low, w.high, high)
                                                          : NAME(dot_both)(w.low, low, w.high, high);
                *sum = NAME(add_product)(*sum, NAME(convert)(both), NAME(pick)(scales[c], k));
            }
        }
    }
    if (format == COMPUTE_Q8_0 && SIGNED_BIAS == 0) return;
#pragma unroll
    for (int c = 0; c < columns; c++) {
        const float *note = notes + c * COMPUTE_LISTS * stride;
        FLOATS *sum = sums + (columns == 1 ? 2 : c);
        if (format == COMPUTE_Q6_K) {
            *sum = NAME(add_product)(*sum, numbers.minimum, NAME(four)(note + 2 * stride));
            *sum = NAME(add_product)(*sum, numbers.high_minimum, NAME(four)(note + 3 * stride));
        } else {
            *sum = NAME(add_product)(*sum, numbers.minimum, NAME(four)(note + stride));
        }
    }
}

// `count` rows, at most ROWS, by one column, of formats whose blocks have 32 weights: what matters is that memory is read
// as fast as it can be. Numbers of more blocks at a time are fewer instructions but, measured, half as fast.
//
// `groups` of rows, a constant: with two, activations are loaded once for both.
INLINE void NAME(one_column)(
    int format, int groups, const struct compute_product *p, long row, long count, long column) {
    const uint8_t *rows[2][ROWS];
    for (int i = 0; i < groups * ROWS; i++)
        rows[i / ROWS][i % ROWS] = p->weights + (row + (i < count ? i : count - 1)) * p->row_bytes;
    const long blocks = p->blocks, stride = compute_note_stride(blocks), size = NAME(four_runs)(format) / 4;
    const long step = groups * ROWS * size;
    const uint8_t *next = rows[0][0] + groups * ROWS * p->row_bytes + AHEAD;
    const int8_t *x = p->digits + column * blocks * COMPUTE_RUN_BYTES;
    const float *notes = p->notes + column * COMPUTE_LISTS * stride, *pairs = notes + 4 * stride;
    FLOATS sums[2] = {NAME(nothing)(), NAME(nothing)()};
    __m256 twos[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    __m128 minima[2] = {_mm_setzero_ps(), _mm_setzero_ps()};
    for (long b = 0; b < blocks; b++, x += COMPUTE_RUN_BYTES, next += step) {
        // What lies behind the weights is asked for, too: no address is wrong.
#pragma unroll
        for (long at = 0; at < step; at += 64) __builtin_prefetch(next + at, 0, 3);
        const struct NAME(digits) low = NAME(digits_at)(x), high = NAME(digits_at)(x + 16);
#pragma unroll
        for (int g = 0; g < groups; g++) {
            const struct NAME(quants) w = NAME(quants_of)(format, rows[g], b, 0);
            const BYTES both = format == COMPUTE_Q8_0 ? NAME(dot_signed)(w.low, low, w.high, high)
                                                      : NAME(dot_both)(w.low, low, w.high, high);
            FLOATS scale;
            if (format == COMPUTE_Q4_1) {
                // A scale and a minimum, times the column's scale and sum: every other number of `twos` is wanted.
                const __m256 weights = NAME(two_each)(rows[g], b * size);
                const __m256 pair =
                    _mm256_castpd_ps(_mm256_broadcast_sd((const double *)(const void *)(pairs + 2 * b)));
                scale = NAME(spread_first)(_mm256_mul_ps(weights, pair));
                twos[g] = _mm256_fmadd_ps(weights, pair, twos[g]);
            } else {
                const __m128 weights = NAME(half_each)(rows[g], b * size);
                scale = NAME(spread)(_mm_mul_ps(weights, _mm_set1_ps(notes[b])));
                if (format != COMPUTE_Q8_0 || SIGNED_BIAS != 0)
                    minima[g] = _mm_fmadd_ps(weights, _mm_set1_ps(notes[stride + b]), minima[g]);
            }
            sums[g] = NAME(add_product)(sums[g], NAME(convert)(both), scale);
        }
    }
    const float lowest = format == COMPUTE_Q4_0 ? -8 : format == COMPUTE_Q5_0 ? -16 : -SIGNED_BIAS;
    float *output = p->output + column * p->output_stride + row;
#pragma unroll
    for (int g = 0; g < groups; g++) {
        const __m128 low = _mm256_castps256_ps128(twos[g]), high = _mm256_extractf128_ps(twos[g], 1);
        const __m128 minimum = format == COMPUTE_Q4_1 ? _mm_shuffle_ps(low, high, 0xDD)
                                                      : _mm_mul_ps(minima[g], _mm_set1_ps(lowest));
        float results[4];
        _mm_storeu_ps(results, _mm_add_ps(NAME(gather)(sums[g]), minimum));
        for (long i = 0; i < ROWS && g * ROWS + i < count; i++) output[g * ROWS + i] = results[i];
    }
}

// `count` rows, at most ROWS, by `columns` columns, a constant: weights are unpacked once for all of them.
INLINE void NAME(tile)(
    int format, int columns, const struct compute_product *p, long row, long count, long column) {
    const uint8_t *rows[ROWS];
    for (int i = 0; i < ROWS; i++) rows[i] = p->weights + (row + (i < count ? i : count - 1)) * p->row_bytes;
    FLOATS sums[4];
#pragma unroll
    for (int c = 0; c < 4; c++) sums[c] = NAME(nothing)();
    // Rows lie one after the other, so that the processor's own guesses, one stream a row, come late at each of them.
    const uint8_t *next = rows[0] + ROWS * p->row_bytes + AHEAD;
    const long blocks = p->blocks, whole = blocks / 4 * 4;
    for (long index = 0; index < whole; index += 4) {
        NAME(runs)(format, columns, 4, p, rows, index, column, next, sums);
        next += ROWS * NAME(four_runs)(format);
    }
    if (whole < blocks && format < COMPUTE_Q4_K) {
        if (blocks - whole == 1) NAME(runs)(format, columns, 1, p, rows, whole, column, next, sums);
        else if (blocks - whole == 2) NAME(runs)(format, columns, 2, p, rows, whole, column, next, sums);
        else NAME(runs)(format, columns, 3, p, rows, whole, column, next, sums);
    }
    if (columns == 1) sums[0] = NAME(add)(NAME(add)(sums[0], sums[1]), sums[2]);
#pragma unroll
    for (int c = 0; c < columns; c++) {
        float results[4];
        _mm_storeu_ps(results, NAME(gather)(sums[c]));
        float *output = p->output + (column + c) * p->output_stride + row;
        for (long i = 0; i < count; i++) output[i] = results[i];
    }
}

INLINE void NAME(rows)(int format, const struct compute_product *p, long first, long end) {
    if (NAME(has_wide)(format) && p->columns >= COMPUTE_MANY && p->scratch)
        first = NAME(wide_rows)(format, p, first, end);
    // Long rows would have left the nearest cache again when they are wanted.
    if (p->columns == 1 && format < COMPUTE_Q4_K && 2 * ROWS * p->row_bytes <= 8192)
        for (; first + 2 * ROWS <= end; first += 2 * ROWS) NAME(one_column)(format, 2, p, first, 2 * ROWS, 0);
    for (long row = first; row < end; row += ROWS) {
        const long count = end - row < ROWS ? end - row : ROWS;
        long column = 0;
        for (; column + 4 <= p->columns; column += 4) NAME(tile)(format, 4, p, row, count, column);
        for (; column + 2 <= p->columns; column += 2) NAME(tile)(format, 2, p, row, count, column);
        if (column == p->columns) continue;
        if (format < COMPUTE_Q4_K) NAME(one_column)(format, 1, p, row, count, column);
        else NAME(tile)(format, 1, p, row, count, column);
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

// Blocks `first` to before `end`, counted over columns of `blocks` blocks, of which `x` are the first; digits and notes
// are those of all columns. QuantizedColumns.swift says what they are.
FUNCTION void NAME(quantize)(
    const float *x, long first, long end, long blocks, int8_t *all_digits, float *all_notes) {
    const __m256 sign = _mm256_set1_ps(-0.0f), zero = _mm256_setzero_ps();
    const long stride = compute_note_stride(blocks);
    int8_t *digits = all_digits + first * COMPUTE_RUN_BYTES;
    float *notes = all_notes + first / blocks * COMPUTE_LISTS * stride;
    long at = first % blocks;
    for (long b = first; b < end; b++, x += 32, digits += COMPUTE_RUN_BYTES) {
        const __m256 v0 = _mm256_loadu_ps(x), v1 = _mm256_loadu_ps(x + 8);
        const __m256 v2 = _mm256_loadu_ps(x + 16), v3 = _mm256_loadu_ps(x + 24);
        // Zero times what is not finite is NaN.
        __m256 check = _mm256_fmadd_ps(v0, zero, _mm256_mul_ps(v1, zero));
        check = _mm256_fmadd_ps(v2, zero, _mm256_fmadd_ps(v3, zero, check));
        float scale, low, high;
        if (_mm256_movemask_ps(_mm256_cmp_ps(check, check, _CMP_UNORD_Q))) {
            _mm256_storeu_si256((__m256i *)digits, _mm256_setzero_si256());
            _mm256_storeu_si256((__m256i *)(digits + 32), _mm256_setzero_si256());
            scale = low = high = __builtin_nanf("");
        } else {
            const __m256 a01 = _mm256_max_ps(_mm256_andnot_ps(sign, v0), _mm256_andnot_ps(sign, v1));
            const __m256 a23 = _mm256_max_ps(_mm256_andnot_ps(sign, v2), _mm256_andnot_ps(sign, v3));
            const __m256 a = _mm256_max_ps(a01, a23);
            __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
            m = _mm_max_ps(m, _mm_movehl_ps(m, m));
            const float largest = _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
            const float quotient = (float)COMPUTE_LARGEST / largest;
            const __m256 inverse = _mm256_set1_ps(quotient <= 3.402823466e38f ? quotient : 0.0f);
            const __m256i q0 = _mm256_cvtps_epi32(_mm256_mul_ps(v0, inverse));
            const __m256i q1 = _mm256_cvtps_epi32(_mm256_mul_ps(v1, inverse));
            const __m256i q2 = _mm256_cvtps_epi32(_mm256_mul_ps(v2, inverse));
            const __m256i q3 = _mm256_cvtps_epi32(_mm256_mul_ps(v3, inverse));
            const __m256i q01 = _mm256_packs_epi32(q0, q1), q23 = _mm256_packs_epi32(q2, q3);
            const __m256i half = _mm256_set1_epi16(1 << (COMPUTE_DIGIT_BITS - 1));
            const __m256i upper01 = _mm256_srai_epi16(_mm256_add_epi16(q01, half), COMPUTE_DIGIT_BITS);
            const __m256i upper23 = _mm256_srai_epi16(_mm256_add_epi16(q23, half), COMPUTE_DIGIT_BITS);
            const __m256i lower01 = _mm256_sub_epi16(q01, _mm256_slli_epi16(upper01, COMPUTE_DIGIT_BITS));
            const __m256i lower23 = _mm256_sub_epi16(q23, _mm256_slli_epi16(upper23, COMPUTE_DIGIT_BITS));
            const __m256i upper = _mm256_packs_epi16(upper01, upper23), lower = _mm256_packs_epi16(lower01, lower23);
            const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            _mm256_storeu_si256((__m256i *)digits, _mm256_permutevar8x32_epi32(upper, order));
            _mm256_storeu_si256((__m256i *)(digits + 32), _mm256_permutevar8x32_epi32(lower, order));
            const __m256i both = _mm256_hadd_epi32(_mm256_add_epi32(q0, q1), _mm256_add_epi32(q2, q3));
            __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
            sums = _mm_hadd_epi32(sums, sums);
            scale = largest / (float)COMPUTE_LARGEST;
            low = scale * (float)_mm_cvtsi128_si32(sums);
            high = scale * (float)_mm_extract_epi32(sums, 1);
        }
        compute_set_note(notes, stride, at, scale, low, high);
        if (++at < blocks) continue;
        compute_end_notes(notes, stride, blocks);
        notes += COMPUTE_LISTS * stride;
        at = 0;
    }
}

#undef AHEAD
