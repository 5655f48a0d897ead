#version 450
// SPDX-License-Identifier: Apache-2.0
// Products with few columns: a subgroup takes four rows of weights, each invocation of it other blocks of them, and
// their sums are brought together at the end. Each invocation wants 32 neighbouring numbers of a column, which lie
// where their neighbours' are not in the way: in shared memory, with a gap after every 32.
#extension GL_GOOGLE_include_directive : require
#include "product.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint FORMAT = 4;
layout(constant_id = 2) const uint COLUMNS = 1;
// Invocations of a subgroup.
layout(constant_id = 3) const uint SIZE = 8;

// Eight vectors of a block, and the gap.
shared vec4 column32[COLUMNS * SIZE * 9];

void main() {
    uint column = gl_WorkGroupID.y * COLUMNS;
    if (column >= columnCount()) return;
    uint pair = (gl_WorkGroupID.x * gl_NumSubgroups + gl_SubgroupID) * 2;
    uint taken[4];
    [[unroll]] for (uint r = 0; r < 4; r++) {
        uint unit = min(pair + r / 2, pairs() - 1);
        taken[r] = isGated() ? unit + (r & 1) * partner : min(2 * unit + (r & 1), rows - 1);
    }

    Sections where = sections();
    uint base = firstRow(column);
    float sums[4][COLUMNS];
    [[unroll]] for (uint r = 0; r < 4; r++)
        [[unroll]] for (uint c = 0; c < COLUMNS; c++) sums[r][c] = 0;
    uint source = x + column / sharers * xStride;
    for (uint first = 0; first < blocks; first += SIZE) {
        uint k = first + gl_SubgroupInvocationID;
        // Weights are on their way while columns are put where all see them.
        Block found[4];
        [[unroll]] for (uint r = 0; r < 4; r++)
            found[r] = blockAt(weights, where, FORMAT, base + taken[r], min(k, blocks - 1));
        barrier();
        for (uint i = gl_LocalInvocationIndex; i < COLUMNS * SIZE * 8; i += gl_WorkGroupSize.x) {
            uint c = i / (SIZE * 8);
            uint at = i % (SIZE * 8);
            column32[(c * SIZE + at / 8) * 9 + at % 8] =
                ACTIVATION(arena, source + c * xStride + min(first * 8 + at, blocks * 8 - 1));
        }
        barrier();
        if (k < blocks) {
            [[unroll]] for (uint part = 0; part < 8; part++) {
                vec4 values[COLUMNS];
                [[unroll]] for (uint c = 0; c < COLUMNS; c++)
                    values[c] = column32[(c * SIZE + gl_SubgroupInvocationID) * 9 + part];
                [[unroll]] for (uint r = 0; r < 4; r++) {
                    vec4 four = weightsOf(found[r], FORMAT, part);
                    [[unroll]] for (uint c = 0; c < COLUMNS; c++) sums[r][c] += dot(four, values[c]);
                }
            }
        }
    }
    [[unroll]] for (uint c = 0; c < COLUMNS; c++)
        [[unroll]] for (uint r = 0; r < 4; r++) sums[r][c] = subgroupAdd(sums[r][c]);
    if (!subgroupElect()) return;
    [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
        [[unroll]] for (uint r = 0; r < 4; r += 2) {
            if (pair + r / 2 >= pairs()) continue;
            float first = sums[r][c] + biasOf(base + taken[r]);
            float second = sums[r + 1][c] + biasOf(base + taken[r + 1]);
            if (isGated()) {
                put(taken[r], column + c, gated(first, second));
            } else {
                put(taken[r], column + c, first);
                if (taken[r + 1] != taken[r]) put(taken[r + 1], column + c, second);
            }
        }
    }
}
