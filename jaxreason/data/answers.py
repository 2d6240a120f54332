"""Finds the answer that a response gives.

The answer is the last box outside a thinking block, else the last explicit answer statement (`the answer is`, `Answer:`,
`####`, `<answer>`). Values side by side (`\\boxed{20} or \\boxed{21}`) are a hedge: they come back as a list, which equals no
single value. A value that the text withdraws afterwards does not count. A number is never inferred from a response that
names no answer, unless the policy was asked for a bare last line (`answer_of`). Where a model runs on into a question of its
own (`Question:`, `Human:`), what it answers there does not count.
All of it is linear in the length of the response.
"""

import collections
import itertools
import re
from collections.abc import Iterator

from jaxreason.core.types import Finish, Row
from jaxreason.data.boxes import Span, find_boxes
from jaxreason.data.normalise import read
from jaxreason.data.sentences import stated_number
from jaxreason.data.thinking import outside_thinking
from jaxreason.data.values import full_key

MAX_GAP = 80  # characters between two values that still stand side by side
MAX_STATEMENT = 2000  # characters of a stated value
_STATEMENTS_READ = 64  # from the end; more than one decides only if they stand side by side
_STATEMENT_WINDOW = 200_000  # characters from the end in which a statement is looked for
_TAIL = 600  # characters after a value in which it may be withdrawn

_VERB = r'(?:(?:is|are|was|were|would be|will be|should be|must be|becomes|equals|comes out to be'
_VERB += r'|(?:comes|came|works out|worked out|turns out|adds up|amounts) to(?: be)?)\b|[=:])'
_ANCHOR = re.compile(
    r'<answer>|^[ \t]*####[ \t]*(?!#)'
    r'|\b(?:final|correct)[ \t]+(?:result|value|option|choice|solution)[*_]{0,3}[ \t]*' + _VERB +
    r'|\bcorrect(?:ion|ed)[*_]{0,3}[ \t]*:'
    r'|\bans(?:wer)?s?\b(?![ \t]+(?:the|these|this|each|all|choices?|options?)\b)'
    r'(?:[ \t]*\([^()\n]{0,60}\))?[*_]{0,3},?(?:(?:[ \t]+[\w\'$\\{}^.,-]{1,40}){0,14}?[ \t]+|[ \t]*)' + _VERB +
    r'|^[ \t>*_#-]{0,12}(?:final[ \t]+)?answer[*_]{0,3}[ \t]{1,4}[-–—][ \t]+(?=[\d$\\(*-])'
    r'|^[ \t>*_#-]*(?:final[ \t]+)?answer[ \t*_:.]*$',
    re.IGNORECASE | re.MULTILINE,
)  # fmt: skip
_HINT = re.compile(r'ans|####|correct|final', re.IGNORECASE)  # some word of every anchor
_NOT_MEANT = re.compile(
    r"(?:n't|\bnot|\bnever|\bif|\bwhether|\bsuppose|\bassum\w*|\bdoubt|\bunless)"
    r'(?:[ \t]+(?:think|believe|say|mean|that|the|my|our|your|this|final|correct)){0,6}[ \t]*$',
    re.I,
)
_FILLER = re.compile(
    r'(?:\s|[:*_]|(?:therefore|thus|simply|just|exactly|indeed|clearly|equal to|given by|about|approximately|as follows)\b)*',
    re.I,
)
_NEGATION = re.compile(r'\s*(?:not|never|unknown\b.*|unclear\b.*|neither)\b', re.I)
_NO_VALUE = re.compile(r'(?:wrong|incorrect|right|correct|unclear)\b(?!\s+(?:angle|triangle))', re.I)
_SUBJECT = r'(?:she|he|they|it|we|i|you|this|that|there|her|his|their|so)\b'
_CLAUSE = re.compile(
    r'[,;]?\s+(?:because|since|which|where|so that|so|as|when|after|if|but|hence|therefore|thus|given|obtained|for)\b'
    r'|[!?](?=\s|$)|(?<!\.)\.(?=\s|$|[*_]|\\\]|\\\))|\s\(|\s[-–—]{1,2}\s(?=[a-z])|</answer>|\s+I\s+hope\b|<\||</'
    rf'|[,;:]\s+(?={_SUBJECT})|(?<=\d)[;:]\s+(?=[a-z]{{2}})|\s+and\s+(?:{_SUBJECT}|[A-Z][a-z]+\s+(?:is|has|had|was|gets|got|will|makes)\b)'
    r'|\s+(?:Explanation|Reasoning|Solution|Note|Check|Verification|Step|Question|Problem)\s*\d*\s*:',
)
_YES_NO = re.compile(r'^(yes|no|true|false)\s*[,;].*', re.I)
_HEADING = re.compile(r'(?:step|solution|explanation|final|conclusion|verification|part|note|case|answer|method|check)\b', re.I)
_BESIDE = re.compile(
    r"(?:[\s$,;:.()\[\]\\*_/&|~-]|\b(?:or|and|also|maybe|perhaps|possibly|alternatively|either|it|is|it's|its|could|might|may|can|be|"
    r'the|an?|answer|answers|final|another|other|option|value|equally|valid|else|x|is|are|text)\b|\{\s*\})*', re.I,
)  # fmt: skip
_TRAILING = re.compile(
    r'[\s$)\]\\,*]*(?:\b(?:or|and/or)\b(?:\s+(?:maybe|perhaps|possibly|else|it|could|be|is))*|\\pm|±|\+/-)\s*'
    r'(?:\\[(\[]\s*|\${1,2})?(\\?\$?-?(?:\d[\d.,/]*|\\[dt]?frac\{[^{}]*\}\{[^{}]*\})(?![\d%]))',
    re.I,
)
_DROPPED = re.compile(
    r"\b(?:that|this|it|which|the above|my answer|previous answer)(?:'s|\s+is|\s+was|\s+isn't|\s+is\s+not)\s+(?:\w+\s+)?"
    r'(?:wrong|incorrect|not\s+(?:right|correct)|a\s+mistake|mistaken|false)\b'
    r"|\b(?:that|this)\s+(?:isn't|is\s+not|can't\s+be|cannot\s+be)\s+(?:right|correct)\b"
    r'|\bscratch\s+that|\bstrike\s+that|\bignore\s+(?:that|this|the\s+above)|\bdisregard\b|\bi\s+(?:take|took)\s+(?:that|it)\s+back'
    r'|\bi\s+(?:made|have\s+made)\s+(?:a|an)\s+(?:\w+\s+)?(?:mistake|error)|\bi\s+(?:was|am)\s+wrong|\bi\s+withdraw\b|\bwithdrawn\b'
    r'|^\W{0,8}(?:is|was)\s+(?:wrong|incorrect|not\s+(?:right|correct|the\s+answer))',
    re.I,
)
_DOUBT = re.compile(
    r'\b(?:wait|actually|correction|corrected|on second thought|hmm|hold on|oops|sorry|no|rather|instead|'
    r'let me (?:re\w+|double))\b',
    re.I,
)


