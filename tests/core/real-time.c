/*
 * The real-time promise: after a stream is made, its data path makes no system call, allocates nothing and takes no
 * lock. A child process runs it where the kernel kills any process that makes a system call (seccomp), and where
 * allocations and locks are counted (the linker's --wrap).  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "encoders.h"
#include "layers.h"

#define N_RANDOM random_rounds (200)
#define MAX_BLOCKS 12
#define MOST_FAULTS 1 /* the system may have taken a page away; without a first run there are five */

/* ---- counting ---- */

/*
 * Counts the calls below, by libattn and by this file. Volatile, because compilers know that malloc () touches none of
 * our variables.
 */
static volatile unsigned n_calls;

#define WRAP(type, name, parameters, arguments) \
  type __real_##name parameters;                \
  type __wrap_##name parameters;                \
  type __wrap_##name parameters                 \
  {                                             \
    n_calls = n_calls + 1;                      \
    return __real_##name arguments;             \
  }
WRAP (void *, malloc, (size_t size), (size))
WRAP (void *, calloc, (size_t n, size_t size), (n, size))
WRAP (void *, realloc, (void *memory, size_t size), (memory, size))
WRAP (void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size))
WRAP (int, pthread_mutex_lock, (pthread_mutex_t * mutex), (mutex))
WRAP (char *, getenv, (const char *name), (name))

/* ---- the trap ---- */

