/*
 * gst-attention: the tokens of a CTC model, from a text file.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "ctctokens.h"

#include <errno.h>
#include <string.h>

#include <glib/gstdio.h>

/* What the blank is called: by icefall and sherpa-onnx, by WeNet and ESPnet, by Kaldi, by wav2vec 2.0. */
static const gchar *const blank_names[] = { "<blk>", "<blank>", "<eps>", "<pad>" };

/* The last of them is another token in files that leave the blank out. */
#define N_SURE_BLANK_NAMES 3

/* Of what stands in a file, no more is shown. */
#define SHOWN "%.60s"

struct _CtcTokens {
  gchar *path;
  gchar **texts; /* [n] */
  guint n;
  gchar *hash;
};

/* A line, taken apart. */
typedef struct {
  const gchar *token;  /* NULL: a space */
  const gchar *number; /* NULL: there is none */
} Line;

/* FALSE, with a sentence behind the name of the file. */
static gboolean refuse (const gchar *path, GError **error, const gchar *format, ...) G_GNUC_PRINTF (3, 4);

static gboolean
refuse (const gchar *path, GError **error, const gchar *format, ...)
{
  va_list args;
  gchar *sentence;

  va_start (args, format);
  sentence = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "tokens: %s: %s", path, sentence);
  g_free (sentence);
  return FALSE;
}

/* ---- the file ---- */

/* NULL: it cannot be read, or it is none of this kind. */
static gchar *
read_file (const gchar *path, gsize *size, GError **error)
{
  gchar *content;
  GStatBuf about;

  if (g_stat (path, &about) != 0) {
    g_set_error (error, G_FILE_ERROR, g_file_error_from_errno (errno), "tokens: %s: %s", path, g_strerror (errno));
    return NULL;
  }
  if (!S_ISREG (about.st_mode)) {
    refuse (path, error, "is not a regular file");
    return NULL;
  }
  if (about.st_size > CTC_MAX_TOKENS_SIZE) {
    refuse (path, error, "the file has %" G_GINT64_FORMAT " bytes, expected at most %d: is it a list of tokens?",
            (gint64) about.st_size, CTC_MAX_TOKENS_SIZE);
    return NULL;
  }
  if (!g_file_get_contents (path, &content, size, error)) {
    g_prefix_error (error, "tokens: ");
    return NULL;
  }
  return content;
}

/* The number of the line that `end` is in. */
static guint
count_lines_before (const gchar *content, const gchar *end)
{
  guint n = 1;

  for (; content < end; content++)
    n += *content == '\n';
  return n;
}

static gboolean
check_text (const gchar *path, const gchar *content, gsize size, GError **error)
{
  const gchar *end;

  if (g_utf8_validate_len (content, size, &end))
    return TRUE;
  return refuse (path, error, "line %u is not text in UTF-8: it has the byte 0x%02x", count_lines_before (content, end),
                 (guint8) *end);
}

/* Without the byte order mark, the last line's end, and what Windows puts at the end of lines. Transfer full. */
static gchar **
split (gchar *content)
{
  gchar **lines, **line;
  gsize length;

  if (g_str_has_prefix (content, "\xef\xbb\xbf"))
    content += 3;
  length = strlen (content);
  if (length > 0 && content[length - 1] == '\n')
    content[--length] = '\0';
  lines = g_strsplit (content, "\n", -1);
  for (line = lines; *line != NULL; line++)
    if (g_str_has_suffix (*line, "\r"))
      (*line)[strlen (*line) - 1] = '\0';
  return lines;
}

/* ---- lines ---- */

#define BLANKS " \t"

static gboolean
is_number (const gchar *text)
{
  return *text != '\0' && text[strspn (text, "0123456789")] == '\0';
}

static gboolean
has_two_fields (const gchar *line)
{
  const gchar *token = line + strspn (line, BLANKS), *rest = token + strcspn (token, BLANKS);

  return rest[strspn (rest, BLANKS)] != '\0';
}

/* The first line with a token and something behind it, or -1: the file has no numbers. */
static gint
find_number (gchar **lines)
{
  gint i;

  for (i = 0; lines[i] != NULL; i++)
    if (has_two_fields (lines[i]))
      return i;
  return -1;
}

