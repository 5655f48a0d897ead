#version 450
// SPDX-License-Identifier: Apache-2.0
// Which experts a token asks, and how much each counts: an invocation takes a token. Experts are few.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform Arguments {
    Numbers arena;
    Batch batch;
    Words experts;
    Numbers shares;
    uint router, stride, count, used, normalizes;
};

void main() {
    uint token = gl_GlobalInvocationID.x;
    if (token >= batch.counts[0]) return;
    uint from = router + token * stride;
    float largest = -1e38;
    for (uint e = 0; e < count; e++) largest = max(largest, arena.at[from + e]);
    float total = 0;
    for (uint e = 0; e < count; e++) total += exp(arena.at[from + e] - largest);
    float chosen = 0;
    // In falling order; of equal numbers the first expert's comes first.
    float bound = 0;
    uint last = 0;
    for (uint k = 0; k < used; k++) {
        uint best = 0;
        float found = -3e38;
        for (uint e = 0; e < count; e++) {
            float value = arena.at[from + e];
            bool isFree = k == 0 || value < bound || (value == bound && e > last);
            if (isFree && value > found) {
                found = value;
                best = e;
            }
        }
        bound = found;
        last = best;
        float share = exp(found - largest);
        chosen += share;
        experts.at[token * used + k] = best;
        shares.at[token * used + k] = share;
    }
    float divisor = normalizes != 0 ? chosen : total;
    for (uint k = 0; k < used; k++) shares.at[token * used + k] /= divisor;
}
