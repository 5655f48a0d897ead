// SPDX-License-Identifier: Apache-2.0
// What all kernels share: memory by address, the values of a batch, and blocks of weights.
//
// With TEXELS, activations and weights are read through buffers of texels. That is for processors that pretend to be
// devices: they gather texels with vector instructions, and load from addresses one lane after the other.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Quads { uvec4 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Vectors { vec4 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Words { uint at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Numbers { float at[]; };

// The batch of a run: how many tokens and outputs there are, and for how many tokens there is room; then for each token
// its id, its position, its sequence, and for each output its token.
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Batch {
    uint counts[2];
    uint room;
    uint unused;
    uint at[];
};
uint idOf(Batch batch, uint token) { return batch.at[token]; }
uint positionOf(Batch batch, uint token) { return batch.at[batch.room + token]; }
uint sequenceOf(Batch batch, uint token) { return batch.at[2 * batch.room + token]; }
uint tokenOf(Batch batch, uint outputRow) { return batch.at[3 * batch.room + outputRow]; }

#ifdef TEXELS
layout(set = 0, binding = 0) uniform usamplerBuffer activationTexels;
layout(set = 0, binding = 1) uniform usamplerBuffer quadTexels;
layout(set = 0, binding = 2) uniform usamplerBuffer wordTexels;
#define QUAD(base, index) texelFetch(quadTexels, int(index))
#define WORD(base, index) texelFetch(wordTexels, int(index)).x
#define ACTIVATION(base, index) uintBitsToFloat(texelFetch(activationTexels, int(index)))
#else
#define QUAD(base, index) Quads(base).at[index]
#define WORD(base, index) Words(base).at[index]
#define ACTIVATION(base, index) Vectors(base).at[index]
#endif

const uint F32 = 0, F16 = 1, BF16 = 2, Q4_0 = 3, Q4_1 = 4, Q5_0 = 5, Q8_0 = 6, Q4_K = 7, Q5_K = 8, Q6_K = 9;

// A subgroup's sum and maximum. Texels go with shuffles: there, reductions are loops.
#ifdef TEXELS
#define REDUCE(value, operation, size) \
    [[unroll]] for (uint step = size / 2; step > 0; step >>= 1) \
        value = operation(value, subgroupShuffleXor(value, step))
float plus(float a, float b) { return a + b; }
#define SUM(value, size) REDUCE(value, plus, size)
#define MAXIMUM(value, size) REDUCE(value, max, size)
#else
#define SUM(value, size) value = subgroupAdd(value)
#define MAXIMUM(value, size) value = subgroupMax(value)
#endif

// The nearest binary16, the even one of two. (Drivers may cut instead when they pack halves.)
uint narrowed(float value) {
    uint bits = floatBitsToUint(value);
    uint sign = (bits >> 16) & 0x8000u;
    uint magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return sign | 0x7e00u;
    // 65520 is halfway between the largest number and the next that there would be.
    if (magnitude >= 0x477ff000u) return sign | 0x7c00u;
    // 2^-14: below it are multiples of 2^-24, to which the sum with 1/2 rounds.
    if (magnitude < 0x38800000u) return sign | (floatBitsToUint(uintBitsToFloat(magnitude) + 0.5) - 0x3f000000u);
    uint shifted = magnitude - (112u << 23);
    return sign | ((shifted + 0xfffu + ((shifted >> 13) & 1u)) >> 13);
}

float widened(uint bits) { return unpackHalf2x16(bits & 0xffffu).x; }
