// SPDX-License-Identifier: Apache-2.0
// Blocks of quantised weights, of ROWS rows at a time. Included once for each width of registers, after Vectors.h.
// Layouts of the blocks: BlockFormat.swift says where each is fixed.

// The numbers of four runs of 32 weights, in the four lanes of each row: weight = scale * quant + minimum. Where the two
// halves of a run have scales of their own (Q6_K), those without a name are the first half's.
struct NAME(numbers) {
    FLOATS scale, minimum, high_scale, high_minimum;
};

// The quants of one run of each row: its first sixteen weights, and its last.
struct NAME(quants) {
    BYTES low, high;
};

// Bytes that four runs of 32 weights take.
INLINE long NAME(four_runs)(int format) {
    switch (format) {
    case COMPUTE_Q4_0: return 4 * 18;
    case COMPUTE_Q4_1: return 4 * 20;
    case COMPUTE_Q5_0: return 4 * 22;
    case COMPUTE_Q8_0: return 4 * 34;
    case COMPUTE_Q4_K: return 144 / 2;
    case COMPUTE_Q5_K: return 176 / 2;
    default: return 210 / 2;
    }
}

// Four bytes of each row, from one on, as numbers.
INLINE BYTES NAME(expand)(BYTES v, char first) {
    const char a = first, b = (char)(first + 1), c = (char)(first + 2), d = (char)(first + 3);
    return NAME(shuffle)(v, _mm_setr_epi8(a, -1, -1, -1, b, -1, -1, -1, c, -1, -1, -1, d, -1, -1, -1));
}

// The first or the last four scales and minima of a block of Q4_K or Q5_K: twelve bytes after two halves hold eight of
// each, with six bits. QuantizedBlock in Dequantization.swift says where they lie.
INLINE struct NAME(numbers) NAME(six_bits)(const uint8_t *const *rows, long offset, int last) {
    struct NAME(numbers) numbers;
    const BYTES head = NAME(load)(rows, offset);
    BYTES scale, minimum;
    if (last) {
        const BYTES above = NAME(and)(NAME(right)(head, 2), 0x30);
        scale = NAME(or)(NAME(expand)(NAME(and)(head, 15), 12), NAME(expand)(above, 4));
        minimum = NAME(or)(NAME(expand)(NAME(and)(NAME(right)(head, 4), 15), 12), NAME(expand)(above, 8));
    } else {
        scale = NAME(expand)(NAME(and)(head, 63), 4);
        minimum = NAME(expand)(NAME(and)(head, 63), 8);
    }
    const FLOATS two = NAME(halves)(rows, offset, 2, 2);
    numbers.scale = NAME(multiply)(NAME(convert)(scale), NAME(pick)(two, 0));
    const FLOATS negative = NAME(multiply)(NAME(pick)(two, 1), NAME(repeat)(-1));
    numbers.minimum = NAME(multiply)(NAME(convert)(minimum), negative);
    return numbers;
}

// Four scales of a block of Q6_K, every other of eight signed bytes.
INLINE FLOATS NAME(signed_scales)(BYTES scales, FLOATS scale, int first) {
    const char a = (char)first, b = (char)(first + 2), c = (char)(first + 4), d = (char)(first + 6);
    const __m128i order = _mm_setr_epi8(-1, -1, -1, a, -1, -1, -1, b, -1, -1, -1, c, -1, -1, -1, d);
    return NAME(multiply)(NAME(convert)(NAME(top)(NAME(shuffle)(scales, order))), scale);
}

// The numbers of runs `index` and following, `count` of at most four; those of the rest are zero. Of formats with blocks
// of 256, `index` is a multiple of four and `count` four.
INLINE struct NAME(numbers) NAME(numbers_of)(int format, const uint8_t *const *rows, long index, long count) {
    struct NAME(numbers) numbers;
    float minimum = 0;
    switch (format) {
    case COMPUTE_Q4_1:
        numbers.scale = NAME(halves)(rows, index * 20, 20, count);
        numbers.minimum = NAME(halves)(rows, index * 20 + 2, 20, count);
        return numbers;
    case COMPUTE_Q4_K: return NAME(six_bits)(rows, index / 8 * 144, index % 8 >= 4);
    case COMPUTE_Q5_K: return NAME(six_bits)(rows, index / 8 * 176, index % 8 >= 4);
    case COMPUTE_Q4_0:
        numbers.scale = NAME(halves)(rows, index * 18, 18, count);
        minimum = -8;
        break;
    case COMPUTE_Q5_0:
        numbers.scale = NAME(halves)(rows, index * 22, 22, count);
        minimum = -16;
        break;
    case COMPUTE_Q8_0:
        numbers.scale = NAME(halves)(rows, index * 34, 34, count);
        minimum = -SIGNED_BIAS;
        break;
    default: {
        const long offset = index / 8 * 210;
        const BYTES scales = NAME(load)(rows, offset + 192);
        const FLOATS scale = NAME(spread)(NAME(half_each)(rows, offset + 208));
        minimum = -32;
        if (index % 8 >= 4) {
            numbers.scale = NAME(signed_scales)(scales, scale, 8);
            numbers.high_scale = NAME(signed_scales)(scales, scale, 9);
        } else {
            numbers.scale = NAME(signed_scales)(scales, scale, 0);
            numbers.high_scale = NAME(signed_scales)(scales, scale, 1);
        }
        numbers.high_minimum = NAME(multiply)(numbers.high_scale, NAME(repeat)(minimum));
    }
    }
    numbers.minimum = NAME(multiply)(numbers.scale, NAME(repeat)(minimum));
    return numbers;
}

