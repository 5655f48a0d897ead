#version 450
// SPDX-License-Identifier: Apache-2.0
// Keys, turned if need be, and values put where they are kept: an invocation takes eight numbers of one of them, or the
// 32 that share a scale.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "rotation.glsl"

layout(local_size_x_id = 0) in;
// F32, F16 or Q8_0.
layout(constant_id = 1) const uint FORMAT = 1;
layout(push_constant) uniform Arguments {
    Numbers arena;
    Numbers table;
    Batch batch;
    Words kept;
    uint keys, keyStride, values, valueStride;
    // In words from the start of the memory.
    uint keptKeys, keptValues, keyScales, valueScales;
    uint headLength, heads, positions;
    uint pairs, isInterleaved, first;
};

void main() {
    uint token = gl_WorkGroupID.y;
    uint length = headLength * heads;
    uint width = FORMAT == Q8_0 ? 32 : 8;
    uint units = length / width;
    uint index = gl_GlobalInvocationID.x;
    if (token >= batch.counts[0] || index >= 2 * units) return;
    bool isKey = index < units;
    uint start = (isKey ? index : index - units) * width;
    uint source = isKey ? keys + token * keyStride : values + token * valueStride;
    Rotation rotation = Rotation(isKey ? pairs : 0, isInterleaved != 0, first);
    uint head = source + start / headLength * headLength;
    uint place = sequenceOf(batch, token) * positions + positionOf(batch, token);
    uint target = isKey ? keptKeys : keptValues;

    float numbers[32];
    float largest = 0;
    bool isFinite = true;
    [[unroll]] for (uint i = 0; i < 32; i++) {
        if (i >= width) continue;
        float value = turned(arena, table, rotation, token, head, start % headLength + i);
        numbers[i] = value;
        largest = max(largest, abs(value));
        isFinite = isFinite && (floatBitsToUint(value) & 0x7f800000u) != 0x7f800000u;
    }
    if (FORMAT == F32) {
        uint to = target + place * length + start;
        [[unroll]] for (uint i = 0; i < 8; i++) kept.at[to + i] = floatBitsToUint(numbers[i]);
    } else if (FORMAT == F16) {
        uint to = target + (place * length + start) / 2;
        [[unroll]] for (uint i = 0; i < 4; i++)
            kept.at[to + i] = narrowed(numbers[2 * i]) | narrowed(numbers[2 * i + 1]) << 16;
    } else {
        // The scale is rounded before the numbers are divided by it, so that its error is not theirs.
        uint bits = isFinite ? narrowed(largest / 127) : 0x7e00u;
        float scale = widened(bits);
        kept.at[(isKey ? keyScales : valueScales) + (place * length + start) / 32] = bits;
        uint to = target + (place * length + start) / 4;
        [[unroll]] for (uint i = 0; i < 8; i++) {
            uint word = 0;
            [[unroll]] for (uint k = 0; k < 4; k++) {
                float quotient = scale > 0 ? clamp(roundEven(numbers[4 * i + k] / scale), -127, 127) : 0;
                word |= (uint(int(quotient)) & 0xff) << (8 * k);
            }
            kept.at[to + i] = word;
        }
    }
}
