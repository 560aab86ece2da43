/*
 * Greedy CTC decoding, and files of tokens: against the definition, and hostile files.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "ctcdecoder.h"

#include <math.h>

#include "ctccheck.h"

#define FRAME (40 * GST_MSECOND)
#define EVER (G_MAXINT64 / 4)

static gchar *tokens_path;
static CtcTokens *tokens;

static void
setup (void)
{
  make_folder ();
  tokens_path = write_tokens ();
  tokens = ctc_tokens_read (tokens_path, NULL);
  fail_unless (tokens != NULL);
}

static void
teardown (void)
{
  ctc_tokens_free (tokens);
  g_free (tokens_path);
  remove_folder ();
}

static CtcDecoder *
new_decoder (gboolean phrases, guint64 timeout, guint64 max_duration)
{
  const CtcSettings settings = { phrases, timeout, max_duration };

  return ctc_decoder_new (tokens, &settings);
}

static void
take (CtcDecoder *decoder, const gchar *path, guint begin, guint end)
{
  guint t;

  for (t = begin; t < end; t++) {
    if (path[t] == '.')
      ctc_decoder_skip (decoder, (t + 1) * FRAME);
    else
      ctc_decoder_take (decoder, path[t] == '-' ? -1 : token_of (path[t]), t * FRAME, (t + 1) * FRAME);
  }
}

/* The next text, its frames `from` to `to`. */
static void
check_next (CtcDecoder *decoder, const gchar *text, guint from, guint to, const gchar *path)
{
  CtcText *got = ctc_decoder_pop (decoder);

  fail_unless (got != NULL, "%s: no text, expected %s", path, text);
  fail_unless_equals_string (got->text, text);
  fail_unless_equals_uint64 (got->begin, from * FRAME);
  fail_unless_equals_uint64 (got->end, (to + 1) * FRAME);
  ctc_text_free (got);
}

static void
check_no_more (CtcDecoder *decoder)
{
  CtcText *got = ctc_decoder_pop (decoder);

  fail_unless (got == NULL, "another text: %s", got != NULL ? got->text : "");
}

static void
check_words (CtcDecoder *decoder, const gchar *path)
{
  GArray *words = words_of (path);
  guint i;

  for (i = 0; i < words->len; i++) {
    Word *word = &g_array_index (words, Word, i);

    check_next (decoder, word->text, word->first, word->last, path);
  }
  check_no_more (decoder);
  g_array_unref (words);
}

/* ---- the decoder ---- */

GST_START_TEST (test_words_are_those_of_the_definition)
{
  GRand *rand = g_rand_new_with_seed (1);
  guint i;

  for (i = 0; i < 400; i++) {
    gchar *path = random_path (rand, g_rand_int_range (rand, 0, 40));
    CtcDecoder *decoder = new_decoder (FALSE, EVER, EVER);

    take (decoder, path, 0, strlen (path));
    ctc_decoder_finish (decoder);
    check_words (decoder, path);
    ctc_decoder_free (decoder);
    g_free (path);
  }
  g_rand_free (rand);
}
GST_END_TEST;

GST_START_TEST (test_same_token_again_needs_a_blank_or_an_absent_frame)
{
  static const struct {
    const gchar *path, *text;
  } cases[] = {
    { "Hllo", "helo" }, { "Hl-lo", "hello" }, { "Hl.lo", "hello" }, { "HH-lll-l-o-", "hello" }, { "H__l", "l" },
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    CtcDecoder *decoder = new_decoder (FALSE, EVER, EVER);
    CtcText *text, *last = NULL;

    take (decoder, cases[i].path, 0, strlen (cases[i].path));
    ctc_decoder_finish (decoder);
    while ((text = ctc_decoder_pop (decoder)) != NULL) {
      ctc_text_free (last);
      last = text;
    }
    fail_unless (last != NULL && strcmp (last->text, cases[i].text) == 0, "%s", cases[i].path);
    ctc_text_free (last);
    ctc_decoder_free (decoder);
  }
}
GST_END_TEST;

