#!/usr/bin/python3
# gst-attention: golden log-mel frames, computed in float64 from the published definitions.
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes logmel-*.bin beside this file. Needs NumPy; with PyTorch, the framing of Whisper and NeMo is checked against torch.stft.

    tests/golden/logmel.py [goforward.raw]

The speech is a second of goforward.raw (see CREDITS). Without the file the speech is taken from the case that is there.

A case is one file, little-endian throughout:

    0   8 bytes   "GSTLOGML"
    8   uint32    version, 1
    12  uint32    sample rate, Hz
    16  uint32    samples
    20  uint32    frames
    24  uint32    bins
    28  uint32    0
    32  224 bytes properties of the element, as in a gst-launch line, padded with NUL
    256 int16     [samples]
    ... float64   [frames, bins]

Nothing here knows how the element does it: whole spectrograms, dense filter matrices, padding by np.pad.
"""
import pathlib
import struct
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
VERSION = 1

# name: (audio, sample rate, properties)
CASES = {
    "speech-kaldi": ("speech", 16000, {}),
    "speech-whisper": ("speech", 16000, {"style": "whisper"}),
    "8000-kaldi": ("sweep", 8000, {}),
    "11025-kaldi": ("sweep", 11025, {}),
    "11025-whisper": ("sweep", 11025, {"style": "whisper"}),  # a frame of 275 samples: odd
    "44100-kaldi": ("sweep", 44100, {}),
    "44100-whisper": ("sweep", 44100, {"style": "whisper", "bins": 64}),
    "options-kaldi": ("sweep", 16000, {"bins": 23, "frame-length": 20.0, "hop-length": 12.5, "fft-size": 400,
                                       "low-frequency": 100.0, "high-frequency": -200.0, "window-function": "hamming",
                                       "mel-scale": "slaney"}),
    "options-whisper": ("sweep", 16000, {"style": "whisper", "bins": 40, "fft-size": 512, "low-frequency": 50.0,
                                         "high-frequency": 7000.0, "window-function": "blackman", "mel-scale": "htk"}),
    # frames that do not touch
    "sparse-kaldi": ("sweep", 16000, {"bins": 20, "frame-length": 16.0, "hop-length": 24.0, "window-function": "hann"}),
    "sparse-whisper": ("sweep", 16000, {"style": "whisper", "bins": 20, "frame-length": 16.0, "hop-length": 24.0,
                                        "window-function": "rectangular"}),
    "128-whisper": ("sweep", 16000, {"style": "whisper", "bins": 128}),  # whisper-large-v3
    "voxtral-whisper": ("sweep", 16000, {"style": "whisper", "bins": 128, "log-maximum": 1.5}),
    "speech-nemo": ("speech", 16000, {"style": "nemo"}),
    "128-nemo": ("sweep", 16000, {"style": "nemo", "bins": 128}),
    "11025-nemo": ("sweep", 11025, {"style": "nemo"}),  # a frame of 275 samples: odd
    "options-nemo": ("sweep", 16000, {"style": "nemo", "bins": 40, "frame-length": 20.0, "hop-length": 12.5, "fft-size": 1024,
                                      "low-frequency": 50.0, "high-frequency": 7000.0, "window-function": "hamming"}),
    "sparse-nemo": ("sweep", 16000, {"style": "nemo", "bins": 20, "frame-length": 16.0, "hop-length": 24.0}),
}


def sweep(rate):
    """0.2 s: a chirp through all frequencies, steps, noise, an offset, then digital silence."""
    n = rate // 5
    t = np.arange(n) / n
    chirp = 8000.0 * np.sin(2 * np.pi * 0.25 * n * t * t)
    steps = 3000.0 * np.sign(np.sin(2 * np.pi * 9 * t))
    state, noise = 12345, np.empty(n)
    for i in range(n):
        state = (1103515245 * state + 12345) % 2**31
        noise[i] = state / 2**31 - 0.5
    x = np.round(chirp + steps + 1000.0 * noise + 700.0).astype(np.int16)
    x[int(0.8 * n):] = 0
    return x


def speech():
    if len(sys.argv) > 1:
        return np.fromfile(sys.argv[1], "<i2")[8000:24000]
    data = (HERE / "logmel-speech-kaldi.bin").read_bytes()
    return np.frombuffer(data, "<i2", struct.unpack_from("<I", data, 16)[0], 256)


def window(name, n, periodic):
    x = 2 * np.pi * np.arange(n) / (n if periodic else n - 1)
    hann = 0.5 - 0.5 * np.cos(x)
    return {"hann": hann, "povey": np.maximum(hann, 0) ** 0.85, "hamming": 0.54 - 0.46 * np.cos(x),
            "blackman": 0.42 - 0.5 * np.cos(x) + 0.08 * np.cos(2 * x), "rectangular": np.ones(n)}[name]


def to_mel(hz, scale):
    hz = np.asarray(hz, float)
    if scale == "htk":
        return 1127.0 * np.log1p(hz / 700.0)
    return np.where(hz < 1000, 3 * hz / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def to_hz(mel, scale):
    if scale == "htk":
        return 700.0 * np.expm1(mel / 1127.0)
    return np.where(mel < 15, 200 * mel / 3, 1000 * 6.4 ** ((np.maximum(mel, 15) - 15) / 27))


def filters(rate, fft_size, bins, low, high, scale, straight_in_mel):
    """[bins, fft_size / 2 + 1]"""
    edges = np.linspace(to_mel(low, scale), to_mel(high, scale), bins + 2)
    points = np.arange(fft_size // 2 + 1) * rate / fft_size
    if straight_in_mel:
        points = to_mel(points, scale)
    else:
        edges = to_hz(edges, scale)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    up, down = (points - left) / (centre - left), (right - points) / (right - centre)
    weights = np.maximum(0, np.minimum(up, down))
    return weights if straight_in_mel else weights * 2 / (right - left)


def kaldi(x, rate, options):
    x = x.astype(float)
    length, hop = (int(rate * options.get(k, d) * 0.001) for k, d in (("frame-length", 25.0), ("hop-length", 10.0)))
    fft_size = options.get("fft-size", 1 << (length - 1).bit_length())
    n_frames = max(0, 1 + (len(x) - length) // hop)
    frames = np.stack([x[i * hop:i * hop + length] for i in range(n_frames)])
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    frames = (frames - 0.97 * before) * window(options.get("window-function", "povey"), length, False)
    power = np.abs(np.fft.rfft(frames, fft_size)) ** 2
    high = options.get("high-frequency", 0.0)
    bank = filters(rate, fft_size, options.get("bins", 80), options.get("low-frequency", 20.0),
                   high if high > 0 else rate / 2 + high, options.get("mel-scale", "htk"), True)
    return np.log(np.maximum(power @ bank.T, np.finfo(np.float32).eps))


def check_against_torch(x, fft_size, hop, length, w, power, pad_mode):
    try:
        import torch
    except ImportError:
        return print("  no PyTorch: the framing is not checked")
    stft = torch.stft(torch.from_numpy(x), fft_size, hop, length, torch.from_numpy(w), center=True, pad_mode=pad_mode,
                      return_complex=True)
    theirs = stft[..., :len(power)].abs().numpy().T ** 2
    assert theirs.shape == power.shape, (theirs.shape, power.shape)
    assert np.allclose(theirs, power, rtol=1e-9, atol=1e-12), np.abs(theirs - power).max()


def centred(x, rate, options, default_fft_size, periodic, pad_mode):
    """[frames, bins] of energies: those of an STFT with the window in the middle of its points."""
    length, hop = (int(rate * options.get(k, d) * 0.001) for k, d in (("frame-length", 25.0), ("hop-length", 10.0)))
    fft_size = options.get("fft-size", default_fft_size(length))
    w = window(options.get("window-function", "hann"), length, periodic)
    left = (fft_size - length) // 2
    padded_window = np.pad(w, (left, fft_size - length - left))
    padded = np.pad(x, fft_size // 2, mode=pad_mode)
    frames = np.stack([padded[i * hop:i * hop + fft_size] for i in range(len(x) // hop)])
    power = np.abs(np.fft.rfft(frames * padded_window)) ** 2
    check_against_torch(x, fft_size, hop, length, w, power, pad_mode)
    high = options.get("high-frequency", 0.0)
    bank = filters(rate, fft_size, options.get("bins", 80), options.get("low-frequency", 0.0),
                   high if high > 0 else rate / 2 + high, options.get("mel-scale", "slaney"), False)
    return power @ bank.T


def whisper(x, rate, options):
    energy = centred(x / 32768.0, rate, options, lambda length: length + length % 2, True, "reflect")
    values = np.log10(np.maximum(energy, 1e-10))
    if "log-maximum" in options:  # as VoxtralRealtimeFeatureExtractor of transformers, whose name for it is global_log_mel_max
        values = (np.maximum(values, options["log-maximum"] - 8.0) + 4.0) / 4.0
    return values


def nemo(x, rate, options):
    """FilterbankFeatures.forward () of NeMo, in evaluation, with normalize=NA."""
    x = x / 32768.0
    x = np.concatenate([x[:1], x[1:] - 0.97 * x[:-1]])
    energy = centred(x, rate, options, lambda length: 2 ** int(np.ceil(np.log2(length))), False, "constant")
    return np.log(energy + 2.0 ** -24)


STYLES = {"kaldi": kaldi, "whisper": whisper, "nemo": nemo}


def main():
    for name, (audio, rate, options) in CASES.items():
        x = speech() if audio == "speech" else sweep(rate)
        frames = STYLES[options.get("style", "kaldi")](x, rate, options)
        line = " ".join(f"{key}={value}" for key, value in options.items()).encode()
        assert len(line) < 224 and np.isfinite(frames).all()
        header = struct.pack("<8sIIIIII224s", b"GSTLOGML", VERSION, rate, len(x), *frames.shape, 0, line)
        path = HERE / f"logmel-{name}.bin"
        path.write_bytes(header + x.astype("<i2").tobytes() + frames.astype("<f8").tobytes())
        print(f"{path.name}: {len(x)} samples, {frames.shape[0]} frames, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
