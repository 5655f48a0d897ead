// SPDX-License-Identifier: Apache-2.0
// Attention of a few tokens in the heads that share keys and values: those are read, and become single-precision numbers,
// once for all of these queries, some positions at a time. The largest product so far and the sum of powers are kept for
// each query and corrected as larger ones come (Milakov and Gimelshein, arXiv:1805.02867). Included once for each width
// of registers, after Elements.h.

// Queries at a time: what there are registers for, with four keys or four registers of values.
#define QUERIES ROWS

// What belongs to the queries of a call, in its scratch.
struct NAME(attending) {
    const float *queries;  // scaled, `padded` numbers each
    float *sums;           // of values, `padded` numbers each
    float *largest, *powers;
    float *scores;  // COMPUTE_POSITIONS of each of QUERIES
    const float *keys, *values;
    long padded, key_stride, value_stride;
};

// The totals of four registers.
INLINE __m128 NAME(totals)(FLOATS a, FLOATS b, FLOATS c, FLOATS d) {
    const FLOATS ab = ADD(LOW_PAIRS(a, b), HIGH_PAIRS(a, b)), cd = ADD(LOW_PAIRS(c, d), HIGH_PAIRS(c, d));
    return NAME(quarter)(ADD(LOW_HALVES(ab, cd), HIGH_HALVES(ab, cd)));
}

// Products of queries, a constant number of them from `query` on, with the keys at hand.
INLINE void NAME(scores)(int queries, const struct NAME(attending) *s, long query, long count) {
    const long padded = s->padded, stride = s->key_stride;
    const float *q = s->queries + query * padded;
    long j = 0;
    for (; j + 4 <= count; j += 4) {
        const float *k = s->keys + j * stride;
        FLOATS sums[16];
#pragma unroll
        for (int i = 0; i < queries * 4; i++) sums[i] = ZERO();
        for (long d = 0; d < padded; d += WIDTH) {
            const FLOATS a = LOAD(k + d), b = LOAD(k + stride + d);
            const FLOATS c = LOAD(k + 2 * stride + d), e = LOAD(k + 3 * stride + d);
#pragma unroll
            for (int i = 0; i < queries; i++) {
                const FLOATS v = LOAD(q + i * padded + d);
                sums[4 * i] = ADD_PRODUCT(sums[4 * i], v, a);
                sums[4 * i + 1] = ADD_PRODUCT(sums[4 * i + 1], v, b);
                sums[4 * i + 2] = ADD_PRODUCT(sums[4 * i + 2], v, c);
                sums[4 * i + 3] = ADD_PRODUCT(sums[4 * i + 3], v, e);
            }
        }
#pragma unroll
        for (int i = 0; i < queries; i++)
            _mm_storeu_ps(
                s->scores + i * COMPUTE_POSITIONS + j,
                NAME(totals)(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]));
    }
    for (; j < count; j++)
        for (int i = 0; i < queries; i++) {
            FLOATS sum = ZERO();
            for (long d = 0; d < padded; d += WIDTH)
                sum = ADD_PRODUCT(sum, LOAD(q + i * padded + d), LOAD(s->keys + j * stride + d));
            s->scores[i * COMPUTE_POSITIONS + j] = NAME(total)(sum);
        }
}

