/*
 * Threads share layers and models, and nothing else. To be run under ThreadSanitizer as well.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* nanosleep () */
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "layers.h"
#include "stream/stream.h"

#define N_THREADS 4
#define N_FRAMES 300
#define N_RANDOM random_rounds (30)

/* The work of one thread: its own frames through its own stream, or through attn_forward (). */
typedef struct {
  const AttnLayer *layer;
  float *frames, *out, *expected;
  pthread_t thread;
  size_t piece;
  bool pause; /* between pieces, so that threads fall asleep */
} Job;

static void *
stream_job (void *data)
{
  Job *job = data;
  size_t n_in = attn_layer_n_features (job->layer), n_row = attn_layer_n_outputs (job->layer), n = 0, n_piece;
  AttnStream *stream;

  if (attn_stream_new (job->layer, &stream, NULL) != ATTN_OK)
    return NULL;
  stream->work.shares_all = true;
  for (size_t i = 0; i < N_FRAMES; i += n_piece) {
    n_piece = N_FRAMES - i < job->piece ? N_FRAMES - i : job->piece;
    n += attn_stream_push (stream, job->frames + i * n_in, n_piece, job->out + n * n_row, NULL);
    if (job->pause)
      nanosleep (&(struct timespec){ .tv_nsec = 100000 }, NULL);
  }
  attn_stream_drain (stream, job->out + n * n_row, NULL);
  attn_stream_free (stream);
  return NULL;
}

static void *
forward_job (void *data)
{
  Job *job = data;

  MUST (attn_forward (job->layer, job->frames, NULL, N_FRAMES, 0, job->expected, NULL, NULL));
  return NULL;
}

static void
run_jobs (Job *jobs, void *(*job) (void *) )
{
  for (int i = 0; i < N_THREADS; i++)
    if (pthread_create (&jobs[i].thread, NULL, job, &jobs[i]) != 0)
      abort ();
  for (int i = 0; i < N_THREADS; i++)
    pthread_join (jobs[i].thread, NULL);
}

TEST (streams_of_one_layer_run_in_threads)
{
  for (int round = 0; round < N_RANDOM; round++) {
    RandomLayer r = random_layer ();
    size_t n_in = N_FRAMES * attn_layer_n_features (r.layer), n_out = N_FRAMES * attn_layer_n_outputs (r.layer);
    Job jobs[N_THREADS];
    bool same = true;

    for (int i = 0; i < N_THREADS; i++) {
      jobs[i] = (Job){ .layer = r.layer, .piece = random_between (1, 40) };
      jobs[i].frames = malloc (n_in * sizeof (float));
      jobs[i].out = calloc (n_out, sizeof (float));
      jobs[i].expected = malloc (n_out * sizeof (float));
      random_fill (jobs[i].frames, n_in, 2);
    }
    run_jobs (jobs, stream_job);
    run_jobs (jobs, forward_job);
    for (int i = 0; i < N_THREADS; i++) {
      same = same && memcmp (jobs[i].out, jobs[i].expected, n_out * sizeof (float)) == 0;
      free (jobs[i].frames);
      free (jobs[i].out);
      free (jobs[i].expected);
    }
    random_layer_clear (&r);
    CHECK_MSG (same, "round %d", round);
  }
}

/* Also where the threads of a stream sleep in between. */
TEST (threads_of_a_stream_change_no_bit)
{
  for (int round = 0; round < N_RANDOM; round++) {
    RandomLayer r = random_layer ();
    size_t n_in = attn_layer_n_features (r.layer), n_row = attn_layer_n_outputs (r.layer);
    Job job = { .layer = r.layer, .piece = random_between (1, 40) };
    bool same;

    attn_layer_free (r.layer);
    r.config.n_threads = random_between (2, 5);
    if (attn_layer_new (&r.config, r.model, &r.layer, NULL) != ATTN_OK)
      abort ();
    job.layer = r.layer;
    job.pause = round % 3 == 0;
    job.frames = malloc (N_FRAMES * n_in * sizeof (float));
    job.out = calloc (N_FRAMES * n_row, sizeof (float));
    job.expected = malloc (N_FRAMES * n_row * sizeof (float));
    random_fill (job.frames, N_FRAMES * n_in, 2);
    forward_job (&job);
    stream_job (&job);
    same = memcmp (job.out, job.expected, N_FRAMES * n_row * sizeof (float)) == 0;
    free (job.frames);
    free (job.out);
    free (job.expected);
    random_layer_clear (&r);
    CHECK_MSG (same, "round %d", round);
  }
}

static AttnStream *
new_stream (const AttnLayer *layer)
{
  AttnStream *stream;

  MUST (attn_stream_new (layer, &stream, NULL));
  return stream;
}

#define WIDE 128 /* at 16 rows its projections are worth sharing */

static AttnLayer *
wide_layer (AttnModel *model, uint32_t n_threads)
{
  AttnConfig config = attn_config_default ();
  AttnLayer *layer;

  config.n_features = WIDE;
  config.n_heads = 4;
  config.window = 20;
  config.n_threads = n_threads;
  MUST (attn_layer_new (&config, model, &layer, NULL));
  return layer;
}

