/* libattn: the arithmetic of a convolution.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blocks/conv_taps.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/status.h"
#include "blocks/framewise.h"
#include "blocks/linear.h"

/* ---- parameters ---- */

/* Where weight `at` stands in the tensor. */
static void
print_place (char *text, size_t size, const AttnConv *conv, size_t at)
{
  size_t bin = at % conv->bin_kernel, tap = at / conv->bin_kernel % conv->kernel, n = conv->n_inputs / conv->groups;
  size_t input = at / conv->bin_kernel / conv->kernel;

  if (conv->has_bins)
    snprintf (text, size, "[%zu, %zu, %zu, %zu]", input / n, input % n, tap, bin);
  else
    snprintf (text, size, "[%zu, %zu, %zu]", input / n, input % n, tap);
}

/* A parameter that f16 cannot hold would become infinite. */
static AttnStatus
check_range (const AttnConv *conv, size_t n, AttnError *error)
{
  float limit = attn_infinite_from (ATTN_PRECISION_F16);
  char place[96];
  size_t i;

  for (i = 0; i < n && conv->precision == ATTN_PRECISION_F16; i++)
    if (fabsf (conv->weight[i]) >= limit && !isinf (conv->weight[i])) {
      print_place (place, sizeof place, conv, i);
      return attn_fail (error, ATTN_ERROR_MODEL,
                        "a convolution has the parameter %g at %s, but f16 ends at 65504; bf16 and f32 hold it",
                        conv->weight[i], place);
    }
  return ATTN_OK;
}

/* As a linear layer over all taps of a group. */
static AttnStatus
pack_group (AttnTaps *taps, const AttnConv *conv, size_t group, AttnError *error)
{
  size_t n_inputs = conv->n_inputs / conv->groups, n_outputs = conv->n_outputs / conv->groups;
  size_t n_all = attn_size_mul (n_inputs, taps->n_taps), bytes, o, i, tap;
  const float *weight = conv->weight + group * n_outputs * n_all;
  AttnProjection *projection = &taps->projections[group];
  AttnLinear linear = { .n_outputs = n_outputs, .n_inputs = n_all };
  AttnStatus status = attn_linear_init (projection, n_all, n_outputs, conv->precision, error);

  bytes = attn_size_mul (attn_size_mul (n_outputs, n_all), sizeof (float));
  if (status != ATTN_OK)
    return status;
  if ((linear.weight = attn_alloc (bytes)) == NULL)
    return attn_fail_memory (error, "taps of a convolution", bytes);
  for (o = 0; o < n_outputs; o++)
    for (i = 0; i < n_inputs; i++)
      for (tap = 0; tap < taps->n_taps; tap++)
        linear.weight[o * n_all + tap * n_inputs + i] = weight[(o * n_inputs + i) * taps->n_taps + tap];
  linear.bias = conv->bias != NULL ? (float *) conv->bias + group * n_outputs : NULL;
  status = attn_linear_pack (projection, 0, "conv", &linear, taps->machine->kernels, error);
  attn_free (linear.weight);
  return status != ATTN_OK || taps->machine->matrix == NULL ? status : attn_linear_split (projection, error);
}

static AttnStatus
pack_groups (AttnTaps *taps, const AttnConv *conv, AttnError *error)
{
  size_t bytes = attn_size_mul (conv->groups, sizeof *taps->projections), group;
  AttnStatus status = ATTN_OK;

  taps->projections = attn_alloc (bytes);
  if (taps->projections == NULL)
    return attn_fail_memory (error, "groups of a convolution", bytes);
  for (group = 0; group < conv->groups && status == ATTN_OK; group++)
    status = pack_group (taps, conv, group, error);
  return status;
}

/* A weight, cleaned, as the precision holds it. */
static float
held_value (const AttnKernels *kernels, float value, AttnPrecision precision)
{
  uint16_t narrow;

  kernels->scale (&value, &value, 1, 1);
  if (precision == ATTN_PRECISION_F32)
    return value;
  kernels->narrow (&narrow, &value, 1, precision);
  value = precision == ATTN_PRECISION_F16 ? attn_float_from_f16 (narrow) : attn_float_from_bf16 (narrow);
  kernels->scale (&value, &value, 1, 1);
  return value;
}

