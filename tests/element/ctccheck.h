/*
 * Code for the tests of CTC decoding: a small set of tokens, paths over it, and their meaning by definition.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A path is written as one letter per frame: the tokens below by their letter, '-' is the blank, '.' an absent frame.
 */
#ifndef TESTS_ELEMENT_CTCCHECK_H
#define TESTS_ELEMENT_CTCCHECK_H

#include "pipelinecheck.h"

#define SPACE "\xe2\x96\x81"

/* In the order of their numbers. */
static const struct {
  gchar letter;
  const gchar *text;
} ctc_tokens[] = {
  { '-', "<blk>" },     { 'H', SPACE "he" }, { 'l', "l" },   { 'o', "o" },
  { 'W', SPACE "wor" }, { 'd', "ld" },       { '_', SPACE }, { 'x', "a" SPACE "b" },
};

#define N_TOKENS G_N_ELEMENTS (ctc_tokens)
#define LETTERS "-Hlo_Wdx"
#define BLANK 0

static inline gint
token_of (gchar letter)
{
  guint i;

  for (i = 0; i < N_TOKENS; i++)
    if (ctc_tokens[i].letter == letter)
      return i;
  fail_unless (letter == '.', "no token %c", letter);
  return -1;
}

/* As sherpa-onnx exports them; the caller frees the path of the file. */
static inline gchar *
write_tokens (void)
{
  GString *text = g_string_new (NULL);
  guint i;

  for (i = 0; i < N_TOKENS; i++)
    g_string_append_printf (text, "%s %u\n", ctc_tokens[i].text, i);
  write_file ("tokens.txt", text->str, text->len);
  g_string_free (text, TRUE);
  return path_of ("tokens.txt");
}

/* ---- the definition ---- */

typedef struct {
  gchar *text;
  guint first, last; /* frames */
} Word;

static inline void
clear_word (gpointer data)
{
  g_free (((Word *) data)->text);
}

/* Adds text [n], of frames first to last, behind a space if `begins`. */
static inline void
add_to_words (GArray *words, const gchar *text, gsize n, gboolean begins, guint first, guint last)
{
  Word *word, new_word = { g_strdup (""), first, last };
  gchar *longer;

  if (words->len == 0 || begins)
    g_array_append_val (words, new_word);
  else
    g_free (new_word.text);
  word = &g_array_index (words, Word, words->len - 1);
  longer = g_strdup_printf ("%s%.*s", word->text, (gint) n, text);
  g_free (word->text);
  word->text = longer;
  word->last = last;
}

/*
 * The words of a path, by the definition of CTC alone: equal neighbours are one run, blanks are dropped, the texts of
 * the others are joined, and split at spaces. A word that ends inside of a token ends with the first frame of that
 * token. Pauses play no part.
 */
static inline GArray *
words_of (const gchar *path)
{
  GArray *words = g_array_new (FALSE, FALSE, sizeof (Word));
  gboolean begins = TRUE;
  guint first, end;

  g_array_set_clear_func (words, clear_word);
  for (first = 0; path[first] != '\0'; first = end) {
    gchar **parts;
    guint i;

    for (end = first + 1; path[end] == path[first]; end++)
      ;
    if (path[first] == '-' || path[first] == '.')
      continue;
    parts = g_strsplit (ctc_tokens[token_of (path[first])].text, SPACE, -1);
    for (i = 0; parts[i] != NULL; i++) {
      begins |= i > 0;
      if (*parts[i] == '\0')
        continue;
      add_to_words (words, parts[i], strlen (parts[i]), begins, first, parts[i + 1] != NULL ? first : end - 1);
      begins = FALSE;
    }
    g_strfreev (parts);
  }
  return words;
}

static inline gchar *
random_path (GRand *rand, guint n)
{
  GString *path = g_string_new (NULL);

  while (path->len < n) {
    gchar letter = g_rand_boolean (rand) ? '-' : LETTERS "."[g_rand_int_range (rand, 0, N_TOKENS + 1)];
    gint repeat = g_rand_int_range (rand, 1, 4);

    while (repeat-- > 0)
      g_string_append_c (path, letter);
  }
  return g_string_free (path, FALSE);
}

#endif
