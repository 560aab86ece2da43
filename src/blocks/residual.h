/*
 * libattn: the block `residual`: x + f (x), f being blocks of its own.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each frame x waits in a delay line until f (x) is ready. If only f (x) is absent, x leaves unchanged. An absent frame
 * stays absent.
 */
#ifndef ATTN_SRC_RESIDUAL_H
#define ATTN_SRC_RESIDUAL_H

#include "blocks/chain.h"

/*
 * `chain` is f. The block owns it from now on, also on failure. The caller has checked that its stride is 1, that its
 * frames keep their width, and that it has as many outputs as inputs. On failure *block is NULL.
 */
AttnStatus attn_residual_new (const AttnMachine *machine, AttnChain *chain, AttnBlock **block, AttnError *error);

#endif
