/*
 * The element `ctctext`: streams that outlive their process.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <signal.h>
#include <sys/resource.h>

#include "ctcdecoder.h"
#include "ctctextcheck.h"

static const gchar path[] = "--HHl-ll-o--WW-d-----------------------------------H-l.l-o_x-l-";
#define N (sizeof path - 1)

/* Texts of frames `begin` to before `end`; frames from 0 on came before. */
static gchar *
texts_of (GstHarness *h, guint begin, guint end)
{
  gchar *part = g_strndup (path, end), *texts;

  push_path (h, part, begin, 2, GAP_EVENTS);
  texts = pull_texts (h);
  g_free (part);
  return texts;
}

static gchar *
join (gchar *first_texts, gchar *other_texts)
{
  gchar *all = g_strconcat (first_texts, *first_texts != '\0' && *other_texts != '\0' ? "|" : "", other_texts, NULL);

  g_free (first_texts);
  g_free (other_texts);
  return all;
}

static void
check_equal (gchar *got, const gchar *expected, guint k)
{
  fail_unless (strcmp (got, expected) == 0, "cut at %u: \"%s\", expected \"%s\"", k, got, expected);
  g_free (got);
}

/* One process dies anywhere, without any output, and another one goes on. */
static void
check_killed (const gchar *line, const gchar *expected)
{
  guint k;

  for (k = 1; k < N; k++) {
    GstHarness *dying = new_ctctext (line), *heir = new_ctctext (line);
    gchar *before = texts_of (dying, 0, k);
    GBytes *state = save (dying);

    fail_unless (restore (heir, state));
    check_equal (join (before, texts_of (heir, k, N)), expected, k);
    g_bytes_unref (state);
    gst_harness_teardown (dying);
    gst_harness_teardown (heir);
  }
}

