#!/usr/bin/python3
"""Makes position/tables.h: turns per frame of RoPE, phases of far frames and slopes of ALiBi, from 150 decimal digits.

With --constants it prints what src/base/wide.c and src/blocks/position.c begin with: ln 2 and 1 / (2 pi) as limbs of 32 bits, and the
coefficients of the polynomials for sine and cosine, with their largest errors.

  position_tables.py [--check | --constants]

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import functools
import math
import os
import struct
import sys
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, getcontext

getcontext().prec = 150
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'position', 'tables.h')

# base, rotated values n
ROPES = [('10000', 2), ('10000', 64), ('10000', 128), ('500000', 128), ('1000000', 6), ('1000000', 96), ('1', 8), ('1.5', 10),
         ('1e300', 4)]
FAR = [1, 10 ** 6, 10 ** 9, 10 ** 15, 2 ** 63, 2 ** 64 - 1]
HEADS = list(range(1, 17)) + [20, 32, 40, 64]


def arctangent_of_inverse(n):
    total, power, k = Decimal(0), Decimal(1) / n, 0
    while power > Decimal(10) ** -155:
        total += (-1) ** k * power / (2 * k + 1)
        power /= n * n
        k += 1
    return total


PI = 4 * (4 * arctangent_of_inverse(5) - arctangent_of_inverse(239))  # Machin 1706


def sine_and_cosine(x):
    """(sin x, cos x) by their series."""
    sine, cosine, term, k = Decimal(0), Decimal(0), Decimal(1), 0
    while abs(term) > Decimal(10) ** -145 or k < 2:
        if k % 2:
            sine += (-1) ** (k // 2) * term
        else:
            cosine += (-1) ** (k // 2) * term
        k += 1
        term *= x / k
    return sine, cosine


def turns(base, n, pair):
    return (-Decimal(2 * pair) / n * Decimal(base).ln()).exp() / (2 * PI)


def nearest(x):
    return int(x.to_integral_value(ROUND_HALF_EVEN))


def slope(head, n_heads):
    """Press et al. 2022: powers of 2^(-8 / n) for n a power of two, else also every other one of twice as many heads."""
    lower = 2 ** (n_heads.bit_length() - 1)
    exponent = Decimal(-8 * (head + 1)) / lower if head < lower else Decimal(-4 * (2 * (head - lower) + 1)) / lower
    return (exponent * Decimal(2).ln()).exp()


def float32_bits(x):
    """Rounded once. Doubles of 53 bits in between are safe: no slope is that near to a tie (checked)."""
    double = float(x)
    assert abs(Decimal(double) - x) < abs(x) * Decimal(2) ** -52
    bits, = struct.unpack('<I', struct.pack('<f', double))
    value, = struct.unpack('<f', struct.pack('<I', bits))
    assert abs(Decimal(value) - x) <= abs(x) * Decimal(2) ** -24
    return bits


def header():
    lines = ['/* Made by tests/golden/position_tables.py.  SPDX-License-Identifier: LGPL-2.1-or-later */', '#include <stdint.h>', '',
             '/* Turns per frame times 2^128, to nearest, of each pair of some RoPEs: {high, low}. */']
    for i, (base, n) in enumerate(ROPES):
        lines += ['static const uint64_t golden_turns_%d[][2] = {' % i]
        for pair in range(n // 2):
            t = nearest(turns(base, n, pair) * 2 ** 128)
            lines += ['  { 0x%016x, 0x%016x },' % (t >> 64, t & 2 ** 64 - 1)]
        lines += ['};']
    lines += ['static const struct {', '  double base;', '  uint32_t n;', '  const uint64_t (*turns)[2];', '} golden_ropes[] = {']
    lines += ['  { %s, %d, golden_turns_%d },' % (base, n, i) for i, (base, n) in enumerate(ROPES)]
    lines += ['};', '', '/* Turns modulo 1 times 2^64, rounded down: base 10000, 64 values; [frame][pair]. */',
              'static const uint64_t golden_far_frames[] = { %s };' % ', '.join('%du' % p for p in FAR),
              'static const uint64_t golden_far_phases[][32] = {']
    for p in FAR:
        phases = [int((p * turns('10000', 64, pair) % 1 * 2 ** 64).to_integral_value(ROUND_FLOOR)) for pair in range(32)]
        lines += ['  {'] + ['    %s,' % ', '.join('0x%016x' % x for x in phases[i:i + 4]) for i in range(0, 32, 4)] + ['  },']
    lines += ['};', '', '/* Slopes as bits of float32. */', 'static const uint32_t golden_n_heads[] = { %s };' % ', '.join(map(str, HEADS)),
              'static const uint32_t golden_slopes[][64] = {']
    for n in HEADS:
        bits = [float32_bits(slope(h, n)) for h in range(n)]
        lines += ['  {'] + ['    %s,' % ', '.join('0x%08x' % x for x in bits[i:i + 8]) for i in range(0, n, 8)] + ['  },']
    lines += ['};', '', '/* FNV-1a of cosines and sines: angles_hash (). */',
              'static const uint64_t golden_angles_hash = 0x%016x;' % angles_hash()]
    return '\n'.join(lines + [''])


def limbs(x):
    """The 224 bits behind the point, lowest limb first."""
    n = nearest(x * 2 ** 224)
    return ', '.join('0x%08x' % (n >> 32 * i & 0xffffffff) for i in range(8))


def interpolate(function, degree, end):
    """Coefficients of the polynomial in z through `function` at the Chebyshev nodes of [0, end]: near the best one there is."""
    nodes = [Decimal(end) / 2 * (1 + sine_and_cosine(PI * (2 * k + 1) / (2 * degree + 2))[1]) for k in range(degree + 1)]
    table = [function(z) for z in nodes]
    for order in range(1, degree + 1):  # Newton's divided differences
        for k in range(degree, order - 1, -1):
            table[k] = (table[k] - table[k - 1]) / (nodes[k] - nodes[k - order])
    coefficients = [Decimal(0)]
    for k in range(degree, -1, -1):
        shifted = [Decimal(0)] + coefficients
        coefficients = [s - nodes[k] * c for s, c in zip(shifted, coefficients + [Decimal(0)])]
        coefficients[0] += table[k]
    return [float(c) for c in coefficients[:degree + 1]]


def largest_error(function, coefficients, end):
    """Relative, of the polynomial with rounded coefficients."""
    worst = Decimal(0)
    for k in range(1, 401):
        z = Decimal(end) * k / 400
        worst = max(worst, abs(sum(Decimal(c) * z ** i for i, c in enumerate(coefficients)) / function(z) - 1))
    return float(worst)


# In z = y^2, |y| <= 1/8 turn.
END = Decimal(1) / 64
FUNCTIONS = [('sin (2 pi y) / y', lambda z: sine_and_cosine(2 * PI * z.sqrt())[0] / z.sqrt(), 5),
             ('cos (2 pi y)', lambda z: sine_and_cosine(2 * PI * z.sqrt())[1], 6)]


@functools.lru_cache(None)
def polynomials():
    return [interpolate(function, degree, END) for _, function, degree in FUNCTIONS]


def angle_bits(phase):
    """(cosine, sine) as bits of float32, by the polynomials as src/blocks/position.c writes them; Python's floats are doubles too."""
    quarter = (phase + 2 ** 61 >> 62) % 4
    rest = phase - (quarter << 62)
    rest -= 2 ** 64 if rest >= 2 ** 63 else 0
    y = float(rest) * 2.0 ** -64
    z = y * y
    values = []
    for coefficients in polynomials():
        value = coefficients[-1]
        for c in reversed(coefficients[:-1]):
            value = z * value + c
        values.append(value)
    s, c = y * values[0], values[1]
    for _ in range(quarter):
        c, s = -s, c
    return [struct.unpack('<I', struct.pack('<f', v))[0] for v in (c, s)]