GST_START_TEST (test_phrase_holds_its_words_until_a_pause)
{
  CtcDecoder *decoder = new_decoder (TRUE, 5 * FRAME, EVER);
  CtcText *text;

  take (decoder, "Hl-lo_-W--d----", 0, 15);
  check_no_more (decoder);
  text = ctc_decoder_peek (decoder);
  fail_unless_equals_string (text->text, "hello world");
  ctc_text_free (text);
  take (decoder, "Hl-lo_-W--d-----H", 15, 17);
  check_next (decoder, "hello world", 0, 10, "phrase");
  check_no_more (decoder);
  ctc_decoder_free (decoder);
}
GST_END_TEST;

/* The word ends with the frame that makes the pause long enough, and not before. */
GST_START_TEST (test_word_is_finished_by_a_pause_or_by_the_next_word)
{
  static const gchar path[] = "Ho-----lW";
  CtcDecoder *decoder = new_decoder (FALSE, 5 * FRAME, EVER);

  take (decoder, path, 0, 6);
  check_no_more (decoder);
  take (decoder, path, 6, 7);
  check_next (decoder, "heo", 0, 1, path);
  take (decoder, path, 7, 8);
  check_no_more (decoder);
  take (decoder, path, 8, 9);
  check_next (decoder, "l", 7, 7, path);
  ctc_decoder_free (decoder);
}
GST_END_TEST;

GST_START_TEST (test_long_word_is_cut)
{
  CtcDecoder *decoder = new_decoder (FALSE, EVER, 4 * FRAME);
  CtcText *text;

  take (decoder, "Hlololo", 0, 7);
  text = ctc_decoder_pop (decoder);
  fail_unless_equals_string (text->text, "helol");
  fail_unless (text->is_cut);
  ctc_text_free (text);
  take (decoder, "HlololoW", 7, 8);
  text = ctc_decoder_pop (decoder);
  fail_unless_equals_string (text->text, "olo");
  fail_unless (!text->is_cut && text->begin == 4 * FRAME);
  ctc_text_free (text);
  ctc_decoder_free (decoder);
}
GST_END_TEST;

/* It ends in front of a word, if one begins before it is twice as long. */
GST_START_TEST (test_long_phrase_ends_with_a_word_or_is_cut)
{
  static const gchar words[] = "Hlo-lW", word[] = "Hlolololo";
  CtcDecoder *decoder = new_decoder (TRUE, EVER, 4 * FRAME);
  CtcText *text;

  take (decoder, words, 0, 5);
  check_no_more (decoder);
  take (decoder, words, 5, 6);
  check_next (decoder, "helol", 0, 4, words);
  ctc_decoder_forget (decoder);
  take (decoder, word, 0, 8);
  check_no_more (decoder);
  take (decoder, word, 8, 9);
  text = ctc_decoder_pop (decoder);
  fail_unless_equals_string (text->text, "helololol");
  fail_unless (text->is_cut);
  ctc_text_free (text);
  ctc_decoder_free (decoder);
}
GST_END_TEST;

/* The word of a token that never stops still ends. */
GST_START_TEST (test_endless_token_does_not_hold_its_word_back)
{
  static const gchar path[] = "Hllllllllllllll";
  CtcDecoder *decoder = new_decoder (FALSE, 3 * FRAME, 5 * FRAME);

  take (decoder, path, 0, 7);
  check_no_more (decoder);
  take (decoder, path, 7, strlen (path));
  check_next (decoder, "hel", 0, 4, path);
  check_no_more (decoder);
  ctc_decoder_free (decoder);
}
GST_END_TEST;

