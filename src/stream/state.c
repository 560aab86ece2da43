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
#define MOST_FRAMES (UINT64_C (1) << 62) /* of a stream: what blocks add to a forged count must not overflow */

enum {
  AT_MAGIC = 0,
  AT_VERSION = 8,
  AT_FLAGS = 12,
  AT_SIZE = 16,
  AT_HASH = 24,
  AT_FIRST = 32,
  AT_NEXT = 40,
  HEADER_SIZE = 48,
  CHECKSUM_SIZE = 8
};

/* ---- saving ---- */

size_t
attn_stream_state_size (const AttnStream *stream)
{
  return HEADER_SIZE + attn_chain_saved_size (stream->chain) + CHECKSUM_SIZE;
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
  size_t needed = attn_stream_state_size (stream);
  uint8_t *end;

  if (size != needed)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has %zu bytes, but there is room for %zu", needed, size);
  if (stream->ran_out_of_room)
    return attn_fail (error, ATTN_ERROR_STATE,
                      "attn_stream_finish () ran out of room, and %zu outputs are left: it must return 0 before the "
                      "stream can be saved",
                      attn_stream_pending (stream));
  end = attn_chain_save (stream->chain, put_header (data, stream, size));
  attn_put_number (end, attn_hash_bytes (ATTN_HASH_START, data, size - CHECKSUM_SIZE), CHECKSUM_SIZE);
  return attn_succeed (error);
}

/* ---- restoring ---- */

/* Checks that the bytes are a whole state of this layer. */
static AttnStatus
check_envelope (const AttnLayer *layer, const uint8_t *bytes, size_t size, AttnError *error)
{
  uint64_t version, stated, hash, checksum, sum;

  if (size < HEADER_SIZE + CHECKSUM_SIZE)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has %zu bytes, but no state has fewer than %d", size,
                      HEADER_SIZE + CHECKSUM_SIZE);
  if (memcmp (bytes, MAGIC, AT_VERSION) != 0)
    return attn_fail (error, ATTN_ERROR_STATE, "this is not a saved state: it does not begin with \"%s\"", MAGIC);
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

/* Reads how far the stream had come. */
static AttnStatus
get_progress (const AttnLayer *layer, const uint8_t *bytes, AttnProgress *progress, AttnError *error)
{
  uint64_t flags = attn_get_number (bytes + AT_FLAGS, 4), stride = layer->chain.stride;

  *progress = (AttnProgress){ attn_get_number (bytes + AT_FIRST, 8), attn_get_number (bytes + AT_NEXT, 8),
                              flags & FLAG_AT_END };
  if ((flags & ~(uint64_t) FLAG_AT_END) != 0)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has flags 0x%x, but only 0x%x is known", (unsigned) flags,
                      FLAG_AT_END);
  if (progress->next < progress->first)
    return attn_fail (error, ATTN_ERROR_STATE, "the state's frames are out of order: first %llu, next to come in %llu",
                      (unsigned long long) progress->first, (unsigned long long) progress->next);
  if (progress->next - progress->first > MOST_FRAMES)
    return attn_fail (error, ATTN_ERROR_STATE, "the state counts %llu frames, but at most %llu can have come in",
                      (unsigned long long) (progress->next - progress->first), (unsigned long long) MOST_FRAMES);
  if (progress->first % stride != 0)
    return attn_fail (error, ATTN_ERROR_STATE,
                      "the state's first frame is number %llu, expected a multiple of the stride, which is %llu",
                      (unsigned long long) progress->first, (unsigned long long) stride);
  return ATTN_OK;
}

AttnStatus
attn_stream_restore (AttnStream *stream, const void *data, size_t size, AttnError *error)
{
  const uint8_t *bytes = data, *end;
  AttnProgress progress = { 0 }, behind;
  AttnStatus status;

  if ((status = check_envelope (stream->layer, bytes, size, error))
      || (status = get_progress (stream->layer, bytes, &progress, error)))
    return status;
  end = bytes + size - CHECKSUM_SIZE;
  bytes += HEADER_SIZE;
  behind = progress;
  if ((status = attn_chain_check (stream->chain, &bytes, end, &behind, error)))
    return status;
  if (bytes != end)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has %td bytes behind its last section, expected none",
                      end - bytes);
  stream->in = behind = progress;
  bytes = (const uint8_t *) data + HEADER_SIZE;
  attn_chain_restore (stream->chain, &bytes, &behind);
  stream->next_output = behind.next;
  stream->ran_out_of_room = false;
  attn_stream_begin_rows (stream, NULL);
  return attn_succeed (error);
}
