/*
 * gst-attention: the tokens of a CTC model: from a text file, one for each value of its output. No pads, no streams.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One token per line. In a file with numbers (sherpa-onnx) each line ends with the number of its token, and a number
 * alone is that of a space; in one without (the vocabulary of a NeMo model) lines are counted from 0. U+2581, the mark
 * of SentencePiece, is a space: a word begins behind it. <0xE4> is the byte E4, of a character that has no token.
 */
#ifndef PLUGIN_CTCTOKENS_H
#define PLUGIN_CTCTOKENS_H

#include <glib.h>

G_BEGIN_DECLS

#define CTC_MAX_TOKENS 65536                  /* as many values as a frame may have */
#define CTC_MAX_TOKENS_SIZE (4 * 1024 * 1024) /* bytes of the file: 64 per token */

/* U+2581: a word begins behind it. */
#define CTC_SPACE "\xe2\x96\x81"

typedef struct _CtcTokens CtcTokens;

/* Errors are of G_FILE_ERROR; the sentence names the file and the line. */
CtcTokens *ctc_tokens_read (const gchar *path, GError **error);
void ctc_tokens_free (CtcTokens *tokens); /* accepts NULL */

guint ctc_tokens_get_n (const CtcTokens *tokens);

/* As it stands in the file, but for a space, which is CTC_SPACE, and for bytes, which are themselves. NULL: none. */
const gchar *ctc_tokens_get_text (const CtcTokens *tokens, guint token);

/* A hash of all of them in hexadecimal digits: streams of other tokens have another one. */
const gchar *ctc_tokens_get_hash (const CtcTokens *tokens);

/*
 * Which of `n_values` is the blank. `wanted` -1: the token that is named so, or the last value where the file leaves it
 * out, and has one token less. -1 with `error` (G_FILE_ERROR_INVAL) where tokens and values do not fit.
 */
gint ctc_tokens_find_blank (const CtcTokens *tokens, guint n_values, gint wanted, GError **error);

G_END_DECLS

#endif
