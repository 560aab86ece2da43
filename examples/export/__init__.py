"""The parts of examples/export_encoder.py, each of which knows those above it alone:

    files         safetensors, and tensors that are read when they are written
    checkpoints   what people have: pickles, folders, archives; in all the usual wrappings
    layers        one attention layer, whatever its tensors are called
    keys          of blocks: which there are, and their values
    law           of blocks: widths, reach, parameters, cost; the table
    front_end     blocks between logmel and a model: MFCC, a fixed mean and deviation
    encoders      lists of blocks, and the file that holds them
    check         the file against the module, or against its formulas
    modules       from a PyTorch module
    description   from a description that names the tensors
    huggingface   from the folders of models that are known

SPDX-License-Identifier: LGPL-2.1-or-later
"""
