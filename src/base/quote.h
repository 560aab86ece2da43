/*
 * libattn: text from files in messages. A name in a file may hold anything, and a message goes to a terminal.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_QUOTE_H
#define ATTN_SRC_QUOTE_H

#include <stddef.h>

/*
 * The most bytes of a text that are shown. A longer text is shown by its start and its end, where tensor names differ.
 */
#define ATTN_QUOTE_HEAD 40
#define ATTN_QUOTE_TAIL 56

typedef struct {
  char text[2 + 4 * (ATTN_QUOTE_HEAD + ATTN_QUOTE_TAIL) + 3 + 1];
} AttnQuote;

/* `text` in quotes, shortened, everything but printable ASCII as \xNN. Use in arguments: attn_quote (name).text */
AttnQuote attn_quote (const char *text);
AttnQuote attn_quote_n (const char *text, size_t n); /* its first n bytes */

/* The same without the quotes, for sentences of other libraries that quote a file. */
AttnQuote attn_quote_bare (const char *text);

/* The most bytes of a path that are shown, its end. This leaves the rest of a message its room. */
#define ATTN_QUOTE_PATH 256

typedef struct {
  char text[3 + ATTN_QUOTE_PATH + 1];
} AttnPathText;

/*
 * A path without quotes. Names may hold any byte but NUL, and messages are UTF-8: other bytes, and control characters,
 * are shown as \xNN.
 */
AttnPathText attn_quote_path (const char *path);

#endif