/* No frame or gap says that time passes. */
GST_START_TEST (test_text_without_times_has_a_longest_length)
{
  CtcDecoder *decoder = new_decoder (TRUE, EVER, EVER);
  CtcText *text = NULL;
  guint i;

  for (i = 0; text == NULL; i++) {
    fail_unless (i < 2 * CTC_MAX_TEXT);
    ctc_decoder_take (decoder, token_of (i % 2 ? 'l' : 'o'), 0, 0);
    text = ctc_decoder_pop (decoder);
  }
  fail_unless_equals_uint64 (strlen (text->text), CTC_MAX_TEXT);
  ctc_text_free (text);
  ctc_decoder_free (decoder);
}
GST_END_TEST;

/* numpy.argmax, but for ties with the blank. */
GST_START_TEST (test_best_value)
{
  const gfloat few[] = { -3, -1, -1, -2 }, infinite[] = { -INFINITY, -INFINITY, -INFINITY }, damaged[] = { 0, 1, NAN };
  const gfloat large[] = { 0, INFINITY, 1 };

  fail_unless_equals_int (ctc_best (few, 4, 0), 1);
  fail_unless_equals_int (ctc_best (few, 4, 3), 1);
  fail_unless_equals_int (ctc_best (few, 4, 2), 2);
  fail_unless_equals_int (ctc_best (infinite, 3, 2), 2);
  fail_unless_equals_int (ctc_best (large, 3, 0), 1);
  fail_unless_equals_int (ctc_best (damaged, 3, 0), -1);
  fail_unless_equals_int (ctc_best (damaged, 3, 2), -1);
}
GST_END_TEST;

/* ---- states ---- */

/* Saved and restored after every frame, in a decoder of its own, the words and times are those of one decoder. */
GST_START_TEST (test_state_goes_on_in_the_middle_of_a_word)
{
  GRand *rand = g_rand_new_with_seed (2);
  guint i, t;

  for (i = 0; i < 24; i++) {
    gchar *path = random_path (rand, 30);
    guint phrases = i % 2;
    CtcDecoder *whole = new_decoder (phrases, 6 * FRAME, 20 * FRAME),
               *parts = new_decoder (phrases, 6 * FRAME, 20 * FRAME);

    for (t = 0; path[t] != '\0'; t++) {
      GBytes *state = ctc_decoder_save (parts, t * FRAME);
      CtcText *a, *b;
      guint64 told;

      ctc_decoder_free (parts);
      parts = new_decoder (phrases, 6 * FRAME, 20 * FRAME);
      fail_unless (ctc_decoder_check (parts, state, NULL));
      ctc_decoder_restore (parts, state, t * FRAME, &told);
      fail_unless_equals_uint64 (told, t * FRAME);
      g_bytes_unref (state);
      take (whole, path, t, t + 1);
      take (parts, path, t, t + 1);
      do {
        a = ctc_decoder_pop (whole);
        b = ctc_decoder_pop (parts);
        fail_unless ((a == NULL) == (b == NULL), "%s at %u", path, t);
        fail_unless (a == NULL || (strcmp (a->text, b->text) == 0 && a->begin == b->begin && a->end == b->end));
        ctc_text_free (b);
        ctc_text_free (a);
      } while (a != NULL);
    }
    ctc_decoder_free (whole);
    ctc_decoder_free (parts);
    g_free (path);
  }
  g_rand_free (rand);
}
GST_END_TEST;

static void
check_refused (CtcDecoder *decoder, gconstpointer data, gsize size, const gchar *part)
{
  GBytes *state = g_bytes_new (data, size);
  GError *error = NULL;

  fail_unless (!ctc_decoder_check (decoder, state, &error));
  fail_unless (strstr (error->message, part) != NULL, "%s", error->message);
  g_error_free (error);
  g_bytes_unref (state);
}