// Makes powers of the scores of one query, those from `low` to before `high`; of others zero.
INLINE void NAME(weigh)(const struct NAME(attending) *s, int i, long query, long low, long high) {
    float *scores = s->scores + i * COMPUTE_POSITIONS;
    const float nothing = -__builtin_inff();
    for (long j = 0; j < low; j++) scores[j] = nothing;
    for (long j = high; j < COMPUTE_POSITIONS; j++) scores[j] = nothing;
    FLOATS largest = LOAD(scores);
#pragma unroll
    for (long j = WIDTH; j < COMPUTE_POSITIONS; j += WIDTH) largest = LARGER(LOAD(scores + j), largest);
    float lanes[WIDTH];
    STORE(lanes, largest);
    float highest = s->largest[query];
    for (int j = 0; j < WIDTH; j++) highest = lanes[j] > highest ? lanes[j] : highest;
    FLOATS sum = ZERO();
#pragma unroll
    for (long j = 0; j < COMPUTE_POSITIONS; j += WIDTH) {
        const FLOATS power = NAME(exp)(SUBTRACT(LOAD(scores + j), REPEAT(highest)));
        STORE(scores + j, power);
        sum = ADD(sum, power);
    }
    const float total = NAME(total)(sum);
    if (highest == s->largest[query]) {
        s->powers[query] += total;
        return;
    }
    STORE(lanes, NAME(exp)(REPEAT(s->largest[query] - highest)));
    s->powers[query] = s->powers[query] * lanes[0] + total;
    s->largest[query] = highest;
    float *sums = s->sums + query * s->padded;
    for (long d = 0; d < s->padded; d += WIDTH) STORE(sums + d, MULTIPLY(LOAD(sums + d), REPEAT(lanes[0])));
}

// Adds values `low` to before `high` of those at hand, times their powers: `registers` of numbers, from `d` on.
INLINE void NAME(mix)(
    int queries, int registers, const struct NAME(attending) *s, int i, long query, long low, long high, long d) {
    const long padded = s->padded;
    float *to = s->sums + query * padded + d;
    const float *powers = s->scores + i * COMPUTE_POSITIONS;
    FLOATS sums[16];
#pragma unroll
    for (int q = 0; q < queries; q++)
#pragma unroll
        for (int k = 0; k < registers; k++) sums[q * registers + k] = LOAD(to + q * padded + k * WIDTH);
    for (long j = low; j < high; j++) {
        const float *value = s->values + j * s->value_stride + d;
        FLOATS v[4];
#pragma unroll
        for (int k = 0; k < registers; k++) v[k] = LOAD(value + k * WIDTH);
#pragma unroll
        for (int q = 0; q < queries; q++) {
            const FLOATS power = REPEAT(powers[q * COMPUTE_POSITIONS + j]);
#pragma unroll
            for (int k = 0; k < registers; k++)
                sums[q * registers + k] = ADD_PRODUCT(sums[q * registers + k], v[k], power);
        }
    }
#pragma unroll
    for (int q = 0; q < queries; q++)
#pragma unroll
        for (int k = 0; k < registers; k++) STORE(to + q * padded + k * WIDTH, sums[q * registers + k]);
}

INLINE void NAME(mix_all)(int queries, const struct NAME(attending) *s, int i, long query, long low, long high) {
    if (low >= high) return;
    long d = 0;
    for (; d + 4 * WIDTH <= s->padded; d += 4 * WIDTH) NAME(mix)(queries, 4, s, i, query, low, high, d);
    for (; d < s->padded; d += WIDTH) NAME(mix)(queries, 1, s, i, query, low, high, d);
}

// Queries, a constant number of them, with the positions at hand: `count` from `start` on.
INLINE void NAME(attend_some)(
    int queries, const struct compute_attention *a, const struct NAME(attending) *s, long query, long start,
    long count) {
    long lows[QUERIES], highs[QUERIES], last = 0, first = count, common_low = 0, common_high = count;
    for (int i = 0; i < queries; i++) {
        const long position = a->first + (query + i) / a->group;
        const long before = position + 1 - a->window - start, after = position + 1 - start;
        lows[i] = before > 0 ? before : 0;
        highs[i] = after < count ? after : count;
        if (highs[i] > last) last = highs[i];
        if (lows[i] < first) first = lows[i];
        if (lows[i] > common_low) common_low = lows[i];
        if (highs[i] < common_high) common_high = highs[i];
    }
    if (last <= first) return;
    NAME(scores)(queries, s, query, last);
    for (int i = 0; i < queries; i++)
        if (lows[i] < highs[i]) NAME(weigh)(s, i, query + i, lows[i], highs[i]);
    // What a query does not see must not be multiplied by zero: it could be infinite.
    if (common_low < common_high) NAME(mix_all)(queries, s, 0, query, common_low, common_high);
    for (int i = 0; i < queries; i++) {
        if (common_low >= common_high) {
            NAME(mix_all)(1, s, i, query + i, lows[i], highs[i]);
            continue;
        }
        NAME(mix_all)(1, s, i, query + i, lows[i], common_low);
        NAME(mix_all)(1, s, i, query + i, common_high, highs[i]);
    }
}

