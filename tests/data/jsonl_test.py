"""Damaged problem files: they work, or one error names file and line."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core.errors import DataError
from jaxreason.data.jsonl import read_rows

ROW = b'{"question": "a", "answer": 1}'


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'problems.jsonl'


@settings(deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers() | st.none()), min_size=1, max_size=5)
)
def test_what_json_writes_is_read_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp('rows') / 'rows.jsonl'
    path.write_text('\n'.join(map(json.dumps, rows)), encoding='utf-8')
    assert list(read_rows(path)) == list(enumerate(rows, start=1))


HARMLESS = {
    'byte-order mark': b'\xef\xbb\xbf' + ROW + b'\n' + ROW,
    'CRLF': ROW + b'\r\n' + ROW + b'\r\n',
    'blank lines': b'\n' + ROW + b'\n \n' + ROW + b'\n\n',
    'escaped pair': rb'{"question": "\ud83d\ude00"}' + b'\n' + ROW,
    'NaN as text': b'{"question": "NaN"}\n' + ROW,
}


@pytest.mark.parametrize('name', HARMLESS)
def test_harmless_files_are_read(path, name):
    path.write_bytes(HARMLESS[name])
    assert len(list(read_rows(path))) == 2


DAMAGED = {
    'torn last line': (ROW + b'\n' + ROW[:-5], 'line 2: not a whole JSON object'),
    'torn middle line': (ROW + b'\n' + ROW[:10] + b'\n' + ROW, 'line 2: not a whole'),
    'two rows in a line': (ROW + ROW, 'line 1: not a whole'),
    'NaN literal': (b'{"answer": NaN}', 'line 1: NaN is not a JSON value'),
    'infinity': (b'{"answer": -Infinity}', 'line 1: -Infinity is not'),
    'number too large': (b'{"answer": 1e999}', 'line 1: number 1e999 is too large'),
    'million digits': (b'{"answer": ' + b'9' * 1_000_000 + b'}', 'line 1: '),
    'key twice': (b'{"answer": 1, "answer": 2}', "line 1: key 'answer' is there twice"),
    'key twice inside': (b'{"answer": {"a": 1, "a": 2}}', "line 1: key 'a'"),
    'array row': (ROW + b'\n[1, 2]', 'line 2: expected a JSON object, got list'),
    'text row': (b'"a"', 'line 1: expected a JSON object, got str'),
    'null row': (b'null', 'line 1: expected a JSON object, got NoneType'),
    'deep nesting': (b'[' * 100_000 + b']' * 100_000, 'line 1: nested too deeply'),
    'deep object': (b'{"a":' * 100_000 + b'1' + b'}' * 100_000, 'line 1: nested too deeply'),
    'lone surrogate': (rb'{"question": "\ud800"}', 'line 1: holds a lone surrogate'),
    'lone surrogate in a key': (rb'{"\udc00": 1}', 'line 1: holds a lone surrogate'),
    'not UTF-8': (b'{"question": "\xff"}', 'line 1: byte 14 is not UTF-8'),
    'UTF-16': ('{"a": 1}'.encode('utf-16'), 'line 1: byte 0 is not UTF-8'),
    'empty': (b'', 'the file is empty'),
    'only blank lines': (b'\n\n  \n', 'the file is empty'),
}


@pytest.mark.parametrize('name', DAMAGED)
def test_damaged_files_are_refused_by_file_and_line(path, name):
    data, message = DAMAGED[name]
    path.write_bytes(data)
    began = time.monotonic()
    with pytest.raises(DataError, match=message) as caught:
        list(read_rows(path))
    text = str(caught.value)
    assert str(path) in text and '\n' not in text and len(text) < 400 + len(str(path))
    assert time.monotonic() - began < 5


def test_a_line_of_twenty_megabytes_is_read(path):
    path.write_bytes(b'{"question": "' + b'x' * (20 << 20) + b'"}\n' + ROW)
    assert [len(row.get('question', '')) for _, row in read_rows(path)] == [20 << 20, 1]


def test_a_line_beyond_the_limit_is_refused(path, monkeypatch):
    monkeypatch.setattr('jaxreason.data.jsonl.MAX_LINE_BYTES', 50)
    path.write_bytes(ROW + b'\n' + b'{"question": "' + b'x' * 50 + b'"}')
    with pytest.raises(DataError, match='line 2: longer than 50 bytes'):
        list(read_rows(path))


def test_files_that_are_none_are_refused(tmp_path):
    for path in (tmp_path / 'absent.jsonl', tmp_path):
        with pytest.raises(DataError, match='cannot be read') as caught:
            list(read_rows(path))
        assert str(path) in str(caught.value)
