// SPDX-License-Identifier: Apache-2.0
// All kernels, for one width of registers: ROWS rows of weights at a time, named by NAME, compiled for TARGET.

#include "Vectors.h"
#include "Blocks.h"
#include "Products.h"
#include "Singles.h"
#include "Rows.h"
#include "Elements.h"
#include "Attention.h"
#include "Undefine.h"