TEST (threads_of_a_group_change_no_bit)
{
  static float frames[20][WIDE], out[20][WIDE], alone[WIDE];
  AttnModel model = { .query = random_linear (WIDE, WIDE, true, 1),
                      .key = random_linear (WIDE, WIDE, true, 1),
                      .value = random_linear (WIDE, WIDE, true, 1),
                      .output = random_linear (WIDE, WIDE, true, 1) };
  AttnLayer *layer = wide_layer (&model, 3), *plain = wide_layer (&model, 1);
  AttnStream *twins[20];
  AttnPush pushes[20];
  AttnGroup *group;
  bool same = true;

  MUST (attn_group_new (layer, 20, &group, NULL));
  for (int i = 0; i < 20; i++) {
    pushes[i] = (AttnPush){ .stream = new_stream (layer), .frames = frames[i], .n_frames = 1, .out = out[i] };
    twins[i] = new_stream (plain);
  }
  for (int t = 0; t < 50; t++) {
    size_t n = random_between (1, 20);

    random_fill (frames[0], 20 * WIDE, 2);
    MUST (attn_group_push (group, pushes, n, NULL));
    for (size_t i = 0; i < n; i++) {
      attn_stream_push (twins[i], frames[i], 1, alone, NULL);
      same = same && memcmp (out[i], alone, sizeof alone) == 0;
    }
  }
  for (int i = 0; i < 20; i++) {
    attn_stream_free (pushes[i].stream);
    attn_stream_free (twins[i]);
  }
  attn_group_free (group);
  attn_layer_free (layer);
  attn_layer_free (plain);
  free_linear (&model.query);
  free_linear (&model.key);
  free_linear (&model.value);
  free_linear (&model.output);
  CHECK (same);
}

/* A layer per thread from the same model. */
typedef struct {
  const RandomLayer *random;
  AttnLayer *layer;
  pthread_t thread;
} Making;

static void *
make_layer (void *data)
{
  Making *making = data;

  MUST (attn_layer_new (&making->random->config, making->random->model, &making->layer, NULL));
  return NULL;
}

/* A process that was forked has none of the stream's threads: it goes on with the same bits, alone, and can free it. */
TEST (stream_goes_on_in_a_forked_process)
{
  AttnConfig config = attn_config_default ();
  size_t n_half = N_FRAMES / 2, n = 0;
  float *frames, *out, *expected;
  AttnStream *stream;
  AttnLayer *layer;
  bool is_right = true;
  pid_t child;
  int status = 0;

  config.n_features = 64;
  config.n_heads = 4;
  config.n_threads = N_THREADS;
  CHECK (attn_layer_new (&config, NULL, &layer, NULL) == ATTN_OK);
  CHECK (attn_stream_new (layer, &stream, NULL) == ATTN_OK);
  stream->work.shares_all = true;
  frames = calloc (N_FRAMES * 64, sizeof *frames);
  random_fill (frames, N_FRAMES * 64, 2);
  out = calloc (N_FRAMES * 64, sizeof *out);
  expected = calloc (N_FRAMES * 64, sizeof *expected);
  MUST (attn_forward (layer, frames, NULL, N_FRAMES, 0, expected, NULL, NULL));
  n = attn_stream_push (stream, frames, n_half, out, NULL);
  child = fork ();
  if (child == 0)
    alarm (60); /* it waits for no thread */
  else
    is_right = child > 0 && waitpid (child, &status, 0) == child && status == 0;
  attn_stream_push (stream, frames + n * 64, N_FRAMES - n, out + n * 64, NULL);
  is_right = is_right && memcmp (out, expected, N_FRAMES * 64 * sizeof *out) == 0;
  attn_stream_free (stream);
  attn_layer_free (layer);
  free (frames);
  free (out);
  free (expected);
  if (child == 0)
    _exit (!is_right);
  CHECK (is_right);
}

TEST (layers_are_made_from_one_model_in_threads)
{
  for (int round = 0; round < N_RANDOM; round++) {
    RandomLayer r = random_layer ();
    Making makings[N_THREADS] = { { 0 } };
    bool same = true;

    for (int i = 0; i < N_THREADS; i++) {
      makings[i].random = &r;
      if (pthread_create (&makings[i].thread, NULL, make_layer, &makings[i]) != 0)
        abort ();
    }
    for (int i = 0; i < N_THREADS; i++) {
      pthread_join (makings[i].thread, NULL);
      same = same && makings[i].layer != NULL && makings[i].layer->hash == r.layer->hash;
      attn_layer_free (makings[i].layer);
    }
    random_layer_clear (&r);
    CHECK_MSG (same, "round %d", round);
  }
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (streams_of_one_layer_run_in_threads);
  RUN (threads_of_a_stream_change_no_bit);
  RUN (threads_of_a_group_change_no_bit);
  RUN (stream_goes_on_in_a_forked_process);
  RUN (layers_are_made_from_one_model_in_threads);
  return check_done ();
}
