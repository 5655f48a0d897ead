// SPDX-License-Identifier: Apache-2.0
// All kernels, for one width of registers: ROWS rows of weights at a time, named by NAME, compiled for TARGET. VNNI says
// whether registers of 32 bytes have dot products of bytes, too.

#include "Vectors.h"
#include "Blocks.h"
#include "Wide.h"
#include "Products.h"
// What has single precision is that of the same registers without VNNI.
#if ROWS == 4 || !VNNI
#include "Singles.h"
#include "Rows.h"
#include "Elements.h"
#include "Attention.h"
#endif
#include "Undefine.h"
