#version 450
// SPDX-License-Identifier: Apache-2.0
// What a head of a token's queries reads from the values that it sees. Subgroups of a group take turns with the
// positions, as many at a time as they have invocations: first each invocation compares the query with the key of a
// position of its own, then all of them add up the values, eight numbers for each. Maximum, sum and values are
// corrected as larger products appear (online softmax, arXiv:1805.02867).
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "rotation.glsl"

layout(local_size_x_id = 0) in;
// F32, F16 or Q8_0.
layout(constant_id = 1) const uint FORMAT = 1;
// Invocations of a subgroup.
layout(constant_id = 2) const uint SIZE = 8;
// Eights of a head; how many of them each invocation keeps; and how many invocations share one, at different positions.
layout(constant_id = 3) const uint EIGHTS = 8;
layout(constant_id = 4) const uint KEPT = 1;
layout(constant_id = 5) const uint SHARES = 1;
// Subgroups of a group.
layout(constant_id = 6) const uint SUBGROUPS = 1;
layout(push_constant) uniform Arguments {
    Numbers arena;
    Numbers table;
    Batch batch;
    Words kept;
    uint queries, queryStride, target, targetStride;
    // In words from the start of the memory.
    uint keptKeys, keptValues, keyScales, valueScales;
    // Heads of keys and values, heads of queries for each, room for positions, how many are seen.
    uint heads, sharing, positions, window;
    float scale;
    uint pairs, isInterleaved, first;
};

shared float maxima[SUBGROUPS];
shared float totals[SUBGROUPS];
shared vec4 parts[SUBGROUPS > 1 ? SUBGROUPS * EIGHTS * 2 : 1];

// Eight numbers of a head at a place.
void load(uint section, uint scales, uint place, uint head, uint eight, out vec4 a, out vec4 b) {
    uint index = (place * heads + head) * EIGHTS + eight;
    if (FORMAT == F32) {
        a = uintBitsToFloat(QUAD(kept, section / 4 + 2 * index));
        b = uintBitsToFloat(QUAD(kept, section / 4 + 2 * index + 1));
    } else if (FORMAT == F16) {
        uvec4 quad = QUAD(kept, section / 4 + index);
        a = vec4(unpackHalf2x16(quad.x), unpackHalf2x16(quad.y));
        b = vec4(unpackHalf2x16(quad.z), unpackHalf2x16(quad.w));
    } else {
        float factor = widened(WORD(kept, scales + index / 4));
        int low = int(WORD(kept, section + 2 * index));
        int high = int(WORD(kept, section + 2 * index + 1));
        a = vec4(ivec4(low << 24, low << 16, low << 8, low) >> 24) * factor;
        b = vec4(ivec4(high << 24, high << 16, high << 8, high) >> 24) * factor;
    }
}

