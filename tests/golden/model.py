#!/usr/bin/python3
# Writes tests/golden/model/*.safetensors and values.h. SPDX-License-Identifier: LGPL-2.1-or-later
#
# The files come from real PyTorch modules; the format is written by hand, so that a library is not
# compared with itself. values.h has the same parameters as bits of float32, converted by NumPy.
# Needs python3-numpy and python3-torch.
import json
import struct
import sys
from pathlib import Path

import numpy
try:
    import torch
except ImportError as error:
    sys.exit('model.py: %s; on Debian: apt-get install python3-torch' % error)

DTYPES = {numpy.dtype("float32"): "F32", numpy.dtype("float16"): "F16", numpy.dtype("float64"): "F64",
          numpy.dtype("uint16"): "BF16", numpy.dtype("int64"): "I64"}  # NumPy has no bfloat16: its bits


def write(path, tensors, metadata=None):
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, values in tensors.items():
        values = numpy.ascontiguousarray(values)
        raw = values.astype(values.dtype.newbyteorder("<")).tobytes()
        header[name] = {"dtype": DTYPES[values.dtype], "shape": list(values.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def numpy_state(module, prefix=""):
    return {prefix + name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def random(rng, *shape):
    return rng.standard_normal(shape).astype(numpy.float32)


def bf16_bits(values):
    return torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(numpy.uint16)


def bf16_values(bits):
    return (bits.astype(numpy.uint32) << 16).view(numpy.float32)


def main(directory):
    torch.manual_seed(1)
    rng = numpy.random.default_rng(1)
    golden = {}

    # nn.MultiheadAttention with biases that are not the zeros it starts with, inside an encoder layer
    layer = torch.nn.TransformerEncoderLayer(6, 2, dim_feedforward=4)
    for bias in (layer.self_attn.in_proj_bias, layer.self_attn.out_proj.bias):
        torch.nn.init.normal_(bias)
    torch_state = numpy_state(layer, "layers.0.")
    write(directory / "torch.safetensors", torch_state, {"format": "pt", "heads": "2", "window": "5", "scale": "0.5"})
    w, b = torch_state["layers.0.self_attn.in_proj_weight"], torch_state["layers.0.self_attn.in_proj_bias"]
    for i, name in enumerate("qkv"):
        golden[f"torch_{name}_weight"], golden[f"torch_{name}_bias"] = w[6 * i:6 * i + 6], b[6 * i:6 * i + 6]
    golden["torch_o_weight"] = torch_state["layers.0.self_attn.out_proj.weight"]
    golden["torch_o_bias"] = torch_state["layers.0.self_attn.out_proj.bias"]

    # the other layouts and dtypes, and grouped queries (q 8 rows, k and v 4), with values over the range of the type
    q, k, v, o = random(rng, 8, 5), random(rng, 4, 5), random(rng, 4, 5), random(rng, 3, 8)
    q[0, :5] = 6e-8, -3.0e-5, 65504, -0.0, 0.1  # F16: the smallest subnormal, another, the largest, zero with a sign
    half = {n: x.astype(numpy.float16) for n, x in (("q", q), ("k", k), ("v", v), ("o", o))}
    write(directory / "hugging-face-f16.safetensors",
          {f"model.layers.{i}.self_attn.{n}_proj.weight": half[n] for i in (0, 1) for n in "qkvo"}
          | {"model.layers.0.self_attn.q_proj.bias": half["q"][:, 4],
             "model.layers.0.self_attn.rotary_emb.inv_freq": half["q"][0],
             "model.layers.0.mlp.up_proj.weight": half["o"], "model.step": numpy.array(7)})
    for n in "qkvo":
        golden[f"half_{n}_weight"] = half[n].astype(numpy.float32)
    golden["half_q_bias"] = half["q"][:, 4].astype(numpy.float32)

    brain = {n: bf16_bits(x) for n, x in (("q", q), ("k", k), ("v", v))}
    write(directory / "whisper-bf16.safetensors",  # out_proj, a bias at q, v and the output but not at k
          {f"{n}_proj.weight": brain[n] for n in "qkv"}
          | {"q_proj.bias": brain["q"][:, 1], "v_proj.bias": brain["v"][:, 2]}
          | {"out_proj.weight": bf16_bits(o), "out_proj.bias": bf16_bits(o)[:, 0]})
    for n in "qkv":
        golden[f"brain_{n}_weight"] = bf16_values(brain[n])
    golden["brain_o_weight"], golden["brain_o_bias"] = bf16_values(bf16_bits(o)), bf16_values(bf16_bits(o)[:, 0])

    # values between two float32, ties, float32 subnormals and their ties, and a carry into the exponent
    double = [rng.standard_normal((4, 6)) for _ in range(4)]
    double[0][0] = 1 + 2**-24, 1 + 3 * 2**-24, 1 + 2**-24 + 2**-52, 2 - 2**-25, -2**-149, 2**-150
    double[0][1] = 3 * 2**-150, 2**-150 * (1 + 2**-52), 5e-324, 2**-126 - 2**-150, 3.4028234663852886e38, -1 / 3
    write(directory / "annotated-f64.safetensors",
          {f"linears.{i}.weight": double[i] for i in range(4)}
          | {f"linears.{i}.bias": double[i][:, 5] for i in range(4)})
    for i, n in enumerate("qkvo"):
        golden[f"double_{n}_weight"] = double[i].astype(numpy.float32)
        golden[f"double_{n}_bias"] = double[i][:, 5].astype(numpy.float32)

    apart = torch.nn.MultiheadAttention(6, 2, kdim=6, vdim=6, bias=False)  # same widths: one in_proj_weight ...
    stored = numpy_state(apart)
    rows = numpy.split(stored.pop("in_proj_weight"), 3)  # ... taken apart as for others
    write(directory / "torch-apart.safetensors", {f"{n}_proj_weight": rows[i] for i, n in enumerate("qkv")}
          | {"in_proj_bias": b} | stored)
    for i, n in enumerate("qkv"):
        golden[f"apart_{n}_weight"] = rows[i]

    cross = torch.nn.MultiheadAttention(6, 2, kdim=4, vdim=5)
    write(directory / "torch-cross.safetensors", numpy_state(cross))
    write(directory / "torch-bias-kv.safetensors", numpy_state(torch.nn.MultiheadAttention(4, 2, add_bias_kv=True)))

    lines = ["/* Made by tests/golden/model.py: the parameters in the files beside this one, as bits of float32. */"]
    for name, values in golden.items():
        bits = numpy.ascontiguousarray(values).view(numpy.uint32).ravel()
        lines.append(f"static const uint32_t golden_{name}[{len(bits)}] = {{")
        lines += ["  " + ", ".join(f"0x{x:08x}" for x in bits[i:i + 8]) + "," for i in range(0, len(bits), 8)] + ["};"]
    (directory / "values.h").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "model")
    out.mkdir(exist_ok=True)
    main(out)
