/*
 * What tests take from a bus.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_BUSCHECK_H
#define TESTS_ELEMENT_BUSCHECK_H

#include <gst/gst.h>

/*
 * gst_bus_pop_filtered (), which drops messages under the lock of the bus: where one of them holds the last reference
 * to a linked pad, unlinking that is a message to the same bus, and waits for the lock for ever.
 */
static inline GstMessage *
pop_message (GstBus *bus, GstMessageType types)
{
  GstMessage *message;

  while ((message = gst_bus_pop (bus)) && (GST_MESSAGE_TYPE (message) & types) == 0)
    gst_message_unref (message);
  return message;
}

#endif
