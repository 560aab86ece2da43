#!/usr/bin/python3
"""Runs every case of golden/onnx through the driver onnx-case, and cases that it must fail. TAP.

  onnx-case.py DRIVER

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import glob
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, 'golden', 'onnx')


def run(*cases):
    done = subprocess.run([sys.argv[1], *cases], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def describe(change):
    """Changes the description of the case in `folder`."""
    def apply(folder):
        path = os.path.join(folder, 'case.json')
        with open(path) as f:
            case = json.load(f)
        change(case)
        with open(path, 'w') as f:
            json.dump(case, f)
    return apply


def change_value(format, change):
    """Replaces the first value of Y; change: value to value."""
    def apply(folder):
        path = os.path.join(folder, 'Y.npy')
        with open(path, 'rb') as f:
            data = bytearray(f.read())
        start = 10 + struct.unpack_from('<H', data, 8)[0]
        struct.pack_into(format, data, start, change(struct.unpack_from(format, data, start)[0]))
        with open(path, 'wb') as f:
            f.write(data)
    return apply


def cut(name, size):
    return lambda folder: os.truncate(os.path.join(folder, name), os.path.getsize(os.path.join(folder, name)) - size)


def scalar_mask(descr, raw, **update):
    """Adds attn_mask, an array of no dimensions."""
    def apply(folder):
        header = ("{'descr': '%s', 'fortran_order': False, 'shape': (), }" % descr).ljust(117) + '\n'
        with open(os.path.join(folder, 'scalar.npy'), 'wb') as f:
            f.write(b'\x93NUMPY\x01\x00' + struct.pack('<H', len(header)) + header.encode() + raw)
        describe(lambda case: (case['inputs'].update(attn_mask='scalar.npy'), case.update(update)))(folder)
    return apply


# name: (case, the change, the driver's message; None: it still passes)
CHANGES = {
    'unchanged_case_passes': ('four-dimensions', lambda folder: None, None),
    'value_within_the_tolerance_passes': ('four-dimensions', change_value('<f', lambda x: x * 1.0009), None),
    'value_beyond_the_tolerance_fails': ('four-dimensions', change_value('<f', lambda x: x * 1.0012), 'Y: 1 of 48 values differ'),
    'nan_fails': ('four-dimensions', change_value('<f', lambda x: float('nan')), 'expected nan'),
    'infinity_fails': ('four-dimensions', change_value('<f', lambda x: float('inf')), 'expected inf'),
    'two_units_of_float16_fail': ('float16', change_value('<e', lambda x: x + 2 * 2 ** -10), 'Y: 1 of 48 values differ'),
    'scale_is_used': ('scale', describe(lambda case: case['attributes'].clear()), 'values differ'),
    'causal_is_used': ('causal-more-keys', describe(lambda case: case['attributes'].clear()), 'values differ'),
    'window_is_used': ('window-left', describe(lambda case: case['attributes'].clear()), 'values differ'),
    'softcap_is_used': ('softcap', describe(lambda case: case['attributes'].clear()), 'values differ'),
    'mask_is_used': ('mask-2d', describe(lambda case: case['inputs'].pop('attn_mask')), 'values differ'),
    # A number that is added to all scores changes no weight, and without a mask every key may be attended to.
    'scalar_mask_holds_for_all': ('four-dimensions', scalar_mask('|b1', b'\1', opset=23), None),
    'scalar_mask_is_not_padded': ('four-dimensions', scalar_mask('|b1', b'\1', opset=24), None),
    'scalar_float_mask_shifts_all_scores': ('four-dimensions', scalar_mask('<f4', struct.pack('<f', 0.5), opset=24), None),
    'scalar_mask_is_used': ('four-dimensions', scalar_mask('|b1', b'\0', opset=24), 'Y: 48 of 48 values differ'),
    'padding_is_used': ('padding', describe(lambda case: case['inputs'].pop('nonpad_kv_seqlen')), 'values differ'),
    'output_mode_is_used': ('scores-weights', describe(lambda case: case['attributes'].update(qk_matmul_output_mode=1)),
                            'qk_matmul_output: 60 of 60 values differ'),
    'present_is_compared': ('past-and-present', describe(lambda case: case['outputs'].update(present_key='present_value.npy')),
                            'present_key'),
    'shape_is_compared': ('past-and-present', describe(lambda case: case['outputs'].update(Y='present_key.npy')),
                          'Y has the shape (2, 2, 3, 4), expected (2, 2, 9, 4)'),
    'type_is_compared': ('float16', describe(lambda case: case['outputs'].update(Y='../four-dimensions/Y.npy')),
                         'Y has type 10, expected 1'),
    'missing_file_fails': ('four-dimensions', describe(lambda case: case['inputs'].update(K='L.npy')), 'L.npy'),
    'short_file_fails': ('four-dimensions', cut('K.npy', 4), 'K has 316 bytes of values'),
    'file_without_values_fails': ('four-dimensions', cut('K.npy', 330), 'the file ends in its header'),
    'unknown_attribute_fails': ('four-dimensions', describe(lambda case: case['attributes'].update(causal=1)), '"causal"'),
    'attribute_of_another_type_fails': ('four-dimensions', describe(lambda case: case['attributes'].update(is_causal=0.5)), 'is_causal'),
    'unknown_key_fails': ('four-dimensions', describe(lambda case: case.update(atributes={})), '"atributes"'),
    'unknown_input_fails': ('four-dimensions', describe(lambda case: case['inputs'].update(X='Q.npy')), '"X"'),
    'opset_22_fails': ('four-dimensions', describe(lambda case: case.update(opset=22)), '"opset" is 22'),
    'case_that_is_not_refused_fails': ('four-dimensions', describe(lambda case: case.update(refused='never')), 'this was accepted'),
    'refusal_in_other_words_fails': ('four-dimensions', describe(lambda case: case.update(refused='other', inputs={'Q': 'Q.npy'})),
                                     'expected to be refused in the words: other'),
    'broken_json_fails': ('four-dimensions', cut('case.json', 10), 'line'),
}


def is_right(case, change, words):
    with tempfile.TemporaryDirectory() as folder:
        for name in {case, 'four-dimensions'}:
            shutil.copytree(os.path.join(GOLDEN, name), os.path.join(folder, name))
        change(os.path.join(folder, case))
        status, output = run(os.path.join(folder, case, 'case.json'))
    right = status == 0 if words is None else status == 1 and words in output
    if not right:
        print('# exit status %d: %s' % (status, output.replace('\n', ' ')))
    return right


def main():
    cases = sorted(glob.glob(os.path.join(GOLDEN, '*', '*.json')))
    status, output = run(*cases)
    print(output.replace(GOLDEN + os.sep, '').rsplit('1..', 1)[0], end='')
    number, failed = len(cases), status != 0
    for name, change in CHANGES.items():
        number += 1
        right = is_right(*change)
        failed = failed or not right
        print('%s %d - %s' % ('ok' if right else 'not ok', number, name))
    print('1..%d' % number)
    return failed


sys.exit(main())
