/*
 * Model files that are written to, truncated, replaced or deleted before each of the reads in turn, and files that
 * cannot be opened because the process has no descriptors left. The linker puts a function in front of pread ().
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* pread, utimensat, mkdtemp */
#define _FILE_OFFSET_BITS 64
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "encoders.h"

static char path[64], other_path[64]; /* the file, and where its new version is written */
static size_t file_size;

/* ---- what happens to the file ---- */

static void
truncate_to_half (void)
{
  MUST (truncate (path, (off_t) file_size / 2));
}

static void
truncate_to_nothing (void)
{
  MUST (truncate (path, 0));
}

static void
append (void)
{
  int fd = open (path, O_WRONLY | O_APPEND);

  MUST (write (fd, "x", 1) != 1);
  MUST (close (fd));
}

/* Other values of the same size, as `cp` leaves them. Their parameters are as good as the old ones. */
static void
overwrite (void)
{
  static const uint8_t zeros[4096];
  size_t n = file_size / 4 < sizeof zeros ? file_size / 4 / 4 * 4 : sizeof zeros;
  int fd = open (path, O_WRONLY);

  MUST (pwrite (fd, zeros, n, (off_t) (file_size - n)) != (ssize_t) n);
  MUST (close (fd));
}

/* As a careful program does it. */
static void
replace (void)
{
  int fd = open (other_path, O_WRONLY | O_CREAT, 0600);

  MUST (write (fd, "another file", 12) != 12);
  MUST (close (fd));
  MUST (rename (other_path, path));
}

static void
delete_it (void)
{
  MUST (unlink (path));
}

static const struct {
  const char *name;
  void (*happen) (void);
  bool is_refused;
} events[] = {
  { "truncated to half", truncate_to_half, true },
  { "truncated to nothing", truncate_to_nothing, true },
  { "appended to", append, true },
  { "written over", overwrite, true },
  { "replaced", replace, false },
  { "deleted", delete_it, false },
};

static long countdown = -1; /* reads until the event; below 0: none is waiting */
static void (*event) (void);

ssize_t __real_pread (int fd, void *data, size_t size, off_t offset);
ssize_t __wrap_pread (int fd, void *data, size_t size, off_t offset);
ssize_t __real_pread64 (int fd, void *data, size_t size, off_t offset);
ssize_t __wrap_pread64 (int fd, void *data, size_t size, off_t offset);

static void
count_read (void)
{
  if (countdown >= 0 && countdown-- == 0)
    event ();
}

ssize_t
__wrap_pread (int fd, void *data, size_t size, off_t offset)
{
  count_read ();
  return __real_pread (fd, data, size, offset);
}

/* What pread () is called in the C library if offsets have 64 bits. */
ssize_t
__wrap_pread64 (int fd, void *data, size_t size, off_t offset)
{
  count_read ();
  return __real_pread64 (fd, data, size, offset);
}

/* ---- files ---- */

/* Written an hour ago: a write of today differs from it by the coarsest clock. */
static void
write_file (const void *bytes, size_t size)
{
  const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = time (NULL) - 3600 } };
  int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

  MUST (write (fd, bytes, size) != (ssize_t) size);
  MUST (close (fd));
  MUST (utimensat (AT_FDCWD, path, times, 0));
  file_size = size;
}

static void
make_folder (char folder[32])
{
  strcpy (folder, "/tmp/attn-files-XXXXXX");
  MUST (mkdtemp (folder) == NULL);
  snprintf (path, sizeof path, "%s/model.safetensors", folder);
  snprintf (other_path, sizeof other_path, "%s/new", folder);
}

static void
remove_folder (const char *folder)
{
  unlink (path);
  unlink (other_path);
  rmdir (folder);
}

/* ---- calls that read a file ---- */

/* The outputs of the layer that was opened last. */
static float out[8 * MAX_STACKED];

static void
run (const AttnLayer *layer)
{
  float frames[8 * MAX_WIDTH];

  for (size_t i = 0; i < sizeof frames / sizeof *frames; i++)
    frames[i] = (float) (i % 7) - 3;
  MUST (attn_forward (layer, frames, NULL, 8, 0, out, NULL, NULL));
}

static AttnStatus
open_encoder (AttnError *error)
{
  AttnLayer *layer;
  AttnStatus status = attn_encoder_open (path, NULL, &layer, error);

  if (status == ATTN_OK)
    run (layer);
  attn_layer_free (layer);
  return status;
}

static AttnStatus
open_model (AttnError *error)
{
  AttnConfig config = attn_config_default ();
  AttnModel *model;
  AttnLayer *layer;
  AttnStatus status = attn_model_open (path, "a.", &model, error);

  if (status == ATTN_OK) {
    config.n_heads = 2;
    MUST (attn_layer_new (&config, model, &layer, NULL));
    run (layer);
    attn_layer_free (layer);
  }
  attn_model_free (model);
  return status;
}

