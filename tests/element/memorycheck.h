/*
 * A memory that refuses to be mapped, as one on a device may. SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_MEMORYCHECK_H
#define TESTS_ELEMENT_MEMORYCHECK_H

#include <gst/gst.h>

typedef GstAllocator UnmappableAllocator;
typedef GstAllocatorClass UnmappableAllocatorClass;

G_GNUC_UNUSED static GType unmappable_allocator_get_type (void);
G_DEFINE_TYPE (UnmappableAllocator, unmappable_allocator, GST_TYPE_ALLOCATOR)

static gpointer
unmappable_map (GstMemory *memory, gsize size, GstMapFlags flags)
{
  return NULL;
}

static GstMemory *
unmappable_share (GstMemory *memory, gssize offset, gssize size)
{
  GstMemory *shared = g_new0 (GstMemory, 1);

  gst_memory_init (shared, 0, memory->allocator, memory, memory->maxsize, 0, memory->offset + offset,
                   size == -1 ? (gssize) memory->size - offset : size);
  return shared;
}

static void
unmappable_free (GstAllocator *allocator, GstMemory *memory)
{
  g_free (memory);
}

static void
unmappable_allocator_class_init (UnmappableAllocatorClass *klass)
{
  klass->free = unmappable_free;
}

static void
unmappable_allocator_init (UnmappableAllocator *allocator)
{
  allocator->mem_type = "unmappable";
  allocator->mem_map = unmappable_map;
  allocator->mem_share = unmappable_share;
}

static inline GstBuffer *
new_unmappable_buffer (gsize size)
{
  GstAllocator *allocator = g_object_new (unmappable_allocator_get_type (), NULL);
  GstBuffer *buffer = gst_buffer_new ();
  GstMemory *memory = g_new0 (GstMemory, 1);

  gst_memory_init (memory, 0, allocator, NULL, size, 0, 0, size);
  gst_buffer_append_memory (buffer, memory);
  GST_BUFFER_PTS (buffer) = 0;
  gst_object_unref (allocator);
  return buffer;
}

#endif
