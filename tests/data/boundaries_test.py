"""The compiled table against a plain search in bytes, over random tokenisations."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core.errors import ConfigError
from jaxreason.data.boundaries import STEP, STOP, Boundaries, Walked, split_steps, trim

# A vocabulary in which every text over a few bytes has many tokenisations, with a piece of no text and cut characters.
PIECES = [
    b'',
    b'\n',
    b'\n\n',
    b'\n\n\n',
    b'a',
    b'b',
    b'ab',
    b'ba',
    b'a\n',
    b'\na',
    b'\n\nb',
    b'Q',
    b'Qa',
    b'aQ',
    b'\nQ',
    b'\xc3',
    b'\xa9',
]
PIECES += [b'\xc3\xa9', b'\xa9a', b'aba', b'abab', b'\na\n\n']
PATTERNS = st.lists(st.text('ab\nQé', min_size=1, max_size=4), max_size=3)
TOKENS = st.lists(st.integers(0, len(PIECES) - 1), max_size=14)


def searched(tokens, delimiters, stops):
    """Step ends and stop by searching bytes after every token, as the definition says."""
    step_ends, everything, step = [], b'', b''
    for count, token in enumerate(tokens, start=1):
        everything += PIECES[token]
        step += PIECES[token]
        if any(delimiter.encode() in step for delimiter in delimiters):
            step_ends.append(count)
            step = b''
        if any(stop.encode() in everything for stop in stops):
            return step_ends, count
    return step_ends, None


@settings(deadline=None, max_examples=500)
@given(tokens=TOKENS, delimiters=PATTERNS, stops=PATTERNS)
def test_the_table_finds_what_a_plain_search_finds(tokens, delimiters, stops):
    table = Boundaries.compile(PIECES, delimiters, stops)
    state, step_ends, stopped = 0, [], None
    for count, token in enumerate(tokens, start=1):
        event = table.event[state, token]
        state = table.transition[state, token]
        if event & STEP:
            step_ends.append(count)
        if event & STOP:
            stopped = count
            break
    assert (step_ends, stopped) == searched(tokens, delimiters, stops)


@settings(deadline=None, max_examples=500)
@given(tokens=TOKENS, delimiters=PATTERNS, stops=PATTERNS)
def test_a_finished_answer_splits_into_its_steps(tokens, delimiters, stops):
    table = Boundaries.compile(PIECES, delimiters, stops)
    step_ends, stopped = searched(tokens, delimiters, stops)
    tokens = tokens[:stopped]
    split = table.split(tokens)
    data = b''.join(PIECES[token] for token in tokens)
    whole = data.decode('utf-8', errors='replace')
    assert split.stopped == (stopped is not None)
    assert not any(stop in split.text for stop in stops)
    assert whole.startswith(split.text)
    if not split.stopped:
        assert len(whole) - len(split.text) <= 1  # an unfinished character
    assert ''.join(split.steps) == split.text and all(split.steps)
    assert len(split.steps) == len(split.step_ends)
    assert list(split.step_ends) == sorted(set(split.step_ends)) and set(split.step_ends) <= {*step_ends, len(tokens)}
    if split.steps:
        assert split.step_ends[-1] == len(tokens)
    if not stops and '\ufffd' not in whole:
        starts = [0, *split.step_ends]
        steps = [b''.join(PIECES[token] for token in tokens[a:b]) for a, b in zip(starts, starts[1:], strict=False)]
        assert [step.decode() for step in steps] == list(split.steps)


@settings(deadline=None)
@given(tokens=TOKENS, delimiters=PATTERNS)
def test_a_paused_answer_has_the_steps_of_the_finished_one(tokens, delimiters):
    table = Boundaries.compile(PIECES, delimiters)
    whole = table.split(tokens)
    for end in searched(tokens, delimiters, [])[0]:
        part = table.split(tokens[:end])
        assert part.steps == whole.steps[: len(part.steps)]
        assert part.step_ends[:-1] == whole.step_ends[: len(part.steps) - 1]


@settings(deadline=None, max_examples=500)
@given(tokens=TOKENS, pauses=st.sets(st.integers(0, 14)), delimiters=PATTERNS, stops=PATTERNS)
def test_going_on_is_splitting_the_whole(tokens, pauses, delimiters, stops):
    table, walked = Boundaries.compile(PIECES, delimiters, stops), Walked()
    for end in sorted({min(pause, len(tokens)) for pause in pauses}):
        found, walked = table.go_on(tokens[:end], walked)
        assert found == table.split(tokens[:end]) and walked.num_tokens <= end
        if found.stopped:
            return


def split(delimiters, stops, *pieces):
    vocabulary = list(dict.fromkeys(pieces))
    return Boundaries.compile(vocabulary, delimiters, stops).split([vocabulary.index(piece) for piece in pieces])


def test_a_delimiter_may_span_tokens_and_end_inside_one():
    found = split(['\n\n'], [], b'One.\n', b'\nTwo', b'.', b'\n\n\n', b'Three')
    assert found.steps == ('One.\n\nTwo', '.\n\n\n', 'Three') and found.step_ends == (2, 4, 5)


def test_a_line_break_left_over_begins_no_delimiter():
    # The third break belongs to the first step; the fourth alone is no delimiter.
    assert split(['\n\n'], [], b'a', b'\n\n\n', b'\n', b'b').steps == ('a\n\n\n', '\nb')


def test_an_end_token_joins_the_last_step():
    assert split(['\n\n'], [], b'a', b'\n\n', b'') == ('a\n\n', ('a\n\n',), (3,), False)
    assert split(['\n\n'], [], b'') == ('', (), (), False)
    assert split(['\n\n'], []) == ('', (), (), False)


def test_a_stop_string_takes_back_text_of_the_step_before():
    found = split(['\n\n'], ['\nQ'], b'a', b'\n\n', b'Q', b'x')
    assert found == ('a\n', ('a\n',), (4,), True)


def test_nested_and_overlapping_patterns():
    assert split([], ['abab', 'ba'], b'a', b'b', b'x', b'b', b'a') == ('abx', ('abx',), (5,), True)
    assert split([], ['abcd', 'bc'], b'abc', b'x').text == 'a'
    assert split(['ab', 'b\n'], [], b'a', b'b', b'\n').step_ends == (2, 3)


def test_an_unfinished_character_waits_for_its_rest():
    assert split([], [], b'a', b'\xc3').text == 'a'
    assert split(['\n'], [], b'a\n\xc3', b'\xa9b').steps == ('a\n', 'éb')
    assert split([], [], b'a', b'\xc3', b'b').text == 'a\ufffdb'


@pytest.mark.parametrize(
    'delimiters, stops, message',
    [
        ([''], [], 'step delimiter is empty'),
        (['a'], ['b', ''], 'stop string is empty'),
        (['a' * 5000], [], 'at most 4096'),
        ('\n\n', [], 'put it in a list'),
    ],
)
def test_impossible_patterns_are_refused(delimiters, stops, message):
    with pytest.raises(ConfigError, match=message):
        Boundaries.compile(PIECES, delimiters, stops)


@pytest.mark.parametrize('limit', [1_000, 1_500])  # before the walk; after it, when pairs of states turn out to be many
def test_too_large_a_table_is_refused(monkeypatch, limit):
    monkeypatch.setattr('jaxreason.data.boundaries.MAX_TABLE_ENTRIES', limit)
    with pytest.raises(ConfigError, match='too large a table'):
        Boundaries.compile([b'%d' % n for n in range(100)], ['11'], ['1' * 10])


def test_a_large_vocabulary_compiles_in_reasonable_time():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 12, 50_000)
    pieces = [bytes(rng.integers(97, 123, size).astype(np.uint8)) for size in sizes]
    began = time.process_time()
    table = Boundaries.compile(pieces, ['\n\n', '. '], ['\nQuestion:', '####'])
    assert time.process_time() - began < 5  # 0.1 s where this was written
    assert table.transition.dtype == np.int16 and table.transition.shape == table.event.shape
    assert table.transition.min() >= 0 and table.transition.max() < len(table.transition)


@given(text=st.text('ab\n', max_size=20), delimiters=st.lists(st.text('ab\n', min_size=1, max_size=3), min_size=1, max_size=3))
def test_text_without_tokens_splits_the_same(text, delimiters):
    steps = split_steps(text, delimiters)
    assert ''.join(steps) == text and all(steps)
    # One byte a token: the step ends exactly where the delimiter does.
    pieces = [b'a', b'b', b'\n']
    table = Boundaries.compile(pieces, delimiters)
    assert steps == table.split([pieces.index(bytes([byte])) for byte in text.encode()]).steps


def test_trim_cuts_before_the_first_stop_string():
    assert trim('one two three', ['three', 'two']) == 'one '
    assert trim('one', ['two']) == 'one'
    assert trim('one', []) == 'one'
