"""The blocks of a PyTorch module, which holds everything that an export needs.

A module is an nn.TransformerEncoder, an nn.TransformerEncoderLayer, an nn.MultiheadAttention, nn.Linear, nn.Conv1d, nn.LayerNorm, nn.RMSNorm,
nn.BatchNorm1d, an activation, nn.GLU, torchaudio.models.Conformer, or an nn.Sequential of these. For a module of your own, write a rule that
returns its blocks.

An unknown module is refused by its name, and so is a class that computes in another way than its base class. Modules that are only active in
training (dropout) are left out.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json

from . import conformer
from .check import check as check_file, children
from .encoders import Options, activated, attention_block, encoder_layer, norm_block, write
from .files import ExportError, refuse_unless
from .law import names_in


def activation_of(module, name):
    """The name of an activation that is a module or a function; None: it is none."""
    import torch
    from torch import nn
    functions = {torch.nn.functional.relu: 'relu', torch.relu: 'relu', torch.nn.functional.gelu: 'gelu', torch.nn.functional.silu: 'silu',
                 torch.tanh: 'tanh', torch.sigmoid: 'sigmoid'}
    if is_a(module, nn.GELU):
        return 'gelu' if module.approximate == 'none' else 'gelu-tanh'
    if isinstance(module, (nn.Softmax, nn.LogSoftmax)) and module.dim not in (-1, 2):
        raise ExportError('%s: %s over dimension %s, where only the values of a frame (dim=-1) can be meant' % (name, type(module).__name__, module.dim))
    modules = {nn.ReLU: 'relu', nn.SiLU: 'silu', nn.Tanh: 'tanh', nn.Sigmoid: 'sigmoid', nn.Softmax: 'softmax', nn.LogSoftmax: 'log-softmax'}
    return modules.get(type(module)) or (functions.get(module) if not isinstance(module, nn.Module) else None)


def multihead_attention(module, name, options):
    refuse_unless(module._qkv_same_embed_dim, name, 'cross-attention (kdim=%d, vdim=%d), where only self-attention is supported' % (module.kdim, module.vdim))
    refuse_unless(module.bias_k is None, name, 'a key and value that are appended to the sequence (add_bias_kv) are not supported')
    refuse_unless(not module.add_zero_attn, name, 'a key of zeros that is appended to the sequence (add_zero_attn) is not supported')
    return attention_block(name, module.num_heads, **options.next_attention(name))


def transformer_layer(module, name, options):
    activation = activation_of(module.activation, name)
    refuse_unless(activation is not None, name, 'the activation %s is not known' % getattr(module.activation, '__name__', module.activation))
    attention = multihead_attention(module.self_attn, name + 'self_attn', options)
    refuse_unless(module.norm1.eps == module.norm2.eps, name, 'norm1 has eps %g, norm2 %g' % (module.norm1.eps, module.norm2.eps))
    return encoder_layer(name, attention, module.norm1.eps, activation, module.norm_first)


def conv(module, name):
    kernel, stride, dilation, padding = module.kernel_size[0], module.stride[0], module.dilation[0], module.padding
    reach = (kernel - 1) * dilation
    refuse_unless(module.padding_mode == 'zeros', name, "padding_mode is '%s', where only zeros are supported" % module.padding_mode)
    left, right = (reach // 2, reach - reach // 2) if padding == 'same' else (0, 0) if padding == 'valid' else (padding[0], padding[0])
    refuse_unless(left <= reach, name, '%d zeros in front, but the kernel reaches over %d frames only' % (left, reach))
    options = {'stride': stride, 'dilation': dilation, 'groups': module.groups, 'left': left, 'right': right}
    return {'conv': name, **{key: value for key, value in options.items() if value != {'left': 0, 'right': 0}.get(key, 1)}}


def is_a(module, *kinds):
    """That it computes as one of them does: a subclass may have a forward () of its own."""
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def blocks_of(module, name='', rules=None, options=None):
    """The blocks of `module`, whose parameters are called NAMEweight ... in the state_dict: NAME is empty, or ends with a dot. `rules`: {class:
    function (module, name, blocks_of)} for the classes that are not known; what it is given as blocks_of takes the name of a submodule."""
    from torch import nn
    options, plain = options or Options(), name.rstrip('.')
    rule = next((rule for kind, rule in (rules or {}).items() if isinstance(module, kind)), None)
    if rule is not None:
        return rule(module, name, lambda child: blocks_of(module.get_submodule(child), name + child + '.', rules, options))
    if is_a(module, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d):
        return []
    if is_a(module, nn.Sequential, nn.TransformerEncoder):
        return blocks_in_a_row(module, name, rules, options)
    if is_a(module, nn.TransformerEncoderLayer):
        return transformer_layer(module, name, options)
    if is_a(module, nn.MultiheadAttention):
        return [multihead_attention(module, plain, options)]
    if conformer.is_known(module, 'Conformer') or conformer.is_known(module, 'ConformerLayer'):
        return conformer_blocks(module, name, options)
    if is_a(module, nn.Linear):
        return [{'linear': plain}]
    if is_a(module, nn.LayerNorm):
        refuse_unless(len(module.normalized_shape) == 1, plain, 'it normalises over %d dimensions, where only the values of a frame can be meant' % len(
            module.normalized_shape))
        return [norm_block(plain if module.elementwise_affine else None, module.eps)]
    if hasattr(nn, 'RMSNorm') and is_a(module, nn.RMSNorm):
        refuse_unless(module.elementwise_affine, plain, 'nn.RMSNorm without a weight is not supported')
        refuse_unless(module.eps is not None, plain, 'its eps is that of its dtype: say it (eps=1e-6)')
        return [norm_block(plain, module.eps, kind='rms')]
    if is_a(module, nn.Conv1d):
        return [conv(module, plain)]
    if is_a(module, nn.BatchNorm1d):
        refuse_unless(module.track_running_stats, plain, 'without running statistics its output depends on the batch')
        return [{'affine': plain}]
    if is_a(module, nn.GLU):
        refuse_unless(module.dim in (-1, 2), plain, 'nn.GLU over dimension %d, where only the values of a frame (dim=-1) can be meant' % module.dim)
        return [{'glu': 'sigmoid'}]
    activation = activation_of(module, plain)
    refuse_unless(activation is not None, plain or 'the module', '%s is not a module that is known. Give a rule for it: rules={%s: function}' % (
        type(module).__name__, type(module).__name__))
    return [{'activation': activation}]


def conformer_blocks(module, name, options):
    """Of torchaudio's Conformer, or of one of its layers."""
    options.notes[conformer.WHAT] = True
    if conformer.is_known(module, 'Conformer'):
        layers = [(layer, '%sconformer_layers.%d.' % (name, i)) for i, layer in enumerate(module.conformer_layers)]
        return [block for layer, at in layers for block in conformer_blocks(layer, at, options)]
    refuse_unless(conformer.is_known(module, 'ConformerLayer'), name, '%s is not a ConformerLayer of torchaudio' % type(module).__name__)
    return conformer.layer(module, name, options.made, multihead_attention(module.self_attn, name + 'self_attn', options))