/* Output `o` is multiple o % n_multiples of its channel. */
static AttnStatus
pack_channels (AttnTaps *taps, const AttnConv *conv, AttnError *error)
{
  size_t n_outputs = conv->n_outputs, n_taps = taps->n_taps, width = conv->n_inputs, o, tap;
  size_t bytes = attn_size_mul (attn_size_mul (n_outputs, n_taps), sizeof (float));
  const AttnKernels *kernels = taps->machine->kernels;

  taps->weight = attn_alloc (bytes);
  taps->start = attn_alloc (attn_size_mul (n_outputs, sizeof (float)));
  if (taps->weight == NULL || taps->start == NULL)
    return attn_fail_memory (error, "taps of a convolution", bytes);
  for (o = 0; o < n_outputs; o++) {
    size_t multiple = o % taps->n_multiples, channel = o / taps->n_multiples;
    float *start = &taps->start[multiple * width + channel];

    if (conv->bias != NULL)
      kernels->scale (start, &conv->bias[o], 1, 1);
    *start += ATTN_GUARD;
    for (tap = 0; tap < n_taps; tap++)
      taps->weight[(multiple * n_taps + tap) * width + channel] =
          held_value (kernels, conv->weight[o * n_taps + tap], conv->precision);
  }
  return ATTN_OK;
}

AttnStatus
attn_taps_init (AttnTaps *taps, const AttnMachine *machine, const AttnConv *conv, AttnError *error)
{
  AttnStatus status;

  *taps = (AttnTaps){ .machine = machine,
                      .conv = *conv,
                      .n_taps = conv->kernel * conv->bin_kernel,
                      .n_bins = attn_conv_bins_out (conv),
                      .row_width = attn_size_mul (conv->low + conv->n_bins + conv->high, conv->n_inputs),
                      .in = attn_channels_first (conv->n_inputs, conv->n_bins),
                      .out = attn_channels_first (conv->n_outputs, attn_conv_bins_out (conv)),
                      .n_multiples = conv->n_outputs / conv->n_inputs };
  taps->conv.weight = taps->conv.bias = NULL;
  if ((status = check_range (conv, conv->n_outputs * (conv->n_inputs / conv->groups) * taps->n_taps, error)))
    return status;
  /* Vectors are made of channels, or of the outputs of a group. */
  if (conv->groups == conv->n_inputs && taps->n_multiples <= conv->n_inputs)
    return pack_channels (taps, conv, error);
  return pack_groups (taps, conv, error);
}

void
attn_taps_clear (AttnTaps *taps)
{
  size_t group;

  for (group = 0; group < taps->conv.groups && taps->projections != NULL; group++)
    attn_linear_clear (&taps->projections[group]);
  attn_free (taps->projections);
  attn_free (taps->weight);
  attn_free (taps->start);
}

void
attn_taps_settle (AttnTaps *taps, AttnArena *arena)
{
  size_t group;

  for (group = 0; group < taps->conv.groups && taps->projections != NULL; group++)
    attn_linear_settle (&taps->projections[group], arena);
}

