/* libattn: text from outside, made safe for messages.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/quote.h"

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

/* `quote` 0: no quotes around the text, and none escaped. */
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

/* Bytes of the UTF-8 character that `text` begins with; 0 if it begins with none, or with a control character. */
static size_t
utf8_size (const unsigned char *text)
{
  /* By the first byte: its lowest and highest value, how many follow, and the range of the second. The Unicode
   * standard, table 3-7; C2 80 to C2 9F are control characters. */
  static const struct {
    unsigned char first, last, n, low, high;
  } rows[] = { { 0x20, 0x7e, 0, 0, 0 },       { 0xc2, 0xc2, 1, 0xa0, 0xbf }, { 0xc3, 0xdf, 1, 0x80, 0xbf },
               { 0xe0, 0xe0, 2, 0xa0, 0xbf }, { 0xe1, 0xec, 2, 0x80, 0xbf }, { 0xed, 0xed, 2, 0x80, 0x9f },
               { 0xee, 0xef, 2, 0x80, 0xbf }, { 0xf0, 0xf0, 3, 0x90, 0xbf }, { 0xf1, 0xf3, 3, 0x80, 0xbf },
               { 0xf4, 0xf4, 3, 0x80, 0x8f } };

  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    if (text[0] < rows[i].first || text[0] > rows[i].last)
      continue;
    for (size_t j = 1; j <= rows[i].n; j++)
      if (text[j] < (j == 1 ? rows[i].low : 0x80) || text[j] > (j == 1 ? rows[i].high : 0xbf))
        return 0;
    return rows[i].n + 1u;
  }
  return 0;
}

AttnPathText
attn_quote_path (const char *path)
{
  const unsigned char *p = (const unsigned char *) path;
  size_t n_shown = 0, i, size;
  AttnPathText out = { "" };
  char *to = out.text;

  for (i = 0; p[i] != '\0'; i += size != 0 ? size : 1)
    n_shown += (size = utf8_size (p + i)) != 0 ? size : sizeof "\\xNN" - 1;
  if (n_shown > ATTN_QUOTE_PATH)
    to += sprintf (to, "...");
  for (i = 0; p[i] != '\0'; i += size != 0 ? size : 1) {
    size = utf8_size (p + i);
    if (n_shown > ATTN_QUOTE_PATH) /* its end is shown */
      n_shown -= size != 0 ? size : sizeof "\\xNN" - 1;
    else if (size == 0)
      to += sprintf (to, "\\x%02x", p[i]);
    else
      to = (char *) memcpy (to, path + i, size) + size;
  }
  *to = '\0';
  return out;
}
