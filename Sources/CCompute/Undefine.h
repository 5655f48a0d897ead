// SPDX-License-Identifier: Apache-2.0
// Forgets what the headers for one width of registers have defined.

#undef WIDTH
#undef BYTES
#undef FLOATS
#undef PACKED
#undef ZERO
#undef REPEAT
#undef LOAD
#undef STORE
#undef ADD_PRODUCT
#undef MULTIPLY
#undef SUBTRACT
#undef DIVIDE
#undef LARGER
#undef SMALLER
#undef FIRST
#undef LOW_PAIRS
#undef HIGH_PAIRS
#undef LOW_HALVES
#undef HIGH_HALVES
#undef ADD
#undef HALVES
#undef BRAIN
#undef SMALL
#undef SIGNED_BIAS
#undef EACH_FORMAT
#undef INLINE
#undef FUNCTION
#undef ROWS
#undef VNNI
#undef NAME
#undef TARGET
