// SPDX-License-Identifier: Apache-2.0
// Attention of a few tokens in the heads that share keys and values: those are read once for all of these queries, some
// positions at a time. The largest product so far and the sum of powers are kept for each query and corrected as larger
// ones come (Milakov and Gimelshein, arXiv:1805.02867). Included once for each width of registers, after Elements.h.

// Queries at a time: what there are registers for, with four keys or four registers of values.
#define QUERIES ROWS

// What belongs to the queries of a call, in its scratch.
struct NAME(attending) {
    const float *queries;  // scaled, `padded` numbers each
    float *sums;           // of values, `padded` numbers each
    float *largest, *powers;
    float *scores;  // COMPUTE_POSITIONS of each of QUERIES
    const uint8_t *keys, *values;
    long padded, key_stride, value_stride;
};

// Numbers `d` and following of a row of F32, F16 or Q8_0.
INLINE FLOATS NAME(cached)(int format, const uint8_t *row, long d) {
    if (format != COMPUTE_Q8_0) return NAME(some)(format, row, d);
    const uint8_t *block = row + d / 32 * 34;
    return MULTIPLY(SMALL(_mm_loadu_si128((const __m128i *)(block + 2 + d % 32))), REPEAT(NAME(half_at)(block)));
}

// Positions ahead of what is read that memory is asked for: less is too late, more is out of the nearest cache again.
#define AHEAD 16

// Asks for what holds numbers `d` and following of a row, in the place of a row that is read later.
INLINE void NAME(ask)(int format, const uint8_t *row, long stride, long d) {
    const long offset = format == COMPUTE_F32 ? d * 4 : format == COMPUTE_F16 ? d * 2 : d + d / 16;
    // A line of cache holds 64 bytes: registers of bytes and halves would ask for it again.
    if (format == COMPUTE_F32 ? d % 16 == 0 : format == COMPUTE_F16 ? d % 32 == 0 : d % 64 == 0)
        __builtin_prefetch(row + AHEAD * stride + offset, 0, 3);
}

// The totals of four registers.
INLINE __m128 NAME(totals)(FLOATS a, FLOATS b, FLOATS c, FLOATS d) {
    const FLOATS ab = ADD(LOW_PAIRS(a, b), HIGH_PAIRS(a, b)), cd = ADD(LOW_PAIRS(c, d), HIGH_PAIRS(c, d));
    return NAME(quarter)(ADD(LOW_HALVES(ab, cd), HIGH_HALVES(ab, cd)));
}

// Products of queries, a constant number of them from `query` on, with `keys` keys, four or one, from `j` on.
INLINE void NAME(score)(
    int format, int asks, int queries, int keys, const struct NAME(attending) *s, long query, long j) {
    const long padded = s->padded, stride = s->key_stride;
    const float *q = s->queries + query * padded;
    const uint8_t *key = s->keys + j * stride;
    FLOATS sums[16];
#pragma unroll
    for (int i = 0; i < queries * keys; i++) sums[i] = ZERO();
    for (long d = 0; d < padded; d += WIDTH) {
        FLOATS k[4];
#pragma unroll
        for (int i = 0; i < keys; i++) {
            if (asks) NAME(ask)(format, key + i * stride, stride, d);
            k[i] = NAME(cached)(format, key + i * stride, d);
        }
#pragma unroll
        for (int i = 0; i < queries; i++) {
            const FLOATS v = LOAD(q + i * padded + d);
#pragma unroll
            for (int n = 0; n < keys; n++) sums[keys * i + n] = ADD_PRODUCT(sums[keys * i + n], v, k[n]);
        }
    }
#pragma unroll
    for (int i = 0; i < queries; i++) {
        float *to = s->scores + i * COMPUTE_POSITIONS + j;
        if (keys == 1) *to = NAME(total)(sums[i]);
        else _mm_storeu_ps(to, NAME(totals)(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]));
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
    const float before = s->largest[query], now = NAME(largest)(largest), highest = now > before ? now : before;
    FLOATS sum = ZERO();
#pragma unroll
    for (long j = 0; j < COMPUTE_POSITIONS; j += WIDTH) {
        const FLOATS power = NAME(exp)(SUBTRACT(LOAD(scores + j), REPEAT(highest)));
        STORE(scores + j, power);
        sum = ADD(sum, power);
    }
    const float total = NAME(total)(sum);
    if (highest == before) {
        s->powers[query] += total;
        return;
    }
    const FLOATS factor = NAME(exp)(REPEAT(before - highest));
    s->powers[query] = s->powers[query] * FIRST(factor) + total;
    s->largest[query] = highest;
    float *sums = s->sums + query * s->padded;
    for (long d = 0; d < s->padded; d += WIDTH) STORE(sums + d, MULTIPLY(LOAD(sums + d), factor));
}