GST_START_TEST (test_damaged_states_are_refused)
{
  CtcDecoder *decoder = new_decoder (FALSE, EVER, EVER);
  gsize size, i;
  guint8 *data;

  take (decoder, "-Hl", 0, 3);
  data = g_bytes_unref_to_data (ctc_decoder_save (decoder, 0), &size);
  for (i = 0; i < size; i++) {
    data[i] ^= 1 << i % 8;
    check_refused (decoder, data, size, "damaged");
    data[i] ^= 1 << i % 8;
    check_refused (decoder, data, i, "damaged");
  }
  g_free (data);
  ctc_decoder_free (decoder);
}
GST_END_TEST;

GST_START_TEST (test_states_of_other_tokens_or_outputs_are_refused)
{
  CtcDecoder *decoder = new_decoder (FALSE, EVER, EVER), *other = new_decoder (TRUE, EVER, EVER);
  GBytes *state = ctc_decoder_save (decoder, 0);
  gsize size;
  gconstpointer data = g_bytes_get_data (state, &size);

  check_refused (other, data, size, "saved with output=words, but output=partial is set");
  ctc_decoder_free (other);
  ctc_tokens_free (tokens);
  write_file ("tokens.txt", "<blk>\na\n", 8);
  tokens = ctc_tokens_read (tokens_path, NULL);
  other = new_decoder (FALSE, EVER, EVER);
  check_refused (other, data, size, "other tokens");
  ctc_decoder_free (other);
  ctc_decoder_free (decoder);
  g_bytes_unref (state);
}
GST_END_TEST;

/* ---- tokens ---- */

/* The tokens in the file of `text` [size], with '|' in between, or the error. */
static gchar *
read_back (const gchar *text, gsize size)
{
  GError *error = NULL;
  GString *result;
  CtcTokens *read;
  gchar *path = path_of ("read.txt");
  guint i;

  write_file ("read.txt", text, size);
  read = ctc_tokens_read (path, &error);
  g_free (path);
  result = g_string_new (error != NULL ? error->message : "");
  for (i = 0; read != NULL && i < ctc_tokens_get_n (read); i++)
    g_string_append_printf (result, "%s%s", i > 0 ? "|" : "", ctc_tokens_get_text (read, i));
  g_clear_error (&error);
  ctc_tokens_free (read);
  return g_string_free (result, FALSE);
}

typedef struct {
  const gchar *text, *expected;
} FileCase;

static void
check_files (const FileCase *cases, guint n)
{
  guint i;

  for (i = 0; i < n; i++) {
    gchar *got = read_back (cases[i].text, strlen (cases[i].text));

    fail_unless (strstr (got, cases[i].expected) != NULL, "\"%s\" gives \"%s\", expected \"%s\"", cases[i].text, got,
                 cases[i].expected);
    g_free (got);
  }
}

GST_START_TEST (test_kinds_of_token_files)
{
  static const FileCase cases[] = {
    { "<blk> 0\n" SPACE "the 1\na 2\n", "<blk>|" SPACE "the|a" }, /* sherpa-onnx */
    { "a\t1\n<blk>\t0\n", "<blk>|a" },                            /* in any order */
    { "<blk> 0\n  1\nb 2", "<blk>|" SPACE "|b" },                 /* a space, as sherpa-onnx writes it */
    { "<blk> 0\n1\nb 2\n", "<blk>|" SPACE "|b" },
    { SPACE "the\na\n##b\n", SPACE "the|a|##b" }, /* NeMo */
    { " \na\n'\n", SPACE "|a|'" },                /* NeMo, letters */
    { "0\n1\n2\n", "0|1|2" },                     /* digits are tokens if no token has a number */
    { "\xef\xbb\xbf"
      "a 0\r\nb 1\r\n",
      "a|b" },                                                  /* Windows */
    { "<0xE4> 0\n<0x00> 1\n<0xGG> 2\n", "\xe4|<0x00>|<0xGG>" }, /* bytes */
    { "a 00\n", "a" },
    { "<pad> 0\n| 1\n", "<pad>||" }, /* wav2vec 2.0: its mark is not a space */
  };

  check_files (cases, G_N_ELEMENTS (cases));
}
GST_END_TEST;

