/*
 * What the machine can do at most, measured: the floors of the benchmark.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_BENCH_PEAKS_H
#define TESTS_BENCH_PEAKS_H

#include <stddef.h>

double now_us (void); /* microseconds of the monotonic clock */

/* float32 operations per second of one core, with the widest fused multiply-add (two operations each) it has. */
double fma_peak (void);

/* Bytes per second at which one core reads an array of `bytes` again and again. */
double read_bandwidth (size_t bytes);

#endif
