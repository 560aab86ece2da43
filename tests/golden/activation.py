#!/usr/bin/python3
"""Derives the coefficients of the polynomials for gelu and tanh in src/kernels/kernels_c_frames.c, and measures them.

gelu: Phi (-x) = e^(-x^2 / 2) t R (u) with t = 1 / (1 + x / 4) and u = x t - 5/4: what is left of the normal distribution's tail, a
polynomial of degree 8, around the middle of its range, so that large terms do not cancel each other. Errors are weighed as those of gelu are bound: relative to Phi (-x), or, below 2^-20, to 2^-20;
by no less than a 2^9-th of that, so that the far tail keeps its shape.
tanh: tanh x = x + x^3 S (x^2) up to 5/8, relative to tanh x.

By least squares over Chebyshev nodes, whose weights then go to where the error is largest (Lawson 1961): the least possible largest
error. The coefficients are rounded to float32 one after another, lowest order first, and the rest is solved again after each rounding.
SPDX-License-Identifier: LGPL-2.1-or-later
"""
import math

import numpy as np

FAR = 12.5


def nodes(low, high):
    return (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(3000) + 0.5) / 3000)


def solve(x, target, weight, fixed, n):
    """The minimax coefficients of the powers 0 ... n - 1 of x; the first are `fixed`."""
    powers = x[:, None] ** np.arange(n)
    rest = target - powers[:, :len(fixed)] @ fixed
    importance = np.ones(len(x))
    for _ in range(200):
        scale = np.sqrt(importance) * weight
        free = np.linalg.lstsq(powers[:, len(fixed):] * scale[:, None], rest * scale, rcond=None)[0]
        error = np.abs(powers[:, len(fixed):] @ free - rest) * weight
        importance *= error / np.max(error)
        importance /= np.max(importance)
    return np.append(fixed, free)


def rounded(x, target, weight, fixed, n):
    while len(fixed) < n:
        fixed = np.append(fixed, np.float64(np.float32(solve(x, target, weight, fixed, n)[len(fixed)])))
    error = np.max(np.abs(x[:, None] ** np.arange(n) @ fixed - target) * weight)
    return fixed, error


def show(name, coefficients, error):
    for i in reversed(range(len(coefficients))):
        print('%s%d = %s' % (name, i, coefficients[i].hex()))
    print('largest error of the rounded polynomial: %.3g = 2^%.2f' % (error, math.log2(error)))


def gelu():
    u = nodes(-1.25, FAR / (1 + FAR / 4) - 1.25)
    x = (u + 1.25) / (1 - (u + 1.25) / 4)
    t = 1 / (1 + x / 4)
    mills = np.array([math.erfc(v / math.sqrt(2)) * math.exp(v * v / 2) / 2 for v in x])
    density = np.exp(-x * x / 2)
    weight = t * density / np.maximum(mills * density, 2.0 ** -20)
    weight = np.maximum(weight, t / mills * 2.0 ** -9)
    return rounded(u, mills / t, weight, np.zeros(0), 9)


def tanh():
    x = nodes(0, 0.625)
    return rounded(x * x, (np.tanh(x) - x) / x ** 3, x ** 3 / np.tanh(x), np.zeros(0), 5)


def split(name, value):
    """A constant as the sum of two float32."""
    high = np.float32(value)
    print('%s = %s + %s' % (name, float(high).hex(), float(np.float32(value - np.float64(high))).hex()))


def main():
    show('R', *gelu())
    show('S', *tanh())
    split('log2 (e)', 1 / math.log(2))
    split('log2 (e) / 2', 0.5 / math.log(2))
    split('2 log2 (e) sqrt (2 / pi)', 2 / math.log(2) * math.sqrt(2 / math.pi))
    split('0.044715 times that', 0.044715 * 2 / math.log(2) * math.sqrt(2 / math.pi))


main()
