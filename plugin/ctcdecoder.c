/*
 * gst-attention: greedy CTC decoding: words and their times.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "ctcdecoder.h"

#include <string.h>

#define NO_TIME G_MAXUINT64
#define NO_TOKEN (-1) /* a blank, an absent frame, or none yet */

struct _CtcDecoder {
  const CtcTokens *tokens;
  CtcSettings settings;

  gint last;           /* token of the last frame */
  gboolean has_text;   /* its run belongs to the text */
  gboolean owes_space; /* between the text and the next one */
  GString *text;       /* that is being said */
  guint64 begin, end;  /* of it */
  guint64 now;         /* NO_TIME: no frame has come */
  GQueue finished;     /* CtcText */
};

void
ctc_text_free (CtcText *text)
{
  if (text != NULL)
    g_free (text->text);
  g_free (text);
}

CtcDecoder *
ctc_decoder_new (const CtcTokens *tokens, const CtcSettings *settings)
{
  CtcDecoder *decoder = g_new0 (CtcDecoder, 1);

  decoder->tokens = tokens;
  decoder->settings = *settings;
  decoder->text = g_string_new (NULL);
  g_queue_init (&decoder->finished);
  ctc_decoder_forget (decoder);
  return decoder;
}

static void
free_text (gpointer text)
{
  ctc_text_free (text);
}

void
ctc_decoder_free (CtcDecoder *decoder)
{
  if (decoder == NULL)
    return;
  g_queue_clear_full (&decoder->finished, free_text);
  g_string_free (decoder->text, TRUE);
  g_free (decoder);
}

/* ---- one frame ---- */

gint
ctc_best (const gfloat *values, guint n, gint blank)
{
  gint best = blank;
  guint i;

  for (i = 0; i < n; i++) {
    if (values[i] != values[i])
      return -1;
    if (values[i] > values[best])
      best = i;
  }
  return best;
}

/* Times that were rounded may go back a little. */
static guint64
elapsed (guint64 begin, guint64 end)
{
  return end > begin ? end - begin : 0;
}

/* ---- texts ---- */

static gboolean
is_speaking (const CtcDecoder *decoder)
{
  return decoder->text->len > 0;
}

CtcText *
ctc_decoder_peek (const CtcDecoder *decoder)
{
  CtcText *text;

  if (!is_speaking (decoder))
    return NULL;
  text = g_new0 (CtcText, 1);
  text->text = g_utf8_make_valid (decoder->text->str, decoder->text->len); /* bytes may be no character yet */
  text->begin = decoder->begin;
  text->end = MAX (decoder->begin, decoder->end);
  text->known_at = decoder->now;
  return text;
}

static void
clear_text (CtcDecoder *decoder)
{
  g_string_truncate (decoder->text, 0);
  decoder->has_text = decoder->owes_space = FALSE;
}

/* The current text is known to end, since the time `at`. */
static void
finish_text (CtcDecoder *decoder, guint64 at, gboolean is_cut)
{
  CtcText *text = ctc_decoder_peek (decoder);

  clear_text (decoder);
  if (text == NULL)
    return;
  text->known_at = at;
  text->is_cut = is_cut;
  g_queue_push_tail (&decoder->finished, text);
}

/* Nothing has been said since `decoder->end`; up to `at` nothing is. */
static gboolean
is_pause (const CtcDecoder *decoder, guint64 at)
{
  return is_speaking (decoder) && elapsed (decoder->end, at) >= decoder->settings.timeout;
}

/* `end`: of the frame of a token that would belong to it. */
static gboolean
is_too_long (const CtcDecoder *decoder, guint64 end, gboolean begins_word)
{
  guint64 most = decoder->settings.max_duration;

  if (decoder->settings.phrases && !begins_word)
    most = most <= G_MAXUINT64 / 2 ? 2 * most : G_MAXUINT64;
  return elapsed (decoder->begin, end) > most || decoder->text->len >= CTC_MAX_TEXT;
}

/* A word ends here, if there is one. */
static void
take_space (CtcDecoder *decoder, guint64 begin, guint64 end)
{
  if (!is_speaking (decoder))
    return;
  if (!decoder->settings.phrases || is_too_long (decoder, end, TRUE))
    finish_text (decoder, begin, FALSE);
  else
    decoder->owes_space = TRUE;
}

