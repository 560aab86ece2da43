#!/usr/bin/python3
"""Writes small-encoder.safetensors, the encoder of the README and of lesson 12:   examples/models/small_encoder.py [FILE]

It has the shape of the encoders that recognize speech: two convolutions of stride 2, then four layers of attention and feed-forward, which each
look one frame ahead. Nobody trained it: its parameters are random, from a seed, so its outputs mean nothing. It shows how an encoder runs. Its
blocks are written by hand. Imitate this file if export_encoder.py does not know your model.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import export_encoder  # noqa: E402
from export_encoder import np  # noqa: E402: it says what to install where there is none

BINS, WIDTH, INNER, LAYERS = 80, 16, 32, 4


def layer(i):
    """The blocks of one layer, with the norms in front (pre-norm)."""
    name = 'layers.%d.' % i
    attention = export_encoder.attention_block(name + 'self_attn', 2, window=25, look_ahead=1, position='rope')
    return export_encoder.encoder_layer(name, attention, 1e-5, 'gelu', norm_first=True)


def shapes():
    """{tensor: shape}, as PyTorch has them."""
    made = {'conv1.weight': (WIDTH, BINS, 3), 'conv1.bias': (WIDTH,), 'conv2.weight': (WIDTH, WIDTH, 3), 'conv2.bias': (WIDTH,)}
    for i in range(LAYERS):
        name = 'layers.%d.' % i
        made.update({name + 'norm1.weight': (WIDTH,), name + 'norm1.bias': (WIDTH,), name + 'norm2.weight': (WIDTH,), name + 'norm2.bias': (WIDTH,),
                     name + 'self_attn.in_proj_weight': (3 * WIDTH, WIDTH), name + 'self_attn.out_proj.weight': (WIDTH, WIDTH),
                     name + 'linear1.weight': (INNER, WIDTH), name + 'linear1.bias': (INNER,),
                     name + 'linear2.weight': (WIDTH, INNER), name + 'linear2.bias': (WIDTH,)})
    return {**made, 'norm.weight': (WIDTH,), 'norm.bias': (WIDTH,)}


def values(name, shape, random):
    """In float16, which keeps the file small. What comes out of a matrix has about the variance of what goes in; norms change nothing."""
    if 'norm' in name:
        return np.full(shape, name.endswith('weight'), np.float16)
    reach = 0.1 if name.endswith('bias') else np.sqrt(3.0 / np.prod(shape[1:]))
    return (reach * (2 * random.random_sample(shape) - 1)).astype(np.float16)


def main(path):
    random = np.random.RandomState(22)  # whose numbers no version of NumPy changes
    blocks = [{'conv': 'conv1', 'stride': 2, 'left': 2, 'activation': 'gelu'}, {'conv': 'conv2', 'stride': 2, 'left': 2, 'activation': 'gelu'}]
    blocks += [block for i in range(LAYERS) for block in layer(i)] + [{'norm': 'norm'}]
    tensors = {name: values(name, shape, random) for name, shape in shapes().items()}
    print(export_encoder.write(path, tensors, blocks, features=BINS, frame_rate=100, bins=BINS))


if __name__ == '__main__':
    main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, 'small-encoder.safetensors'))
