// SPDX-License-Identifier: Apache-2.0

// Nothing is called from Swift: the linker puts these in place of two functions of the standard library.
