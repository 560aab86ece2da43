/* libattn: the sections that the blocks of a chain write.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blocks/chain.h"

#include "base/status.h"

#define SECTION_HEADER_SIZE 8

static size_t
saved_size (const AttnChainState *state, size_t i)
{
  return state->chain->blocks[i]->kind->saved_size (state->links[i].state);
}

size_t
attn_chain_saved_size (const AttnChainState *state)
{
  size_t size = 0, i;

  for (i = 0; i < state->chain->n_blocks; i++)
    size += SECTION_HEADER_SIZE + saved_size (state, i);
  return size;
}

uint8_t *
attn_chain_save (const AttnChainState *state, uint8_t *bytes)
{
  size_t i;

  for (i = 0; i < state->chain->n_blocks; i++) {
    bytes = attn_put_number (bytes, saved_size (state, i), SECTION_HEADER_SIZE);
    bytes = state->chain->blocks[i]->kind->save (state->links[i].state, bytes);
  }
  return bytes;
}

/* The section at `*bytes`, which moves on behind it; NULL: the section goes beyond `end`. */
static const uint8_t *
next_section (const uint8_t **bytes, const uint8_t *end, size_t *size)
{
  const uint8_t *section = *bytes + SECTION_HEADER_SIZE;
  uint64_t stated;

  if (end - *bytes < SECTION_HEADER_SIZE)
    return NULL;
  stated = attn_get_number (*bytes, SECTION_HEADER_SIZE);
  if (stated > (uint64_t) (end - section))
    return NULL;
  *size = stated;
  *bytes = section + stated;
  return section;
}

/* Checks that a block has given exactly the outputs that were ready. */
static AttnStatus
check_outputs (const AttnBlock *block, const AttnProgress *before, const AttnProgress *behind, AttnError *error)
{
  uint64_t n_inputs = before->next - before->first, n_outputs = behind->next - behind->first;
  uint64_t expected =
      before->at_end ? attn_block_count (block, n_inputs) : attn_block_ready (block, before->first, n_inputs);

  if (n_outputs == expected)
    return ATTN_OK;
  return attn_fail (error, ATTN_ERROR_STATE,
                    "in the state %llu frames have come to a block (%s), and %llu have left it, but %llu were ready",
                    (unsigned long long) n_inputs, block->kind->name, (unsigned long long) n_outputs,
                    (unsigned long long) expected);
}

AttnStatus
attn_chain_check (const AttnChainState *state, const uint8_t **bytes, const uint8_t *end, AttnProgress *progress,
                  AttnError *error)
{
  const AttnChain *chain = state->chain;
  size_t i, size = 0;

  for (i = 0; i < chain->n_blocks; i++) {
    const uint8_t *section = next_section (bytes, end, &size);
    AttnProgress before = *progress;
    AttnStatus status;

    if (section == NULL)
      return attn_fail (error, ATTN_ERROR_STATE, "the state ends inside its section %zu of %zu", i, chain->n_blocks);
    if ((status = chain->blocks[i]->kind->check (state->links[i].state, section, size, progress, error))
        || (status = check_outputs (chain->blocks[i], &before, progress, error)))
      return status;
  }
  return ATTN_OK;
}

void
attn_chain_restore (AttnChainState *state, const uint8_t **bytes, AttnProgress *progress)
{
  size_t i, size;

  attn_chain_empty (state, progress->at_end);
  for (i = 0; i < state->chain->n_blocks; i++) {
    const uint8_t *section = *bytes + SECTION_HEADER_SIZE;

    size = attn_get_number (*bytes, SECTION_HEADER_SIZE);
    state->chain->blocks[i]->kind->restore (state->links[i].state, section, progress);
    *bytes = section + size;
  }
}