# A new question that the model asks itself after its answer.
_RUN_ON = re.compile(r'^[^\w\n]{0,4}(?:question|q|problem|human|user|instruction)[ \t]{0,4}\d{0,4}[^\w\n:]{0,3}:', re.I | re.M)
_MISTAKES = re.compile(
    r'\b(?:some|someone|many|others?|students?|note|forget\w*|if|mistakenly|tempting|trap|(?:common|usual|typical|frequent)\s+'
    r'(?:mistakes?|errors?)|(?:one|you)\s+m(?:ight|ay))\b',
    re.I,
)


def answer_of(row: Row) -> str | None:
    """The answer of a row, read as its policy was asked to write it.

    A bare last line is an answer only where the policy has ended the solution itself: elsewhere it is whatever step came last.
    """
    if row.answer_format == 'last_line':
        return last_line(row.text) if row.finish is Finish.STOP else None
    return extract_answer(row.text)


def extract_answer(text: str) -> str | None:
    """The answer that a response names.

    Args:
        text: a whole response; what a model wrote, of any length.

    Returns:
        The value as written, several side by side joined by `or`; None if the response names none, or withdraws it.
    """
    text = outside_thinking(text)
    boxes = find_boxes(text)
    text = text[: _own_end(text, boxes)]
    boxes = [box for box in boxes if box.end <= len(text)]
    if not boxes:
        return _standing(_statements(text), text)
    end = boxes[-1].end
    after = text[end : end + _TAIL]
    later = _statements(text, end) if _DOUBT.search(after) or _DROPPED.search(after) else []
    if later and (_DOUBT.search(text, end, later[0].start + 12) or _DROPPED.search(text, end, later[0].start)):
        return _standing(later, text)
    return _standing(boxes, text)


def last_line(text: str) -> str | None:
    """The last line that is not blank, for solutions that end with the bare answer; None if there is none."""
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else None


