#version 450
// SPDX-License-Identifier: Apache-2.0
// Root mean square normalization: a subgroup takes a run of numbers.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint SIZE = 8;
layout(push_constant) uniform Arguments {
    Numbers weights;
    Numbers arena;
    Batch batch;
    // Numbers of a run, and runs of a row.
    uint length, runs;
    uint source, sourceStride, target, targetStride;
    uint counting;
    float offset, epsilon;
};

void main() {
    uint run = gl_WorkGroupID.x * gl_NumSubgroups + gl_SubgroupID;
    uint row = gl_WorkGroupID.y;
    if (run >= runs || row >= batch.counts[counting]) return;
    uint from = source + row * sourceStride + run * length;
    uint to = target + row * targetStride + run * length;
    float sum = 0;
    for (uint i = gl_SubgroupInvocationID; i < length; i += gl_SubgroupSize) {
        float value = arena.at[from + i];
        sum = fma(value, value, sum);
    }
    SUM(sum, SIZE);
    float factor = 1 / sqrt(sum / float(length) + epsilon);
    for (uint i = gl_SubgroupInvocationID; i < length; i += gl_SubgroupSize)
        arena.at[to + i] = arena.at[from + i] * factor * (weights.at[i] + offset);
}
