/*
 * What fail_each () makes of a layer. A failure that leaves a pointer behind counts as success, which fail_each ()
 * refuses.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_CORE_FAILURES_OF_LAYERS_H
#define TESTS_CORE_FAILURES_OF_LAYERS_H

#include "failures.h"

#define N_MEMBERS 3 /* of a group */

static AttnLayer *layer;

static inline AttnStatus
make_stream (AttnError *error)
{
  AttnStream *stream;
  AttnStatus status = attn_stream_new (layer, &stream, error);

  if (status != ATTN_OK && stream != NULL)
    return ATTN_OK;
  attn_stream_free (stream);
  return status;
}

static inline AttnStatus
make_group (AttnError *error)
{
  AttnGroup *group;
  AttnStatus status = attn_group_new (layer, N_MEMBERS, &group, error);

  if (status != ATTN_OK && group != NULL)
    return ATTN_OK;
  attn_group_free (group);
  return status;
}

#endif