def _own_end(text: str, boxes: list[Span]) -> int:
    """Where the response to the question ends: before the first question of the model's own that follows an answer."""
    if _RUN_ON.search(text) is None:
        return len(text)
    ends = [box.end for box in boxes[:1]]
    for match in itertools.islice(_anchors(text, 0, _STATEMENT_WINDOW), _STATEMENTS_READ):
        if span := _meant(text, match):
            ends.append(span.end)
            break
    run_on = _RUN_ON.search(text, min(ends)) if ends else None
    return run_on.start() if run_on else len(text)


def _standing(spans: list[Span], text: str) -> str | None:
    """The last value, with those beside it; None if it is empty or withdrawn."""
    if not spans:
        return None
    values = [spans[-1].value]
    for before, after in zip(spans[-2::-1], spans[:0:-1], strict=False):
        gap = text[before.end : after.start]
        if len(gap) > MAX_GAP or not _BESIDE.fullmatch(gap):
            break
        values.append(before.value)
    end = spans[-1].end
    tail = text[end : end + _TAIL]
    if trailing := _TRAILING.match(tail):
        values.insert(0, trailing[1])
    elif _DROPPED.search(tail.split('\n\n')[0]) and not _is_about_another(tail):
        return None
    stated = [stated_number(value) for value in values[::-1] if value]
    distinct = {full_key(read(value)): value for value in stated}
    return ' or '.join(distinct.values()) or None


def _is_about_another(tail: str) -> bool:
    """Whether what is called wrong after an answer is named: `Note that 19 is wrong`, `20 is common, which is wrong`."""
    match = _DROPPED.search(tail)
    before = tail[: match.start()] if match else tail
    is_relative = match is not None and match[0].lower().startswith(('which', 'it'))
    return bool(_MISTAKES.search(before) or (is_relative and re.search(r'\d', before)))


def _statements(text: str, start: int = 0) -> list[Span]:
    """The last explicit answer statements from `start` on, in order."""
    matches = collections.deque(_anchors(text, max(start, len(text) - _STATEMENT_WINDOW), len(text)), _STATEMENTS_READ)
    return [span for match in matches if (span := _meant(text, match)) is not None]


def _meant(text: str, match: re.Match[str]) -> Span | None:
    """The statement at an anchor, unless it is denied or only supposed."""
    line = text.rfind('\n', 0, match.start()) + 1
    before = text[max(line, match.start() - 60) : match.start()]
    if _NOT_MEANT.search(re.split(r'[.!?]\s', before)[-1]):
        return None
    return _stated(text, match)


def _anchors(text: str, start: int, stop: int) -> Iterator[re.Match[str]]:
    """The matches of the anchor, in order; only lines with one of its words are looked at."""
    at = start
    while (hint := _HINT.search(text, at, stop)) is not None:
        begin = max(start, text.rfind('\n', at, hint.start()) + 1)
        end = text.find('\n', hint.end())
        end = len(text) if end < 0 else end
        yield from _ANCHOR.finditer(text, begin, end)
        at = end


def _stated(text: str, anchor: re.Match[str]) -> Span | None:
    """The value after an anchor."""
    start, at = anchor.span()
    is_hashes = anchor[0].lstrip().startswith('#')
    filler = _FILLER.match(text, at, at + 200)
    begin = filler.end() if filler else at
    if _NEGATION.match(text, begin) or (anchor[0][-1:].isalpha() and _NO_VALUE.match(text, begin)):
        return None
    rest = text[begin : begin + MAX_STATEMENT]
    for opener, closer in (('$$', '$$'), ('\\[', '\\]')):
        end = rest.find(closer, len(opener)) if rest.startswith(opener) else -1
        if end >= 0:
            return Span(rest[len(opener) : end].strip(), start, begin + end + len(closer))
    line = rest.split('\n', 1)[0]
    cut = _CLAUSE.search(_masked(line))
    if cut and cut[0] == '?':  # "could the answer be 7?" names nothing
        return None
    value = line[: cut.start()] if cut and cut.start() else line
    end = begin + len(value)
    value = value.strip().strip('*_`"').strip().rstrip(',;')
    value = _YES_NO.sub(r'\1', value)
    if not value or (is_hashes and (len(value) > 60 or _HEADING.match(value))):
        return None
    return Span(value, start, end)


def _masked(line: str) -> str:
    """The line with what is inside `$...$` blanked, so that no clause is cut there, and abbreviations kept whole."""
    line = re.sub(r'\$[^$\n]{1,500}\$', lambda m: '$' + 'x' * (len(m[0]) - 2) + '$', line)
    line = re.sub(r'\\\([^\n]{1,500}?\\\)', lambda m: 'x' * len(m[0]), line)
    return re.sub(r'\b([ap])\.\s?m\.', lambda m: m[1] + 'x' * (len(m[0]) - 1), line)
