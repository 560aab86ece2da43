/* libattn: which version this is.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attn.h"

const char *
attn_version (void)
{
  return ATTN_VERSION;
}
