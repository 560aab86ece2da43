#!/usr/bin/python3
"""Makes HTML of all texts: the README and the pages of docs/, a page for each element, and the headers of libattn.   build.py SOURCE-ROOT PLUGIN-FOLDER OUT

Markdown is rendered by cmark-gfm, as GitHub does. A page of an element holds what gst-inspect-1.0 shows and the comment SECTION of its
source. The headers go through doxygen, with their comments turned into its own. Files that a text links to become pages as well.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import glob
import html
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile

ENTRIES = [('README.md', 'gst-attention'), ('docs/attention.md', 'Attention'), ('docs/encoders.md', 'Encoders'), ('docs/export.md', 'Export'),
           ('docs/features.md', 'Features'), ('docs/digits.md', 'Digits'), ('docs/scope.md', 'Scope'), ('docs/embedding.md', 'Embedding'), ('docs/scaling.md', 'Scaling'),
           ('docs/performance.md', 'Performance'), ('docs/troubleshooting.md', 'Troubleshooting'), ('examples/README.md', 'Examples'),
           ('elements', 'Elements'), ('src/attn.h', 'C reference'), ('NEWS.md', 'News')]
SPECIAL = {'README.md': 'index.html', 'elements': 'elements/index.html', 'src/attn.h': 'api/attn_8h.html',
           'src/attn_sdpa.h': 'api/attn__sdpa_8h.html'}
PICTURES = ('.png',)
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%(title)s</title>
<link rel="stylesheet" href="%(base)ssite.css">
</head>
<body>
<nav>%(nav)s</nav>
<main>
%(body)s
</main>
</body>
</html>
"""


def fail(sentence):
    sys.exit('docs: ' + sentence)


def place(path):
    """Where the page of a file of the project is, in the site."""
    if path in SPECIAL:
        return SPECIAL[path]
    return path if path.endswith(PICTURES) else re.sub(r'\.md$', '', path) + '.html'


def page(where, title, body):
    base = '../' * where.count('/')
    nav = ' '.join('<a href="%s"%s>%s</a>' % (base + place(path), ' class="here"' if place(path) == where else '', name) for path, name in ENTRIES)
    return PAGE % {'title': title, 'base': base, 'nav': nav, 'body': body}


# ---- Markdown ----

def anchor(heading, taken):
    """Of a heading, as GitHub makes it."""
    plain = re.sub(r'[^\w\- ]', '', html.unescape(re.sub(r'<[^>]*>', '', heading)).lower()).replace(' ', '-')
    number = taken[plain] = taken.get(plain, -1) + 1
    return plain + ('-%d' % number if number else '')


def render(text):
    """Markdown to HTML whose headings have anchors, and whose tables and code scroll where a screen is narrow."""
    body = subprocess.run(['cmark-gfm', '--extension', 'table'], input=text, stdout=subprocess.PIPE, text=True, check=True).stdout
    taken = {}
    body = re.sub(r'<h(\d)>(.*?)</h\1>', lambda h: '<h%s id="%s">%s</h%s>' % (h[1], anchor(h[2], taken), h[2], h[1]), body)
    return body.replace('<table>', '<div class="wide"><table>').replace('</table>', '</table></div>')


class Site:
    """Pages are made from the texts of ENTRIES on, along their links."""

    def __init__(self, root, out):
        self.root, self.out, self.made = root, out, set()

    def write(self, where, title, body):
        path = os.path.join(self.out, where)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as f:
            f.write(page(where, title, body))

    def relink(self, body, path):
        """Links to files of the project become links to their pages, which are made if need be."""
        def new(match):
            attribute, link = match[1], html.unescape(match[2])
            target, _, fragment = link.partition('#')
            if not target or re.match(r'[a-z]+:', link):
                return match[0]
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
            if not os.path.isfile(os.path.join(self.root, target)):
                fail('%s links to %s, which is not there' % (path, target))
            self.add(target)
            relative = posixpath.relpath(place(target), posixpath.dirname(place(path)) or '.')
            return '%s="%s%s"' % (attribute, html.escape(relative), '#' + fragment if fragment else '')
        return re.sub(r'\b(href|src)="([^"]*)"', new, body)

    def add(self, path):
        if path in self.made or path in SPECIAL and path != 'README.md':
            return
        self.made.add(path)
        source, where = os.path.join(self.root, path), place(path)
        if path.endswith(PICTURES):
            os.makedirs(os.path.dirname(os.path.join(self.out, where)), exist_ok=True)
            shutil.copy(source, os.path.join(self.out, where))
            return
        with open(source) as f:
            text = f.read()
        if path.endswith('.md'):
            title = re.search(r'^# (.*)', text, re.M)[1]
            self.write(where, title, self.relink(render(text), path))
        else:
            self.write(where, path, '<h1>%s</h1>\n<pre><code>%s</code></pre>' % (path, html.escape(text)))


