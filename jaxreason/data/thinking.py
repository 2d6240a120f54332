"""Removes what a model thinks before it answers: `<think>...</think>` and its kin.

An unclosed block runs to the end. A closing tag without an opening one ends a block that the prompt opened, so what stands
before it goes too; later stray closing tags are ignored. One pass, linear in the text.
"""

import re

_TAG = re.compile(
    r'<(/?)(?:think|thinking|thought|thoughts|reasoning|scratchpad|reflection|analysis)>'
    r'|<\|(?:begin|(end))_of_thought\|>|\[(/?)THINK\]|◁(/?)think▷',
    re.IGNORECASE,
)


def outside_thinking(text: str) -> str:
    """The parts of a response that are not in a thinking block, joined by blank lines.

    Args:
        text: a response; of any length.
    """
    if not any(mark in text for mark in ('>', ']', '▷')):
        return text
    kept: list[str] = []
    start, is_thinking, has_seen_tag = 0, False, False
    for match in _TAG.finditer(text):
        is_closing = any(match.groups())
        if is_closing and not has_seen_tag:
            start = match.end()
        elif is_closing and is_thinking:
            is_thinking, start = False, match.end()
        elif not is_closing and not is_thinking:
            kept.append(text[start : match.start()])
            is_thinking = True
        has_seen_tag = True
    if not is_thinking:
        kept.append(text[start:])
    return '\n\n'.join(kept)
