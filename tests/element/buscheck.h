/* Code for tests with a bus.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_ELEMENT_BUSCHECK_H
#define TESTS_ELEMENT_BUSCHECK_H

#include <gst/check/gstcheck.h>
#include <string.h>

/*
 * gst_bus_pop_filtered (), which drops messages under the lock of the bus: if a message holds the last reference to a
 * linked pad, unlinking this pad posts a message to the same bus, which waits for the lock for ever.
 */
static inline GstMessage *
pop_message (GstBus *bus, GstMessageType types)
{
  GstMessage *message;

  while ((message = gst_bus_pop (bus)) && (GST_MESSAGE_TYPE (message) & types) == 0)
    gst_message_unref (message);
  return message;
}

/* The text of an error or a warning. Transfer full. */
static inline gchar *
text_of (GstMessage *message)
{
  GError *error = NULL;
  gchar *text;

  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR)
    gst_message_parse_error (message, &error, NULL);
  else
    gst_message_parse_warning (message, &error, NULL);
  text = g_strdup (error->message);
  g_error_free (error);
  return text;
}

/* The text of the next message of this type, an error or a warning; NULL: there is none. Transfer full. */
static inline gchar *
pop_text (GstBus *bus, GstMessageType type)
{
  GstMessage *message = pop_message (bus, type);
  gchar *text = message != NULL ? text_of (message) : NULL;

  gst_clear_message (&message);
  return text;
}

static inline gchar *
pop_error (GstBus *bus)
{
  return pop_text (bus, GST_MESSAGE_ERROR);
}

/* Takes and frees `text`. `expected` NULL: no error. */
static inline void
check_text (gchar *text, const gchar *expected)
{
  if (expected == NULL)
    fail_unless (text == NULL, "unexpected error: %s", text);
  else
    fail_unless (text != NULL && strstr (text, expected) != NULL, "got the error \"%s\", expected \"%s\"",
                 text != NULL ? text : "(none)", expected);
  g_free (text);
}

/* There is a next message of this type, and its text contains `part`. */
static inline void
fail_unless_said (GstBus *bus, GstMessageType type, const gchar *part)
{
  check_text (pop_text (bus, type), part);
}

static inline void
fail_unless_error (GstBus *bus, const gchar *part)
{
  fail_unless_said (bus, GST_MESSAGE_ERROR, part);
}

static inline GstBus *
attach_bus (GstElement *element)
{
  GstBus *bus = gst_bus_new ();

  gst_element_set_bus (element, bus);
  return bus;
}

static inline void
detach_bus (GstElement *element, GstBus *bus)
{
  gst_element_set_bus (element, NULL);
  gst_object_unref (bus);
}

/* The element does not start, and says why. Takes it. */
static inline void
fail_unless_start_refused (GstElement *element, const gchar *part)
{
  GstBus *bus = attach_bus (element);

  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  fail_unless_error (bus, part);
  gst_element_set_state (element, GST_STATE_NULL);
  detach_bus (element, bus);
  gst_object_unref (element);
}

#endif
