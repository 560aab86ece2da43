#!/usr/bin/python3
"""Writes a trained model to a safetensors file for the element `attentionencoder` (a whole encoder) or `attention` (one layer).

    examples/export_encoder.py checkpoint.pt                                   lists its encoders and layers
    examples/export_encoder.py checkpoint.pt encoder.safetensors --heads 4 --window 16 --activation gelu --norm-first
    examples/export_encoder.py folder encoder.safetensors --check              Moonshine Streaming, Mimi, Voxtral Realtime, Nemotron, from Hugging Face
    examples/export_encoder.py any.nemo encoder.safetensors --describe FILE    any other model, by a description (export/description.py)
    examples/export_encoder.py checkpoint.pt model.safetensors --layer --prefix encoder.layers.0.self_attn. --heads 4 --window 100

In the program that trained the model, the exporter takes everything from the module:

    import export_encoder
    export_encoder.export(model, 'encoder.safetensors', window=16, look_ahead=4, frame_rate=100, check=True)
    export_encoder.export_layer(model.layers[0], 'model.safetensors', window=100)

For a module of your own, write a rule that returns its blocks; blocks_of ('f') returns those of its submodule f:

    def blocks_of_mine(module, name, blocks_of):                               x + f(x)
        return [{'residual': blocks_of('f')}]
    export_encoder.export(model, 'encoder.safetensors', rules={Mine: blocks_of_mine}, ...)

The exporter refuses an unknown part of a model by its name, and prints what it leaves out. Its own parts are in the folder export/.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import collections
import os
import re
import sys

from export import front_end
from export.files import ExportError, load, np, refuse_unless, save  # noqa: F401: what other programs take from here
from export.checkpoints import of_onnx, parameters, read_checkpoint, read_config  # noqa: F401
from export.layers import LAYOUTS, export_layer, export_layer_state, find, left_out, prefixes  # noqa: F401
from export.keys import ACTIVATIONS, FRONT_END
from export.encoders import Options, activated, attention_block, blocks_of_state, encoder_layer, encoders, norm_block, unused, write  # noqa: F401
from export.check import check, check_layer
from export.conformer import NO_SHIFT
from export.modules import blocks_of, export  # noqa: F401
from export.description import export_described
from export.huggingface import MODELS, OPTIONS, PARTS, READINGS, ModelOptions, moonshine_frames, recognise  # noqa: F401

WENET = re.compile(r'encoders\.\d+\.self_attn\.pos_bias_u$')
POSITIONS = ('none', 'rope', 'alibi', 'relative', 'transformer-xl')


# ---- arguments ----

def frames_list(text):
    """16, or 16,16,8: one number for each layer."""
    numbers = [int(part) for part in text.split(',')]
    return numbers[0] if len(numbers) == 1 else numbers


def frame_rate(text):
    """Checks a number such as 100, 62.5 or 125/2."""
    numerator, _, denominator = text.partition('/')
    if not float(numerator) / float(denominator or 1) > 0:
        raise ValueError(text)
    return text


def add_front_end(parser):
    """The options of FRONT_END, which become metadata."""
    made = parser.add_argument_group('the frames that the model was trained on', 'named as the properties of logmel, which writes the same facts into its caps')
    made.add_argument('--sample-rate', type=int, metavar='HZ', help='of the audio')
    made.add_argument('--frame-rate', type=frame_rate, metavar='RATE', help='frames per second: 100, 62.5, 125/2')
    made.add_argument('--bins', type=int)
    made.add_argument('--style', choices=('kaldi', 'whisper', 'nemo'))
    for name in ('frame-length', 'hop-length'):
        made.add_argument('--' + name, type=float, metavar='MS')
    made.add_argument('--fft-size', type=int, metavar='POINTS')
    for name in ('low-frequency', 'high-frequency'):
        made.add_argument('--' + name, type=float, metavar='HZ')
    made.add_argument('--window-function', choices=('povey', 'hann', 'hamming', 'blackman', 'rectangular'))
    made.add_argument('--mel-scale', choices=('htk', 'slaney'))
    made.add_argument('--log-maximum', type=float, metavar='LOG10', help='of --style whisper, where it was fixed in training (Voxtral: 1.5)')


def add_encoder(parser):
    told = parser.add_argument_group('an encoder, or a layer: facts that a checkpoint does not hold')
    told.add_argument('--heads', type=int, help='heads of each attention')
    told.add_argument('--window', type=frames_list, metavar='FRAMES', help='frames that each frame attends to, with itself; or a list: 16,16,8')
    told.add_argument('--look-ahead', type=frames_list, metavar='FRAMES', help='later frames that it also attends to (default: 0)')
    told.add_argument('--activation', choices=ACTIVATIONS, help='activation between linear1 and linear2 (default: relu, as in PyTorch)')
    told.add_argument('--norm-first', action='store_true', help='norms before attention and feed-forward (default: after them, as in PyTorch)')
    told.add_argument('--eps', type=float, help='epsilon of the norms (default: 1e-5, as in PyTorch)')


def add_models(parser):
    known = parser.add_argument_group('a known model', 'a folder with config.json: ' + ', '.join(MODELS) + "; and Kyutai's file of Mimi")
    known.add_argument('--part', choices=PARTS, help='which transformer of Mimi (default: encoder)')
    known.add_argument('--window-reading', choices=READINGS,
                       help='(16, 4) is 15 frames back and 3 ahead (exclusive, the default), or 16 and 4 (inclusive)')
    known.add_argument('--chunk', type=int, metavar='FRAMES', help='frames of a chunk (Nemotron: if not that of config.json; Parakeet; --layer)')
    known.add_argument('--chunks', type=int, metavar='N', help='how many earlier chunks a frame also sees (Parakeet; --layer)')
    known.add_argument('--ignore', action='append', metavar='KEY', help='a key of config.json that changes nothing in the encoder; you can repeat this option')


def add_layer(parser):
    layer = parser.add_argument_group('one layer, for the element attention')
    layer.add_argument('--layer', action='store_true', help='export one attention layer and nothing else')
    layer.add_argument('--layout', choices=LAYOUTS, help='order of query, key and value in one tensor: all queries, all keys, all values; or by heads')
    layer.add_argument('--kv-heads', type=int, help='heads of keys and values, if they are in one tensor with the queries; otherwise the shapes tell')
    layer.add_argument('--sinks', type=int, metavar='FRAMES', help='first frames to which every later frame attends')
    layer.add_argument('--scale', type=float, help='factor of query times key (default: 1 / sqrt (values per head))')
    layer.add_argument('--softcap', type=float)
    layer.add_argument('--position', choices=POSITIONS)
    layer.add_argument('--rope-base', type=float, help='also for a known model, if its config.json does not hold it')
    layer.add_argument('--rope-layout', choices=('half', 'interleaved'))
    layer.add_argument('--rope-dimensions', type=int)
    layer.add_argument('--qk-norm', choices=('rms', 'layer'), help='norm of the queries and keys of each head (q_norm, k_norm)')
    layer.add_argument('--qk-norm-eps', type=float, help='epsilon of that norm (default: that of config.json, or 1e-5)')


LAYER = ('layout', 'kv_heads', 'sinks', 'scale', 'softcap', 'position', 'rope_base', 'rope_layout', 'rope_dimensions', 'qk_norm', 'qk_norm_eps')
CHUNKS = ('chunk', 'chunks')


def arguments(words=None):
    parser = argparse.ArgumentParser(
        description='Takes an encoder, or with --layer one attention layer, out of a checkpoint, for gst-launch-1.0 ... ! attentionencoder '
                    'model-file=MODEL ! ...',
        epilog='To export a module, import export_encoder in the program that has it. Checkpoints are read with weights_only, so no program that is '
               'hidden in one runs. The element takes its settings from the exported file; a pipeline that disagrees gets an error, not wrong numbers.')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='the output of torch.save (module.state_dict (), ...); a safetensors file, or the index of '
                        'several; a folder from Hugging Face; a .nemo file')
    parser.add_argument('model', metavar='MODEL', nargs='?', help='safetensors file to write; without it the program lists the encoders and layers')
    parser.add_argument('--tensors', action='store_true', help='list all tensors; a description needs their names')
    parser.add_argument('--prefix', help='prefix of the encoder or the layer, such as encoder. (not needed if there is only one)')
    parser.add_argument('--config', metavar='FILE', help='config.json of Hugging Face (default: the one beside the checkpoint, if there is one)')
    parser.add_argument('--describe', metavar='FILE', help='a description that names the tensors of any other model (export/description.py has one)')
    parser.add_argument('--check', action='store_true', help='run the exported file, and compare it with its formulas in float64')
    for add in (add_encoder, add_models, add_layer, add_front_end, front_end.add_options):
        add(parser)
    return parser.parse_args(words)


ONLY_MODELS = ('part', 'window_reading', 'ignore')


# ---- what is done ----

def plain(value):
    return '%.15g' % value if isinstance(value, float) else value


def given(options, names):
    return {name: plain(getattr(options, name)) for name in names}


def refuse_options(options, names, what):
    """Those that would be passed over in silence."""
    said = ['--' + name.replace('_', '-') for name in names if getattr(options, name) not in (None, False)]
    refuse_unless(not said, what, '%s would change nothing' % ', '.join(said))


def list_of(state, config):
    """What a checkpoint has, for a person."""
    if config.get('model_type') in MODELS:
        print('%s: config.json and the tensors tell all of it' % config['model_type'])
    for prefix, n in encoders(state).items():
        print("'%s' %d layers" % (prefix, n))
    there = prefixes(state) or [find(state, None)]  # says so where there is none
    print('attention layers, for --layer:')
    for found in there:
        print("  '%s' %s" % (found, {name[len(found):]: list(values.shape) for name, values in state.items() if name.startswith(found)}))


def print_left_out(names):
    """All of them, those of one module together."""
    modules = collections.Counter(name.partition('.')[0] for name in names)
    of_modules = ['%s.* (%d)' % (module, n) if n > 1 else next(name for name in names if name.partition('.')[0] == module) for module, n in modules.items()]
    if names:
        print('left out, of other modules: %d tensors: %s' % (len(names), ', '.join(of_modules)))


def write_layer(state, config, options):
    refuse_options(options, ('describe', 'activation', 'norm_first', 'eps', 'mfcc', 'standardize', *ONLY_MODELS), '--layer')
    found = find(state, options.prefix)
    known = export_layer_state(state, options.model, found, config=config, **given(
        options, ('heads', 'window', 'look_ahead', *CHUNKS, *LAYER, *FRONT_END)))
    beside, n_others = left_out(state, found)
    print("%s: the layer '%s', %d bytes" % (options.model, found, os.path.getsize(options.model)))
    print('it says: ' + ' '.join('%s=%s' % item for item in known.items()))
    if 'window' not in known and 'chunk' not in known:
        print('it says nothing of the window: attention then takes 64 frames, unless it is set')
    if beside:
        print('left out, which stand beside the attention: ' + ', '.join(beside))
    if n_others:
        print('left out, of other modules: %d parameters' % n_others)


def write_described(state, options):
    refuse_options(options, ('prefix', 'heads', 'window', 'look_ahead', 'activation', 'norm_first', 'eps', 'config', *ONLY_MODELS, *CHUNKS, *LAYER),
                   '--describe')
    text, left = export_described(state, options.model, options.describe, front=front_end.of_options(options), **given(options, FRONT_END))
    print(text)
    print_left_out(left)


def write_known(state, known, options):
    text, left = export_described(state, options.model, known.description, front=front_end.of_options(options), **given(options, FRONT_END))
    print('%s\n\n%s' % (known.title, text))
    for note in known.notes:
        print(note)
    print_left_out([name for name in left if name not in known.used])


def choose(state, prefix):
    """Of the nn.TransformerEncoders that there are."""
    there = encoders(state)
    listed = ', '.join("'%s' (%d layers)" % item for item in there.items())
    shiftless = next((name for name in state if WENET.search(name)), None)
    refuse_unless(there or shiftless is None, shiftless, 'the tensors are called as those of WeNet and ESPnet. ' + NO_SHIFT + ': by a description '
                  '(position: transformer-xl)')
    if not there:
        layers = ', '.join("'%s'" % each for each in prefixes(state))
        raise ExportError('no nn.TransformerEncoder among its %d parameters. Known models are folders with config.json (%s); others are named by a '
                          'description: --describe FILE; of a module: import export_encoder in the program that has it; %s' % (
                              len(state), ', '.join(MODELS), 'one attention layer alone: --layer (%s)' % layers if layers else 'and it has no attention layer'))
    if prefix is None and len(there) > 1:
        raise ExportError('it has %d encoders, choose one by its prefix: %s' % (len(there), listed))
    found = next(iter(there)) if prefix is None else next((p for p in there if p in (prefix, prefix + '.')), None)
    if found is None:
        raise ExportError("no encoder under the prefix '%s'; there is one under %s; one attention layer alone: --layer" % (prefix, listed))
    return found


def write_encoder(state, options):
    refuse_options(options, ('config', *ONLY_MODELS, *CHUNKS, *LAYER), 'an nn.TransformerEncoder')
    prefix = choose(state, options.prefix)
    if options.heads is None:
        raise ExportError('its parameters do not tell how many heads an attention has, and another number gives another output: say it (--heads 4)')
    attentions = Options(window=options.window, look_ahead=options.look_ahead or 0)
    eps = 1e-5 if options.eps is None else options.eps
    blocks = blocks_of_state(state, prefix, options.heads, options.activation or 'relu', options.norm_first, eps, attentions)
    attentions.check()
    print(write(options.model, state, blocks, front=front_end.of_options(options), **given(options, FRONT_END)))
    print_left_out(unused(state, blocks))


def recognised(state, config, options):
    """A known model, or None. What its configuration tells is not taken from options."""
    folder = options.checkpoint if os.path.isdir(options.checkpoint) else os.path.dirname(options.checkpoint)
    told = {name: getattr(options, name) for name in ('heads', 'window', 'rope_base', 'look_ahead', 'chunk', 'chunks')}
    known = recognise(state, config, ModelOptions(options.part, options.window_reading, options.ignore, folder, **told))
    if known is not None:
        others = dict.fromkeys(('prefix', 'look_ahead', 'activation', 'norm_first', 'eps', *LAYER, *OPTIONS))
        refuse_options(options, [name for name in others if name not in known.takes], known.title)
    return known


def write_any(state, config, options):
    known = None if options.layer or options.describe else recognised(state, config, options)
    if options.layer:
        write_layer(state, config, options)
    elif options.describe:
        write_described(state, options)
    elif known is not None:
        write_known(state, known, options)
    else:
        write_encoder(state, options)


def main(words=None):
    options = arguments(words)
    state, config = read_checkpoint(options.checkpoint), read_config(options.config, options.checkpoint)
    if options.tensors:
        return print('\n'.join('%s %s %s' % (name, values.dtype, list(values.shape)) for name, values in state.items()))
    if options.model is None:
        return list_of(state, config)
    same = os.path.exists(options.model) and os.path.exists(options.checkpoint) and os.path.samefile(options.model, options.checkpoint)
    refuse_unless(not same, options.model, 'it is the checkpoint, which is still read while the model is written')
    write_any(state, config, options)
    if options.check:
        print((check_layer if options.layer else check)(options.model))
    print('... ! %s model-file=%s ! ...' % ('attention' if options.layer else 'attentionencoder', options.model))
    return None


if __name__ == '__main__':
    sys.stdout.reconfigure(errors='replace')  # where the locale has no minus sign
    try:
        main()
    except (ExportError, OSError) as failure:
        sys.exit('%s: %s' % (os.path.basename(sys.argv[0]), failure))