def angles_hash():
    """FNV-1a over the words, of 2^16 phases by SplitMix64 from 0."""
    state, value = 0, 0xcbf29ce484222325
    for _ in range(2 ** 16):
        state = (state + 0x9e3779b97f4a7c15) % 2 ** 64
        z = (state ^ state >> 30) * 0xbf58476d1ce4e5b9 % 2 ** 64
        z = (z ^ z >> 27) * 0x94d049bb133111eb % 2 ** 64
        for bits in angle_bits(z ^ z >> 31):
            value = (value ^ bits) * 0x100000001b3 % 2 ** 64
    return value


def constants():
    print('ln 2      ', limbs(Decimal(2).ln()))
    print('1 / (2 pi)', limbs(1 / (2 * PI)))
    for (name, function, degree), coefficients in zip(FUNCTIONS, polynomials()):
        print('%s: %s' % (name, ', '.join(c.hex() for c in coefficients)))
        print('  largest relative error 2^%.1f' % math.log2(largest_error(function, coefficients, END)))


def main():
    if sys.argv[1:] == ['--constants']:
        constants()
    elif sys.argv[1:] == ['--check']:
        with open(HERE) as f:
            assert f.read() == header(), HERE
        print('ok 1 - tables\n1..1')
    else:
        with open(HERE, 'w') as f:
            f.write(header())


main()