GST_START_TEST (test_wrong_lines_are_named)
{
  static const FileCase cases[] = {
    { "", "is empty" },
    { "\n", "is empty" },
    { "a\n\nb\n", "line 2 is empty" },
    { "a 0\n\n", "line 2 is empty" },
    { "<blk>\n the\n", "line 2, \" the\", begins with a space" },
    { "<blk> 0\n\tthe 1\n", "line 2, \"\tthe 1\", begins with a space" },
    { "a 0\nb 0\n", "line 2 has the number 0, as line 1 has" },
    { "a 0\nb 2\n", "line 2 has the number 2, but 2 lines have the numbers 0 to 1, once each" },
    { "a 0\nb 99999999999999999999999\n", "line 2 has the number 99999999999999999999999" },
    { "a\nb 1\n", "line 1, \"a\", has no number, but line 2 has one" },
    { "a 0\nb -1\n", "line 2, \"b -1\", has \"-1\" behind its token" },
    { "a 0\nb 1 2\n", "has \"1 2\" behind its token" },
    { "a 0.5\n", "`cut -f1`" },
    { "a 0\n\xff 1\n", "line 2 is not text in UTF-8: it has the byte 0xff" },
    { "a 0\nb 1\xe2\x96", "line 2 is not text in UTF-8: it has the byte 0xe2" },
  };

  check_files (cases, G_N_ELEMENTS (cases));
}
GST_END_TEST;

GST_START_TEST (test_hostile_files_are_refused)
{
  GString *many = g_string_new (NULL);
  gchar *binary = g_strnfill (100, 'a'), *huge = g_strnfill (CTC_MAX_TOKENS_SIZE + 1, 'a');
  guint i;

  binary[50] = '\0';
  check_text (read_back (binary, 100), "line 1 is not text in UTF-8: it has the byte 0x00");
  check_text (read_back (huge, CTC_MAX_TOKENS_SIZE + 1), "has 4194305 bytes, expected at most 4194304");
  for (i = 0; i <= CTC_MAX_TOKENS; i++)
    g_string_append (many, "a\n");
  check_text (read_back (many->str, many->len), "has 65537 lines, expected at most 65536");
  g_string_free (many, TRUE);
  g_free (binary);
  g_free (huge);
}
GST_END_TEST;

GST_START_TEST (test_files_that_cannot_be_read)
{
  static const FileCase cases[] = { { "/nowhere/tokens.txt", "/nowhere/tokens.txt: No such file" },
                                    { "/", "is not a regular file" },
                                    { "/dev/zero", "is not a regular file" } };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    GError *error = NULL;

    fail_unless (ctc_tokens_read (cases[i].text, &error) == NULL);
    fail_unless (strstr (error->message, cases[i].expected) != NULL, "%s", error->message);
    g_error_free (error);
  }
}
GST_END_TEST;

