"""Problem sets by name or path: the shipped questions, GSM8K, MATH and MATH-500 files, any JSON Lines, and generated problems.

Nothing is downloaded. Ids are unique in a set and stable: a problem keeps its randomness whatever subset, order or container
(JSON Lines or TFDS) it is read from.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxreason.core.errors import ConfigError, DataError
from jaxreason.core.types import Problem
from jaxreason.data import problem_formats
from jaxreason.data.jsonl import read_rows
from jaxreason.data.procedural import read_spec

BASIC = Path(__file__).parent / 'questions' / 'basic.jsonl'
# Name -> file names to look for in the manual directory, in order; {split} is filled in.
FILES = {
    'gsm8k': ('gsm8k_{split}.jsonl', 'gsm8k/{split}.jsonl'),
    'math': ('math_{split}.jsonl', 'math/{split}.jsonl'),
    'math500': ('math500.jsonl', 'math500/{split}.jsonl', 'math500_{split}.jsonl'),
}
FIELDS = ('question', 'answer', 'id', 'level', 'subject', 'solution')
# Fields of a request that only some kinds of source use.
_USED_BY = {'split': ('named', 'procedural', 'tfds'), 'manual_dir': ('named',), 'data_dir': ('tfds',)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Which problems. A field that the source does not use must keep its default, `seed` apart.

    Attributes:
        source: `basic` (the shipped questions); `gsm8k`, `math` or `math500` (files in `manual_dir`); the path of a `.jsonl`
            file; `procedural:KIND:DIFFICULTY` (generated; DIFFICULTY a number or a range such as 1-8); or `tfds:NAME`, a set
            that `prepare` has written to `data_dir`.
        split: which part of a named set (`math500` has only `test`) or of a prepared one; part of the address of generated
            problems.
        fields: for a `.jsonl` file with names of its own: ours (question, answer, id, level, subject, solution) to the file's.
        levels: only problems whose `level` is one of these; empty for all.
        max_characters: only problems whose text has at most so many; None for all. Where a set has no levels, short ones are
            the easier ones.
        offset: problems to pass over, after shuffling.
        limit: at most so many; generated problems need it.
        shuffle: into an order that depends on `seed` and the ids alone.
        seed: of the order, and of generated problems.
        manual_dir: folder that holds the files of named sets.
        data_dir: folder of prepared TFDS sets.
    """

    source: str = 'basic'
    split: str = 'test'
    fields: dict[str, str] | None = None
    levels: tuple[str, ...] = ()
    max_characters: int | None = None
    offset: int = 0
    limit: int | None = None
    shuffle: bool = False
    seed: int = 0
    manual_dir: str | None = None
    data_dir: str | None = None

    def __post_init__(self):
        if self.offset < 0:
            raise ConfigError(f'offset must be at least 0 problems, got {self.offset}.')
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f'limit must be at least 1 problem, got {self.limit}.')
        if self.max_characters is not None and self.max_characters < 1:
            raise ConfigError(f'max_characters must be at least 1 character, got {self.max_characters}.')
        if self.fields is not None and not self.source.endswith('.jsonl'):
            raise ConfigError(f'fields must be left out unless source is a .jsonl file, source is {self.source!r}.')
        for name in ('levels', 'max_characters'):
            if getattr(self, name) and self.source.startswith('procedural:'):
                raise ConfigError(f'{name} must be left out for generated problems: {self.source} names their difficulty.')
        if self.source.startswith('procedural:') and self.limit is None:
            raise ConfigError(f'limit must be set: {self.source} is endless.')
        if self.source == 'math500' and self.split != 'test':
            raise ConfigError(f'split must be test for math500, which has no other, got {self.split!r}.')
        kind = _kind(self.source)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if kind is not None and kind not in _USED_BY.get(field.name, kind) and value != field.default:
                raise ConfigError(f'{field.name} must be left out: {self.source} does not use it, got {value!r}.')


def _kind(source: str) -> str | None:
    """The kind of a source, None where there is no such source."""
    prefix, colon, _ = source.partition(':')
    if colon and prefix in ('procedural', 'tfds'):
        return prefix
    if source == 'basic' or source.endswith('.jsonl'):
        return 'file'
    return 'named' if source in FILES else None