GST_START_TEST (test_killed_in_the_middle_of_a_word_it_goes_on)
{
  GstHarness *h = new_ctctext ("word-timeout=400000000");
  gchar *expected = texts_of (h, 0, N);

  fail_unless_equals_string (expected, "hello @2-9|world @12-15|hello @51-57|a @59-59");
  check_killed ("word-timeout=400000000", expected);
  g_free (expected);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_killed_in_the_middle_of_a_phrase_it_goes_on)
{
  static const gchar line[] = "output=partial interval=120000000 word-timeout=400000000";
  GstHarness *h = new_ctctext (line);
  gchar *expected = texts_of (h, 0, N);

  /* Buffers of two frames from the cut on; texts are compared by frames. */
  check_killed (line, expected);
  g_free (expected);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Times are counted back from the frame that goes on, and not beyond the begin of time. */
GST_START_TEST (test_word_goes_on_at_another_time)
{
  GstHarness *dying = new_ctctext (""), *heir = new_ctctext ("");
  GBytes *state;

  push_path (dying, "----Hl-", 0, 1, GAP_EVENTS);
  state = save (dying);
  fail_unless (restore (heir, state));
  push_path (heir, "--------------l-o-", 14, 1, GAP_EVENTS);
  push_eos (heir);
  check_texts (heir, "hello @11-16");
  push_flush (heir);
  push_segment (heir, 0);
  fail_unless (restore (heir, state));
  push_path (heir, "-o-", 0, 1, GAP_EVENTS);
  push_eos (heir);
  check_texts (heir, "helo @0-1");
  g_bytes_unref (state);
  gst_harness_teardown (dying);
  gst_harness_teardown (heir);
}
GST_END_TEST;

/* The end of the stream gives the unfinished word; the saved state is from before. */
GST_START_TEST (test_state_at_the_end_is_that_before_it)
{
  GstHarness *h = new_ctctext ("");
  GBytes *running, *ended;

  push_path (h, "-Hl", 0, 1, GAP_EVENTS);
  running = save (h);
  push_eos (h);
  check_texts (h, "hel @1-2");
  ended = save (h);
  fail_unless (g_bytes_equal (running, ended));
  g_bytes_unref (running);
  g_bytes_unref (ended);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* The unfinished word ends before. */
GST_START_TEST (test_restored_state_takes_the_place_of_the_present_one)
{
  GstHarness *h = new_ctctext ("");
  GBytes *state;

  push_path (h, "Hl-", 0, 1, GAP_EVENTS);
  state = save (h);
  push_path (h, "Hl-W", 3, 1, GAP_EVENTS);
  check_texts (h, "hel @0-1");
  fail_unless (restore (h, state));
  push_path (h, "Hl-Wlo", 4, 1, GAP_EVENTS);
  push_eos (h);
  check_texts (h, "wor @3-3|hello @1-5");
  g_bytes_unref (state);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_restored_state_is_what_is_saved_before_the_next_frame)
{
  GstHarness *h = new_ctctext ("");
  GBytes *state, *again;

  push_path (h, "Hl-", 0, 1, GAP_EVENTS);
  state = save (h);
  push_path (h, "Hl-W", 3, 1, GAP_EVENTS);
  fail_unless (restore (h, state));
  again = save (h);
  fail_unless (g_bytes_equal (again, state));
  g_bytes_unref (state);
  g_bytes_unref (again);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* A forged state whose hash, behind the magic, is right, but one of whose booleans, behind the hash, is 2. */
GST_START_TEST (test_state_of_impossible_values_is_refused)
{
  enum { HASH = sizeof CTC_STATE_MAGIC - 1, CONTENT = HASH + 64 };
  GstHarness *h = new_ctctext ("");
  GstBus *bus = attach_bus (h->element);
  GBytes *state, *forged;
  guint8 *bytes;
  gchar *hash;
  gsize size;

  push_path (h, "Hl-", 0, 1, GAP_EVENTS);
  state = save (h);
  size = g_bytes_get_size (state);
  bytes = g_memdup2 (g_bytes_get_data (state, NULL), size);
  bytes[CONTENT] = 2;
  hash = g_compute_checksum_for_data (G_CHECKSUM_SHA256, bytes + CONTENT, size - CONTENT);
  memcpy (bytes + HASH, hash, CONTENT - HASH);
  forged = g_bytes_new_take (bytes, size);
  fail_if (restore (h, forged));
  fail_unless_said (bus, GST_MESSAGE_WARNING, "bytes are not a whole state of ctctext");
  g_free (hash);
  g_bytes_unref (state);
  g_bytes_unref (forged);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_foreign_states_are_refused)
{
  GstElement *element = gst_element_factory_make ("ctctext", NULL);
  GstHarness *h = new_ctctext ("");
  GstBus *bus = attach_bus (h->element);
  GBytes *none = g_bytes_new_static ("", 0), *state = NULL;
  gboolean ok = TRUE;

  fail_if (restore (h, none));
  fail_unless_said (bus, GST_MESSAGE_WARNING, "0 bytes are not a whole state of ctctext");
  g_signal_emit_by_name (element, "save-state", &state);
  fail_unless (state == NULL);
  g_signal_emit_by_name (element, "restore-state", none, &ok);
  fail_if (ok);
  g_bytes_unref (none);
  gst_object_unref (element);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- files ---- */

/* At the end of a stream, and where it is stopped; each time in another place. */
GST_START_TEST (test_state_file_goes_on_in_the_middle_of_a_word)
{
  gchar *file = path_of ("state"), *line = g_strconcat ("word-timeout=400000000 state-file=", file, NULL);
  static const guint ends[] = { 4, 8, 13, 55, N };
  GString *all = g_string_new (NULL);
  guint begin = 0, i;

  for (i = 0; i < G_N_ELEMENTS (ends); i++) {
    GstHarness *h = new_ctctext (line);
    gchar *texts = texts_of (h, begin, ends[i]);

    g_string_append_printf (all, "%s%s", *texts != '\0' && all->len > 0 ? "|" : "", texts);
    if (i % 2)
      push_eos (h);
    begin = ends[i];
    g_free (texts);
    gst_harness_teardown (h);
  }
  fail_unless_equals_string (all->str, "hello @2-9|world @12-15|hello @51-57|a @59-59");
  g_string_free (all, TRUE);
  g_free (line);
  g_free (file);
}
GST_END_TEST;

static void
check_file_error (const gchar *line, const gchar *part)
{
  GstElement *element = gst_element_factory_make ("ctctext", NULL);

  g_object_set (element, "tokens", tokens_path, NULL);
  set_properties (element, line);
  fail_unless_start_refused (element, part);
}

GST_START_TEST (test_damaged_and_foreign_state_files_are_errors_at_start)
{
  gchar *file = path_of ("state"), *line = g_strconcat ("state-file=", file, NULL);
  gchar *partial = g_strconcat (line, " output=partial", NULL);
  GstHarness *h = new_ctctext (line);
  gchar *state;
  gsize size;

  push_path (h, "-Hl", 0, 1, GAP_EVENTS);
  gst_harness_teardown (h);
  check_file_error (partial, "state: the state was saved with output=words, but output=partial is set");
  state = read_file ("state", &size);
  state[size - 1] ^= 1;
  write_file ("state", state, size);
  check_file_error (line, "bytes are not a whole state of ctctext");
  check_file ("state", state, size);
  check_file_error ("state-file=/nowhere/state", "/nowhere/state");
  g_free (state);
  g_free (partial);
  g_free (line);
  g_free (file);
}
GST_END_TEST;

/* It is tried again at the stop, when there is room. */
GST_START_TEST (test_state_that_cannot_be_written_is_an_error_and_is_kept)
{
  gchar *file = path_of ("state"), *line = g_strconcat ("state-file=", file, NULL);
  GstHarness *h = new_ctctext (line);
  GstBus *bus = attach_bus (h->element);
  struct rlimit limit, least;

  push_path (h, "-Hl", 0, 1, GAP_EVENTS);
  signal (SIGXFSZ, SIG_IGN);
  getrlimit (RLIMIT_FSIZE, &limit);
  least = limit;
  least.rlim_cur = 10;
  setrlimit (RLIMIT_FSIZE, &least);
  push_eos (h);
  setrlimit (RLIMIT_FSIZE, &limit);
  fail_unless_error (bus, "state-file: ");
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
  h = new_ctctext (line);
  push_path (h, "----l-o-", 3, 1, GAP_EVENTS);
  push_eos (h);
  check_texts (h, "hello @1-6");
  gst_harness_teardown (h);
  g_free (line);
  g_free (file);
}
GST_END_TEST;

static Suite *
ctctext_state_suite (void)
{
  Suite *suite = suite_create ("ctctext-state");
  TCase *tc = tcase_create ("states");

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, setup, teardown);
  tcase_add_test (tc, test_killed_in_the_middle_of_a_word_it_goes_on);
  tcase_add_test (tc, test_killed_in_the_middle_of_a_phrase_it_goes_on);
  tcase_add_test (tc, test_word_goes_on_at_another_time);
  tcase_add_test (tc, test_state_at_the_end_is_that_before_it);
  tcase_add_test (tc, test_restored_state_takes_the_place_of_the_present_one);
  tcase_add_test (tc, test_restored_state_is_what_is_saved_before_the_next_frame);
  tcase_add_test (tc, test_state_of_impossible_values_is_refused);
  tcase_add_test (tc, test_foreign_states_are_refused);
  tcase_add_test (tc, test_state_file_goes_on_in_the_middle_of_a_word);
  tcase_add_test (tc, test_state_that_cannot_be_written_is_an_error_and_is_kept);
  tcase_add_test (tc, test_damaged_and_foreign_state_files_are_errors_at_start);
  return suite;
}

GST_CHECK_MAIN (ctctext_state);