GST_START_TEST (test_which_value_is_the_blank)
{
  static const struct {
    const gchar *text;
    guint n_values;
    gint wanted, blank;
    const gchar *error;
  } cases[] = {
    { "<blk>\na\nb\n", 3, -1, 0, NULL },
    { "a\n<blank>\nb\n", 3, -1, 1, NULL },
    { "<eps>\na\n<blk>\n", 3, -1, 2, NULL },
    { "<pad>\na\nb\n", 3, -1, 0, NULL },
    { "a\nb\n", 3, -1, 2, NULL },     /* NeMo */
    { "<pad>\nb\n", 3, -1, 2, NULL }, /* NeMo, with a token of padding */
    { "a\nb\n", 3, 2, 2, NULL },
    { "a\nb\nc\n", 3, 1, 1, NULL },
    { "a\nb\nc\n", 3, -1, -1, "none of the 3 tokens is named" },
    { "a\nb\nc\n", 3, 3, -1, "blank=3 was set, but the frames have 3 values, 0 to 2" },
    { "a\nb\n", 3, 0, -1, "has 2 tokens, but the frames have 3 values" },
    { "<blk>\nb\n", 3, -1, -1, "has 2 tokens, but the frames have 3 values" },
    { "a\nb\nc\n", 2, -1, -1, "has 3 tokens, but the frames have 2 values" },
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    GError *error = NULL;
    CtcTokens *read;

    write_file ("tokens.txt", cases[i].text, strlen (cases[i].text));
    read = ctc_tokens_read (tokens_path, &error);
    fail_unless_equals_int (ctc_tokens_find_blank (read, cases[i].n_values, cases[i].wanted, &error), cases[i].blank);
    fail_unless ((error == NULL) == (cases[i].error == NULL), "case %u", i);
    fail_unless (error == NULL || strstr (error->message, cases[i].error) != NULL, "%s", error->message);
    g_clear_error (&error);
    ctc_tokens_free (read);
  }
}
GST_END_TEST;

/* Characters that have no token come as bytes. */
GST_START_TEST (test_bytes_join_to_characters)
{
  CtcDecoder *decoder;
  CtcText *text;

  ctc_tokens_free (tokens);
  write_file ("tokens.txt", "<blk>\n<0xC3>\n<0xA4>\na\n", 22);
  tokens = ctc_tokens_read (tokens_path, NULL);
  decoder = new_decoder (FALSE, EVER, EVER);
  ctc_decoder_take (decoder, 3, 0, 1);
  ctc_decoder_take (decoder, 1, 1, 2);
  text = ctc_decoder_peek (decoder);
  fail_unless (g_utf8_validate (text->text, -1, NULL));
  ctc_text_free (text);
  ctc_decoder_take (decoder, 2, 2, 3);
  text = ctc_decoder_peek (decoder);
  fail_unless_equals_string (text->text, "a\xc3\xa4");
  ctc_text_free (text);
  ctc_decoder_free (decoder);
}
GST_END_TEST;

static Suite *
ctcdecoder_suite (void)
{
  Suite *suite = suite_create ("ctcdecoder");
  TCase *tc = tcase_create ("decoding"), *tc_tokens = tcase_create ("tokens");

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, setup, teardown);
  tcase_add_test (tc, test_words_are_those_of_the_definition);
  tcase_add_test (tc, test_same_token_again_needs_a_blank_or_an_absent_frame);
  tcase_add_test (tc, test_phrase_holds_its_words_until_a_pause);
  tcase_add_test (tc, test_word_is_finished_by_a_pause_or_by_the_next_word);
  tcase_add_test (tc, test_long_word_is_cut);
  tcase_add_test (tc, test_long_phrase_ends_with_a_word_or_is_cut);
  tcase_add_test (tc, test_endless_token_does_not_hold_its_word_back);
  tcase_add_test (tc, test_text_without_times_has_a_longest_length);
  tcase_add_test (tc, test_best_value);
  tcase_add_test (tc, test_state_goes_on_in_the_middle_of_a_word);
  tcase_add_test (tc, test_damaged_states_are_refused);
  tcase_add_test (tc, test_states_of_other_tokens_or_outputs_are_refused);
  suite_add_tcase (suite, tc_tokens);
  tcase_add_checked_fixture (tc_tokens, setup, teardown);
  tcase_add_test (tc_tokens, test_kinds_of_token_files);
  tcase_add_test (tc_tokens, test_wrong_lines_are_named);
  tcase_add_test (tc_tokens, test_hostile_files_are_refused);
  tcase_add_test (tc_tokens, test_files_that_cannot_be_read);
  tcase_add_test (tc_tokens, test_which_value_is_the_blank);
  tcase_add_test (tc_tokens, test_bytes_join_to_characters);
  return suite;
}

GST_CHECK_MAIN (ctcdecoder);