/* text [n] is said. */
static void
take_text (CtcDecoder *decoder, const gchar *text, gsize n, guint64 begin, guint64 end)
{
  if (is_speaking (decoder) && is_too_long (decoder, end, decoder->owes_space))
    finish_text (decoder, begin, !decoder->owes_space);
  if (!is_speaking (decoder))
    decoder->begin = begin;
  else if (decoder->owes_space)
    g_string_append_c (decoder->text, ' ');
  decoder->owes_space = FALSE;
  g_string_append_len (decoder->text, text, n);
  decoder->end = end;
  decoder->has_text = TRUE;
}

/* Words may begin anywhere in it. */
static void
take_token (CtcDecoder *decoder, gint token, guint64 begin, guint64 end)
{
  const gchar *text = ctc_tokens_get_text (decoder->tokens, token), *space;

  decoder->has_text = FALSE;
  for (; text != NULL && *text != '\0'; text = space) {
    space = strstr (text, CTC_SPACE);
    if (space == NULL)
      space = text + strlen (text);
    if (space > text)
      take_text (decoder, text, space - text, begin, end);
    if (*space == '\0')
      continue;
    take_space (decoder, begin, end);
    space += strlen (CTC_SPACE);
  }
}

/* ---- frames ---- */

void
ctc_decoder_take (CtcDecoder *decoder, gint token, guint64 begin, guint64 end)
{
  if (is_pause (decoder, begin))
    finish_text (decoder, begin, FALSE);
  if (token != NO_TOKEN && token != decoder->last)
    take_token (decoder, token, begin, end);
  else if (token != NO_TOKEN && decoder->has_text && is_speaking (decoder) && !is_too_long (decoder, end, FALSE))
    decoder->end = end;
  decoder->last = token;
  decoder->now = end;
  if (is_pause (decoder, end))
    finish_text (decoder, end, FALSE);
}

void
ctc_decoder_skip (CtcDecoder *decoder, guint64 end)
{
  decoder->last = NO_TOKEN;
  if (is_pause (decoder, end))
    finish_text (decoder, decoder->end + decoder->settings.timeout, FALSE);
  decoder->now = decoder->now != NO_TIME ? MAX (decoder->now, end) : end;
}

static void
begin_stream (CtcDecoder *decoder)
{
  clear_text (decoder);
  decoder->last = NO_TOKEN;
  decoder->begin = decoder->end = 0;
  decoder->now = NO_TIME;
}

void
ctc_decoder_finish (CtcDecoder *decoder)
{
  finish_text (decoder, decoder->now, FALSE);
  begin_stream (decoder);
}

void
ctc_decoder_forget (CtcDecoder *decoder)
{
  g_queue_clear_full (&decoder->finished, free_text);
  begin_stream (decoder);
}

CtcText *
ctc_decoder_pop (CtcDecoder *decoder)
{
  return g_queue_pop_head (&decoder->finished);
}

guint64
ctc_decoder_get_begin (const CtcDecoder *decoder)
{
  return is_speaking (decoder) ? decoder->begin : NO_TIME;
}

guint64
ctc_decoder_get_now (const CtcDecoder *decoder)
{
  return decoder->now;
}

/* ---- states ---- */

/*
 * A state is CTC_STATE_MAGIC, the SHA-256 of the rest in hexadecimal digits, and a GVariant in little endian:
 * phrases, the hash of the tokens, last, has_text, owes_space, text; then how long before now the text began, and
 * ended, and `told` was.
 */
#define N_MAGIC (sizeof CTC_STATE_MAGIC - 1)
#define N_HASH 64
#define TYPE "(bsibbayttt)"

static gchar *
hash_of (gconstpointer data, gsize size)
{
  return g_compute_checksum_for_data (G_CHECKSUM_SHA256, data, size);
}

/* Takes `variant`, which may be floating. Transfer full. */
static GVariant *
to_little_endian (GVariant *variant)
{
  GVariant *swapped;

  g_variant_ref_sink (variant);
  if (G_BYTE_ORDER == G_LITTLE_ENDIAN)
    return variant;
  swapped = g_variant_byteswap (variant);
  g_variant_unref (variant);
  return swapped;
}