void main() {
    uint token = gl_WorkGroupID.y;
    uint head = gl_WorkGroupID.x;
    if (token >= batch.counts[0]) return;
    uint lane = gl_SubgroupInvocationID;
    uint position = positionOf(batch, token);
    uint start = position >= window ? position + 1 - window : 0;
    uint place = sequenceOf(batch, token) * positions;
    uint keptHead = head / sharing;

    Rotation rotation = Rotation(pairs, isInterleaved != 0, first);
    uint from = queries + token * queryStride + head * EIGHTS * 8;
    vec4 queryA[KEPT], queryB[KEPT], sumA[KEPT], sumB[KEPT];
    [[unroll]] for (uint k = 0; k < KEPT; k++) {
        uint eight = lane + k * SIZE;
        [[unroll]] for (uint i = 0; i < 4; i++) {
            uint at = min(eight, EIGHTS - 1) * 8 + i;
            queryA[k][i] = turned(arena, table, rotation, token, from, at) * scale;
            queryB[k][i] = turned(arena, table, rotation, token, from, at + 4) * scale;
        }
        sumA[k] = vec4(0);
        sumB[k] = vec4(0);
    }

    float largest = -1e38;
    float total = 0;
    uint share = lane / (SIZE / SHARES);
    uint mine = lane % (SIZE / SHARES);
    for (uint base = start + gl_SubgroupID * SIZE; base <= position; base += SUBGROUPS * SIZE) {
        uint seen = min(SIZE, position + 1 - base);
        uint at = place + min(base + lane, position);
        float product = 0;
        [[unroll]] for (uint k = 0; k < KEPT; k++) {
            uint end = min(EIGHTS - k * SIZE, SIZE);
            for (uint i = 0; i < end; i++) {
                vec4 a, b;
                load(keptKeys, keyScales, at, keptHead, k * SIZE + i, a, b);
                product += dot(a, subgroupShuffle(queryA[k], i)) + dot(b, subgroupShuffle(queryB[k], i));
            }
        }
        if (lane >= seen) product = -1e38;
        float higher = product;
        MAXIMUM(higher, SIZE);
        higher = max(higher, largest);
        float correction = exp(largest - higher);
        float weight = lane < seen ? exp(product - higher) : 0;
        float added = weight;
        SUM(added, SIZE);
        total = total * correction + added;
        largest = higher;
        [[unroll]] for (uint k = 0; k < KEPT; k++) {
            sumA[k] *= correction;
            sumB[k] *= correction;
        }
        // Every share takes as many turns, so that shuffles see all invocations.
        for (uint j = 0; j < seen; j += SHARES) {
            float factor = subgroupShuffle(weight, (j + share) & (SIZE - 1));
            uint row = place + min(base + j + share, position);
            [[unroll]] for (uint k = 0; k < KEPT; k++) {
                vec4 a, b;
                load(keptValues, valueScales, row, keptHead, min(mine + k * SIZE, EIGHTS - 1), a, b);
                sumA[k] = fma(vec4(factor), a, sumA[k]);
                sumB[k] = fma(vec4(factor), b, sumB[k]);
            }
        }
    }
    if (SHARES > 1) {
        for (uint step = SIZE / SHARES; step < SIZE; step <<= 1) {
            sumA[0] += subgroupShuffleXor(sumA[0], step);
            sumB[0] += subgroupShuffleXor(sumB[0], step);
        }
    }
    if (SUBGROUPS > 1) {
        if (lane == 0) {
            maxima[gl_SubgroupID] = largest;
            totals[gl_SubgroupID] = total;
        }
        barrier();
        float all = largest;
        for (uint i = 0; i < SUBGROUPS; i++) all = max(all, maxima[i]);
        float correction = exp(largest - all);
        total = 0;
        for (uint i = 0; i < SUBGROUPS; i++) total += totals[i] * exp(maxima[i] - all);
        [[unroll]] for (uint k = 0; k < KEPT; k++) {
            uint eight = mine + k * SIZE;
            if (share == 0 && eight < EIGHTS) {
                parts[(gl_SubgroupID * EIGHTS + eight) * 2] = sumA[k] * correction;
                parts[(gl_SubgroupID * EIGHTS + eight) * 2 + 1] = sumB[k] * correction;
            }
        }
        barrier();
        if (gl_SubgroupID != 0) return;
        [[unroll]] for (uint k = 0; k < KEPT; k++) {
            uint eight = min(mine + k * SIZE, EIGHTS - 1);
            sumA[k] = vec4(0);
            sumB[k] = vec4(0);
            for (uint i = 0; i < SUBGROUPS; i++) {
                sumA[k] += parts[(i * EIGHTS + eight) * 2];
                sumB[k] += parts[(i * EIGHTS + eight) * 2 + 1];
            }
        }
    }
    uint to = target + token * targetStride + head * EIGHTS * 8;
    [[unroll]] for (uint k = 0; k < KEPT; k++) {
        uint eight = mine + k * SIZE;
        if (share != 0 || eight >= EIGHTS) continue;
        [[unroll]] for (uint i = 0; i < 4; i++) {
            arena.at[to + eight * 8 + i] = sumA[k][i] / total;
            arena.at[to + eight * 8 + 4 + i] = sumB[k][i] / total;
        }
    }
}
