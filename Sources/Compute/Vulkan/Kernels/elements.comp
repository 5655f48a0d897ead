#version 450
// SPDX-License-Identifier: Apache-2.0
// What is done to each number alone, four at a time.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x_id = 0) in;
// 0: y += x; 1: the rows of the outputs; 2: SiLU(x) · y; 3: GELU(x) · y; 4: the sum of an expert's rows by weight.
layout(constant_id = 1) const uint KIND = 0;
layout(push_constant) uniform Arguments {
    Vectors arena;
    Batch batch;
    Numbers shares;
    uint x, xStride, y, yStride, target, targetStride;
    uint vectors, counting, used;
};

vec4 logistic(vec4 u) { return 1 / (exp(-u) + 1); }

void main() {
    uint row = gl_WorkGroupID.y;
    uint i = gl_GlobalInvocationID.x;
    if (row >= batch.counts[counting] || i >= vectors) return;
    uint to = target + row * targetStride + i;
    if (KIND == 0) {
        arena.at[to] += arena.at[x + row * xStride + i];
    } else if (KIND == 1) {
        arena.at[to] = arena.at[x + tokenOf(batch, row) * xStride + i];
    } else if (KIND == 4) {
        vec4 sum = vec4(0);
        for (uint e = 0; e < used; e++)
            sum += shares.at[row * used + e] * arena.at[x + (row * used + e) * xStride + i];
        arena.at[to] = sum;
    } else {
        vec4 gate = arena.at[x + row * xStride + i];
        vec4 u = KIND == 2 ? gate : 1.5957691216 * (gate + 0.044715 * gate * gate * gate);
        arena.at[to] = gate * logistic(u) * arena.at[y + row * yStride + i];
    }
}