// Rows of keys or values as numbers: where they lie, or in `room`.
INLINE const float *NAME(numbers_at)(
    int format, const uint8_t *rows, long stride, long count, long length, long padded, float *room,
    long *number_stride) {
    if (format == COMPUTE_F32 && length == padded && stride % 4 == 0) {
        *number_stride = stride / 4;
        return (const float *)(const void *)rows;
    }
    *number_stride = padded;
    for (long r = 0; r < count; r++) {
        const uint8_t *row = rows + r * stride;
        // The same row of the next positions; a line of cache holds 32 halves.
        for (long at = 0; at < length; at += 32) __builtin_prefetch(row + COMPUTE_POSITIONS * stride + 2 * at, 0, 3);
        float *to = room + r * padded;
        switch (format) {
        case COMPUTE_F32: NAME(widened)(COMPUTE_F32, row, length, to); break;
        case COMPUTE_F16: NAME(widened)(COMPUTE_F16, row, length, to); break;
        case COMPUTE_BF16: NAME(widened)(COMPUTE_BF16, row, length, to); break;
        default: NAME(widened)(COMPUTE_Q8_0, row, length, to);
        }
    }
    return room;
}

FUNCTION void NAME(attend)(const struct compute_attention *a) {
    const long queries = a->count * a->group, length = a->length, padded = compute_padded(length);
    struct NAME(attending) s;
    float *room = a->scratch;
    float *scaled = room;
    room += queries * padded;
    float *key_room = room;
    room += COMPUTE_POSITIONS * padded;
    float *value_room = room;
    room += COMPUTE_POSITIONS * padded;
    s.queries = scaled;
    s.scores = room;
    room += 4 * COMPUTE_POSITIONS;
    s.padded = padded;
    s.sums = a->sums ? a->sums : room;
    if (!a->sums) room += queries * padded;
    s.largest = a->largest ? a->largest : room;
    if (!a->largest) room += queries;
    s.powers = a->powers ? a->powers : room;
    for (long q = 0; q < queries; q++) {
        const float *from = a->queries + q / a->group * a->query_stride + q % a->group * length;
        float *to = scaled + q * padded;
        for (long d = 0; d < length; d++) to[d] = from[d] * a->scale;
        for (long d = length; d < padded; d++) to[d] = 0;
        for (long d = 0; d < padded; d++) s.sums[q * padded + d] = 0;
        s.largest[q] = -__builtin_inff();
        s.powers[q] = 0;
    }
    for (long start = a->begin; start < a->end; start += COMPUTE_POSITIONS) {
        const long count = a->end - start < COMPUTE_POSITIONS ? a->end - start : COMPUTE_POSITIONS;
        s.keys = NAME(numbers_at)(
            a->key_format, a->keys + start * a->key_stride, a->key_stride, count, length, padded, key_room,
            &s.key_stride);
        s.values = NAME(numbers_at)(
            a->value_format, a->values + start * a->value_stride, a->value_stride, count, length, padded, value_room,
            &s.value_stride);
        long q = 0;
        for (; q + QUERIES <= queries; q += QUERIES) NAME(attend_some)(QUERIES, a, &s, q, start, count);
#if QUERIES == 4
        if (q + 3 == queries) {
            NAME(attend_some)(3, a, &s, q, start, count);
            continue;
        }
#endif
        for (; q < queries; q++) NAME(attend_some)(1, a, &s, q, start, count);
    }
    if (a->sums) return;
    for (long q = 0; q < queries; q++) {
        float *to = a->output + q / a->group * a->query_stride + q % a->group * length;
        const float inverse = 1 / s.powers[q];
        for (long d = 0; d < length; d++) to[d] = s.sums[q * padded + d] * inverse;
    }
}

#undef QUERIES
