#version 450
// SPDX-License-Identifier: Apache-2.0
// Products for processors that pretend to be devices. An invocation takes two rows of weights and some columns, all
// blocks one after the other; eight neighbours hold 32 numbers of a column between them and pass them round. There is
// no shared memory and no barrier.
#extension GL_GOOGLE_include_directive : require
#include "product.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint FORMAT = 4;
layout(constant_id = 2) const uint COLUMNS = 1;

void main() {
    uint column = gl_WorkGroupID.y * COLUMNS;
    uint count = columnCount();
    if (column >= count) return;
    // Invocations beyond the end help with the columns.
    uint unit = min(gl_GlobalInvocationID.x, pairs() - 1);
    uint a = isGated() ? unit : 2 * unit;
    uint b = isGated() ? unit + partner : min(a + 1, rows - 1);

    uint lane = gl_SubgroupInvocationID & 7;
    uint leader = gl_SubgroupInvocationID & ~7u;
    Sections where = sections();
    uint base = firstRow(column);
    // Sums of several columns are as many as there are registers; that of one is four, which do not wait for each
    // other.
    float sumA[COLUMNS], sumB[COLUMNS];
    vec4 fourA = vec4(0), fourB = vec4(0);
    [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
        sumA[c] = 0;
        sumB[c] = 0;
    }
    uint source = x + column / sharers * xStride + lane;
    for (uint k = 0; k < blocks; k++) {
        Block blockA = blockAt(weights, where, FORMAT, base + a, k);
        Block blockB = blockAt(weights, where, FORMAT, base + b, k);
        vec4 values[COLUMNS];
        [[unroll]] for (uint c = 0; c < COLUMNS; c++) values[c] = ACTIVATION(arena, source + c * xStride + k * 8);
        [[unroll]] for (uint part = 0; part < 8; part++) {
            vec4 weightsA = weightsOf(blockA, FORMAT, part);
            vec4 weightsB = weightsOf(blockB, FORMAT, part);
            [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
                vec4 value = subgroupShuffle(values[c], leader + part);
                if (COLUMNS == 1) {
                    fourA = fma(weightsA, value, fourA);
                    fourB = fma(weightsB, value, fourB);
                    continue;
                }
                [[unroll]] for (uint i = 0; i < 4; i++) {
                    sumA[c] = fma(weightsA[i], value[i], sumA[c]);
                    sumB[c] = fma(weightsB[i], value[i], sumB[c]);
                }
            }
        }
    }
    if (gl_GlobalInvocationID.x >= pairs()) return;
    [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
        if (COLUMNS == 1) {
            sumA[c] = fourA.x + fourA.y + fourA.z + fourA.w;
            sumB[c] = fourB.x + fourB.y + fourB.z + fourB.w;
        }
        float first = sumA[c] + biasOf(base + a);
        float second = sumB[c] + biasOf(base + b);
        if (isGated()) {
            put(unit, column + c, gated(first, second));
        } else {
            put(a, column + c, first);
            if (b != a) put(b, column + c, second);
        }
    }
}
