#!/usr/bin/python3
"""Derives the coefficients of the polynomial for 2^r, |r| <= 1/2, in src/kernels/kernels_c.c, and measures it.

Minimises the largest relative error of 1 + c1 r + ... + c6 r^6 with the Remez exchange algorithm (Remez 1934; the
constant term is held at 1, so that 2^0 is 1 exactly). The coefficients are rounded to float32 one after another, lowest order
first, and the rest is solved again after each rounding, so that later ones make up for the rounding of earlier ones.
SPDX-License-Identifier: LGPL-2.1-or-later
"""
import numpy as np

DEGREE = 6
HALF = np.longdouble(0.5)
GRID = np.linspace(-HALF, HALF, 40001).astype(np.longdouble)


def solve(fixed):
    """The minimax coefficients above those in `fixed` (index = power); returns all of them."""
    free = list(range(len(fixed), DEGREE + 1))
    n = len(free)
    points = (HALF * np.cos(np.pi * (np.arange(n + 1) + 0.5) / (n + 1)).astype(np.longdouble))
    for _ in range(30):
        known = sum(c * points ** i for i, c in enumerate(fixed))
        rows = np.array([[p ** i / 2 ** p for i in free] + [np.longdouble((-1) ** k)] for k, p in enumerate(points)])
        rhs = 1 - known / 2 ** points
        x = np.linalg.solve(rows.astype(float), rhs.astype(float)).astype(np.longdouble)
        for _ in range(3):  # refine the float64 solution in long double
            x += np.linalg.solve(rows.astype(float), (rhs - rows @ x).astype(float))
        coefficients = list(fixed) + list(x[:n])
        error = relative_error(coefficients, GRID)
        # one extremum per stretch of equal sign
        bounds = np.flatnonzero(np.diff(np.sign(error))) + 1
        extrema = [s[np.argmax(abs(error[s]))] for s in np.split(np.arange(len(GRID)), bounds)]
        if len(extrema) < n + 1:
            break
        extrema = sorted(sorted(extrema, key=lambda i: -abs(error[i]))[:n + 1])
        points = GRID[extrema][::-1]
    return coefficients


def relative_error(coefficients, r):
    return sum(np.longdouble(c) * r ** i for i, c in enumerate(coefficients)) / 2 ** r - 1


def main():
    fixed = [np.longdouble(1)]
    while len(fixed) <= DEGREE:
        fixed.append(np.longdouble(np.float32(solve(fixed)[len(fixed)])))
    for i in reversed(range(DEGREE + 1)):
        print('c%d = %s' % (i, float(fixed[i]).hex()))
    worst = max(abs(relative_error(fixed, GRID)))
    print('largest relative error of the rounded polynomial: %.3g = 2^%.2f' % (worst, np.log2(worst)))


main()
