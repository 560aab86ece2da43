#!/usr/bin/python3
"""Derives the coefficients of the polynomial for 2^r - 1, |r| <= 1/2, in the softcap of src/kernels/kernels_c.c, and measures it.

r (c1 + c2 r + ... + c6 r^5), by least squares of the relative error over Chebyshev nodes, which comes within a small factor of the
least possible largest error. It is another polynomial than that of the exponential (exp2.py), whose error is relative to 2^r: near
r = 0 that is far more than 2^r - 1 itself. The coefficients are rounded to float32 one after another, lowest order first, and the
rest is solved again after each rounding, so that later ones make up for the rounding of earlier ones.
SPDX-License-Identifier: LGPL-2.1-or-later
"""
import numpy as np

N = 6  # coefficients
NODES = 0.5 * np.cos(np.pi * (np.arange(2000) + 0.5) / 2000)  # none is 0
POWERS = NODES[:, None] ** np.arange(N)
TARGET = np.expm1(NODES * np.log(2)) / NODES


def main():
    fixed = np.zeros(0)
    for i in range(N):
        rest = (TARGET - POWERS[:, :i] @ fixed) / TARGET
        free = np.linalg.lstsq(POWERS[:, i:] / TARGET[:, None], rest, rcond=None)[0]
        fixed = np.append(fixed, np.float64(np.float32(free[0])))
    for i in reversed(range(N)):
        print('c%d = %s' % (i + 1, fixed[i].hex()))
    worst = np.max(np.abs(POWERS @ fixed / TARGET - 1))
    print('largest relative error of the rounded polynomial: %.3g = 2^%.2f' % (worst, np.log2(worst)))


main()
