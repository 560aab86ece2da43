"""The parts of examples/export_encoder.py, each of which uses only those above it:

    files         safetensors, and tensors that are read when they are written
    checkpoints   reading of checkpoints: pickles, folders, archives; in all the usual wrappings
    keys          the keys of blocks and of metadata, and their values
    layers        one attention layer, whatever its tensors are called
    law           the rules of blocks: widths, reach, parameters, cost; the table
    front_end     blocks between logmel and a model: MFCC, a fixed mean and deviation
    encoders      lists of blocks, and the file that holds them
    conformer     the blocks of torchaudio's Conformer
    check         comparison of the file with the module, or with its formulas
    modules       export of a PyTorch module
    description   export by a description that names the tensors
    fastconformer the blocks of Parakeet and Nemotron, by the names of Hugging Face
    huggingface   export of the known models, from their folders

SPDX-License-Identifier: LGPL-2.1-or-later
"""
