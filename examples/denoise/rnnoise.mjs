// What RNNoise makes of sound, for evaluate to compare with: node rnnoise.mjs MODULE < in.f32 > out.f32 2> probabilities.txt
// Sound is mono, float32, 48 kHz, on the 16-bit scale. MODULE: the folder of npm's @jitsi/rnnoise-wasm.
// SPDX-License-Identifier: LGPL-2.1-or-later
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const FRAME = 480, BYTES = 4;
const copy = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'rnnoise-')), 'rnnoise.mjs'); // the package does not say that it is a module
fs.copyFileSync(path.join(process.argv[2], 'dist', 'rnnoise-sync.js'), copy);
const { default: create } = await import(pathToFileURL(copy));
fs.rmSync(path.dirname(copy), { recursive: true });
const rnnoise = create();
await rnnoise.ready;

const bytes = fs.readFileSync(0), sound = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
const state = rnnoise._rnnoise_create(0), place = rnnoise._malloc(FRAME * BYTES), out = new Float32Array(sound.length);
for (let i = 0; i + FRAME <= sound.length; i += FRAME) {
  rnnoise.HEAPF32.set(sound.subarray(i, i + FRAME), place / BYTES);
  process.stderr.write(rnnoise._rnnoise_process_frame(state, place, place).toFixed(6) + '\n');
  out.set(rnnoise.HEAPF32.subarray(place / BYTES, place / BYTES + FRAME), i);
}
fs.writeSync(1, Buffer.from(out.buffer));