// Adds values `low` to before `high` of those at hand, times their powers: `registers` of numbers, from `d` on.
INLINE void NAME(mix)(
    int format, int asks, int queries, int registers, const struct NAME(attending) *s, int i, long query, long low,
    long high, long d) {
    const long padded = s->padded;
    float *to = s->sums + query * padded + d;
    const float *powers = s->scores + i * COMPUTE_POSITIONS;
    FLOATS sums[16];
#pragma unroll
    for (int q = 0; q < queries; q++)
#pragma unroll
        for (int k = 0; k < registers; k++) sums[q * registers + k] = LOAD(to + q * padded + k * WIDTH);
    for (long j = low; j < high; j++) {
        const uint8_t *value = s->values + j * s->value_stride;
        FLOATS v[4];
#pragma unroll
        for (int k = 0; k < registers; k++) {
            if (asks) NAME(ask)(format, value, s->value_stride, d + k * WIDTH);
            v[k] = NAME(cached)(format, value, d + k * WIDTH);
        }
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

INLINE void NAME(mix_all)(
    int format, int asks, int queries, const struct NAME(attending) *s, int i, long query, long low, long high) {
    if (low >= high) return;
    long d = 0;
    for (; d + 4 * WIDTH <= s->padded; d += 4 * WIDTH) NAME(mix)(format, asks, queries, 4, s, i, query, low, high, d);
    for (; d < s->padded; d += WIDTH) NAME(mix)(format, asks, queries, 1, s, i, query, low, high, d);
}

// Queries, a constant number of them, with the positions at hand: `count` from `start` on.
INLINE void NAME(attend_some)(
    int format, int asks, int queries, const struct compute_attention *a, const struct NAME(attending) *s, long query,
    long start, long count) {
    long lows[QUERIES], highs[QUERIES], first = count, last = 0, common_low = 0, common_high = count;
    for (int i = 0; i < queries; i++) {
        const long position = a->first + (query + i) / a->group;
        const long before = position + 1 - a->window - start, after = position + 1 - start;
        lows[i] = before > 0 ? before : 0;
        highs[i] = after < count ? after : count;
        if (lows[i] < first) first = lows[i];
        if (highs[i] > last) last = highs[i];
        if (lows[i] > common_low) common_low = lows[i];
        if (highs[i] < common_high) common_high = highs[i];
    }
    if (last <= first) return;
    long j = 0;
    for (; j + 4 <= last; j += 4) NAME(score)(format, asks, queries, 4, s, query, j);
    for (; j < last; j++) NAME(score)(format, asks, queries, 1, s, query, j);
    for (int i = 0; i < queries; i++)
        if (lows[i] < highs[i]) NAME(weigh)(s, i, query + i, lows[i], highs[i]);
    // What a query does not see must not be multiplied by zero: it could be infinite.
    const bool shares = common_low < common_high;
    if (shares) NAME(mix_all)(format, asks, queries, s, 0, query, common_low, common_high);
    for (int i = 0; i < queries; i++) {
        if (!shares) {
            NAME(mix_all)(format, asks, 1, s, i, query + i, lows[i], highs[i]);
            continue;
        }
        NAME(mix_all)(format, asks, 1, s, i, query + i, lows[i], common_low);
        NAME(mix_all)(format, asks, 1, s, i, query + i, common_high, highs[i]);
    }
}

INLINE void NAME(attend_all)(
    int format, int asks, const struct compute_attention *a, const struct NAME(attending) *s, long start, long count) {
    const long queries = a->count * a->group;
    long q = 0;
    for (; q + QUERIES <= queries; q += QUERIES) NAME(attend_some)(format, asks, QUERIES, a, s, q, start, count);
#if QUERIES == 4
    if (q + 3 == queries) return NAME(attend_some)(format, asks, 3, a, s, q, start, count);
#endif
    for (; q < queries; q++) NAME(attend_some)(format, asks, 1, a, s, q, start, count);
}

// Of keys and values in scratch, and where they lie.
#define ATTEND(name, format, asks) \
    FUNCTION void NAME(name)( \
        const struct compute_attention *a, const struct NAME(attending) *s, long start, long count) { \
        NAME(attend_all)(format, asks, a, s, start, count); \
    }
ATTEND(attend_unpacked, COMPUTE_F32, 0)
ATTEND(attend_f32, COMPUTE_F32, 1)
ATTEND(attend_f16, COMPUTE_F16, 1)
ATTEND(attend_q8_0, COMPUTE_Q8_0, 1)
#undef ATTEND

// Rows of keys or values as single-precision numbers.
FUNCTION void NAME(unpack)(
    int format, const uint8_t *rows, long stride, long count, long length, long padded, float *room) {
    for (long r = 0; r < count; r++) {
        const uint8_t *row = rows + r * stride;
        float *to = room + r * padded;
        for (long d = 0; d < padded; d += 16) NAME(ask)(format, row, stride, d);
        switch (format) {
        case COMPUTE_F32: NAME(widened)(COMPUTE_F32, row, length, to); break;
        case COMPUTE_F16: NAME(widened)(COMPUTE_F16, row, length, to); break;
        default: NAME(widened)(COMPUTE_Q8_0, row, length, to);
        }
        // Registers of eight numbers are filled up, those of sixteen are wanted.
        for (long d = (length + WIDTH - 1) / WIDTH * WIDTH; d < padded; d += WIDTH) STORE(to + d, ZERO());
    }
}

FUNCTION void NAME(attend)(const struct compute_attention *a) {
    const long queries = a->count * a->group, length = a->length, padded = compute_padded(length);
    float *const scaled = a->scratch, *const keys = scaled + queries * padded;
    float *const values = keys + COMPUTE_POSITIONS * padded, *const scores = values + COMPUTE_POSITIONS * padded;
    float *const sums = scores + 4 * COMPUTE_POSITIONS, *const largest = sums + queries * padded;
    struct NAME(attending) s = {
        .queries = scaled, .sums = a->sums ? a->sums : sums, .largest = a->largest ? a->largest : largest,
        .powers = a->powers ? a->powers : largest + queries, .scores = scores, .padded = padded};
    for (long q = 0; q < queries; q++) {
        const float *from = a->queries + q / a->group * a->query_stride + q % a->group * length;
        float *to = scaled + q * padded;
        for (long d = 0; d < length; d++) to[d] = from[d] * a->scale;
        for (long d = length; d < padded; d++) to[d] = 0;
        for (long d = 0; d < padded; d++) s.sums[q * padded + d] = 0;
        s.largest[q] = -__builtin_inff();
        s.powers[q] = 0;
    }
    // Where they lie, if they are used but once; otherwise they are unpacked first.
    const bool in_place = a->key_format == a->value_format && length == padded && queries <= QUERIES;
    for (long start = a->begin; start < a->end; start += COMPUTE_POSITIONS) {
        const long count = a->end - start < COMPUTE_POSITIONS ? a->end - start : COMPUTE_POSITIONS;
        s.keys = a->keys + start * a->key_stride;
        s.values = a->values + start * a->value_stride;
        s.key_stride = a->key_stride;
        s.value_stride = a->value_stride;
        if (!in_place) {
            NAME(unpack)(a->key_format, s.keys, s.key_stride, count, length, padded, keys);
            NAME(unpack)(a->value_format, s.values, s.value_stride, count, length, padded, values);
            s.keys = (const uint8_t *)keys;
            s.values = (const uint8_t *)values;
            s.key_stride = s.value_stride = padded * 4;
            NAME(attend_unpacked)(a, &s, start, count);
        } else if (a->key_format == COMPUTE_F32) {
            NAME(attend_f32)(a, &s, start, count);
        } else if (a->key_format == COMPUTE_F16) {
            NAME(attend_f16)(a, &s, start, count);
        } else {
            NAME(attend_q8_0)(a, &s, start, count);
        }
    }
    if (a->sums) return;
    for (long q = 0; q < queries; q++) {
        float *to = a->output + q / a->group * a->query_stride + q % a->group * length;
        const float inverse = 1 / s.powers[q];
        for (long d = 0; d < length; d++) to[d] = s.sums[q * padded + d] * inverse;
    }
}

#undef QUERIES
#undef AHEAD
