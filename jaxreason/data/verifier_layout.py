"""From a question and the steps of a solution to a verifier's token ids, and the places where step scores are read.

Text is encoded as the verifier's authors encode it: whole runs between special pieces, markers in their place. What a user or
a model wrote is text wherever it stands: it cannot spell a special piece, nor add a marker that would be scored. A chat
template is rendered once for each number of turns, with placeholders where contents go; contents are then put into the pieces.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

from jaxreason.core.errors import TokenizerError
from jaxreason.core.verifier_spec import ATTEMPT, QUESTION, Boundary, Layout, Unscored
from jaxreason.data.chat_template import render_chat
from jaxreason.data.tokenizer import Tokenizer

# A noncharacter and a white space that templates do not write: the first marks a content, the second is gone if it is trimmed.
_MARK, _SPACE = '\ufdd0', '\x0b'
_PLACES = re.compile('|'.join(map(re.escape, (QUESTION, ATTEMPT))))
_PLACE = re.compile(f'({_SPACE}?){_MARK}(\\d+){_MARK}({_SPACE}?)')


class Laid(NamedTuple):
    """Token ids up to where the last score is read, where each step's score is read, and where the solution begins."""

    ids: tuple[int, ...]
    reads: tuple[int, ...]
    start: int


class Typesetter:
    """A layout with the tokenizer that it is for."""

    def __init__(self, layout: Layout, boundary: Boundary, tokenizer: Tokenizer):
        """Resolves the marker.

        Raises:
            TokenizerError: the marker is not one token, there is no chat template or beginning token although the layout needs
                it, or the layout does not come out as declared.
        """
        self._layout = layout
        self._boundary = boundary
        self._tokenizer = tokenizer
        runs = [run for run in tokenizer.split_special(layout.marker) if run != '']
        self._special = runs[0] if len(runs) == 1 and isinstance(runs[0], int) else None
        self.marker_id = self._special if self._special is not None else token_id(tokenizer, layout.marker, 'layout.marker')
        if layout.form != 'plain' and tokenizer.chat_template is None:
            raise TokenizerError('verifier: its layout is a chat, its tokenizer has no chat template; use form: plain.')
        if layout.begin and tokenizer.bos_id is None:
            raise TokenizerError('verifier: its layout begins with a beginning-of-sequence token, its tokenizer has none.')
        if layout.form != 'plain':
            self._frame(self._roles(1))
        if self.lay('1 + 1?', ('Add: 2.\n\n', 'So 2.')) is Unscored.MARKER:  # a small vocabulary may lack these letters
            raise TokenizerError(
                f'verifier: the marker {layout.marker!r} is not a token of its own after {layout.gap!r}; '
                'expected the tokenizer that the layout was made for.'
            )

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that it writes with."""
        return self._tokenizer

    def lay(self, question: str, steps: Sequence[str], attempts: Sequence[str] = ()) -> Laid | Unscored:
        """Writes a solution.

        Args:
            question: text of the question.
            steps: text of each step, its own line breaks included.
            attempts: earlier answers to the question, the oldest first; the layout takes what it wants of them.

        Returns:
            The ids, or why there are none.
        """
        if not steps:
            return Unscored.NO_STEPS
        try:
            writer = _Writer(self._tokenizer)
            {'chat': self._chat, 'turns': self._turns, 'plain': self._plain}[self._layout.form](
                writer, self._asked(question, attempts), steps
            )
            laid = writer.finish(self._begins(writer))
        except TokenizerError:
            return Unscored.TEXT
        if laid is None or len(laid.reads) != len(steps):
            return Unscored.MARKER
        if self._boundary == 'marker' and any(laid.ids[read] != self.marker_id for read in laid.reads):
            return Unscored.MARKER
        return laid

    def _roles(self, turns: int) -> tuple[str, ...]:
        return ('system',) * (self._layout.system is not None) + ('user', 'assistant') * turns

    def _asked(self, question: str, attempts: Sequence[str]) -> str:
        """The question as the layout writes it, earlier attempts before it."""
        layout = self._layout
        shown = attempts[-layout.attempts :] if layout.attempts else ()
        before = [_filled(layout.attempt, question, attempt.ljust(layout.attempt_columns)) for attempt in shown]
        return ''.join(before) + layout.question.replace(QUESTION, question)

    def _chat(self, writer: '_Writer', asked: str, steps: Sequence[str]) -> None:
        contents = {'system': self._layout.system or '', 'user': asked}
        for role, is_trimmed, before in self._frame(self._roles(1)):
            writer.runs(before)
            if role == 'assistant':
                writer.begin_solution()
                self._steps(writer, steps)
                return  # what the template writes behind is not fed
            writer.text(contents[role].strip() if is_trimmed else contents[role])

    def _turns(self, writer: '_Writer', asked: str, steps: Sequence[str]) -> None:
        users = [step.rstrip('\n') for step in steps]
        users[0] = asked + users[0]
        contents = iter(users)
        for role, is_trimmed, before in self._frame(self._roles(len(steps))):
            writer.runs(before)
            if role == 'assistant':
                self._mark(writer)
                continue
            content = next(contents) if role == 'user' else self._layout.system or ''
            writer.text(content.strip() if is_trimmed else content)
            if role == 'user':
                writer.begin_solution()

    def _plain(self, writer: '_Writer', asked: str, steps: Sequence[str]) -> None:
        if self._layout.system:
            writer.text(self._layout.system + '\n')
        writer.text(asked)
        writer.begin_solution()
        self._steps(writer, steps)

    def _steps(self, writer: '_Writer', steps: Sequence[str]) -> None:
        if self._layout.line_breaks == 'markers':
            self._lines(writer, steps)
            return
        for step in steps:
            text = step.rstrip('\n')
            if self._special is None:  # a delimiter that is the marker itself is not written twice
                text = text.removesuffix(self._layout.gap + self._layout.marker)
            writer.text(text + self._layout.gap)
            self._mark(writer)
            if self._layout.line_breaks == 'kept':
                writer.text(step[len(step.rstrip('\n')) :])

    def _lines(self, writer: '_Writer', steps: Sequence[str]) -> None:
        """Each line is encoded alone, each line break is the marker token."""
        for step in steps:
            lines = (step if step.endswith('\n') else step + '\n').split('\n')[:-1]
            for number, line in enumerate(lines, 1):
                writer.cut()
                writer.text(line)
                if number == len(lines) and self._boundary == 'before_marker':
                    writer.read()
                writer.token(self.marker_id)
            if self._boundary == 'marker':
                writer.read()

    def _mark(self, writer: '_Writer') -> None:
        if self._boundary == 'before_marker':
            writer.read()
        if self._special is None:
            writer.text(self._layout.marker)
        else:
            writer.token(self._special)
        if self._boundary == 'marker':
            writer.read()

    def _begins(self, writer: '_Writer') -> bool:
        """Whether a beginning-of-sequence token is to be put in front."""
        wanted = self._tokenizer.add_bos if self._layout.begin is None else self._layout.begin
        return wanted and writer.first() != self._tokenizer.bos_id

    @functools.lru_cache(maxsize=64)  # noqa: B019 - a typesetter lives as long as its verifier
    def _frame(self, roles: tuple[str, ...]) -> tuple[tuple[str, bool, tuple[str | int, ...]], ...]:
        """For each turn its role, whether the template trims it, and what the template writes before it."""
        tokenizer = self._tokenizer
        messages = [{'role': r, 'content': f'{_SPACE}{_MARK}{i}{_MARK}{_SPACE}'} for i, r in enumerate(roles)]
        text = render_chat(
            tokenizer.chat_template or '',
            messages,
            add_generation_prompt=False,
            bos_token=tokenizer.special_text(tokenizer.bos_id),
            eos_token=tokenizer.special_text(tokenizer.eos_ids[0] if tokenizer.eos_ids else None),
        )
        parts = _PLACE.split(text)
        if parts[2::4] != [str(index) for index in range(len(roles))]:
            raise TokenizerError('verifier: its chat template drops or moves turns; use form: plain.')
        return tuple(
            (role, not parts[4 * index + 1], tuple(tokenizer.split_special(parts[4 * index])))
            for index, role in enumerate(roles)
        )


def _filled(words: str, question: str, attempt: str) -> str:
    """Puts both into their places in one pass: what a model wrote may hold the very words that are replaced."""
    values = {QUESTION: question, ATTEMPT: attempt}
    return _PLACES.sub(lambda match: values[match[0]], words)


def token_id(tokenizer: Tokenizer, text: str, name: str) -> int:
    """The id of a text that must be one token.

    Raises:
        TokenizerError: it is none or several; the message names it.
    """
    try:
        ids = tokenizer.encode(text, special=True)
    except TokenizerError:  # no piece of the vocabulary writes it
        ids = []
    if len(ids) != 1:
        raise TokenizerError(
            f'verifier: {name} {text!r} must be one token of its tokenizer, got {len(ids)}; '
            'use the tokenizer that belongs to it.'
        )
    return ids[0]


class _Writer:
    """Runs of text and ids, and the places in them where scores are read."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._runs: list[str | int] = []
        self._reads: list[tuple[int, int]] = []  # runs begun, bytes of the last one
        self._start: tuple[int, int] | None = None
        self._is_cut = False

    def text(self, text: str) -> None:
        """Adds text, which merges with text before it."""
        if self._runs and isinstance(self._runs[-1], str) and not self._is_cut:
            self._runs[-1] += text
        elif text:
            self._runs.append(text)
            self._is_cut = False

    def token(self, index: int) -> None:
        self._runs.append(index)

    def runs(self, runs: Sequence[str | int]) -> None:
        for run in runs:
            self.text(run) if isinstance(run, str) else self.token(run)

    def cut(self) -> None:
        """The text that follows is encoded apart from the text before."""
        self._is_cut = True

    def read(self) -> None:
        """A score is read at the token that ends here."""
        self._reads.append(self._here())

    def begin_solution(self) -> None:
        self._start = self._start or self._here()

    def first(self) -> int | None:
        return self._runs[0] if self._runs and isinstance(self._runs[0], int) else None

    def _here(self) -> tuple[int, int]:
        last = self._runs[-1] if self._runs else ''
        return len(self._runs), len(last.encode(errors='replace')) if isinstance(last, str) else 0

    def finish(self, begins: bool) -> Laid | None:
        """Encodes; None where no token ends at a place that is read."""
        ids: list[int] = []
        ends: dict[tuple[int, int], int] = {}  # place -> tokens up to there
        for number, run in enumerate(self._runs, 1):
            if isinstance(run, int):
                ids.append(run)
                ends[number, 0] = len(ids)
                continue
            encoded = self._encode(run, is_first=not ids)
            sizes = [len(self._tokenizer.token_bytes(index)) for index in encoded]
            added = sum(sizes) - len(run.encode())  # the space that some encoders put in front
            for count, size in enumerate(itertools.accumulate(sizes), 1):
                ends[number, size - added] = len(ids) + count
            ids += encoded
        if any(place not in ends for place in self._reads):
            return None
        shift = int(begins)
        reads = tuple(ends[place] - 1 + shift for place in self._reads)
        head = (self._tokenizer.bos_id,) if begins else ()
        start = max((count for place, count in ends.items() if self._start is not None and place <= self._start), default=0)
        return Laid((*head, *ids)[: reads[-1] + 1], reads, start + shift)  # type: ignore[arg-type]

    def _encode(self, run: str, is_first: bool) -> list[int]:
        if is_first:
            return self._tokenizer.encode(run)
        return self._tokenizer.encode_runs([0, run])[1:]
