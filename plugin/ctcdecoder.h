/*
 * gst-attention: greedy CTC decoding: from the best token of each frame to words and their times. No pads, no buffers.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A CTC model says in each frame how probable each token is, or the blank. The most probable ones are a path; of
 * neighbours on it that are the same token one is left, then blanks go, and what remains is the text. So a token that
 * comes twice in a text has a blank in between; absent frames count as blanks.
 *
 * A word is finished by the next one, or by a pause: `timeout` behind the last frame of its last token. It is cut where
 * it would last longer than `max_duration`.
 */
#ifndef PLUGIN_CTCDECODER_H
#define PLUGIN_CTCDECODER_H

#include "ctctokens.h"

G_BEGIN_DECLS

/* Bytes of a text at which it is cut, however short: where no time passes. */
#define CTC_MAX_TEXT 65536

/* What every saved state begins with. */
#define CTC_STATE_MAGIC "ctctext state 1\n"

typedef struct {
  gboolean phrases;     /* words stay together until there is a pause, with spaces in between */
  guint64 timeout;      /* ns */
  guint64 max_duration; /* ns; a phrase goes on to the end of a word, up to twice as long */
} CtcSettings;

typedef struct {
  gchar *text;        /* UTF-8 */
  guint64 begin, end; /* ns: of the first frame of its first token, and of the last frame of its last token */
  guint64 known_at;   /* where it was finished */
  gboolean is_cut;    /* what follows belongs to the same word */
} CtcText;

void ctc_text_free (CtcText *text); /* accepts NULL */

typedef struct _CtcDecoder CtcDecoder;

/* `tokens` must outlive it. */
CtcDecoder *ctc_decoder_new (const CtcTokens *tokens, const CtcSettings *settings);
void ctc_decoder_free (CtcDecoder *decoder); /* accepts NULL */

/* The best of values [n]: the largest, the first of several, but the blank before all. -1: one of them is NaN. */
gint ctc_best (const gfloat *values, guint n, gint blank);

/* The next frame, from `begin` to `end`; `token` -1: the blank. Times do not go back. */
void ctc_decoder_take (CtcDecoder *decoder, gint token, guint64 begin, guint64 end);

/* Up to `end` all frames are absent; an `end` before the last frame's tells of one that is. */
void ctc_decoder_skip (CtcDecoder *decoder, guint64 end);

/* The stream ends: so does what is being said. The next frame is the first one, at any time. */
void ctc_decoder_finish (CtcDecoder *decoder);

/* The same, and nobody wants what was said. */
void ctc_decoder_forget (CtcDecoder *decoder);

/* The next text that is finished; NULL: none is. Transfer full. */
CtcText *ctc_decoder_pop (CtcDecoder *decoder);

/* What is being said. Transfer full; NULL: nothing. */
CtcText *ctc_decoder_peek (const CtcDecoder *decoder);

/* When what is being said began; G_MAXUINT64: nothing is. */
guint64 ctc_decoder_get_begin (const CtcDecoder *decoder);

/* The end of the last frame, or of what was skipped; G_MAXUINT64: none has come. */
guint64 ctc_decoder_get_now (const CtcDecoder *decoder);

/*
 * What the next frame goes on from, without times of the clock: `told` is the caller's, a time before now that moves
 * along. The bytes are the same on every machine.
 */
GBytes *ctc_decoder_save (const CtcDecoder *decoder, guint64 told);

/*
 * The same, into a decoder that has just been made, so that the next frame begins at `next`. FALSE with `error` where
 * the bytes are damaged or those of other tokens or settings.
 */
gboolean ctc_decoder_check (const CtcDecoder *decoder, GBytes *state, GError **error);
void ctc_decoder_restore (CtcDecoder *decoder, GBytes *state, guint64 next, guint64 *told);

G_END_DECLS

#endif