GBytes *
ctc_decoder_save (const CtcDecoder *decoder, guint64 told)
{
  guint64 now = decoder->now != NO_TIME ? decoder->now : 0;
  GVariant *text = g_variant_new_fixed_array (G_VARIANT_TYPE_BYTE, decoder->text->str, decoder->text->len, 1);
  GVariant *variant = to_little_endian (
      g_variant_new ("(bsibb@ayttt)", decoder->settings.phrases, ctc_tokens_get_hash (decoder->tokens), decoder->last,
                     decoder->has_text, decoder->owes_space, text, elapsed (decoder->begin, now),
                     elapsed (decoder->end, now), elapsed (told, now)));
  GByteArray *bytes = g_byte_array_new ();
  gchar *hash = hash_of (g_variant_get_data (variant), g_variant_get_size (variant));

  g_byte_array_append (bytes, (const guint8 *) CTC_STATE_MAGIC, N_MAGIC);
  g_byte_array_append (bytes, (const guint8 *) hash, N_HASH);
  g_byte_array_append (bytes, g_variant_get_data (variant), g_variant_get_size (variant));
  g_free (hash);
  g_variant_unref (variant);
  return g_byte_array_free_to_bytes (bytes);
}

/* NULL: they are damaged, or something else. */
static GVariant *
open_state (GBytes *state)
{
  gsize size;
  const gchar *data = g_bytes_get_data (state, &size);
  GVariant *variant = NULL;
  GBytes *content;
  gchar *hash;

  if (size < N_MAGIC + N_HASH || memcmp (data, CTC_STATE_MAGIC, N_MAGIC) != 0)
    return NULL;
  hash = hash_of (data + N_MAGIC + N_HASH, size - N_MAGIC - N_HASH);
  if (memcmp (hash, data + N_MAGIC, N_HASH) == 0) {
    /* In memory of its own, as its numbers are aligned. */
    content = g_bytes_new (data + N_MAGIC + N_HASH, size - N_MAGIC - N_HASH);
    variant = to_little_endian (g_variant_new_from_bytes (G_VARIANT_TYPE (TYPE), content, FALSE));
    g_bytes_unref (content);
  }
  g_free (hash);
  if (variant != NULL && !g_variant_is_normal_form (variant))
    g_clear_pointer (&variant, g_variant_unref);
  return variant;
}

gboolean
ctc_decoder_check (const CtcDecoder *decoder, GBytes *state, GError **error)
{
  GVariant *variant = open_state (state);
  gboolean phrases, fits;
  const gchar *hash;

  if (variant == NULL) {
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                 "%" G_GSIZE_FORMAT
                 " bytes are not a whole state of ctctext: they are damaged, or are not a state at all",
                 g_bytes_get_size (state));
    return FALSE;
  }
  g_variant_get (variant, "(b&sibb@ayttt)", &phrases, &hash, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
  fits = phrases == decoder->settings.phrases && strcmp (hash, ctc_tokens_get_hash (decoder->tokens)) == 0;
  if (phrases != decoder->settings.phrases)
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "the state was saved with output=%s, but output=%s is set",
                 phrases ? "partial" : "words", phrases ? "words" : "partial");
  else if (!fits)
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                 "the state was saved with other tokens: the hash of those is %.8s, the hash of these is %.8s", hash,
                 ctc_tokens_get_hash (decoder->tokens));
  g_variant_unref (variant);
  return fits;
}

void
ctc_decoder_restore (CtcDecoder *decoder, GBytes *state, guint64 next, guint64 *told)
{
  GVariant *variant = open_state (state), *text;
  guint64 since_begin, since_end, since_told;

  ctc_decoder_forget (decoder);
  g_variant_get (variant, "(bsibb@ayttt)", NULL, NULL, &decoder->last, &decoder->has_text, &decoder->owes_space, &text,
                 &since_begin, &since_end, &since_told);
  g_string_append_len (decoder->text, g_variant_get_data (text), g_variant_get_size (text));
  decoder->begin = elapsed (since_begin, next);
  decoder->end = elapsed (since_end, next);
  *told = elapsed (since_told, next);
  decoder->now = next;
  g_variant_unref (text);
  g_variant_unref (variant);
}
