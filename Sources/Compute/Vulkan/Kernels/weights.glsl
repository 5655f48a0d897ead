// SPDX-License-Identifier: Apache-2.0
// Blocks of 32 weights in the order that WeightLayout.swift gives them: numbers or nibbles in quads, row after row,
// then what else a block has, each kind for itself.

// Where the weights of a stack lie, counted from the start of their memory: quads of numbers or nibbles, then up to
// three further sections, in units of their kind.
struct Sections {
    uint quads, first, second, third;
    // Blocks of 32 in a row.
    uint blocks;
};

// Rows whose blocks lie beside each other, so that invocations with a row each read what lies together. Where
// invocations share a row, its blocks do.
#ifdef TEXELS
const uint TOGETHER = 16;
#else
const uint TOGETHER = 1;
#endif
uint placeOf(uint row, uint column, uint columns) {
    return (row / TOGETHER * columns + column) * TOGETHER + row % TOGETHER;
}

// 32 weights as they are stored.
struct Block {
    uvec4 quads[8];
    uvec2 high;
    // For the first 16 and the last, and what is added to all.
    vec2 scale;
    float minimum;
};

float halfAt(Words base, uint section, uint index) {
    return widened(WORD(base, section + (index >> 1)) >> (16 * (index & 1)));
}

// The scale and minimum of one of eight runs of 32 weights: six bits each, of which those of the last four runs are
// split.
void unpackScales(uvec4 header, uint run, out float scale, out float minimum) {
    uint shift = 8 * (run & 3);
    uint a = (header.y >> shift) & 0xff;
    uint b = (header.z >> shift) & 0xff;
    uint c = (header.w >> shift) & 0xff;
    uint s = run < 4 ? a & 63 : (c & 15) | ((a >> 6) << 4);
    uint m = run < 4 ? b & 63 : (c >> 4) | ((b >> 6) << 4);
    vec2 d = unpackHalf2x16(header.x);
    scale = d.x * float(int(s));
    minimum = -(d.y * float(int(m)));
}

Block blockAt(Words base, Sections sections, uint format, uint row, uint column) {
    Block block;
    uint index = placeOf(row, column, sections.blocks);
    // Of the formats with blocks of 256: such a block, and which run of 32 of it.
    uint whole = placeOf(row, column >> 3, sections.blocks >> 3);
    uint run = column & 7;
    uint count = format == F32 ? 8 : format == F16 || format == BF16 ? 4 : format == Q8_0 ? 2 : 1;
    [[unroll]] for (uint i = 0; i < 8; i++) block.quads[i] = uvec4(0);
    [[unroll]] for (uint i = 0; i < 8; i++)
        if (i < count)
            block.quads[i] = QUAD(base, sections.quads + placeOf(row, column * count + i, sections.blocks * count));
    block.high = uvec2(0);
    block.scale = vec2(1);
    block.minimum = 0;
    if (format == Q8_0) {
        block.scale = vec2(halfAt(base, sections.first, index));
    } else if (format == Q4_0) {
        block.scale = vec2(halfAt(base, sections.first, index));
        block.minimum = -8 * block.scale.x;
    } else if (format == Q4_1) {
        vec2 pair = unpackHalf2x16(WORD(base, sections.first + index));
        block.scale = pair.xx;
        block.minimum = pair.y;
    } else if (format == Q5_0) {
        block.high.x = WORD(base, sections.first + index);
        block.scale = vec2(halfAt(base, sections.second, index));
        block.minimum = -16 * block.scale.x;
    } else if (format == Q4_K || format == Q5_K) {
        float scale;
        unpackScales(QUAD(base, sections.first + whole), run, scale, block.minimum);
        block.scale = vec2(scale);
        if (format == Q5_K) block.high.x = WORD(base, sections.second + index);
    } else if (format == Q6_K) {
        block.high = uvec2(WORD(base, sections.second + 2 * index), WORD(base, sections.second + 2 * index + 1));
        // Sixteen signed bytes for eight runs of 32: two of them here.
        int pair = int(WORD(base, sections.first + 4 * whole + (run >> 1)) >> (16 * (run & 1)));
        block.scale = halfAt(base, sections.third, whole) * vec2((pair << 24) >> 24, (pair << 16) >> 24);
    }
    return block;
}

// Four weights of a block: 4 * part and following.
vec4 weightsOf(Block block, uint format, uint part) {
    if (format == F32) return uintBitsToFloat(block.quads[part]);
    if (format == F16 || format == BF16) {
        uvec4 quad = block.quads[part >> 1];
        uvec2 pair = (part & 1) == 0 ? quad.xy : quad.zw;
        if (format == F16) return vec4(unpackHalf2x16(pair.x), unpackHalf2x16(pair.y));
        return uintBitsToFloat(uvec4(pair.x << 16, pair.x & 0xffff0000u, pair.y << 16, pair.y & 0xffff0000u));
    }
    if (format == Q8_0) {
        int word = int(block.quads[part >> 2][part & 3]);
        return vec4(ivec4(word << 24, word << 16, word << 8, word) >> 24) * block.scale.x;
    }
    uvec4 quants = (uvec4(block.quads[0][part & 3]) >> (uvec4(0, 8, 16, 24) + 4 * (part >> 2))) & 15u;
    if (format == Q5_0 || format == Q5_K) quants |= ((uvec4(block.high.x) >> (uvec4(0, 1, 2, 3) + 4 * part)) & 1u) << 4;
    if (format == Q6_K) {
        uint high = (part >> 2) == 0 ? block.high.x : block.high.y;
        quants |= ((uvec4(high) >> (uvec4(0, 2, 4, 6) + 8 * (part & 3))) & 3u) << 4;
        return vec4(ivec4(quants) - 32) * ((part >> 2) == 0 ? block.scale.x : block.scale.y);
    }
    return fma(vec4(ivec4(quants)), vec4(block.scale.x), vec4(block.minimum));
}
