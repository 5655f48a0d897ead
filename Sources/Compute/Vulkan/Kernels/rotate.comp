#version 450
// SPDX-License-Identifier: Apache-2.0
// Heads turned in place: an invocation takes a pair.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform Arguments {
    Numbers arena;
    Numbers table;
    Batch batch;
    uint x, stride, headLength, heads;
    uint pairs, isInterleaved, first;
};

void main() {
    uint token = gl_WorkGroupID.y;
    uint index = gl_GlobalInvocationID.x;
    if (token >= batch.counts[0] || index >= heads * pairs) return;
    uint pair = index % pairs;
    uint head = x + token * stride + index / pairs * headLength;
    uint a = head + (isInterleaved != 0 ? 2 * pair : pair);
    uint b = head + (isInterleaved != 0 ? 2 * pair + 1 : pair + pairs);
    uint at = first + 2 * (token * pairs + pair);
    float cosine = table.at[at];
    float sine = table.at[at + 1];
    vec2 value = vec2(arena.at[a], arena.at[b]);
    arena.at[a] = value.x * cosine - value.y * sine;
    arena.at[b] = value.x * sine + value.y * cosine;
}
