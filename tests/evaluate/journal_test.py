"""The journal: what is finished stays finished, what is torn is done again, what is damaged stops."""

import errno
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core.errors import RunError
from jaxreason.evaluate.journal import Journal

ENTRY = {'text': 'ü\n"\\', 'scores': [0.1, 1e-300], 'none': None}


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'journal.jsonl'


def write(path, *keys):
    journal = Journal(path)
    for key in keys:
        journal.append(key, ENTRY | {'key': key})
    journal.close()


def keys(path):
    journal = Journal(path)
    journal.close()
    return list(journal.entries)


def test_what_was_appended_is_read_back(path):
    write(path, 'a', 'b/ü')
    journal = Journal(path)
    assert dict(journal.entries) == {key: ENTRY | {'key': key} for key in ('a', 'b/ü')}


def test_an_appended_entry_is_on_disk_at_once(path):
    journal = Journal(path)
    journal.append('a', ENTRY)
    assert keys(path) == ['a'], 'a second reader sees it before the first closes the file'


@settings(deadline=None, max_examples=60)
@given(cut=st.integers(0, 10_000))
def test_a_file_cut_anywhere_keeps_its_whole_lines_and_goes_on(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp('cut') / 'journal.jsonl'
    write(path, 'a', 'b', 'c')
    data = path.read_bytes()
    kept = data[: cut % (len(data) + 1)]
    path.write_bytes(kept)
    survivors = ['a', 'b', 'c'][: kept.count(b'\n')]
    assert keys(path) == survivors
    write(path, 'd')
    assert keys(path) == [*survivors, 'd']
    assert path.read_bytes().startswith(kept[: kept.rfind(b'\n') + 1])


@pytest.mark.parametrize(
    'damage',
    [
        lambda line: line.replace('0.1', '0.2'),
        lambda line: line[:-5],
        lambda line: '',
        lambda line: '[1]',
        lambda line: '5',
        lambda line: '\udcff',
        lambda line: '{"key":[],"crc":0,"entry":0}',
        lambda line: '[' * 100_000,
        lambda line: line.replace('0.1', 'NaN'),
        lambda line: line.replace('"key":"b"', '"key":"z"'),
    ],
)
def test_a_damaged_middle_line_stops_and_is_named(path, damage):
    write(path, 'a', 'b', 'c')
    lines = path.read_text().splitlines()
    lines[1] = damage(lines[1])
    path.write_bytes('\n'.join([*lines, '']).encode('utf-8', 'surrogateescape'))
    with pytest.raises(RunError, match=rf'{path}:2: .*damaged'):
        Journal(path)


def test_one_key_with_two_contents_stops_and_shows_both(path):
    write(path, 'a')
    line = path.read_text()
    other = path.with_name('other')
    journal = Journal(other)
    journal.append('a', ENTRY | {'key': 'a', 'text': 'changed'})
    path.write_text(line + other.read_text())
    with pytest.raises(RunError, match=r':2: .*\\u00fc.* and .*changed') as caught:
        Journal(path)
    assert '\n' not in str(caught.value)


def test_one_key_twice_with_the_same_content_is_one_unit(path):
    write(path, 'a')
    path.write_text(path.read_text() * 2)
    assert keys(path) == ['a']


@pytest.mark.parametrize('taken', [0, 10])
def test_a_full_disk_loses_nothing_that_was_finished(path, taken):
    """The disk takes a part of the line, then nothing: an error, no half line that a later append would be glued to."""
    journal = Journal(path)
    journal.append('a', ENTRY)

    class Full:
        """A file on a disk with little room."""

        left = taken

        def write(self, data):
            if not self.left:
                raise OSError(errno.ENOSPC, 'No space left on device')
            data, self.left = bytes(data)[: self.left], 0
            return file.write(data)

        def fileno(self):
            return file.fileno()

        def close(self):
            file.close()

    file = journal._file
    journal._file = Full()
    with pytest.raises(RunError, match='No space left'):
        journal.append('b', ENTRY)
    assert 'b' not in journal.entries
    journal.close()
    write(path, 'b')
    assert keys(path) == ['a', 'b']
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_number_that_is_not_finite_is_refused_and_names_the_unit(path):
    journal = Journal(path)
    with pytest.raises(RunError, match='unit/7.*finite'):
        journal.append('unit/7', {'scores': [float('nan')]})
    assert path.read_bytes() == b''


def test_a_journal_that_is_no_file_is_refused(path):
    path.mkdir()
    with pytest.raises(RunError, match='cannot be opened'):
        Journal(path)