/* From now on the only allowed system call ends the process. False: this kernel, or emulator, does not support it. */
static bool
forbid_system_calls (void)
{
  struct sock_filter filter[] = {
    BPF_STMT (BPF_LD | BPF_W | BPF_ABS, offsetof (struct seccomp_data, nr)),
    BPF_JUMP (BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
    BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
  struct sock_fprog program = { sizeof filter / sizeof filter[0], filter };

  return prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* KILLED + the number of a signal: that of a system call is SIGSYS. */
enum { FINE = 0, CALLED = 1, NO_TRAP = 77, KILLED = 128 };

/* Valgrind makes system calls of its own, and preloads libraries. */
static bool
is_in_valgrind (void)
{
  const char *preloaded = getenv ("LD_PRELOAD");

  return preloaded != NULL && strstr (preloaded, "vgpreload") != NULL;
}

/* The outcome of `job` in the trap. In Valgrind, which checks its memory, only calls are counted. */
static int
run_trapped (void (*job) (void *data), void *data)
{
  pid_t child;
  int status;

  fflush (stdout);
  child = fork ();
  if (child == 0) {
    if (!is_in_valgrind () && !forbid_system_calls ())
      _exit (NO_TRAP);
    n_calls = 0;
    job (data);
    _exit (n_calls == 0 ? FINE : CALLED);
  }
  if (child < 0 || waitpid (child, &status, 0) != child)
    abort ();
  return WIFSIGNALED (status) ? KILLED + WTERMSIG (status) : WEXITSTATUS (status);
}

static void
allocate (void *data)
{
  void *volatile memory = malloc (1);

  (void) memory; /* it ends with the process */
}

static void
take_a_lock (void *data)
{
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

  pthread_mutex_lock (&mutex);
}

static void
call_the_system (void *data)
{
  syscall (SYS_getppid);
}

static bool
can_trap (void)
{
  return run_trapped (call_the_system, NULL) != NO_TRAP;
}

static const char *
name_of (int end)
{
  return end == KILLED + SIGSYS ? "a system call" : end > KILLED ? "a crash" : "an allocation or a lock";
}

/* ---- the data path ---- */

typedef struct {
  AttnStream *stream, *other;
  AttnGroup *group;
  size_t n_in;
  uint64_t stride;
  float *frames, *out, *weights; /* weights NULL: of an encoder */
  void *state;
  uint32_t n_attentions;
  AttnWatch watches[MAX_BLOCKS]; /* of each attention */
  float *gains;                  /* [n_rows][n_heads] of any of them */
} Job;

#define N_FRAMES 100
#define MAX_STATE (1 << 22)

/* Watches rows and sets gains: for good, and for the next rows. */
static void
change_every_attention (Job *job)
{
  for (uint32_t i = 0; i < job->n_attentions; i++) {
    MUST (attn_stream_watch (job->stream, i, &job->watches[i]));
    MUST (attn_stream_set_gain (job->stream, i, 0, 0.5f));
    MUST (attn_stream_set_row_gains (job->stream, i, job->gains, attn_stream_rows_ready (job->stream, i, N_FRAMES)));
    attn_stream_rows_pending (job->stream, i);
    attn_stream_next_row (job->stream, i);
  }
}

/* Two streams, one of which has rows to watch; and a call that is refused. */
static void
push_together (Job *job)
{
  AttnPush pushes[] = { { .stream = job->stream, .frames = job->frames, .n_frames = 20, .out = job->out },
                        { .stream = job->other, .frames = job->frames, .n_frames = 3, .weights = job->weights } };

  MUST (attn_group_push (job->group, pushes, 2, NULL));
  MUST (attn_group_push (job->group, pushes, 1, NULL));
  pushes[1].stream = job->stream;
  if (attn_group_push (job->group, pushes, 2, NULL) == ATTN_OK)
    abort ();
}

static void
all_of_the_data_path (void *data)
{
  Job *job = data;
  AttnStream *stream = job->stream;
  size_t size;

  for (size_t i = 0; i < N_FRAMES; i += 10)
    attn_stream_push (stream, job->frames + i * job->n_in, 10, job->out, i % 20 == 0 ? job->weights : NULL);
  for (size_t i = 0; i < 20; i++)
    attn_stream_push (stream, job->frames + i * job->n_in, 1, job->out, NULL);
  attn_stream_skip (stream, 30, job->out, job->weights);
  attn_stream_skip (stream, UINT64_C (1) << 40, NULL, NULL);
  change_every_attention (job);
  attn_stream_push (stream, job->frames, N_FRAMES, job->out, NULL);
  attn_stream_skip (stream, N_FRAMES, NULL, NULL);
  push_together (job);
  for (uint32_t i = 0; i < job->n_attentions; i += 2)
    MUST (attn_stream_watch (stream, i, NULL));
  size = attn_stream_state_size (stream);
  MUST (attn_stream_save (stream, job->state, size, NULL));
  MUST (attn_stream_restore (stream, job->state, size, NULL));
  attn_stream_push (stream, job->frames, N_FRAMES, job->out, job->weights);
  attn_stream_pending (stream);
  attn_stream_drain (stream, job->out, job->weights);
  MUST (attn_stream_reset (stream, 7 * job->stride, NULL));
  attn_stream_push (stream, job->frames, 3, job->out, NULL);
}

static void
add_watches (Job *job, const AttnLayer *layer, size_t n_rows)
{
  size_t most = 1;

  job->n_attentions = attn_layer_n_attentions (layer);
  for (uint32_t i = 0; i < job->n_attentions; i++) {
    const AttnConfig *config = attn_layer_attention (layer, i);
    size_t n_row = (size_t) config->n_heads * (config->n_sinks + config->window + config->look_ahead);

    job->watches[i] = (AttnWatch){ .weights = malloc (N_FRAMES * n_row * sizeof (float)), .room = N_FRAMES };
    most = config->n_heads > most ? config->n_heads : most;
  }
  job->gains = malloc (n_rows * most * sizeof (float));
  random_fill (job->gains, n_rows * most, 1);
}

/* The outcome of the data path over `layer` in the trap. */
static int
run_layer (const AttnLayer *layer, bool with_weights)
{
  size_t n_in = attn_layer_n_features (layer), n_out = attn_layer_n_outputs (layer);
  size_t n_weights = (size_t) attn_layer_n_heads (layer) * attn_layer_span (layer);
  size_t n_rows = 2 * N_FRAMES + attn_layer_reach_back (layer) + attn_layer_reach_ahead (layer);
  Job job = { .n_in = n_in, .stride = attn_layer_stride (layer) };
  int end;

  if (attn_stream_new (layer, &job.stream, NULL) != ATTN_OK || attn_stream_new (layer, &job.other, NULL) != ATTN_OK
      || attn_group_new (layer, 2, &job.group, NULL) != ATTN_OK)
    abort ();
  job.frames = malloc (N_FRAMES * n_in * sizeof (float));
  job.out = malloc (n_rows * n_out * sizeof (float));
  job.weights = with_weights ? malloc (n_rows * n_weights * sizeof (float)) : NULL;
  job.state = malloc (MAX_STATE);
  add_watches (&job, layer, n_rows);
  random_fill (job.frames, N_FRAMES * n_in, 2);
  end = run_trapped (all_of_the_data_path, &job);
  attn_stream_free (job.stream);
  attn_stream_free (job.other);
  attn_group_free (job.group);
  free (job.frames);
  free (job.out);
  free (job.weights);
  free (job.state);
  for (uint32_t i = 0; i < job.n_attentions; i++)
    free (job.watches[i].weights);
  free (job.gains);
  return end;
}

/* ---- the first push ---- */

/* Pages that this thread met for the first time. */
static long
n_faults (void)
{
  struct rusage usage;

  getrusage (RUSAGE_THREAD, &usage);
  return usage.ru_minflt + usage.ru_majflt;
}

/*
 * Valgrind translates code where it first meets it, into new pages. Code that is not
 * optimised has hundreds of kilobytes on its stack, of which each call touches other pages.
 */
static bool
has_pages_of_its_own (void)
{
#ifdef __OPTIMIZE__
  return is_in_valgrind ();
#else
  return true;
#endif
}

/* The first test of the process: nothing has run the code before. */
TEST (the_first_push_meets_no_new_page)
{
  enum { d = 64 };
  AttnModel model = { .name = (char *) "new" };
  AttnConfig config = attn_config_default ();
  float frames[16 * d], out[16 * d];
  AttnStream *stream;
  AttnLayer *layer;
  long before;

  config.n_heads = 4;
  model.query = random_linear (d, d, true, 1);
  model.key = random_linear (d, d, true, 1);
  model.value = random_linear (d, d, true, 1);
  model.output = random_linear (d, d, true, 1);
  random_fill (frames, 16 * d, 1);
  memset (out, 0, sizeof out);
  MUST (attn_layer_new (&config, &model, &layer, NULL));
  MUST (attn_stream_new (layer, &stream, NULL));
  n_faults ();
  before = n_faults ();
  attn_stream_push (stream, frames, 1, out, NULL);
  attn_stream_push (stream, frames, 16, out, NULL);
  CHECK_MSG (n_faults () - before <= MOST_FAULTS || has_pages_of_its_own (), "%ld new pages", n_faults () - before);
  attn_stream_free (stream);
  attn_layer_free (layer);
  free_linear (&model.query);
  free_linear (&model.key);
  free_linear (&model.value);
  free_linear (&model.output);
}

TEST (trap_catches_system_calls_allocations_and_locks)
{
  if (!can_trap ())
    return;
  CHECK (run_trapped (call_the_system, NULL) == KILLED + SIGSYS || is_in_valgrind ());
  CHECK (run_trapped (allocate, NULL) != FINE); /* the allocator may ask the system for memory */
  CHECK (run_trapped (take_a_lock, NULL) == CALLED);
}

TEST (data_path_makes_no_system_call_and_no_allocation)
{
  bool runs;

  if (attn_matrix_row (0, &runs) == &attn_matrix_c || !runs)
    setenv ("ATTN_MATRIX", "c", 1); /* the path to it is the same */
  for (int round = 0; round < N_RANDOM && can_trap (); round++) {
    RandomLayer r = random_layer_of (round % 2 ? ATTN_ARITHMETIC_EXACT : ATTN_ARITHMETIC_FAST);
    int end;

    attn_layer_free (r.layer);
    r.config.n_threads = 1; /* other threads are woken by a system call, as attn.h says */
    if (attn_layer_new (&r.config, r.model, &r.layer, NULL) != ATTN_OK)
      abort ();
    end = run_layer (r.layer, true);
    random_layer_clear (&r);
    CHECK_MSG (end == FINE, "round %d: %s (%d)", round, name_of (end), end);
  }
}

TEST (data_path_of_encoders_makes_no_system_call_and_no_allocation)
{
  for (int round = 0; round < N_RANDOM && can_trap (); round++) {
    Encoder encoder = random_encoder (MAX_BLOCKS, true);
    AttnLayer *layer;
    int end;

    MUST (attn_encoder_open_memory (encoder.file.bytes, encoder.file.size, NULL, &layer, NULL));
    end = run_layer (layer, false);
    attn_layer_free (layer);
    encoder_clear (&encoder);
    CHECK_MSG (end == FINE, "round %d: %s (%d)", round, name_of (end), end);
  }
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  if (!can_trap ())
    printf ("# no seccomp here: nothing is trapped\n");
  RUN (the_first_push_meets_no_new_page);
  RUN (trap_catches_system_calls_allocations_and_locks);
  RUN (data_path_makes_no_system_call_and_no_allocation);
  RUN (data_path_of_encoders_makes_no_system_call_and_no_allocation);
  return check_done ();
}
