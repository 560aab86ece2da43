/* libattn: its version.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attn.h"

#define TEXT(number) #number
#define DOTTED(major, minor, micro) TEXT (major) "." TEXT (minor) "." TEXT (micro)

_Static_assert(ATTN_VERSION_MAJOR == PROJECT_MAJOR && ATTN_VERSION_MINOR == PROJECT_MINOR
                   && ATTN_VERSION_MICRO == PROJECT_MICRO,
               "attn.h says another version than the project");

const char *
attn_version (void)
{
  return DOTTED (ATTN_VERSION_MAJOR, ATTN_VERSION_MINOR, ATTN_VERSION_MICRO);
}
