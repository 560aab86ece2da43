/* How long every kernel takes: core-kernels --bench.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_CORE_KERNELS_BENCH_H
#define TESTS_CORE_KERNELS_BENCH_H

/* Prints a line per kernel and row: name, nanoseconds of a call (the median), how many times as fast as plain C. */
void kernels_bench (void);

#endif
