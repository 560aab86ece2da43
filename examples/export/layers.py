"""One attention layer, whatever its tensors are called: for the element `attention`.

A layer is nn.MultiheadAttention (or what contains some, such as nn.TransformerEncoderLayer), or one with the names of NAMES and FUSED below, as
in Hugging Face's files; those are written as q_proj, k_proj, v_proj and out_proj. A config.json gives heads, positions, and the order
of fused projections. Tensors beside the attention are left out, and named. Unknown tensors of the attention are refused. The layer is checked before
a file is written.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import textwrap

from .conformer import NO_SHIFT
from .files import ExportError, refuse_unless, save, tensor
from .keys import check_metadata

LAYOUTS = ('stacked', 'interleaved')
# Properties of the element that stand in the metadata.
OPTIONS = ('kv_heads', 'window', 'look_ahead', 'chunk', 'chunks', 'sinks', 'scale', 'softcap', 'position', 'rope_base', 'rope_layout',
           'rope_dimensions', 'qk_norm', 'qk_norm_eps')
# What nn.MultiheadAttention has, and the bias of distances that the element adds to any layer.
TORCH = ('in_proj_weight', 'q_proj_weight', 'k_proj_weight', 'v_proj_weight', 'in_proj_bias', 'out_proj.weight', 'out_proj.bias')
# Query, key, value; what the output projection is called; what stands beside them under the same prefix, and is no part of the attention.
NAMES = (
    (('q_proj', 'k_proj', 'v_proj'), ('out_proj', 'o_proj', 'output_proj', 'dense'), ()),
    (('self.query', 'self.key', 'self.value'), ('output.dense',), ('output.LayerNorm.',)),  # BERT
    (('attention.query', 'attention.key', 'attention.value'), ('output.dense',), ()),  # ViT
    (('query', 'key', 'value'), ('out', 'dense', 'output'), ()),
    (('q_lin', 'k_lin', 'v_lin'), ('out_lin',), ()),  # DistilBERT
    (('linear_q', 'linear_k', 'linear_v'), ('linear_out',), ()),  # ESPnet
    (('wq', 'wk', 'wv'), ('wo',), ()),  # Llama, as Meta has it
    (('to_q', 'to_k', 'to_v'), ('to_out.0', 'to_out'), ()),  # diffusers
    (('linears.0', 'linears.1', 'linears.2'), ('linears.3',), ()),  # Annotated Transformer
)
# The same in one tensor, whose rows are stacked (all queries, all keys, all values) or interleaved (query, key and value of each head).
FUSED = (('query_key_value', ('dense',)), ('Wqkv', ('out_proj', 'Wo')), ('qkv_proj', ('o_proj', 'out_proj')), ('qkv', ('proj', 'out_proj')),
         ('c_attn', ('c_proj',)), ('in_proj', ('out_proj',)))
MODEL_TYPES = {'gpt_neox': 'interleaved', 'bloom': 'interleaved', 'persimmon': 'interleaved',
               'mpt': 'stacked', 'phi3': 'stacked', 'gpt2': 'stacked', 'modernbert': 'stacked'}
# What only a layer with positions of Transformer-XL has, and one with norms of queries and keys: {name: its name in the file}.
DISTANCES = {'linear_pos.weight': 'linear_pos.weight', 'pos_bias_u': 'pos_bias_u', 'pos_bias_v': 'pos_bias_v',
             'relative_k_proj.weight': 'linear_pos.weight', 'bias_u': 'pos_bias_u', 'bias_v': 'pos_bias_v'}  # Hugging Face
QK_NORMS = {'%s.%s' % (theirs, part): '%s.%s' % (ours, part) for ours, names in (
    ('q_norm', ('q_norm', 'q_layernorm', 'query_norm')), ('k_norm', ('k_norm', 'k_layernorm', 'key_norm'))) for theirs in names for part in ('weight', 'bias')}
# Tables and masks, which hold nothing that was trained.
HARMLESS = ('rotary_emb.inv_freq', 'rotary_emb.cos_cached', 'rotary_emb.sin_cached', 'position_ids', 'masked_bias')


# ---- the layer ----

def stems():
    """By which a layer is known: (what its name ends with, what else has to be there)."""
    yield 'in_proj_weight', ()
    yield 'q_proj_weight', ('k_proj_weight', 'v_proj_weight')
    for (query, *others), outputs, _ in NAMES:
        apart = ['output.dense'] if outputs == ('output.dense',) else []  # or it is a `query` in a module of another name
        yield query + '.weight', [other + '.weight' for other in others + apart]
    for fused, _ in FUSED:
        yield fused + '.weight', ()


def prefixes(state):
    """Of all attention layers among the parameters, in their order."""
    found = {}
    for name in state:
        for stem, others in stems():
            prefix = name[:len(name) - len(stem)]
            if name.endswith(stem) and (prefix == '' or prefix.endswith('.')) and all(prefix + other in state for other in others):
                found.setdefault(prefix)
    # BERT's self.query is under `attention.`, and not `query` under `attention.self.`
    return [p for p in found if not any(p == q + inner for q in found for inner in ('self.', 'attention.'))]


def find(state, prefix):
    """The prefix as it is wanted, with its dot; None: the only one that there is."""
    there = prefixes(state)
    listed = ', '.join("'%s'" % p for p in there)
    if not there:
        raise ExportError('no nn.MultiheadAttention, and no attention under another name that is known, among its %d parameters: %s' % (
            len(state), textwrap.shorten(', '.join(state), 200, placeholder=' ...') or 'none'))
    if prefix is None and len(there) > 1:
        raise ExportError('it has %d attention layers, choose one by its prefix: %s' % (len(there), listed))
    if prefix is None:
        return there[0]
    wanted = [prefix + part for part in ('', '.', '.self_attn.', 'self_attn.', '.attention.', 'attention.', '.attn.', 'attn.')]
    match = next((p for p in wanted if p in there), None)
    if match is None:
        raise ExportError("no attention layer under the prefix '%s'; there is one under %s" % (prefix, listed))
    return match


def left_out(state, prefix):
    """(names of what stands beside the layer in the module that has it, how many parameters are elsewhere)."""
    parent = prefix[:prefix[:-1].rfind('.') + 1]
    beside = [name for name in state if name.startswith(parent) and not name.startswith(prefix)] if parent != prefix else []
    beside += [name for name in state if name.startswith(prefix) and is_beside(name[len(prefix):])]
    layer = [name for name in state if name.startswith(prefix)]
    if parent == '' and len(prefixes(state)) > 1:  # other layers are not beside it
        beside = []
    return beside, len(state) - len(layer) - len([name for name in beside if not name.startswith(prefix)])


def is_beside(name):
    return any(name.startswith(other) for _, _, others in NAMES for other in others)


def is_harmless(name, values):
    return name in HARMLESS or (name == 'bias' and (len(values.shape) == 4 or str(values.dtype).lower().endswith('bool')))


def select(state, prefix):
    """The parameters of the layer under the prefix, without it. What the element does not compute is refused."""
    layer = {name[len(prefix):]: values for name, values in state.items() if name.startswith(prefix)}
    for name in ('bias_k', 'bias_v'):
        if name in layer and 'bias_u' not in layer:  # beside which bias_v is one of Transformer-XL
            raise ExportError('%s%s: a key and value that are appended to the sequence (add_bias_kv) are not supported' % (prefix, name))
    return {name: values for name, values in layer.items() if not is_harmless(name, values) and not is_beside(name)}


def take(layer, name, into, written_as):
    for part in ('.weight', '.bias'):
        if name + part in layer:
            into[written_as + part] = layer.pop(name + part)


def take_output(layer, names, into):
    there = [name for name in names if name + '.weight' in layer or name + '.bias' in layer]
    if len(there) > 1:
        raise ExportError('it has both %s and %s, and it takes one of them as the output projection' % tuple(there[:2]))
    for name in there:
        take(layer, name, into, 'out_proj')


def take_apart(values, heads, kv_heads, layout, name):
    """Query, key and value of the rows (or of the biases) that one tensor holds."""
    rows, parts = values.shape[0], heads + 2 * kv_heads
    if rows % parts != 0:
        raise ExportError('%s has %d rows, which %d heads of query, key and value (%d + 2 times %d) do not divide' % (
            name, rows, parts, heads, kv_heads))
    size = rows // parts
    if layout == 'stacked':
        ends = (0, heads * size, (heads + kv_heads) * size, rows)
        return [values[begin:end] for begin, end in zip(ends, ends[1:])]
    if kv_heads != heads:
        raise ExportError('%s is interleaved, and kv-heads=%d is not heads=%d: how groups are interleaved differs from family to family' % (
            name, kv_heads, heads))
    shape = values.shape[1:]
    return [values.moved((heads * size, *shape), lambda v, i=i: v.reshape(heads, 3, size, *shape)[:, i].reshape(heads * size, *shape))
            for i in range(3)]


def unfuse(layer, name, outputs, into, known, layout):
    if layout is None:
        raise ExportError(
            '%s.weight holds query, key and value in one tensor, in an order that its shape does not tell: stacked (all queries, all keys, all '
            'values) or interleaved (query, key and value of each head, as GPT-NeoX and BLOOM have it). Say which by --layout, or by the '
            "model_type of a config.json that is known: %s" % (name, ', '.join(MODEL_TYPES)))
    heads, kv_heads = known['heads'], known.get('kv-heads') or known['heads']
    weight = layer[name + '.weight']
    transposed = name == 'c_attn' and weight.shape[1] > weight.shape[0]  # GPT-2's Conv1D
    for part in ('.weight', '.bias'):
        if name + part in layer:
            values = layer.pop(name + part)
            parts = take_apart(values.T if transposed and part == '.weight' else values, heads, kv_heads, layout, name + part)
            into.update({projection + part: one for projection, one in zip(('q_proj', 'k_proj', 'v_proj'), parts)})
    take_output(layer, outputs, into)
    if transposed and 'out_proj.weight' in into:
        into['out_proj.weight'] = into['out_proj.weight'].T


def take_more(layer, prefix, known):
    """What stands beside the projections, by names that the element knows. It is not used unless somebody said what it is."""
    position, norm = known.get('position', 'none'), known.get('qk-norm', 'none')
    distances = [name for name in DISTANCES if name in layer]
    norms = [name for name in QK_NORMS if name in layer]
    refuse_unless(not distances or position == 'transformer-xl', prefix + ''.join(distances[:1]),
                  'the position is %s, but this belongs to scores by distance: say --position transformer-xl if the model shifts them, as NeMo '
                  'does. %s' % (position, NO_SHIFT))
    refuse_unless(not norms or norm != 'none', "the layer under '%s'" % prefix, 'it has %s, and other norms give other outputs: say which (--qk-norm rms, '
                  'or layer)' % ', '.join(norms))
    names = [*distances, *norms, *(['relative_bias'] if 'relative_bias' in layer else [])]
    return {{**DISTANCES, **QK_NORMS}.get(name, name): layer.pop(name) for name in names}


def translate(layer, prefix, known, layout):
    """The parameters by names that the element knows, from whatever they are called."""
    layer, into = dict(layer), {}
    names = next((names for names in NAMES if names[0][0] + '.weight' in layer), None)
    fused = next((fused for fused in FUSED if fused[0] + '.weight' in layer), None)
    more = take_more(layer, prefix, known)
    if 'in_proj_weight' in layer or 'q_proj_weight' in layer:
        into.update({name: layer.pop(name) for name in TORCH if name in layer})
    elif names is not None:
        for name, written_as in zip(names[0], ('q_proj', 'k_proj', 'v_proj')):
            take(layer, name, into, written_as)
        take_output(layer, names[1], into)
    else:
        unfuse(layer, *fused, into, known, layout)
    if layer:
        raise ExportError("the layer under '%s' has parameters that the element does not compute with, and that would be missing: %s" % (
            prefix, ', '.join(layer)))
    return {**into, **more}


def inputs_and_rows(layer):
    """({projection: inputs}, {projection: rows}) of query, key and value."""
    if 'in_proj_weight' in layer:
        rows, inputs = layer['in_proj_weight'].shape
        return {'in_proj_weight': inputs}, dict.fromkeys('qkv', rows // 3)
    there = [(letter, name) for letter in 'qkv' for name in (letter + '_proj_weight', letter + '_proj.weight') if name in layer]
    return {name: layer[name].shape[1] for _, name in there}, {letter: layer[name].shape[0] for letter, name in there}


def check_seen(known):
    """A frame attends to a window or to chunks."""
    for key, other in (('chunk', 'chunks'), ('chunks', 'chunk')):
        refuse_unless(key not in known or other in known, '%s is %s' % (key, known.get(key)), '%s is not given: chunks are told by both' % other)
    beside = [key for key in ('window', 'look-ahead') if key in known and 'chunk' in known]
    refuse_unless(not beside, 'chunk is %s' % known.get('chunk'), 'chunks stand in the place of window and look-ahead, but %s is given' % ' and '.join(beside))


def check_more(layer, prefix, known, width, heads, size):
    """The shapes of what stands beside the projections."""
    wanted = {}
    if known.get('position') == 'transformer-xl':
        wanted = {'linear_pos.weight': (heads * size, width), 'pos_bias_u': (heads, size), 'pos_bias_v': (heads, size)}
    if known.get('qk-norm', 'none') != 'none':
        wanted.update({'q_norm.weight': (size,), 'k_norm.weight': (size,)})
    wanted.update({name: (size,) for name in ('q_norm.bias', 'k_norm.bias') if name in layer})
    missing = [name for name in wanted if name not in layer]
    refuse_unless(not missing, "the layer under '%s'" % prefix, 'position=%s and qk-norm=%s need %s, which it does not have' % (
        known.get('position', 'none'), known.get('qk-norm', 'none'), ', '.join(missing)))
    for name, shape in wanted.items():
        refuse_unless(tuple(layer[name].shape) == shape, prefix + name, 'its shape is %s, expected %s: %d heads of %d values' % (
            list(layer[name].shape), list(shape), heads, size))


def check_layer(layer, prefix, known):
    """Shapes and heads, and how many kv-heads there are, which follows from them."""
    check_seen(known)
    inputs, rows = inputs_and_rows(layer)
    if len(set(inputs.values())) != 1:
        raise ExportError('%s: cross-attention, where only self-attention is supported: %s' % (
            prefix, ', '.join('%s takes %d inputs' % item for item in inputs.items())))
    heads = known['heads']
    if heads < 1 or rows['q'] % heads != 0:
        raise ExportError('%d heads do not divide the %d rows of the query projection' % (heads, rows['q']))
    size = rows['q'] // heads
    if rows['k'] % size != 0 or heads % max(rows['k'] // size, 1) != 0:
        raise ExportError('%d heads have queries of %d values, which do not make whole heads, shared evenly, of the %d rows of the key projection' % (
            heads, size, rows['k']))
    kv_heads = rows['k'] // size
    if known.get('kv-heads') not in (None, 0, kv_heads):
        raise ExportError('kv-heads is %d, but the key projection has %d rows, which are %d heads of %d' % (
            known['kv-heads'], rows['k'], kv_heads, size))
    if kv_heads != heads:
        known['kv-heads'] = kv_heads
    check_more(layer, prefix, known, next(iter(inputs.values())), heads, size)


def rope_of(config):
    """What a config.json says of rotary positions."""
    rope = config.get('rope_parameters') or {}
    config = {**config, **rope}
    base = config.get('rope_theta', config.get('rotary_emb_base'))
    kind = config.get('model_type')
    if base is None and kind not in ('gptj', 'codegen'):
        return {}
    for key in ('rope_scaling', 'rope_type'):
        if config.get(key) not in (None, {}, 'default'):
            raise ExportError('config.json has %s=%s, and scaled rotary positions are not supported' % (key, config[key]))
    size = config.get('head_dim') or config.get('hidden_size', 0) // (config.get('num_attention_heads') or 1)
    rotated = config.get('rotary_dim') or int(size * config.get('partial_rotary_factor', config.get('rotary_pct', 1)))
    found = {'position': 'rope', 'rope-base': base or 10000, 'rope-layout': 'interleaved' if kind in ('gptj', 'codegen') else 'half'}
    return {**found, **({'rope-dimensions': rotated} if rotated != size else {})}


def describe(layer, config, given):
    """The metadata: what was given, or else what config.json and the parameters tell."""
    known = {key.replace('_', '-'): value for key, value in given.items() if value is not None}
    if 'position' not in known:
        known = {**rope_of(config), **known}
    told = {'heads': config.get('num_attention_heads', config.get('n_head')), 'kv-heads': config.get('num_key_value_heads')}
    if 'relative_bias' in layer:
        told.update(position='relative', heads=layer['relative_bias'].shape[0])
    if known.get('qk-norm') == 'rms':
        told['qk-norm-eps'] = config.get('rms_norm_eps')
        kind = str(config.get('model_type'))
        refuse_unless(not kind.startswith('gemma'), 'model_type is ' + kind, 'Gemma adds 1 to the weights of its norms: a description can ("plus": 1)')
    for key, value in told.items():
        if value is not None:
            known.setdefault(key, value)
    if 'heads' not in known:
        raise ExportError('its parameters do not tell how many heads the layer has, and another number gives another output: say it (--heads 4)')
    if 'chunk' not in known and 'chunks' not in known:
        known.setdefault('look-ahead', 0)
    return {key: known[key] for key in sorted(known, key=lambda key: key != 'heads')}


def export_layer_state(state, path, prefix=None, heads=None, layout=None, config=None, **metadata):
    """Writes the layer under `prefix` of a state_dict and returns its metadata: window, look_ahead, position, sample_rate ..., see attn.h and
    the element's documentation. `layout`: of fused projections; `config`: what config.json holds."""
    config = config or {}
    check_metadata(metadata, OPTIONS)
    prefix = find(state, prefix)
    layer = {name: tensor(values, prefix + name) for name, values in select(state, prefix).items()}
    known = describe(layer, config, {'heads': heads, **metadata})
    layer = translate(layer, prefix, known, layout or MODEL_TYPES.get(config.get('model_type')))
    check_layer(layer, prefix, known)
    save(path, layer, known)
    return known


def export_layer(module, path, prefix=None, **metadata):
    """The same of a module, which knows its heads: an nn.MultiheadAttention, or what contains one (some: one of them by prefix)."""
    found = find(module.state_dict(), prefix)
    attention = module.get_submodule(found.rstrip('.'))
    if getattr(attention, 'add_zero_attn', False):
        raise ExportError('%s: a key of zeros that is appended to the sequence (add_zero_attn) is not supported' % found)
    known, heads = getattr(attention, 'num_heads', None), metadata.pop('heads', None)
    if None not in (known, heads) and known != heads:
        raise ExportError('%s: the module has %d heads, not %d' % (found, known, heads))
    heads = known if heads is None else heads
    return export_layer_state(module.state_dict(), path, found, heads=heads, **metadata)