// The fifth bits of sixteen weights of each row, from bytes that begin with 32 of them.
INLINE BYTES NAME(fifth)(BYTES bits, BYTES quants, int high) {
    const __m128i order = high ? _mm_setr_epi8(2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3)
                               : _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const BYTES spread = NAME(shuffle)(bits, order);
#if ROWS == 4
    const __mmask64 set = _mm512_test_epi8_mask(spread, _mm512_set1_epi64((long long)0x8040201008040201ull));
    return _mm512_mask_add_epi8(quants, set, quants, _mm512_set1_epi8(16));
#else
    const BYTES bit = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    return NAME(or)(quants, NAME(and)(_mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit), 16));
#endif
}

// The bits `2 * quarter` and above of bytes to the places of 16 and 32.
INLINE BYTES NAME(two_bits)(BYTES v, int quarter) {
    const BYTES moved = quarter == 3   ? NAME(right)(v, 2)
                        : quarter == 2 ? v
                        : quarter == 1 ? NAME(left)(v, 2)
                                       : NAME(left)(v, 4);
    return NAME(and)(moved, 0x30);
}

// The quants of run `index + k`; what was said of `index` above holds here, too.
INLINE struct NAME(quants) NAME(quants_of)(int format, const uint8_t *const *rows, long index, int k) {
    struct NAME(quants) q;
    switch (format) {
    case COMPUTE_Q8_0:
        q.low = NAME(load)(rows, (index + k) * 34 + 2);
        q.high = NAME(load)(rows, (index + k) * 34 + 18);
        return q;
    case COMPUTE_Q4_0:
    case COMPUTE_Q4_1:
    case COMPUTE_Q5_0: {
        const long head = format == COMPUTE_Q4_0 ? 2 : format == COMPUTE_Q4_1 ? 4 : 6;
        const BYTES packed = NAME(load)(rows, (index + k) * (head + 16) + head);
        q.low = NAME(and)(packed, 15);
        q.high = NAME(and)(NAME(right)(packed, 4), 15);
        if (format == COMPUTE_Q5_0) {
            const BYTES bits = NAME(load)(rows, (index + k) * 22 + 2);
            q.low = NAME(fifth)(bits, q.low, 0);
            q.high = NAME(fifth)(bits, q.high, 1);
        }
        return q;
    }
    case COMPUTE_Q4_K:
    case COMPUTE_Q5_K: {
        const long block = index / 8 * (format == COMPUTE_Q4_K ? 144 : 176);
        const long nibbles = block + (format == COMPUTE_Q4_K ? 16 : 48) + (index % 8 / 2 + k / 2) * 32;
        q.low = NAME(and)(NAME(right)(NAME(load)(rows, nibbles), k % 2 * 4), 15);
        q.high = NAME(and)(NAME(right)(NAME(load)(rows, nibbles + 16), k % 2 * 4), 15);
        if (format == COMPUTE_Q5_K) {
            // Bit `index % 8 + k` to the place of 16.
            const BYTES low = NAME(right)(NAME(load)(rows, block + 16), (int)(index % 8));
            const BYTES high = NAME(right)(NAME(load)(rows, block + 32), (int)(index % 8));
            q.low = NAME(or)(q.low, NAME(and)(NAME(left)(low, 4 - k), 16));
            q.high = NAME(or)(q.high, NAME(and)(NAME(left)(high, 4 - k), 16));
        }
        return q;
    }
    default: {  // Q6_K
        const long block = index / 8 * 210, half = index % 8 / 4;
        const long nibbles = block + half * 64 + k % 2 * 32, pairs = block + 128 + half * 32;
        q.low = NAME(and)(NAME(right)(NAME(load)(rows, nibbles), k / 2 * 4), 15);
        q.high = NAME(and)(NAME(right)(NAME(load)(rows, nibbles + 16), k / 2 * 4), 15);
        q.low = NAME(or)(q.low, NAME(two_bits)(NAME(load)(rows, pairs), k));
        q.high = NAME(or)(q.high, NAME(two_bits)(NAME(load)(rows, pairs + 16), k));
        return q;
    }
    }
}
