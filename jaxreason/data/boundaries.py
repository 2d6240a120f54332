"""Where steps end and where a solution stops, as a table over tokens that a device loop can follow.

A step ends with the token that completes a step delimiter: the first token after which the step's own bytes hold one.
Tokens are never split, so text after the delimiter in that token stays in the step. A solution stops with the token that
completes a stop string anywhere in it. Both are searched in bytes, by two Aho-Corasick automata walked over every token
once, here; the loop then costs one look-up per token: `event[state, token]`, then `state = transition[state, token]`.

`Boundaries.split` derives text and steps from a token list by the same table, so that device and host cannot disagree.

Aho, Corasick: Efficient string matching, 1975.
"""

import codecs
import dataclasses
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxreason.core.errors import ConfigError

STEP, STOP = 1, 2  # bits of an event
MAX_PATTERN_BYTES = 4096
MAX_TABLE_ENTRIES = 1 << 26  # 200 MB


class Split(NamedTuple):
    """What a token list says.

    Attributes:
        text: without anything from the first stop string on; an unfinished UTF-8 character at the end is left out.
        steps: the text of each step; joined they are `text`. None where there is no text.
        step_ends: number of tokens at the end of each step; the last is the number of all tokens.
        stopped: whether a stop string was completed.
    """

    text: str
    steps: tuple[str, ...]
    step_ends: tuple[int, ...]
    stopped: bool


class Walked(NamedTuple):
    """How far an answer has been split: up to the end of its last whole step, where splitting may go on.

    Attributes:
        num_tokens: up to there.
        state: of the table after them.
        ends: number of tokens at the end of each step.
        pieces: what each step adds to the text, stop strings not cut off.
        pending: bytes of an unfinished character after them.
    """

    num_tokens: int = 0
    state: int = 0
    ends: tuple[int, ...] = ()
    pieces: tuple[str, ...] = ()
    pending: bytes = b''


