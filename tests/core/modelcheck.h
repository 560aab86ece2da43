/*
 * Models of files made in memory, for tests of what is found in a file, and of what is refused.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_CORE_MODELCHECK_H
#define TESTS_CORE_MODELCHECK_H

#include "parameters/model.h"

#include "model-file.h"

static ModelFile file;

static inline AttnStatus
open_model (const char *prefix, AttnModel **model, AttnError *error)
{
  uint8_t *copy;
  AttnStatus status;

  end_file (&file);
  copy = exact_copy (file.bytes, file.size);
  status = attn_model_open_memory (copy, file.size, prefix, model, error);
  free (copy); /* the model has copied what it needs */
  return status;
}

/* For refusals, and for files that only have to open. */
static inline AttnStatus
try_model (const char *prefix, AttnError *error)
{
  AttnModel *model = (AttnModel *) &file;
  AttnStatus status = open_model (prefix, &model, error);

  if ((status == ATTN_OK) != (model != NULL))
    abort ();
  attn_model_free (model);
  return status;
}

#define REFUSED(prefix, ...) CHECK_FAILS (try_model (prefix, &error), ATTN_ERROR_MODEL, "memory", __VA_ARGS__)
#define CHECK_OPENS(prefix)                                                 \
  do {                                                                      \
    AttnError error;                                                        \
    CHECK_MSG (try_model (prefix, &error) == ATTN_OK, "%s", error.message); \
  } while (0)

/* F32 */
static inline void
add (const char *name, unsigned n_outputs, unsigned n_inputs)
{
  add_tensor (&file, name, "F32", n_outputs, n_inputs);
}

/* q, k, v of one scheme, 4 x 4; each test adds its own tensors. */
static inline void
begin_hugging_face (void)
{
  begin_file (&file);
  add ("q_proj.weight", 4, 4);
  add ("k_proj.weight", 4, 4);
  add ("v_proj.weight", 4, 4);
}

static inline void
begin_torch (void)
{
  begin_file (&file);
  add ("in_proj_weight", 12, 4);
}

#endif