static AttnStatus
peek (AttnError *error)
{
  AttnModel *model;
  AttnStatus status = attn_model_peek (path, "a.", &model, error);

  attn_model_free (model);
  return status;
}

static AttnStatus
open_metadata (AttnError *error)
{
  AttnMetadata *metadata;
  AttnStatus status = attn_metadata_open (path, &metadata, error);

  attn_metadata_free (metadata);
  return status;
}

static const struct {
  const char *name;
  AttnStatus (*call) (AttnError *error);
} calls[] = {
  { "attn_encoder_open", open_encoder },
  { "attn_model_open", open_model },
  { "attn_model_peek", peek },
  { "attn_metadata_open", open_metadata },
};

/* An attention, whose tensors every call can read. 24 features: the weights take more than one read each. */
static void
make_model (Encoder *e)
{
  *e = begin_encoder (MAX_WIDTH, 1, false);
  bytes_print (&e->json, "{'attention':'a','heads':2,'window':4}");
  only_in_file (add_weight (e, "a", ".q_proj.weight", 16, MAX_WIDTH));
  only_in_file (add_weight (e, "a", ".k_proj.weight", 16, MAX_WIDTH));
  only_in_file (add_weight (e, "a", ".v_proj.weight", 16, MAX_WIDTH));
  only_in_file (add_weight (e, "a", ".o_proj.weight", MAX_WIDTH, 16));
  bytes_print (&e->json, "]}");
  finish_file (e);
}

/* The event before each read in turn, until there are no more reads. Returns the number of reads. */
static long
read_while (AttnStatus (*call) (AttnError *error), size_t i, const Encoder *e, const float *expected)
{
  long n;

  for (n = 0;; n++) {
    AttnError error = { 0 };
    AttnStatus status;

    write_file (e->file.bytes, e->file.size);
    event = events[i].happen;
    countdown = n;
    status = call (&error);
    if (countdown >= 0)
      break;
    if (status != (events[i].is_refused ? ATTN_ERROR_FILE : ATTN_OK)
        || (status != ATTN_OK && strstr (error.message, path) == NULL)
        || (status == ATTN_OK && memcmp (out, expected, sizeof out) != 0)) {
      printf ("# read %ld: status %d: %s\n", n, status, error.message);
      return -1;
    }
  }
  countdown = -1;
  return n;
}

TEST (file_that_changes_while_it_is_read_is_an_error_or_the_old_version)
{
  float expected[sizeof out / sizeof *out];
  char folder[32];
  Encoder e;

  make_folder (folder);
  make_model (&e);
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
    write_file (e.file.bytes, e.file.size);
    CHECK (calls[i].call (NULL) == ATTN_OK);
    memcpy (expected, out, sizeof expected);
    for (size_t j = 0; j < sizeof events / sizeof events[0]; j++)
      CHECK_MSG (read_while (calls[i].call, j, &e, expected) >= 2, "%s of a file that is %s", calls[i].name,
                 events[j].name);
  }
  encoder_clear (&e);
  remove_folder (folder);
}

TEST (file_may_go_when_the_call_has_returned)
{
  float expected[sizeof out / sizeof *out];
  AttnLayer *layer;
  char folder[32];
  Encoder e;

  make_folder (folder);
  make_model (&e);
  for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
    write_file (e.file.bytes, e.file.size);
    CHECK (attn_encoder_open (path, NULL, &layer, NULL) == ATTN_OK);
    run (layer);
    memcpy (expected, out, sizeof expected);
    events[i].happen ();
    run (layer);
    CHECK_MSG (memcmp (expected, out, sizeof expected) == 0, "%s", events[i].name);
    attn_layer_free (layer);
  }
  encoder_clear (&e);
  remove_folder (folder);
}

TEST (process_without_descriptors_is_an_error_that_names_file_and_reason)
{
  struct rlimit before, none;
  char folder[32];
  Encoder e;

  make_folder (folder);
  make_model (&e);
  write_file (e.file.bytes, e.file.size);
  MUST (getrlimit (RLIMIT_NOFILE, &before));
  none = before;
  none.rlim_cur = 0;
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
    AttnError error = { 0 };
    AttnStatus status;

    MUST (setrlimit (RLIMIT_NOFILE, &none));
    status = calls[i].call (&error);
    MUST (setrlimit (RLIMIT_NOFILE, &before));
    CHECK_MSG (status == ATTN_ERROR_FILE && strstr (error.message, path) != NULL
                   && strstr (error.message, "cannot be opened: Too many open files") != NULL,
               "%s: status %d: %s", calls[i].name, status, error.message);
    CHECK (calls[i].call (NULL) == ATTN_OK);
  }
  encoder_clear (&e);
  remove_folder (folder);
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (file_that_changes_while_it_is_read_is_an_error_or_the_old_version);
  RUN (file_may_go_when_the_call_has_returned);
  RUN (process_without_descriptors_is_an_error_that_names_file_and_reason);
  return check_done ();
}