@dataclasses.dataclass(frozen=True, eq=False)
class Boundaries:
    """Step delimiters and stop strings, compiled for one vocabulary.

    Legend: `c` states, `v` vocabulary.

    Attributes:
        transition: [c, v] int16, the state after a token. State 0 is where every answer begins.
        event: [c, v] uint8, bit `STEP` if the token ends the step, bit `STOP` if it ends the solution.
        token_bytes: what each token adds to the text.
        stop_strings: as given.
    """

    transition: np.ndarray  # [c, v] int16
    event: np.ndarray  # [c, v] uint8
    token_bytes: tuple[bytes, ...]
    stop_strings: tuple[str, ...]

    @classmethod
    def compile(
        cls, token_bytes: Sequence[bytes], step_delimiters: Sequence[str], stop_strings: Sequence[str] = ()
    ) -> 'Boundaries':
        """Compiles the table.

        Args:
            token_bytes: what each token adds to the text, by id, for as many ids as the model has logits; empty for special
                ones.
            step_delimiters: any of them ends a step; none means that an answer is one step.
            stop_strings: any of them ends the solution.

        Returns:
            The table, over the states that can be reached.

        Raises:
            ConfigError: a delimiter or stop string is empty, or together they are too long for a table.
        """
        tokens = _TokenBytes(token_bytes)
        steps = _Automaton(_patterns('step delimiter', step_delimiters))
        stops = _Automaton(_patterns('stop string', stop_strings))
        too_large = ConfigError(
            'boundaries: the stop strings and delimiters need too large a table; use fewer or shorter ones.'
        )
        if (steps.size + stops.size) * len(token_bytes) > MAX_TABLE_ENTRIES:
            raise too_large
        step_after, step_hit = tokens.walk(steps)
        stop_after, stop_hit = tokens.walk(stops)
        # A step begins with no delimiter begun; after a stop nothing is searched. A pair of states is coded as one number.
        step_after = np.where(step_hit, 0, step_after)
        number = np.full(steps.size * stops.size, -1, np.int32)
        number[0], count = 0, 1
        rows, events, queue = [], [], deque([0])
        while queue:
            step, stop = divmod(queue.popleft(), stops.size)
            after = np.where(stop_hit[stop], 0, step_after[step] * stops.size + stop_after[stop])
            found = np.unique(after)
            new = found[number[found] < 0]
            number[new] = np.arange(count, count + len(new))
            count += len(new)
            queue.extend(new.tolist())
            if count * len(token_bytes) > MAX_TABLE_ENTRIES or count > np.iinfo(np.int16).max:
                raise too_large
            rows.append(number[after].astype(np.int16))
            events.append(step_hit[step] * np.uint8(STEP) | stop_hit[stop] * np.uint8(STOP))
        return cls(np.stack(rows), np.stack(events), tuple(token_bytes), tuple(stop_strings))

    def follow(self, tokens: Sequence[int]) -> tuple[int, int, int]:
        """Walks the table over an answer from its beginning, up to the token that completes a stop string.

        Args:
            tokens: of the answer.

        Returns:
            The number of tokens up to there, the state after them, and the event of the last one.
        """
        state, event, count = 0, 0, 0
        for token in tokens:
            event, state, count = self.event.item(state, token), self.transition.item(state, token), count + 1
            if event & STOP:
                break
        return count, state, event

    def split(self, tokens: Sequence[int]) -> Split:
        """Derives text and steps of an answer.

        Args:
            tokens: all tokens of the answer, an end-of-sequence token included.

        Returns:
            Its text, steps and step ends. Tokens after the last text (an end token, a stop string) belong to the last step.
        """
        return self.go_on(tokens, Walked())[0]

    def go_on(self, tokens: Sequence[int], walked: Walked) -> tuple[Split, Walked]:
        """Splits an answer whose beginning has been split before: the same as `split`, without reading that part again.

        Args:
            tokens: as of `split`; those that were walked must not have changed.
            walked: as it was returned for the beginning.
        """
        state, stopped, found = walked.state, False, []
        event_of, state_after = self.event.item, self.transition.item  # several times faster than indexing, one at a time
        for count, token in enumerate(tokens[walked.num_tokens :], start=walked.num_tokens + 1):
            event = event_of(state, token)
            state = state_after(state, token)
            if event & STEP:
                found.append((count, state))
            if event & STOP:
                stopped = True
                break
        pending = walked.pending

        def piece(start: int, end: int) -> str:
            nonlocal pending
            data = pending + b''.join([self.token_bytes[token] for token in tokens[start:end]])
            if data.isascii():  # nearly always; a decoder takes longer than all the rest
                pending = b''
                return data.decode('ascii')
            decoder = codecs.getincrementaldecoder('utf-8')(errors='replace')
            text = decoder.decode(data)
            pending = decoder.getstate()[0]
            return text

        for end, after in found:
            pieces = (*walked.pieces, piece(walked.num_tokens, end))
            walked = Walked(end, after, (*walked.ends, end), pieces, pending)
        if walked.num_tokens < len(tokens) or not walked.ends:
            tail = piece(walked.num_tokens, len(tokens))
            return self._split((*walked.ends, len(tokens)), (*walked.pieces, tail), stopped), walked
        return self._split(walked.ends, walked.pieces, stopped), walked

    def _split(self, ends: Sequence[int], pieces: Sequence[str], stopped: bool) -> Split:
        """Steps by what they add to the text, of which a stop string may cut off the end."""
        text = trim(''.join(pieces), self.stop_strings)
        steps, step_ends, start = [], [], 0
        for piece, end in zip(pieces, ends, strict=True):
            if step := text[start : start + len(piece)]:
                steps.append(step)
                step_ends.append(end)
            start += len(piece)
        return Split(text, tuple(steps), (*step_ends[:-1], ends[-1]) if steps else (), stopped)


def trim(text: str, stop_strings: Iterable[str]) -> str:
    """Cuts `text` before the first stop string in it."""
    found = [at for stop in stop_strings if (at := text.find(stop)) >= 0]
    return text[: min(found)] if found else text


