"""Blocks between logmel and a model: MFCC, and a mean and deviation that were fixed in training.

    import export_encoder
    from export import front_end
    export_encoder.export(model, 'encoder.safetensors', front=[front_end.mfcc(13, 23, 22)], window=16, bins=23, sample_rate=16000, ...)

Each function returns (block, {name: tensor}). `front` of export () and write () takes a list of them, in the order in which a frame goes through
them, and puts them in front of the model.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
from .files import ExportError, np


def dct(n_coefficients, bins, lifter=0.0):
    """[n_coefficients, bins] of the orthonormal DCT-II, as Kaldi, torchaudio and librosa (norm='ortho') have it. `lifter`: Kaldi's cepstral_lifter Q,
    which multiplies coefficient i by 1 + Q / 2 sin (pi i / Q); 0 = none."""
    if not 1 <= n_coefficients <= bins:
        raise ExportError('%d coefficients of %d bins, but there can be 1 to %d' % (n_coefficients, bins, bins))
    i, bin_ = np.arange(n_coefficients)[:, None], np.arange(bins)
    matrix = np.sqrt(2.0 / bins) * np.cos(np.pi / bins * (bin_ + 0.5) * i)
    matrix[0] = np.sqrt(1.0 / bins)
    return matrix if lifter == 0 else matrix * (1 + 0.5 * lifter * np.sin(np.pi * i / lifter))


def mfcc(n_coefficients, bins, lifter=0.0, name='mfcc'):
    """The cepstrum of log-mel frames. Kaldi's and torchaudio.compliance.kaldi.mfcc's defaults are `logmel bins=23` and mfcc (13, 23, 22), without the
    energy of the frame in the place of coefficient 0 (use_energy=False)."""
    return {'linear': name}, {name + '.weight': dct(n_coefficients, bins, lifter).astype(np.float32)}


def standardized(mean, deviation, name='standardized'):
    """(x - mean) / deviation, one of each per value: the global CMVN of ESPnet and WeNet, or fixed_mean and fixed_std of NeMo."""
    mean, deviation = np.asarray(mean, np.float64), np.asarray(deviation, np.float64)
    if mean.ndim != 1 or mean.shape != deviation.shape:
        raise ExportError('the mean has the shape %s and the deviation %s, expected one number per value in both' % (mean.shape, deviation.shape))
    wrong = np.flatnonzero(~(np.isfinite(mean) & np.isfinite(deviation) & (deviation > 0)))
    if len(wrong):
        raise ExportError('value %d has the mean %g and the deviation %g: no frame can be divided by that' % (wrong[0], mean[wrong[0]], deviation[wrong[0]]))
    return {'affine': name}, {name + '.weight': (1 / deviation).astype(np.float32), name + '.bias': (-mean / deviation).astype(np.float32)}


def put_in_front(front, state, blocks):
    """(state, blocks) with the blocks of `front` before the others."""
    state, blocks = dict(state), list(blocks)
    for block, tensors in reversed(front):
        for name in tensors:
            if name in state:
                raise ExportError('%s: the model has a tensor of this name as well; name the block otherwise' % name)
        state.update(tensors)
        blocks.insert(0, block)
    return state, blocks


# ---- the options of the command ----

def add_options(parser):
    made = parser.add_argument_group('blocks in front of the model')
    made.add_argument('--mfcc', type=int, metavar='N', help='the first N coefficients of the cepstrum of --bins log-mel bins')
    made.add_argument('--lifter', type=float, default=0, metavar='Q', help="Kaldi's cepstral lifter for --mfcc, 22 there (default: none)")
    made.add_argument('--standardize', metavar='FILE.npy', help='[2, values]: the mean and the deviation of each value, fixed in training')


def of_options(options):
    """The list for `front`."""
    front = []
    if options.lifter and options.mfcc is None:
        raise ExportError('--lifter %g would change nothing without --mfcc' % options.lifter)
    if options.mfcc is not None:
        if options.bins is None:
            raise ExportError('--mfcc %d, of how many bins? Say it (--bins 23)' % options.mfcc)
        front.append(mfcc(options.mfcc, options.bins, options.lifter))
    if options.standardize is not None:
        try:
            rows = np.load(options.standardize)
        except ValueError as error:
            raise ExportError('%s: not an array of numbers (%s)' % (options.standardize, error)) from None
        if rows.ndim != 2 or len(rows) != 2:
            raise ExportError('%s has the shape %s, where there are two rows: the means and the deviations' % (options.standardize, rows.shape))
        front.append(standardized(*rows))
    return front
