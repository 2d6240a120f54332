"""HTML that is safe to open whatever a model wrote: every text is escaped here, and the page forbids itself all requests."""

import base64
import html
import re
from collections.abc import Iterable, Sequence

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fff; --card: #f6f8fa; --ink: #1f2328; --quiet: #59636e; --line: #d0d7de;
  --good: #1a7f37; --bad: #cf222e; --open: #9a6700;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #161b22; --card: #1f262e; --ink: #e6edf3; --quiet: #9198a1; --line: #3d444d;
    --good: #4ac26b; --bad: #ff7b72; --open: #d4a72c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 60rem; overflow-wrap: anywhere;
  background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
}
h1 { font-size: 1.6rem; margin: 0; }
h2 { font-size: 1.3rem; margin: 2rem 0 .25rem; }
h3 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { margin: .5rem 0; }
.quiet { color: var(--quiet); font-size: .875rem; }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 600; font-size: .875rem; }
th:first-child, td:first-child { padding-left: 0; }
.words { text-align: left; white-space: normal; overflow-wrap: break-word; min-width: 6rem; }
tr.group td { border-top: 2px solid var(--line); }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; display: block; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; background: var(--card); }
details details { background: var(--paper); }
summary { cursor: pointer; padding: .4rem .6rem; }
details > :not(summary), details > .wide { margin-left: .6rem; margin-right: .6rem; }
summary .line { display: inline-flex; flex-wrap: wrap; gap: .1rem .75rem; width: calc(100% - 1.5rem); vertical-align: top; }
summary .text { flex: 1 1 14rem; min-width: 0; }
.facts { color: var(--quiet); font-size: .875rem; }
pre {
  white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext; font: 13px/1.45 ui-monospace, monospace;
  max-height: 30rem; overflow-y: auto; margin-bottom: .6rem;
}
pre.tree { white-space: pre; overflow-x: auto; unicode-bidi: bidi-override; }
.left { color: var(--quiet); }
.correct { color: var(--good); }
.wrong { color: var(--bad); }
.unjudged { color: var(--open); }
.mark { font-weight: 700; width: 1.2rem; display: inline-block; text-align: center; }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_UNPRINTABLE = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]')


def text(value: object) -> str:
    """`value` as HTML text: markup escaped, control characters and lone surrogates replaced."""
    return html.escape(_UNPRINTABLE.sub('\N{REPLACEMENT CHARACTER}', str(value).replace('\r\n', '\n')), quote=True)


def foreign(value: object) -> str:
    """`text` that cannot turn the reading direction of what stands around it."""
    return f'<bdi>{text(value)}</bdi>'


def clipped(value: str, most: int) -> str:
    """At most `most` characters, and how many are left out."""
    return value if len(value) <= most else f'{value[:most]}… ({len(value) - most:,} more characters)'


def document(title: str, body: Iterable[str], style: str = '') -> str:
    """A whole page around `body`, which is HTML already; `style` is added to that of all pages."""
    return '\n'.join(
        [
            '<!doctype html>',
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f'<title>{text(title)}</title><style>{STYLE}{style}</style></head><body>',
            *body,
            '</body></html>',
            '',
        ]
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], num_words: int = 1) -> str:
    """A table of plain text.

    Args:
        heads: one a column.
        rows: cells; where the first cell changes a group begins, and its repeats are blanked.
        num_words: columns from the left that hold words, which may wrap; the others hold numbers.
    """

    def line(cells: Sequence[str], kind: str, group: str = '') -> str:
        words = ''.join(f'<{kind} class="words">{text(cell)}</{kind}>' for cell in cells[:num_words])
        return f'<tr{group}>{words}{"".join(f"<{kind}>{text(cell)}</{kind}>" for cell in cells[num_words:])}</tr>'

    lines, last = [line(heads, 'th')], None
    for row in rows:
        is_new = row[0] != last
        group = ' class="group"' if is_new and last is not None else ''
        lines.append(line([row[0] if is_new else '', *row[1:]], 'td', group))
        last = row[0]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def picture(light: bytes, dark: bytes, description: str) -> str:
    """A PNG inside the page, one for a light and one for a dark screen."""
    on_light, on_dark = (f'data:image/png;base64,{base64.b64encode(data).decode()}' for data in (light, dark))
    source = f'<source media="(prefers-color-scheme: dark)" srcset="{on_dark}">'
    return f'<figure><picture>{source}<img src="{on_light}" alt="{text(description)}"></picture></figure>'


def folded(summary: str, body: str) -> str:
    """A part that opens on a click; both arguments are HTML already."""
    return f'<details><summary>{summary}</summary>{body}</details>'