# ---- elements ----

def sections(root):
    """The comment SECTION of each element, as Markdown."""
    found = {}
    for path in glob.glob(os.path.join(root, 'plugin', '**', '*.c'), recursive=True):
        with open(path) as f:
            match = re.search(r'^/\*\*\n \* SECTION:element-(\w+)\n(?: \* @[^\n]*\n)* \*\n(.*?)^ \*/', f.read(), re.M | re.S)
        if match:
            text = re.sub(r'^ \* ?', '', match[2], flags=re.M)
            text = re.sub(r'(\w-)\n(?=\w)', r'\1', text)  # clang-format breaks lines behind a hyphen
            text = re.sub(r'\|\[\s*(.*?)\s*\]\|\s*', r'\n```\n\1\n```\n', text, flags=re.S)
            text = re.sub(r'#\w+::([\w-]+)|[#%]([A-Z]\w+)\b(?!:)', lambda m: '`%s`' % (m[1] or m[2]), text)
            found[match[1]] = re.sub(r'#\w+:([a-z][\w-]*)', r'[`\1`](#property-\1)', text)
    return found


def inspect(name, plugins):
    done = subprocess.run(['gst-inspect-1.0', name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, 'LC_ALL': 'C.UTF-8', 'GST_PLUGIN_PATH': plugins, 'GST_PLUGIN_PATH_1_0': plugins})
    if done.returncode:
        fail('gst-inspect-1.0 finds no element `%s` in %s: %s' % (name, plugins, done.stdout.strip()))
    return done.stdout


def part(shown, title):
    """What gst-inspect-1.0 shows below a title, up to the next one."""
    match = re.search(r'^%s:\n(.*?)(?=^\S|\Z)' % title, shown, re.M | re.S)
    return match[1].rstrip() if match else ''


def properties(shown):
    """(name, description, type, when it can be changed, [values of an enum]) of each property that is the element's own."""
    one = r'^  ([a-z][\w-]*) +: (.*)\n +flags: (.*)\n +(.*)\n((?: +\(-?\d+\): .*\n)*)'
    for name, blurb, flags, kind, values in re.findall(one, part(shown, 'Element Properties') + '\n', re.M):
        if name not in ('name', 'parent'):
            kind = re.sub(r'"Gst\w+" |\. Write only$', '', re.sub(r'\s+', ' ', kind).strip())
            yield name, blurb, kind, flags, re.findall(r'\(-?\d+\): (\S+) +- (.*)', values)


def property_text(name, blurb, kind, flags, values):
    text = '<h3 id="property-%s"><code>%s</code></h3>\n<p>%s</p>\n' % (name, name, html.escape(blurb))
    if values:
        text += '<ul>%s</ul>\n' % ''.join('<li><code>%s</code>: %s</li>' % (nick, html.escape(says)) for nick, says in values)
    return text + '<p class="kind">%s (%s)</p>\n' % (html.escape(kind), flags)


def element_page(name, shown, section):
    summary = re.search(r'^  Description +(.*)', shown, re.M)[1]
    body = '<h1>%s</h1>\n<p class="lead">%s</p>\n' % (name, html.escape(summary)) + render(section)
    texts = [property_text(*one) for one in properties(shown)]
    if texts:
        body += '<h2 id="properties">Properties</h2>\n' + ''.join(texts)
    for title in ('Element Actions', 'Element Signals', 'Pad Templates'):
        if part(shown, title):
            body += '<h2>%s</h2>\n<pre><code>%s</code></pre>\n' % (title.replace('Element ', ''), html.escape(part(shown, title)))
    return summary, body


def make_elements(site, plugins):
    found, rows = sections(site.root), ''
    for name in sorted(found):
        summary, body = element_page(name, inspect(name, plugins), found[name])
        site.write('elements/%s.html' % name, name, body)
        rows += '<dt><a href="%s.html">%s</a></dt><dd>%s</dd>\n' % (name, name, html.escape(summary))
    site.write('elements/index.html', 'Elements', '<h1>Elements</h1>\n<p>As <code>gst-inspect-1.0</code> shows them.</p>\n<dl>\n%s</dl>' % rows)


# ---- the headers ----

DOXYGEN = """
PROJECT_NAME = libattn
INPUT = attn.h attn_sdpa.h
GENERATE_LATEX = NO
HTML_OUTPUT = api
HAVE_DOT = NO
HTML_HEADER = header.html
HTML_FOOTER = footer.html
OPTIMIZE_OUTPUT_FOR_C = YES
TYPEDEF_HIDES_STRUCT = YES
INLINE_SIMPLE_STRUCTS = YES
EXTRACT_ALL = YES
MACRO_EXPANSION = YES
EXPAND_ONLY_PREDEF = YES
PREDEFINED = ATTN_API= ATTN_CHECKED=
MARKDOWN_SUPPORT = NO
SORT_MEMBER_DOCS = NO
DISABLE_INDEX = YES
SEARCHENGINE = NO
HTML_DYNAMIC_MENUS = NO
VERBATIM_HEADERS = NO
SUBGROUPING = NO
LAYOUT_FILE = layout.xml
QUIET = YES
"""