def split_steps(text: str, step_delimiters: Sequence[str]) -> tuple[str, ...]:
    """Cuts a text that has no tokens into steps, each ending with its delimiter.

    Args:
        text: a whole solution.
        step_delimiters: any of them ends a step; where several end at one place, the longest is taken as one.

    Returns:
        The steps; joined they are `text`. None of them is empty.
    """
    patterns = _patterns('step delimiter', step_delimiters)
    automaton, steps, state, start = _Automaton(patterns), [], 0, 0
    data = text.encode('utf-8', errors='surrogatepass')
    for count, byte in enumerate(data, start=1):
        state = automaton.table[state, byte]
        if automaton.output[state]:
            steps.append(data[start:count])
            state, start = 0, count
    if start < len(data):
        steps.append(data[start:])
    return tuple(step.decode('utf-8', errors='surrogatepass') for step in steps)


def _patterns(what: str, texts: Sequence[str]) -> list[bytes]:
    if isinstance(texts, str):
        raise ConfigError(f'boundaries: expected a list of {what}s, got the text {texts!r}; put it in a list.')
    if any(not text for text in texts):
        raise ConfigError(f'boundaries: a {what} is empty, expected text; remove it.')
    patterns = [text.encode('utf-8') for text in texts]
    if sum(map(len, patterns)) > MAX_PATTERN_BYTES:
        raise ConfigError(f'boundaries: {what}s have {sum(map(len, patterns))} bytes, at most {MAX_PATTERN_BYTES} together.')
    return patterns


class _Automaton:
    """Aho-Corasick over bytes: a state is the longest suffix read that begins a pattern."""

    def __init__(self, patterns: Sequence[bytes]):
        children: list[dict[int, int]] = [{}]
        ends = [False]
        for pattern in patterns:
            state = 0
            for byte in pattern:
                if byte not in children[state]:
                    children[state][byte] = len(children)
                    children.append({})
                    ends.append(False)
                state = children[state][byte]
            ends[state] = True
        self.size = len(children)
        self.table = np.zeros((self.size, 256), np.int32)  # [state, byte] -> state
        self.output = np.array(ends)  # [state], whether a pattern ends here
        fail = [0] * self.size
        queue = deque([0])
        while queue:
            state = queue.popleft()
            self.table[state] = self.table[fail[state]]
            self.output[state] |= self.output[fail[state]]
            for byte, child in children[state].items():
                # The root's children fail to the root; its row is still all zeros when they are reached.
                fail[child] = int(self.table[state, byte])
                self.table[state, byte] = child
                queue.append(child)


class _TokenBytes:
    """A vocabulary as columns: the bytes at each offset, of the tokens that are long enough, longest first."""

    def __init__(self, token_bytes: Sequence[bytes]):
        lengths = np.array([len(token) for token in token_bytes], np.int64)
        self._order = np.argsort(-lengths, kind='stable')
        data = np.frombuffer(b''.join(token_bytes[index] for index in self._order), np.uint8)
        lengths = lengths[self._order]
        starts = np.cumsum(lengths) - lengths
        alive = [int((lengths > offset).sum()) for offset in range(int(lengths.max(initial=0)))]
        self._columns = [data[starts[:count] + offset] for offset, count in enumerate(alive)]

    def walk(self, automaton: _Automaton) -> tuple[np.ndarray, np.ndarray]:
        """Reads every token from every state.

        Returns:
            The state after each token [states, v] int32, and whether a pattern was completed in it [states, v] bool.
        """
        after = np.empty((automaton.size, len(self._order)), np.int32)
        hit = np.empty((automaton.size, len(self._order)), bool)
        for start in range(automaton.size):
            state = np.full(len(self._order), start, np.int32)
            found = np.zeros(len(self._order), bool)
            for column in self._columns:
                moved = automaton.table[state[: len(column)], column]
                state[: len(column)] = moved
                found[: len(column)] |= automaton.output[moved]
            after[start, self._order] = state
            hit[start, self._order] = found
        return after, hit
