#!/usr/bin/python3
"""The pages that docs/build.py makes. TAP.   docs.py SOURCE-ROOT PLUGIN-FOLDER

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import glob
import html
import os
import re
import shutil
import subprocess
import sys
import tempfile

import tap

ROOT, PLUGINS = (os.path.abspath(path) for path in sys.argv[1:3])
FOLDER = tempfile.TemporaryDirectory()
OUT = os.path.join(FOLDER.name, 'site')


def build(out=OUT, **environment):
    return subprocess.run(['/usr/bin/python3', os.path.join(ROOT, 'docs', 'build.py'), ROOT, PLUGINS, out], env={**os.environ, **environment},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def pages():
    """path: text of each page. They are made once."""
    if not os.path.exists(OUT):
        done = build()
        assert done.returncode == 0 and not done.stderr, done.stderr
    found = {}
    for path in glob.glob(os.path.join(OUT, '**', '*.html'), recursive=True):
        with open(path) as f:
            found[os.path.relpath(path, OUT)] = f.read()
    return found


def test_every_link_leads_somewhere():
    made, checked = pages(), 0
    ids = {path: set(re.findall(r'\b(?:id|name)="([^"]+)"', text)) for path, text in made.items()}
    for path, text in made.items():
        for link in re.findall(r'\b(?:href|src)="([^"]*)"', text):
            if re.match(r'[a-z]+:', link):
                continue
            target, _, anchor = html.unescape(link).partition('#')
            target = os.path.normpath(os.path.join(os.path.dirname(path), target)) if target else path
            assert os.path.isfile(os.path.join(OUT, target)), '%s: %s is not there' % (path, link)
            assert not anchor or anchor in ids[target], '%s: no heading for %s' % (path, link)
            checked += 1
    assert checked > 1000, checked


def test_every_text_is_a_page():
    made = pages()
    for path in glob.glob(os.path.join(ROOT, 'docs', '*.md')):
        assert 'docs/%s.html' % os.path.basename(path)[:-3] in made, path
    assert '<img src="examples/pictures/attention.png"' in made['index.html']
    assert all('name="viewport"' in text for text in made.values())


def test_page_of_an_element_has_its_section_and_all_properties():
    made = pages()
    for path in glob.glob(os.path.join(ROOT, 'plugin', '**', '*.c'), recursive=True):
        with open(path) as f:
            for name in re.findall(r'SECTION:element-(\w+)', f.read()):
                shown = subprocess.run(['gst-inspect-1.0', name], stdout=subprocess.PIPE, text=True, check=True).stdout
                wanted = re.findall(r'^  ([\w-]+) +: .*\n +flags:', shown, re.M)
                text = made['elements/%s.html' % name]
                assert re.findall(r'id="property-([\w-]+)"', text) == [one for one in wanted if one not in ('name', 'parent')], name
                assert len(text.partition('id="properties"')[0]) > 1500 and '|[' not in text, name


def test_every_declaration_of_the_headers_is_in_the_reference():
    made = pages()
    for header in ('attn.h', 'attn_sdpa.h'):
        with open(os.path.join(ROOT, 'src', header)) as f:
            text = f.read()
        reference = made['api/%s.html' % header.replace('_', '__').replace('.', '_8')]
        for name in re.findall(r'^ATTN_API .*?(attn_\w+) \(', text, re.M) + re.findall(r'^} (\w+);', text, re.M):
            assert re.search(r'class="memtitle">.*?%s(\(\))?</h2>' % name, reference), name
        assert '/*' not in reference and 'ATTN_CHECKED' not in reference


def test_without_doxygen_it_says_what_to_install():
    os.makedirs('bin', exist_ok=True)
    for program in ('cmark-gfm', 'gst-inspect-1.0'):
        os.symlink(shutil.which(program), os.path.join('bin', program))
    done = build('site', PATH=os.path.abspath('bin'))
    assert done.returncode == 1 and 'doxygen is missing' in done.stderr and 'apt-get install doxygen' in done.stderr, done.stderr
    assert done.stderr.count('\n') == 1, done.stderr


if __name__ == '__main__':
    sys.exit(tap.run_all(globals(), 'test_', PLUGINS))
