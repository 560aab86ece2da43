/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "quote.h"

#include <stdio.h>
#include <string.h>

static char *
put_escaped (char *to, const char *text, size_t n, char quote)
{
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char) text[i];

    if (c < 0x20 || c > 0x7e)
      to += sprintf (to, "\\x%02x", c);
    else {
      if (c == quote)
        *to++ = '\\';
      *to++ = (char) c;
    }
  }
  return to;
}

/* `quote` 0: none around it, none escaped. */
static AttnQuote
quote_with (const char *text, size_t n, char quote)
{
  AttnQuote out;
  char *to = out.text;

  if (quote != '\0')
    *to++ = quote;
  if (n <= ATTN_QUOTE_HEAD + ATTN_QUOTE_TAIL)
    to = put_escaped (to, text, n, quote);
  else {
    to = put_escaped (to, text, ATTN_QUOTE_HEAD, quote);
    memcpy (to, "...", 3);
    to = put_escaped (to + 3, text + n - ATTN_QUOTE_TAIL, ATTN_QUOTE_TAIL, quote);
  }
  if (quote != '\0')
    *to++ = quote;
  *to = '\0';
  return out;
}

AttnQuote
attn_quote (const char *text)
{
  return quote_with (text, strlen (text), '"');
}

AttnQuote
attn_quote_n (const char *text, size_t n)
{
  return quote_with (text, n, '"');
}

AttnQuote
attn_quote_bare (const char *text)
{
  return quote_with (text, strlen (text), '\0');
}