/* Cuts `line`. */
static Line
take_apart (gchar *line, gboolean has_numbers)
{
  gchar *token = line + strspn (line, BLANKS), *number = token + strcspn (token, BLANKS);

  if (*number != '\0')
    *number++ = '\0';
  number = g_strstrip (number);
  if (has_numbers && *number == '\0' && is_number (token))
    return (Line){ .number = token };
  return (Line){ *token != '\0' ? token : NULL, *number != '\0' ? number : NULL };
}

/* What counts of a token: the byte that it stands for, or itself. Transfer full. */
static gchar *
make_text (const gchar *token)
{
  guint64 byte;

  if (token == NULL)
    return g_strdup (CTC_SPACE);
  if (strlen (token) == strlen ("<0xE4>") && g_str_has_prefix (token, "<0x") && token[5] == '>'
      && g_ascii_isxdigit (token[3]) && g_ascii_isxdigit (token[4])) {
    byte = g_ascii_strtoull (token + 3, NULL, 16);
    if (byte != 0)
      return g_strdup_printf ("%c", (gint) byte);
  }
  return g_strdup (token);
}

/* Puts the token of line `i` where its number says; `line_of` [n], -1: none yet. */
static gboolean
place (CtcTokens *tokens, guint i, const Line *line, gint *line_of, GError **error)
{
  guint64 number = line->number != NULL ? g_ascii_strtoull (line->number, NULL, 10) : i;

  if (number >= tokens->n)
    return refuse (tokens->path, error,
                   "line %u has the number " SHOWN ", but %u lines have the numbers 0 to %u, once each", i + 1,
                   line->number, tokens->n, tokens->n - 1);
  if (line_of[number] >= 0)
    return refuse (tokens->path, error, "line %u has the number %" G_GUINT64_FORMAT ", as line %d has", i + 1, number,
                   line_of[number] + 1);
  line_of[number] = i;
  tokens->texts[number] = make_text (line->token);
  return TRUE;
}

/* `first`: the first line with a number; -1: none has one. */
static gboolean
read_line (CtcTokens *tokens, guint i, gchar *text, gint first, gint *line_of, GError **error)
{
  gchar *whole = g_strdup (text);
  Line line = take_apart (text, first >= 0);
  gboolean ok;

  if (*whole == '\0')
    ok = refuse (tokens->path, error, "line %u is empty, expected a token", i + 1);
  else if (line.token != NULL && strchr (BLANKS, *whole) != NULL)
    ok = refuse (tokens->path, error,
                 "line %u, \"" SHOWN "\", begins with a space: write U+2581 for a space that belongs to the token, or "
                 "remove it",
                 i + 1, whole);
  else if (first >= 0 && line.number == NULL)
    ok = refuse (tokens->path, error, "line %u, \"" SHOWN "\", has no number, but line %d has one", i + 1, whole,
                 first + 1);
  else if (first >= 0 && !is_number (line.number))
    ok = refuse (tokens->path, error,
                 "line %u, \"" SHOWN "\", has \"" SHOWN
                 "\" behind its token, expected the number of the token: where that is a score, `cut -f1` leaves the "
                 "tokens",
                 i + 1, whole, line.number);
  else
    ok = place (tokens, i, &line, line_of, error);
  g_free (whole);
  return ok;
}

/* `lines` [tokens->n] */
static gboolean
read_lines (CtcTokens *tokens, gchar **lines, GError **error)
{
  gint first = find_number (lines), *line_of = g_new (gint, tokens->n);
  gboolean ok = TRUE;
  guint i;

  for (i = 0; i < tokens->n; i++)
    line_of[i] = -1;
  for (i = 0; ok && i < tokens->n; i++)
    ok = read_line (tokens, i, lines[i], first, line_of, error);
  g_free (line_of);
  return ok;
}

static gchar *
make_hash (const CtcTokens *tokens)
{
  GChecksum *checksum = g_checksum_new (G_CHECKSUM_SHA256);
  gchar *hash;
  guint i;

  for (i = 0; i < tokens->n; i++)
    g_checksum_update (checksum, (const guchar *) tokens->texts[i], strlen (tokens->texts[i]) + 1);
  hash = g_strdup (g_checksum_get_string (checksum));
  g_checksum_free (checksum);
  return hash;
}

