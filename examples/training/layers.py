"""Modules of PyTorch that the trained encoders are made of, and how they are exported.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
from torch import nn

from export import encoders, modules


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class OverTime(nn.Module):
    """A module that takes [batch, values, frames]."""

    def __init__(self, module):
        super().__init__()
        self.over = module

    def forward(self, x):
        return self.over(x.transpose(1, 2)).transpose(1, 2)


def rules(attention, n_heads):
    """How these modules, and those of the class `attention`, which have a window and a look_ahead, become blocks."""
    made = {
        OverTime: lambda module, name, blocks_of: blocks_of('over'),
        Residual: lambda module, name, blocks_of: [{'residual': modules.blocks_in_a_row(nn.Sequential(*module), name, made, None)}],
        attention: lambda module, name, blocks_of: [encoders.attention_block(name.rstrip('.'), n_heads, window=module.window, look_ahead=module.look_ahead)],
    }
    return made