# The manual first.
LAYOUT = """<doxygenlayout version="1.0"><file><detaileddescription title="Manual"/>
<memberdecl><classes visible="yes"/><defines/><typedefs/><enums/><functions/><membergroups visible="yes"/></memberdecl>
<memberdef><inlineclasses/><defines/><typedefs/><enums/><functions/></memberdef></file></doxygenlayout>
"""


def for_doxygen(lines):
    """The lines of a comment, without its stars: what is indented stays as it stands, but for lists; what is underlined is a heading."""
    text, verbatim, item = '', False, False
    for line, below in zip(lines, lines[1:] + ['']):
        if re.match(r'-+$|Copyright|SPDX', line):
            continue
        item = bool(re.match(r' *- ', line)) or item and line.startswith('  ')
        begins = line.startswith('  ') and not item
        if begins and not verbatim:
            text += '\\verbatim\n'
        elif verbatim and line and not begins:
            text += '\\endverbatim\n'
        verbatim = begins or verbatim and not line
        if verbatim:
            text += line + '\n'
        elif re.match(r'-+$', below):
            text += '\n<h2>%s</h2>\n' % line
        else:
            line = re.sub(r'([@\\#%])', r'\\\1', html.escape(line, quote=False))
            line = re.sub(r'`([^`]*)`', r'<code>\1</code>', line)
            text += re.sub(r'\b(attn_\w+) \(\)', r'\1()', line) + '\n'  # which doxygen makes a link
    return text + ('\\endverbatim\n' if verbatim else '')


def comments(text):
    """Comments of C become comments of doxygen; `---- name ----` begins a group; a line of declarations shares the comment above it."""
    def new(match):
        before, inside = match[1], match[2]
        group = re.match(r' ---- (.*) ---- $', inside)
        if group:
            return '/** @} */\n/** @name %s\n * @{ */' % group[1].capitalize()
        if before.strip():
            return '%s/**< %s */' % (before, for_doxygen([' '.join(re.sub(r'^ *\* ?', '', inside, flags=re.M).split())]).strip())
        return '%s/** %s*/' % (before, for_doxygen(re.sub(r'^ *\*( |$)', '', inside, flags=re.M).strip('\n').split('\n')))

    text = re.sub(r'^([^\n]*?)/\*(.*?)\*/', new, text, flags=re.M | re.S)
    text = re.sub(r'(/\*\* (?:[^*]|\*(?!/))*\*/\n)(ATTN_API [^;/]*;\n)(?=ATTN_API)', r'\1\2\1', text)
    if '@{' not in text:
        return text
    return text.replace('/** @} */', '', 1).replace('\n#ifdef __cplusplus\n}', '\n/** @} */\n#ifdef __cplusplus\n}')


def make_reference(site, work):
    for name in ('attn.h', 'attn_sdpa.h'):
        with open(os.path.join(site.root, 'src', name)) as f:
            text = comments(re.sub(r'#if defined\(__GNUC__\).*?#endif\n', '', f.read(), flags=re.S))
        with open(os.path.join(work, name), 'w') as f:
            f.write(text.replace('/**', '/** \\file\n', 1))
    header, footer = page('api/attn_8h.html', '$title', '@').split('@')
    for name, text in (('header.html', header), ('footer.html', footer), ('layout.xml', LAYOUT)):
        with open(os.path.join(work, name), 'w') as f:
            f.write(text)
    subprocess.run(['doxygen', '-'], input=DOXYGEN, text=True, cwd=work, check=True)
    for where in (SPECIAL['src/attn.h'], SPECIAL['src/attn_sdpa.h']):
        os.makedirs(os.path.dirname(os.path.join(site.out, where)), exist_ok=True)
        shutil.copy(os.path.join(work, where), os.path.join(site.out, where))


def main(root, plugins, out):
    for program, package in (('doxygen', 'doxygen'), ('cmark-gfm', 'cmark-gfm'), ('gst-inspect-1.0', 'gstreamer1.0-tools')):
        if not shutil.which(program):
            fail('%s is missing, which makes the pages; on Debian: apt-get install %s' % (program, package))
    shutil.rmtree(out, ignore_errors=True)
    site = Site(root, out)
    for path, _ in ENTRIES:
        site.add(path)
    make_elements(site, plugins)
    with tempfile.TemporaryDirectory() as work:
        make_reference(site, work)
    shutil.copy(os.path.join(root, 'docs', 'site.css'), out)
    print('docs: %s' % os.path.join(os.path.abspath(out), 'index.html'))


if __name__ == '__main__':
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
