#version 450
// SPDX-License-Identifier: Apache-2.0
// Products with many columns: a group takes 64 rows and 64 columns, 32 numbers of each at a time through shared memory,
// and each of its 256 invocations keeps four rows of four columns.
#extension GL_GOOGLE_include_directive : require
#include "product.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 0) const uint FORMAT = 4;

// A vector of each row beside the others, so that neighbours read from other banks.
shared vec4 tileW[8][65];
shared vec4 tileX[8][65];

// The lower half of the tile's rows and the upper one: pairs of neighbours, or gates and partners.
uint rowOf(uint base, uint local) {
    if (isGated()) return min(base / 2 + (local & 31), rows - 1) + (local < 32 ? 0 : partner);
    return min(base + local, rows - 1);
}

void main() {
    uint count = columnCount();
    uint column = gl_WorkGroupID.y * 64;
    if (column >= count) return;
    uint base = gl_WorkGroupID.x * 64;
    uint self = gl_LocalInvocationIndex;
    uint loaded = self >> 2;
    uint part = (self & 3) * 2;
    uint sourceRow = row + rowOf(base, loaded);
    uint source = x + min(column + loaded, count - 1) / sharers * xStride;
    uint rowPair = (self & 15) * 2;
    uint columns = (self >> 4) * 4;

    Sections where = sections();
    vec4 sums[4];
    [[unroll]] for (uint r = 0; r < 4; r++) sums[r] = vec4(0);
    for (uint k = 0; k < blocks; k++) {
        Block found = blockAt(weights, where, FORMAT, sourceRow, k);
        barrier();
        tileW[part][loaded] = weightsOf(found, FORMAT, part);
        tileW[part + 1][loaded] = weightsOf(found, FORMAT, part + 1);
        tileX[part][loaded] = ACTIVATION(arena, source + k * 8 + part);
        tileX[part + 1][loaded] = ACTIVATION(arena, source + k * 8 + part + 1);
        barrier();
        for (uint j = 0; j < 8; j++) {
            vec4 values[4];
            [[unroll]] for (uint c = 0; c < 4; c++) values[c] = tileX[j][columns + c];
            [[unroll]] for (uint r = 0; r < 4; r++) {
                vec4 four = tileW[j][rowPair + (r & 1) + 32 * (r >> 1)];
                sums[r] += vec4(dot(four, values[0]), dot(four, values[1]), dot(four, values[2]), dot(four, values[3]));
            }
        }
    }
    [[unroll]] for (uint c = 0; c < 4; c++) {
        if (column + columns + c >= count) continue;
        if (isGated()) {
            [[unroll]] for (uint r = 0; r < 2; r++) {
                uint unit = base / 2 + rowPair + r;
                if (unit < rows) {
                    float gate = sums[r][c] + biasOf(row + unit);
                    float up = sums[r + 2][c] + biasOf(row + unit + partner);
                    put(unit, column + columns + c, gated(gate, up));
                }
            }
        } else {
            [[unroll]] for (uint r = 0; r < 4; r++) {
                uint local = base + rowPair + (r & 1) + 32 * (r >> 1);
                if (local < rows) put(local, column + columns + c, sums[r][c] + biasOf(row + local));
            }
        }
    }
}