def blocks_in_a_row(module, name, rules, options):
    """Of an nn.Sequential or nn.TransformerEncoder."""
    blocks = []
    for child, submodule in children(module):
        activation = activation_of(submodule, name + child)
        blocks = activated(blocks, activation) if activation else blocks + blocks_of(submodule, name + child + '.', rules, options)
    return blocks


def state_of(module):
    """Its state_dict, and the eps of norms over a batch, which become factors."""
    state = dict(module.state_dict())
    for name, submodule in module.named_modules(remove_duplicate=False):
        if hasattr(submodule, 'running_var'):
            state[name + '.eps'] = submodule.eps
    return state


def export(module, path, window=None, look_ahead=None, rules=None, features=None, frame_rate=None, sinks=None, position=None, rope_base=None,
           rope_layout=None, rope_dimensions=None, softcap=None, scale=None, front=(), check=False, **metadata):
    """Writes `module` to `path` and returns a table of what it made. `window` and the other options of attentions: one value for all, or a list
    with one for each. `frame_rate`: frames per second, a number or '125/2'. `front`: blocks in
    front of the module, front_end.py. `check`: runs the file against the module, and is an ExportError where
    they differ; a function (module, frames [1, n, D]) where the module takes more than frames. `metadata`: sample_rate, bins, style ..., as logmel has them."""
    options = Options(window=window, look_ahead=look_ahead, sinks=sinks, position=position, rope_base=rope_base, rope_layout=rope_layout,
                      rope_dimensions=rope_dimensions, softcap=softcap, scale=scale)
    conformer.check_without_shift(module)
    blocks, state = blocks_of(module, '', rules, options), state_of(module)
    options.check()
    state.update(options.made)
    if any(name == '' for name in names_in(blocks)):  # a module that is one block has no name of its own
        blocks = json.loads(json.dumps(blocks).replace('": ""', '": "encoder"'))
        state = {'encoder.' + name.lstrip('.'): values for name, values in state.items()}
    text = '\n'.join([write(path, state, blocks, features, frame_rate, front, **metadata), *options.notes])
    return text + '\n' + check_file(path, module, rules, len(front), check if callable(check) else None) if check else text
