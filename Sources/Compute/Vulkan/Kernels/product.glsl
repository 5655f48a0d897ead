// SPDX-License-Identifier: Apache-2.0
// What products of a stack of matrices with columns have in common: their arguments, and where results go.
#include "common.glsl"
#include "weights.glsl"

layout(push_constant) uniform Arguments {
    Words weights;
    Numbers arena;
    Batch batch;
    // What is added to each row of the stack, if anything.
    uvec2 bias;
    uint quads, first, second, third, blocks;
    // Of the stack's rows: the first, how many, and how far apart rows of a gate and its partner are.
    uint row, rows, partner;
    // Columns in quads of numbers from the start of the arena, and how many columns of the product share one of those.
    uint x, xStride, sharers;
    // Up to three outputs, the second and the third from these rows on; in numbers from the start of the arena.
    uint out0, out1, out2, start1, start2, stride0, stride1, stride2;
    // 0: stored; 1: added to what is there; 2 and 3: the first row's result is a gate for its partner's.
    uint mode;
    // Which count of the batch says how many columns there are, and what multiplies it; in the second 16 bits.
    uint counting;
    // The expert of each column, if there are any: its rows are as many as those of the product.
    uvec2 experts;
};

Sections sections() { return Sections(quads, first, second, third, blocks); }
uint columnCount() { return batch.counts[counting & 0xffff] * (counting >> 16); }
bool isGated() { return mode >= 2; }

// The first row of the stack that a column is multiplied with.
uint firstRow(uint column) {
    return (experts.x | experts.y) == 0 ? row : row + Words(experts).at[column] * rows;
}

// The rows of one pair: neighbours, or a gate and its partner.
uint pairs() { return isGated() ? rows : (rows + 1) / 2; }

float gated(float gate, float up) {
    // SiLU; GELU by its approximation with tanh: (1 + tanh u) / 2 = 1 / (1 + e^-2u).
    float u = mode == 2 ? gate : 1.5957691216 * (gate + 0.044715 * gate * gate * gate);
    return gate / (exp(-u) + 1) * up;
}

float biasOf(uint stackRow) {
    return (bias.x | bias.y) == 0 ? 0 : Numbers(bias).at[stackRow];
}

void put(uint local, uint column, float value) {
    uint at = local >= start2 ? out2 + column * stride2 + local - start2
        : local >= start1 ? out1 + column * stride1 + local - start1 : out0 + column * stride0 + local;
    if (mode == 1) value += arena.at[at];
    arena.at[at] = value;
}
