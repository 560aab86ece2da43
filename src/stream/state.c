/*
 * libattn: a stream as bytes: an envelope, and a section per block. The layout stands in attn.h; it is written field by
 * field, so that it is the same on every machine.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

#include "base/hash.h"
#include "base/status.h"
#include "stream/stream.h"

#define MAGIC "attnstat"
#define VERSION 2
#define FLAG_AT_END 1u

enum {
  AT_MAGIC = 0,
  AT_VERSION = 8,
  AT_FLAGS = 12,
  AT_SIZE = 16,
  AT_HASH = 24,
  AT_FIRST = 32,
  AT_NEXT = 40,
  HEADER_SIZE = 48,
  SECTION_HEADER_SIZE = 8,
  CHECKSUM_SIZE = 8
};

/* ---- saving ---- */

static size_t
saved_size (const AttnStream *stream, size_t i)
{
  return stream->layer->blocks[i]->kind->saved_size (stream->states[i]);
}

size_t
attn_stream_state_size (const AttnStream *stream)
{
  size_t size = HEADER_SIZE + CHECKSUM_SIZE, i;

  for (i = 0; i < stream->layer->n_blocks; i++)
    size += SECTION_HEADER_SIZE + saved_size (stream, i);
  return size;
}

static uint8_t *
put_header (uint8_t *bytes, const AttnStream *stream, size_t size)
{
  memcpy (bytes, MAGIC, AT_VERSION);
  attn_put_number (bytes + AT_VERSION, VERSION, 4);
  attn_put_number (bytes + AT_FLAGS, stream->in.at_end ? FLAG_AT_END : 0, 4);
  attn_put_number (bytes + AT_SIZE, size, 8);
  attn_put_number (bytes + AT_HASH, stream->layer->hash, 8);
  attn_put_number (bytes + AT_FIRST, stream->in.first, 8);
  attn_put_number (bytes + AT_NEXT, stream->in.next, 8);
  return bytes + HEADER_SIZE;
}

AttnStatus
attn_stream_save (const AttnStream *stream, void *data, size_t size, AttnError *error)
{
  size_t needed = attn_stream_state_size (stream), i;
  uint8_t *bytes = data;

  if (size != needed)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has %zu bytes, but there is room for %zu", needed, size);
  bytes = put_header (bytes, stream, size);
  for (i = 0; i < stream->layer->n_blocks; i++) {
    bytes = attn_put_number (bytes, saved_size (stream, i), SECTION_HEADER_SIZE);
    bytes = stream->layer->blocks[i]->kind->save (stream->states[i], bytes);
  }
  attn_put_number (bytes, attn_hash_bytes (ATTN_HASH_START, data, size - CHECKSUM_SIZE), CHECKSUM_SIZE);
  return attn_succeed (error);
}

/* ---- restoring ---- */

/* That the bytes are a state, whole, and this layer's. */
static AttnStatus
check_envelope (const AttnLayer *layer, const uint8_t *bytes, size_t size, AttnError *error)
{
  uint64_t version, stated, hash, checksum, sum;

  if (size < HEADER_SIZE + CHECKSUM_SIZE)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has %zu bytes, but no state has less than %d", size,
                      HEADER_SIZE + CHECKSUM_SIZE);
  if (memcmp (bytes, MAGIC, AT_VERSION) != 0)
    return attn_fail (error, ATTN_ERROR_STATE, "this is no saved state: it does not begin with \"%s\"", MAGIC);
  version = attn_get_number (bytes + AT_VERSION, 4);
  if (version != VERSION)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has version %u, but version %u is expected",
                      (unsigned) version, VERSION);
  stated = attn_get_number (bytes + AT_SIZE, 8);
  if (stated != size)
    return attn_fail (error, ATTN_ERROR_STATE, "the state is cut off or longer than it should be: %zu bytes, not %llu",
                      size, (unsigned long long) stated);
  checksum = attn_get_number (bytes + size - CHECKSUM_SIZE, CHECKSUM_SIZE);
  sum = attn_hash_bytes (ATTN_HASH_START, bytes, size - CHECKSUM_SIZE);
  if (checksum != sum)
    return attn_fail (error, ATTN_ERROR_STATE, "the state is damaged: its checksum is %016llx, not %016llx",
                      (unsigned long long) sum, (unsigned long long) checksum);
  hash = attn_get_number (bytes + AT_HASH, 8);
  if (hash != layer->hash)
    return attn_fail (error, ATTN_ERROR_STATE,
                      "the state was saved with another layer (other parameters or another configuration): its hash "
                      "is %016llx, this layer's is %016llx",
                      (unsigned long long) hash, (unsigned long long) layer->hash);
  return ATTN_OK;
}

/* How far the stream had come. */
static AttnStatus
get_progress (const uint8_t *bytes, AttnProgress *progress, AttnError *error)
{
  uint64_t flags = attn_get_number (bytes + AT_FLAGS, 4);

  *progress = (AttnProgress){ attn_get_number (bytes + AT_FIRST, 8), attn_get_number (bytes + AT_NEXT, 8),
                              flags & FLAG_AT_END };
  if ((flags & ~(uint64_t) FLAG_AT_END) != 0)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has flags 0x%x, but only 0x%x is known", (unsigned) flags,
                      FLAG_AT_END);
  return ATTN_OK;
}

/* The section at `*bytes`, which moves on behind it; NULL: it does not end before `end`. */
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

static AttnStatus
check_sections (const AttnStream *stream, const uint8_t *bytes, const uint8_t *end, AttnProgress progress,
                AttnError *error)
{
  const AttnLayer *layer = stream->layer;
  AttnStatus status;
  size_t i, size;

  for (i = 0; i < layer->n_blocks; i++) {
    const uint8_t *section = next_section (&bytes, end, &size);

    if (section == NULL)
      return attn_fail (error, ATTN_ERROR_STATE, "the state ends inside its section %zu of %zu", i, layer->n_blocks);
    status = layer->blocks[i]->kind->check (stream->states[i], section, size, &progress, error);
    if (status != ATTN_OK)
      return status;
  }
  if (bytes != end)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has %td bytes behind its last section, expected none",
                      end - bytes);
  return ATTN_OK;
}

AttnStatus
attn_stream_restore (AttnStream *stream, const void *data, size_t size, AttnError *error)
{
  const AttnLayer *layer = stream->layer;
  const uint8_t *bytes = data, *end;
  AttnProgress progress;
  AttnStatus status;
  size_t i, section_size;

  if ((status = check_envelope (layer, bytes, size, error)) || (status = get_progress (bytes, &progress, error)))
    return status;
  end = bytes + size - CHECKSUM_SIZE;
  if ((status = check_sections (stream, bytes + HEADER_SIZE, end, progress, error)))
    return status;
  stream->in = progress;
  bytes += HEADER_SIZE;
  for (i = 0; i < layer->n_blocks; i++)
    layer->blocks[i]->kind->restore (stream->states[i], next_section (&bytes, end, &section_size), &progress);
  stream->next_output = progress.next;
  return attn_succeed (error);
}
