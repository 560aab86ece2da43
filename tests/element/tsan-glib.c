/*
 * Tells ThreadSanitizer what GLib's locks and references order. GLib and GStreamer as the system has them are not built
 * for it, and lock by system calls and atomic operations that it cannot see: without this every field behind a GMutex
 * looks like a race. (It sees GRecMutex and GRWLock, which are pthread's.) Linked into programs that are built with
 * -Db_sanitize=thread, in front of the libraries, so that calls from all of them come here first.
 *
 * Those who give up references to one object are ordered, as they are where GLib is built for the sanitizer.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#include <gst/gst.h>
#include <sanitizer/tsan_interface.h>

#define UNSEEN __attribute__ ((no_sanitize ("thread")))

/* The function behind the one that calls this. */
#define REAL(name) ((__typeof__ (&name)) real (&real_##name, #name))
#define DEFINE_REAL(name) static void *real_##name;

static UNSEEN void *
real (void **function, const char *name)
{
  if (*function == NULL)
    *function = dlsym (RTLD_NEXT, name);
  return *function;
}

/* ---- GMutex and GCond ---- */

DEFINE_REAL (g_mutex_lock)
DEFINE_REAL (g_mutex_trylock)
DEFINE_REAL (g_mutex_unlock)
DEFINE_REAL (g_mutex_clear)
DEFINE_REAL (g_cond_wait)
DEFINE_REAL (g_cond_wait_until)

UNSEEN void
g_mutex_lock (GMutex *mutex)
{
  __tsan_mutex_pre_lock (mutex, 0);
  REAL (g_mutex_lock) (mutex);
  __tsan_mutex_post_lock (mutex, 0, 0);
}

UNSEEN gboolean
g_mutex_trylock (GMutex *mutex)
{
  gboolean locked;

  __tsan_mutex_pre_lock (mutex, __tsan_mutex_try_lock);
  locked = REAL (g_mutex_trylock) (mutex);
  __tsan_mutex_post_lock (mutex, __tsan_mutex_try_lock | (locked ? 0 : __tsan_mutex_try_lock_failed), 0);
  return locked;
}

UNSEEN void
g_mutex_unlock (GMutex *mutex)
{
  __tsan_mutex_pre_unlock (mutex, 0);
  REAL (g_mutex_unlock) (mutex);
  __tsan_mutex_post_unlock (mutex, 0);
}

UNSEEN void
g_mutex_clear (GMutex *mutex)
{
  __tsan_mutex_destroy (mutex, 0);
  REAL (g_mutex_clear) (mutex);
}

UNSEEN void
g_cond_wait (GCond *cond, GMutex *mutex)
{
  __tsan_mutex_pre_unlock (mutex, 0);
  __tsan_mutex_post_unlock (mutex, 0);
  REAL (g_cond_wait) (cond, mutex);
  __tsan_mutex_pre_lock (mutex, 0);
  __tsan_mutex_post_lock (mutex, 0, 0);
}

UNSEEN gboolean
g_cond_wait_until (GCond *cond, GMutex *mutex, gint64 end)
{
  gboolean woken;

  __tsan_mutex_pre_unlock (mutex, 0);
  __tsan_mutex_post_unlock (mutex, 0);
  woken = REAL (g_cond_wait_until) (cond, mutex, end);
  __tsan_mutex_pre_lock (mutex, 0);
  __tsan_mutex_post_lock (mutex, 0, 0);
  return woken;
}

/* ---- what is set up once ---- */

#undef g_once_init_leave
DEFINE_REAL (g_once_init_leave)

UNSEEN void
g_once_init_leave (volatile void *location, gsize result)
{
  __tsan_release ((void *) location);
  REAL (g_once_init_leave) (location, result);
}

/* ---- references: the last one is given up behind all others ---- */

DEFINE_REAL (g_object_unref)
DEFINE_REAL (gst_mini_object_unref)

UNSEEN void
g_object_unref (gpointer object)
{
  __tsan_acquire (object);
  __tsan_release (object);
  REAL (g_object_unref) (object);
}

UNSEEN void
gst_mini_object_unref (GstMiniObject *object)
{
  __tsan_acquire (object);
  __tsan_release (object);
  REAL (gst_mini_object_unref) (object);
}

/* ---- queues, which lock inside of GLib ---- */

DEFINE_REAL (g_async_queue_push)
DEFINE_REAL (g_async_queue_pop)
DEFINE_REAL (g_async_queue_try_pop)
DEFINE_REAL (g_async_queue_timeout_pop)

UNSEEN void
g_async_queue_push (GAsyncQueue *queue, gpointer data)
{
  __tsan_release (queue);
  REAL (g_async_queue_push) (queue, data);
}

UNSEEN gpointer
g_async_queue_pop (GAsyncQueue *queue)
{
  gpointer data = REAL (g_async_queue_pop) (queue);

  __tsan_acquire (queue);
  return data;
}

UNSEEN gpointer
g_async_queue_try_pop (GAsyncQueue *queue)
{
  gpointer data = REAL (g_async_queue_try_pop) (queue);

  __tsan_acquire (queue);
  return data;
}

UNSEEN gpointer
g_async_queue_timeout_pop (GAsyncQueue *queue, guint64 timeout)
{
  gpointer data = REAL (g_async_queue_timeout_pop) (queue, timeout);

  __tsan_acquire (queue);
  return data;
}
