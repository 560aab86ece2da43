/*
 * libattn: the block `residual`: x + f (x), f being blocks of its own.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each frame waits in a delay line until what f makes of it is ready. It leaves as it came where only f (x) is absent,
 * and is absent where it was.
 */
#ifndef ATTN_SRC_RESIDUAL_H
#define ATTN_SRC_RESIDUAL_H

#include "blocks/chain.h"

/*
 * `chain` is f, and the block's from now on, also on failure. Its stride is 1, its frames keep their width, and it has
 * as many outputs as inputs: the caller has checked that. On failure *block is NULL.
 */
AttnStatus attn_residual_new (const AttnMachine *machine, AttnChain *chain, AttnBlock **block, AttnError *error);

#endif
