// SPDX-License-Identifier: Apache-2.0
// Rotations: for each token of the batch and each pair of a head a cosine and a sine. Programs name them by where they
// lie.

// What turns: pairs of a head, none for no rotation; whether pairs are neighbours; where the cosines of token 0 are.
struct Rotation {
    uint pairs;
    bool isInterleaved;
    uint table;
};

// Number i of a head that begins at `head`, turned.
float turned(Numbers arena, Numbers table, Rotation rotation, uint token, uint head, uint i) {
    float value = arena.at[head + i];
    if (i >= 2 * rotation.pairs) return value;
    bool isFirst = rotation.isInterleaved ? (i & 1) == 0 : i < rotation.pairs;
    uint pair = rotation.isInterleaved ? i >> 1 : isFirst ? i : i - rotation.pairs;
    uint other = rotation.isInterleaved ? i ^ 1 : isFirst ? i + rotation.pairs : pair;
    uint at = rotation.table + 2 * (token * rotation.pairs + pair);
    float cosine = table.at[at];
    float sine = table.at[at + 1];
    float partner = arena.at[head + other];
    return isFirst ? value * cosine - partner * sine : partner * sine + value * cosine;
}
