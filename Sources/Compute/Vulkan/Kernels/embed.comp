#version 450
// SPDX-License-Identifier: Apache-2.0
// Rows of a table for the tokens of the batch: an invocation takes four numbers of one.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "weights.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint FORMAT = 6;
layout(push_constant) uniform Arguments {
    Words weights;
    Vectors arena;
    Batch batch;
    uint quads, first, second, third, blocks;
    uint row, target, stride;
    float scale;
};

void main() {
    uint token = gl_WorkGroupID.y;
    uint index = gl_GlobalInvocationID.x;
    if (token >= batch.counts[0] || index >= blocks * 8) return;
    Sections where = Sections(quads, first, second, third, blocks);
    Block found = blockAt(weights, where, FORMAT, row + idOf(batch, token), index / 8);
    vec4 value = vec4(0);
    [[unroll]] for (uint part = 0; part < 8; part++)
        if (part == (index & 7)) value = weightsOf(found, FORMAT, part);
    arena.at[target + token * stride + index] = value * scale;
}