uint64_t
attn_taps_hash (uint64_t hash, const AttnTaps *taps)
{
  const AttnConv *conv = &taps->conv;
  const uint64_t numbers[] = { conv->n_inputs * conv->n_bins,
                               conv->n_outputs * taps->n_bins,
                               conv->kernel,
                               conv->groups,
                               conv->stride,
                               conv->dilation,
                               conv->left,
                               conv->right,
                               conv->activation };
  const uint64_t bins[] = { conv->n_bins, conv->bin_kernel, conv->bin_stride, conv->low, conv->high };
  size_t i;

  for (i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
    hash = attn_hash_number (hash, numbers[i], 8);
  for (i = 0; i < sizeof bins / sizeof bins[0] && conv->has_bins; i++)
    hash = attn_hash_number (hash, bins[i], 8);
  for (i = 0; i < conv->groups && taps->projections != NULL; i++)
    hash = attn_linear_hash (hash, &taps->projections[i]);
  if (taps->projections != NULL)
    return hash;
  hash = attn_hash_floats (hash, taps->weight, taps->n_taps * conv->n_outputs);
  return attn_hash_floats (hash, taps->start, conv->n_outputs);
}

/* ---- rows ---- */

/* Outputs need not be put into another order. */
static bool
is_in_order (const AttnTaps *taps)
{
  return taps->out.channel == 1 && (taps->projections != NULL ? taps->conv.groups : taps->n_multiples) == 1;
}

AttnTapsRoom
attn_taps_plan (const AttnTaps *taps, const AttnWork *work, AttnArena *arena)
{
  const AttnConv *conv = &taps->conv;
  size_t n_positions = taps->n_bins > ATTN_LANES ? taps->n_bins : ATTN_LANES, n_all, width = conv->n_inputs;
  AttnTapsRoom room = { 0 };

  if (taps->projections != NULL) {
    n_all = taps->projections->n_inputs;
    n_positions = ATTN_LANES;
    width = taps->projections->n_outputs;
    attn_work_note (work, n_all, width);
    room.gathered = attn_arena_take (arena, attn_size_mul (attn_size_mul (n_all, ATTN_LANES), sizeof (float)));
    if (taps->machine->matrix != NULL)
      room.left = attn_arena_take (arena, attn_size_mul (attn_left_size (n_all), sizeof (uint16_t)));
  }
  if (!is_in_order (taps))
    room.positions = attn_arena_take (arena, attn_size_mul (attn_size_mul (n_positions, width), sizeof (float)));
  room.frame = attn_arena_take (arena, conv->n_inputs * conv->n_bins * sizeof (float));
  return room;
}

/* to [n_bins][n_channels] = from, in the order `order`. */
static void
to_bins (float *to, const float *from, size_t n_bins, size_t n_channels, AttnFrameOrder order)
{
  size_t bin, channel;

  for (bin = 0; bin < n_bins; bin++, from += order.bin, to += n_channels)
    for (channel = 0; channel < n_channels; channel++)
      to[channel] = from[channel * order.channel];
}

/* The opposite. */
static void
from_bins (float *to, const float *from, size_t n_bins, size_t n_channels, AttnFrameOrder order)
{
  size_t bin, channel;

  for (bin = 0; bin < n_bins; bin++, from += n_channels, to += order.bin)
    for (channel = 0; channel < n_channels; channel++)
      to[channel * order.channel] = from[channel];
}

/* The zeros below and above the bins stay as they are. */
static void
store_row (const AttnTaps *taps, float *row, const float *frame, AttnFrameOrder order)
{
  const AttnConv *conv = &taps->conv;
  size_t width = conv->n_inputs * conv->n_bins, low = conv->low * conv->n_inputs;

  if (order.channel != 1) {
    to_bins (row + low, frame, conv->n_bins, conv->n_inputs, order);
    frame = row + low;
  }
  taps->machine->kernels->scale (row + low, frame, 1, width);
}

void
attn_taps_store (const AttnTaps *taps, float *rows, const float *frames, size_t n, AttnFrameOrder order)
{
  size_t width = taps->conv.n_inputs * taps->conv.n_bins, i;

  if (taps->row_width == width && order.channel == 1)
    taps->machine->kernels->scale (rows, frames, 1, n * width);
  else
    for (i = 0; i < n; i++)
      store_row (taps, rows + i * taps->row_width, frames + i * width, order);
}

const float *
attn_taps_frame (const AttnTaps *taps, const AttnTapsRoom *room, const float *row)
{
  const AttnConv *conv = &taps->conv;

  row += conv->low * conv->n_inputs;
  if (conv->n_bins == 1)
    return row;
  from_bins (room->frame, row, conv->n_bins, conv->n_inputs, attn_channels_first (conv->n_inputs, conv->n_bins));
  return room->frame;
}

/* ---- outputs: a position is a bin of an output ---- */

/* Position `position` of several outputs in a row reads from here on. */
static const float *
place_in (const AttnTaps *taps, const float *rows, size_t position)
{
  return rows + position / taps->n_bins * taps->conv.stride * taps->row_width
         + position % taps->n_bins * taps->conv.bin_stride * taps->conv.n_inputs;
}

/* And its first channel goes to here. */
static float *
place_out (const AttnTaps *taps, float *out, size_t position)
{
  return out + position / taps->n_bins * taps->n_bins * taps->conv.n_outputs + position % taps->n_bins * taps->out.bin;
}

/* gathered [n][n_taps][width]: the `width` channels, from `first` on, that positions read. */
static void
gather (const AttnTaps *taps, const AttnTapsRoom *room, const float *rows, size_t position, size_t n, size_t first,
        size_t width)
{
  size_t n_channels = taps->conv.n_inputs, n_pieces = width == n_channels ? 1 : taps->conv.bin_kernel, i, tap, piece;
  size_t size = taps->conv.bin_kernel / n_pieces * width; /* all channels of neighbouring bins are one piece */
  float *to = room->gathered;

  for (i = 0; i < n; i++) {
    const float *from = place_in (taps, rows, position + i) + first;

    for (tap = 0; tap < taps->conv.kernel; tap++, from += taps->conv.dilation * taps->row_width)
      for (piece = 0; piece < n_pieces; piece++, to += size)
        memcpy (to, from + piece * n_channels, size * sizeof *to);
  }
}

/* False: the stream waits. */
static bool
compute_group (const AttnTaps *taps, const AttnWork *work, const AttnTapsRoom *room, const float *rows, size_t position,
               size_t n, size_t group, float *out)
{
  const AttnProjection *projection = &taps->projections[group];
  size_t width = taps->conv.n_inputs / taps->conv.groups, n_outputs = projection->n_outputs, i;
  uint64_t n_operations = (uint64_t) 2 * projection->n_inputs * n_outputs * n;
  AttnPool *pool = attn_work_pool (work, n_operations, (projection->n_inputs + n_outputs) * n);
  bool direct = is_in_order (taps);
  float *to = direct ? place_out (taps, out, position) : room->positions;

  gather (taps, room, rows, position, n, group * width, width);
  if (!attn_linear_share (taps->machine, work, pool, projection, room->left, to, room->gathered, n))
    return false;
  for (i = 0; i < n && !direct; i++)
    from_bins (place_out (taps, out, position + i) + group * n_outputs * taps->out.channel, to + i * n_outputs, 1,
               n_outputs, taps->out);
  return true;
}

/* Each channel by itself: the positions of one output, or of several that have one position each. */
static void
compute_channels (const AttnTaps *taps, const AttnTapsRoom *room, const float *rows, size_t n, float *out)
{
  const AttnConv *conv = &taps->conv;
  AttnFrameOrder order = { taps->out.channel * taps->n_multiples, taps->out.bin };
  bool direct = is_in_order (taps);
  size_t multiple, i;
  AttnConvolution convolution = {
    .width = conv->n_inputs,
    .n_taps = conv->kernel,
    .n_bins = conv->bin_kernel,
    .tap_stride = conv->kernel > 1 ? conv->dilation * taps->row_width : 0,
    .frame_stride = taps->n_bins > 1 ? conv->bin_stride * conv->n_inputs
                    : n > 1          ? conv->stride * taps->row_width
                                     : 0,
  };

  for (multiple = 0; multiple < taps->n_multiples; multiple++) {
    float *to = direct ? out : room->positions;

    convolution.weight = taps->weight + multiple * taps->n_taps * conv->n_inputs;
    convolution.start = taps->start + multiple * conv->n_inputs;
    taps->machine->kernels->convolve (to, rows, n, &convolution);
    for (i = 0; i < n && !direct; i++)
      from_bins (place_out (taps, out, i) + multiple * taps->out.channel, to + i * conv->n_inputs, 1, conv->n_inputs,
                 order);
  }
}

/* All groups of 16 positions at a time. False: the stream waits. */
static bool
compute_groups (const AttnTaps *taps, const AttnWork *work, AttnTapsRoom *room, const float *rows, size_t n_positions,
                float *out)
{
  size_t n_groups = taps->conv.groups, n_parts = (n_positions + ATTN_LANES - 1) / ATTN_LANES;

  for (; room->n_done < n_parts * n_groups; room->n_done++) {
    size_t position = room->n_done / n_groups * ATTN_LANES, left = n_positions - position;

    if (!compute_group (taps, work, room, rows, position, left < ATTN_LANES ? left : ATTN_LANES,
                        room->n_done % n_groups, out))
      return false;
  }
  room->n_done = 0;
  return true;
}

bool
attn_taps_run (const AttnTaps *taps, const AttnWork *work, AttnTapsRoom *room, const float *rows, size_t n, float *out)
{
  size_t width = taps->n_bins * taps->conv.n_outputs, i;

  if (taps->projections != NULL && !compute_groups (taps, work, room, rows, n * taps->n_bins, out))
    return false;
  if (taps->projections == NULL && taps->n_bins == 1)
    compute_channels (taps, room, rows, n, out);
  for (i = 0; i < n && taps->projections == NULL && taps->n_bins > 1; i++)
    compute_channels (taps, room, place_in (taps, rows, i * taps->n_bins), taps->n_bins, out + i * width);
  attn_activate_frames (taps->machine->kernels, out, n, width, taps->conv.activation);
  return true;
}