static CtcTokens *
parse (const gchar *path, gchar *content, GError **error)
{
  gchar **lines = split (content);
  CtcTokens *tokens = g_new0 (CtcTokens, 1);
  gboolean ok;

  tokens->path = g_strdup (path);
  tokens->n = g_strv_length (lines);
  if (tokens->n == 0)
    ok = refuse (path, error, "the file is empty, expected a token in each line");
  else {
    tokens->texts = g_new0 (gchar *, tokens->n + 1);
    ok = read_lines (tokens, lines, error);
  }
  g_strfreev (lines);
  if (ok)
    tokens->hash = make_hash (tokens);
  else
    g_clear_pointer (&tokens, ctc_tokens_free);
  return tokens;
}

static gboolean
check_n_lines (const gchar *path, const gchar *content, gsize size, GError **error)
{
  gboolean is_ended = size > 0 && content[size - 1] == '\n';
  guint n = count_lines_before (content, content + size) - is_ended;

  if (n <= CTC_MAX_TOKENS)
    return TRUE;
  return refuse (path, error, "the file has %u lines, expected at most %d tokens", n, CTC_MAX_TOKENS);
}

CtcTokens *
ctc_tokens_read (const gchar *path, GError **error)
{
  CtcTokens *tokens = NULL;
  gsize size;
  gchar *content = read_file (path, &size, error);

  if (content != NULL && check_n_lines (path, content, size, error) && check_text (path, content, size, error))
    tokens = parse (path, content, error);
  g_free (content);
  return tokens;
}

void
ctc_tokens_free (CtcTokens *tokens)
{
  guint i;

  if (tokens == NULL)
    return;
  for (i = 0; tokens->texts != NULL && i < tokens->n; i++) /* some may be NULL */
    g_free (tokens->texts[i]);
  g_free (tokens->texts);
  g_free (tokens->path);
  g_free (tokens->hash);
  g_free (tokens);
}

/* ---- what they are ---- */

guint
ctc_tokens_get_n (const CtcTokens *tokens)
{
  return tokens->n;
}

const gchar *
ctc_tokens_get_text (const CtcTokens *tokens, guint token)
{
  return token < tokens->n ? tokens->texts[token] : NULL;
}

const gchar *
ctc_tokens_get_hash (const CtcTokens *tokens)
{
  return tokens->hash;
}

/* -1: none has any of the first `n` names. */
static gint
find_blank_name (const CtcTokens *tokens, guint n)
{
  guint i, j;

  for (i = 0; i < n; i++)
    for (j = 0; j < tokens->n; j++)
      if (strcmp (tokens->texts[j], blank_names[i]) == 0)
        return j;
  return -1;
}

/* The file leaves the last value out, which is the blank. */
static gboolean
leaves_blank_out (const CtcTokens *tokens, guint n_values, gint wanted)
{
  return tokens->n + 1 == n_values
         && (wanted < 0 ? find_blank_name (tokens, N_SURE_BLANK_NAMES) < 0 : (guint) wanted == tokens->n);
}

gint
ctc_tokens_find_blank (const CtcTokens *tokens, guint n_values, gint wanted, GError **error)
{
  gint blank = wanted >= 0 ? wanted : find_blank_name (tokens, G_N_ELEMENTS (blank_names));

  if (leaves_blank_out (tokens, n_values, wanted))
    return tokens->n;
  if (tokens->n != n_values)
    goto other_number;
  if (blank < 0)
    goto no_blank;
  if ((guint) blank >= n_values)
    goto no_such_value;
  return blank;

  /* ERRORS */
other_number:
  refuse (tokens->path, error,
          "the file has %u tokens, but the frames have %u values: expected a token for each, or for all but the last, "
          "which is the blank then",
          tokens->n, n_values);
  return -1;

no_blank:
  refuse (tokens->path, error,
          "none of the %u tokens is named <blk>, <blank>, <eps> or <pad>: set blank to the number of the blank",
          tokens->n);
  return -1;

no_such_value:
  refuse (tokens->path, error, "blank=%d was set, but the frames have %u values, 0 to %u", blank, n_values,
          n_values - 1);
  return -1;
}
