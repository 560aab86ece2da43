"""Spoken digits from Debian's speech synthesizers, from many voices: what train.py trains on beside recordings.

Everything is drawn from seeded generators. The synthesizers are programs: espeak-ng (formants; many voices), flite and festival (voices that were made
from recordings of real speakers).

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import os
import subprocess
import sys
import tempfile
import wave

import numpy as np

from data import RATE, WORDS, resampled, trimmed

ACCENTS = ('en-us', 'en-us', 'en-us', 'en-gb', 'en-gb-scotland', 'en-gb-x-rp', 'en-gb-x-gbclan', 'en-gb-x-gbcwmd', 'en-029', 'en-us-nyc')
# Voices of espeak-ng that sound like people.
VARIANTS = ('Alex Alicia Andrea Andy Annie AnxiousAndy Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Mario Michael Mike Storm Tweaky adam anika '
            'announcer antonio aunty belinda benjamin boris caleb david ed edward edward2 f1 f2 f3 f4 f5 grandma grandpa gustave iven iven2 iven3 iven4 '
            'john klatt klatt2 klatt3 klatt4 klatt5 klatt6 linda m1 m2 m3 m4 m5 m6 m7 m8 marcelo max michel miguel norbert pablo paul pedro quincy rob '
            'robert sandro shelby steph steph2 steph3 travis victor zac').split()
FLITE = {'kal': 105, 'kal16': 105, 'awb': 130, 'rms': 100, 'slt': 175}  # and about how high they speak, in Hz
FESTIVAL = ('kal_diphone', 'ked_diphone', 'cmu_us_slt_arctic_hts')
# Voices of other languages, which say the words with an accent: as they would be written there.
ACCENTED = {
    'zírou ou uan tú srí fór fajv siks sevn ejt najn': ('czech_dita', 'czech_machac', 'czech_krb', 'czech_ph'),
    'ziro o uan tu tri for faiv sics seven eit nain': ('lp_diphone', 'pc_diphone'),
    'ziirou ou uan tuu srii foor faiv siks seven eit nain': ('hy_fi_mv_diphone', 'suo_fi_lj_diphone')}
NUMBER = {'espeak-ng': 3000, 'flite': 300, 'festival': 300, 'accent': 120}  # of utterances; but for espeak-ng, of each voice
LONGEST = 7  # digits


def digits(rng):
    """Numbers of words. Every other one is short, as what people say."""
    n = int(rng.integers(1, 4) if rng.random() < 0.5 else rng.integers(1, LONGEST + 1))
    return [int(word) for word in rng.integers(len(WORDS), size=n)]


def text(rng, words, spelling=WORDS):
    """As it is written for a synthesizer: what stands between the words makes pauses and melodies."""
    return str(rng.choice([' ', ' ', ' ', ', ', ', ', '. '])).join(spelling[word] for word in words)


def read(path):
    with wave.open(path) as f:
        samples = np.frombuffer(f.readframes(f.getnframes()), '<i2').astype(np.float32)
        return trimmed(resampled(samples, RATE / f.getframerate()))


def run(*words, **options):
    try:
        subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True, **options)
    except FileNotFoundError:
        sys.exit('train.py: there is no %s; on Debian: apt-get install %s' % (words[0], words[0]))
    except subprocess.CalledProcessError as error:
        sys.exit('train.py: %s: %s' % (' '.join(words), error.stderr.decode().strip()))


def espeak(rng, folder, n):
    """(samples, numbers of words) of n utterances, each of another voice."""
    path = os.path.join(folder, 'espeak.wav')
    for _ in range(n):
        words = digits(rng)
        voice = '%s+%s' % (rng.choice(ACCENTS), rng.choice(VARIANTS))
        run('espeak-ng', '-v', voice, '-p', str(rng.integers(20, 80)), '-s', str(rng.integers(110, 220)), '-w', path, text(rng, words))
        yield read(path), words


def flite(rng, folder, n, voice):
    path = os.path.join(folder, 'flite.wav')
    for _ in range(n):
        words = digits(rng)
        run('flite', '-voice', voice, '--setf', 'duration_stretch=%.2f' % rng.uniform(0.75, 1.35),
            '--setf', 'int_f0_target_mean=%.0f' % (FLITE[voice] * rng.uniform(0.85, 1.25)), '-t', text(rng, words), '-o', path)
        yield read(path), words


def festival(rng, folder, n, voice, spelling=WORDS):
    """All in one run, as it takes long to start."""
    sets, lines = [], ['(voice_%s)' % voice]
    for i in range(n):
        sets.append(digits(rng))
        lines += ["(Parameter.set 'Duration_Stretch %.2f)" % rng.uniform(0.75, 1.3),
                  '(utt.save.wave (utt.synth (Utterance Text "%s")) "%s/%d.wav" \'riff)' % (text(rng, sets[-1], spelling), folder, i)]
    script = os.path.join(folder, 'all.scm')
    with open(script, 'w', encoding='iso-8859-2') as f:
        f.write('\n'.join(lines))
    run('festival', '-b', script)
    for i, words in enumerate(sets):
        yield read(os.path.join(folder, '%d.wav' % i)), words


def synthesised(share=1.0):
    """{voice: [(samples, numbers of words)]}. `share` of the utterances, for a short training."""
    jobs = [('espeak-ng', espeak, NUMBER['espeak-ng'], ())]
    jobs += [('flite ' + voice, flite, NUMBER['flite'], (voice,)) for voice in FLITE]
    jobs += [('festival ' + voice, festival, NUMBER['festival'], (voice,)) for voice in FESTIVAL]
    jobs += [('festival ' + voice, festival, NUMBER['accent'], (voice, words.split())) for words, names in ACCENTED.items() for voice in names]
    found = {}
    for i, (name, make, n, more) in enumerate(jobs):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = list(make(np.random.default_rng([1, i]), folder, max(2, round(n * share)), *more))
        print('%s: %d utterances, %.0f s' % (name, len(found[name]), sum(len(samples) for samples, _ in found[name]) / RATE), flush=True)
    return found