def load_problems(source: DataSpec | str, **options: Any) -> list[Problem]:
    """Loads problems.

    Args:
        source: what to load, or its `source` field alone.
        options: with a text as source, the other fields of `DataSpec`.

    Returns:
        Problems with unique ids, in file order unless shuffled.

    Raises:
        ConfigError: an argument cannot be used.
        DataError: a file is missing or damaged, or no problem is left.
    """
    spec = dataclasses.replace(source, **options) if isinstance(source, DataSpec) else DataSpec(source=source, **options)
    problems = [problem for problem in _all_problems(spec) if _is_wanted(spec, problem)]
    if spec.shuffle:
        problems.sort(key=lambda problem: hashlib.sha256(f'{spec.seed}/{problem.id}'.encode()).digest())
    chosen = problems[spec.offset :] if spec.limit is None else problems[spec.offset : spec.offset + spec.limit]
    if not chosen:
        kept = f'{len(problems)} problems' + (f' of levels {", ".join(spec.levels)}' if spec.levels else '')
        kept += '' if spec.max_characters is None else f' of at most {spec.max_characters} characters'
        raise DataError(f'{spec.source}: offset is {spec.offset}, there are {kept}; lower it, or choose among more of them.')
    return chosen


def _is_wanted(spec: DataSpec, problem: Problem) -> bool:
    is_short = spec.max_characters is None or len(problem.text) <= spec.max_characters
    return is_short and (not spec.levels or problem.level in spec.levels)


def _all_problems(spec: DataSpec) -> list[Problem]:
    if spec.source.startswith('procedural:'):
        count = spec.offset + (spec.limit or 0)
        return list(itertools.islice(read_spec(spec.source, spec.split, spec.seed), count))
    if spec.source.startswith('tfds:'):
        from jaxreason.data.tfds_builders import read_prepared

        return read_prepared(spec.source.removeprefix('tfds:'), spec.split, spec.data_dir)
    path, prefix = _locate(spec)
    return list(read_problems(path, prefix, spec.fields))


def read_problems(path: Path, prefix: str, fields: Mapping[str, str] | None = None) -> Iterator[Problem]:
    """Reads the problems of one JSON Lines file.

    Args:
        path: of the file.
        prefix: begins the ids of rows that have none of their own: `prefix-00012` is the row after the first twelve.
        fields: our names to the file's; None recognises the GSM8K and MATH families by the first row.

    Raises:
        ConfigError: `fields` has unknown names or lacks question or answer.
        DataError: the file cannot be read, or a row lacks something; names file and line.
    """
    if fields is not None and (set(fields) - set(FIELDS) or not {'question', 'answer'} <= set(fields)):
        raise ConfigError(f'fields must name question, answer, and any of {", ".join(FIELDS[2:])}, got {", ".join(fields)}.')
    reader = problem_formats.field_reader(fields) if fields is not None else None
    lines: dict[str, int] = {}
    for line, row in read_rows(path):
        try:
            reader = reader or problem_formats.guess_reader(row)
            problem = reader(row, f'{prefix}-{len(lines):05d}')
        except ValueError as error:
            raise DataError(f'{path}, line {line}: {error}.') from None
        if problem.id in lines:
            raise DataError(
                f'{path}, line {line}: id {problem.id[:80]!r} is that of line {lines[problem.id]} too; ids must differ.'
            )
        lines[problem.id] = line
        yield problem


def find_file(name: str, split: str, manual_dir: Path) -> Path | None:
    """The file of a named set in `manual_dir`, or None."""
    paths = (manual_dir / pattern.format(split=split) for pattern in FILES[name])
    return next((path for path in paths if path.is_file()), None)


def _locate(spec: DataSpec) -> tuple[Path, str]:
    """The file behind a source, and the prefix of its ids."""
    source = spec.source
    if source == 'basic':
        return BASIC, 'basic'
    if source.endswith('.jsonl'):
        return Path(source), Path(source).stem
    if source not in FILES:
        raise ConfigError(
            f'source must be basic, {", ".join(FILES)}, procedural:KIND:DIFFICULTY, tfds:NAME or a path that ends in .jsonl, '
            f'got {source!r}.'
        )
    names = ' or '.join(pattern.format(split=spec.split) for pattern in FILES[source])
    if spec.manual_dir is None:
        raise DataError(f'{source}: nothing is downloaded; put {names} into a folder and name it with manual_dir.')
    path = find_file(source, spec.split, Path(spec.manual_dir))
    if path is None:
        raise DataError(f'{source}: found none of {names} in {spec.manual_dir}; put one there.')
    return path, f'{source}-{spec.split}'
