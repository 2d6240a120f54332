"""Configuration files: strict types, errors that name file, line and dotted path, and round trips."""

import dataclasses
import enum
import math
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxreason.core import config, yaml_text
from jaxreason.core.config import AnyFloat, Kinds, Plain
from jaxreason.core.errors import ConfigError


class Vote(enum.StrEnum):
    WEIGHTED = 'weighted'
    MAJORITY = 'majority'


class Strategy:
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class BestOfN(Strategy):
    n: int
    vote: Vote = Vote.WEIGHTED

    def __post_init__(self):
        if self.n < 1:
            raise ValueError(f'best_of_n: n must be at least 1 sample per question, got {self.n}.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class BeamSearch(Strategy):
    n: int = 4
    bins: tuple[Annotated[Strategy, Kinds(lambda: catalog())], ...] = ()


def catalog():
    return {'best_of_n': BestOfN, 'beam_search': BeamSearch}


@dataclasses.dataclass(frozen=True)
class Sampler:
    temperature: float = 0.8
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    dtype: Literal['bfloat16', 'float32'] = 'float32'


@dataclasses.dataclass(frozen=True)
class Run:
    name: str = ''
    seed: int = 0
    strict: bool = False
    limit: int | Literal['all'] = 'all'
    price: Annotated[float, AnyFloat()] = 1.0
    sampler: Sampler = Sampler(top_p=0.5)
    judge: Sampler | None = None
    strategy: Annotated[Strategy, Kinds(catalog)] = BestOfN(n=4)
    strategies: tuple[Annotated[Strategy, Kinds(catalog)], ...] = (BestOfN(n=1), BeamSearch(n=8))
    weights: dict[str, float] = dataclasses.field(default_factory=lambda: {'a': 1.0})


@dataclasses.dataclass(frozen=True)
class Needy:
    source: str
    steps: int


def from_text(tmp_path: Path, text: str | bytes, *overrides: str, cls=Run):
    path = tmp_path / 'run.yaml'
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return config.load(cls, path, overrides)


def error_of(call, *args, **kwargs) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert '\n' not in message and len(message) < 600
    return message


def test_a_file_fills_every_kind_of_field(tmp_path):
    run = from_text(
        tmp_path,
        """
        name: first
        seed: 1_000
        strict: true
        limit: 16
        price: .inf
        sampler: {temperature: 1e-3, stop: ["\\n\\n", 'a: b'], dtype: bfloat16}
        judge: {top_p: 1}
        strategy:
          kind: beam_search
          bins:
            - {kind: best_of_n, n: 2, vote: majority}
        weights: {b: 2, "4": 0.5}
        """,
    )
    assert run == Run(
        name='first',
        seed=1000,
        strict=True,
        limit=16,
        price=math.inf,
        sampler=Sampler(temperature=0.001, top_p=0.5, stop=('\n\n', 'a: b'), dtype='bfloat16'),
        judge=Sampler(top_p=1.0),
        strategy=BeamSearch(n=4, bins=(BestOfN(n=2, vote=Vote.MAJORITY),)),
        weights={'b': 2.0, '4': 0.5},
    )
    assert type(run.judge.top_p) is float and run.strategy.bins[0].vote is Vote.MAJORITY


@pytest.mark.parametrize(
    ('override', 'expected'),
    [
        ('seed=7', {'seed': 7}),
        ('name="7"', {'name': '7'}),
        ('name=yes', {'name': 'yes'}),
        ('name=2024-01-01', {'name': '2024-01-01'}),
        ('name="a # b"', {'name': 'a # b'}),
        ('name=a=b', {'name': 'a=b'}),
        ('limit=3', {'limit': 3}),
        ('sampler.temperature=0', {'sampler': Sampler(temperature=0.0, top_p=0.5)}),
        ('sampler.top_p=null', {'sampler': Sampler()}),
        ('sampler.top_p=', {'sampler': Sampler()}),
        ('judge.dtype=bfloat16', {'judge': Sampler(dtype='bfloat16')}),
        ('strategy.n=9', {'strategy': BestOfN(n=9)}),
        ('strategy={kind: beam_search}', {'strategy': BeamSearch()}),
        ('strategies.1.n=9', {'strategies': (BestOfN(n=1), BeamSearch(n=9))}),
        ('strategies=[]', {'strategies': ()}),
        ('weights.b=2', {'weights': {'a': 1.0, 'b': 2.0}}),
        ('weights={b: 2}', {'weights': {'b': 2.0}}),
    ],
)
def test_an_override_is_laid_over_the_defaults(override, expected):
    assert config.load(Run, None, [override]) == dataclasses.replace(Run(), **expected)


def test_overrides_win_over_the_file_and_over_earlier_ones(tmp_path):
    text = 'seed: 1\nstrategies: [{kind: best_of_n, n: 2}, {kind: best_of_n, n: 3}]\nstrategy: {kind: best_of_n, n: 5}'
    run = from_text(tmp_path, text, 'strategies.1.n=30', 'seed=2', 'seed=3', 'strategy.kind=beam_search')
    assert run == Run(seed=3, strategies=(BestOfN(n=2), BestOfN(n=30)), strategy=BeamSearch(n=5))


@pytest.mark.parametrize(
    ('override', 'parts'),
    [
        ('sampler.temperatur=1', ['sampler.temperatur', 'unknown key', 'did you mean temperature?', 'top_p']),
        ('temperature=1', ['temperature', 'unknown key', 'did you mean sampler.temperature?']),
        ('include=other.yaml', ['include', 'unknown key', 'seed']),
        ('strategy.kind=best_of', ['strategy.kind', 'did you mean best_of_n?', 'beam_search']),
        ('strategies=[{n: 4}]', ['strategies.0', 'kind', 'best_of_n']),
        ('seed="4"', ['seed', 'whole number', "'4'", 'without quotes']),
        ('seed=true', ['seed', 'whole number', 'true']),
        ('seed=1.0', ['seed', 'whole number', '1.0']),
        ('seed=010', ['seed', "'010'"]),
        ('seed=null', ['seed', 'null']),
        ('strict=1', ['strict', 'true or false', '1']),
        ('strict=yes', ['strict', 'true or false', "'yes'"]),
        ('name=4', ['name', 'text', 'in quotes']),
        ('name="\\ud800"', ['name', 'text']),
        ('limit=some', ['limit', "'all'", "'some'"]),
        ('sampler.temperature=true', ['sampler.temperature', 'a number', 'true']),
        ('sampler.temperature="1e-3"', ['sampler.temperature', 'a number', 'without quotes']),
        ('sampler.temperature=.nan', ['sampler.temperature', 'finite']),
        ('sampler.temperature=1e999', ['sampler.temperature', 'finite']),
        (f'sampler.temperature={10**400}', ['sampler.temperature', 'finite']),
        ('sampler.dtype=float16', ['sampler.dtype', 'bfloat16', 'float16']),
        ('sampler.stop=x', ['sampler.stop', 'list']),
        ('sampler.stop=[x, 4]', ['sampler.stop.1', 'text']),
        ('sampler=4', ['sampler', 'temperature', '4']),
        ('seed.x=4', ['seed', 'whole number']),
        ('strategies.2.n=4', ['strategies.2', 'has 2']),
        ('strategies.-1.n=4', ['strategies', '-1']),
        (f'strategies.{"9" * 5000}.n=4', ['strategies', 'no such item']),
        ('a\nb=4', ["'a\\nb'", 'unknown key']),
        ('strategy.n=0', ['strategy: best_of_n: n must be at least 1']),
        ('name=a: b', ['name', 'quotes']),
        ('name=a #b', ['name', 'quotes']),
        ('name=[', ['name']),
        ('seed', ['dotted.path=value']),
        ('a..b=4', ['dotted.path=value']),
        ('=4', ['dotted.path=value']),
    ],
)
def test_a_bad_value_is_told_with_its_path(override, parts):
    message = error_of(config.load, Run, None, [override])
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('seed: 1\nsampler:\n  temperature: hot\n', ['run.yaml:3: sampler.temperature', 'hot']),
        ('seed: 1\nsampler:\n  heat: 1\n', ['run.yaml:3: sampler.heat', 'unknown key']),
        ('seed: 1\nseed: 2\n', ['run.yaml:2', 'seed appears twice']),
        ('sampler:\n\ttop_p: 1\n', ['run.yaml:2', 'spaces']),
        ('seed: 1\nname: !!python/object/apply:os.system [ls]\n', ['run.yaml:2', '!!python/object/apply:os.system']),
        ('seed: !!int four', ['run.yaml:1', 'four']),
        ('seed: 1\nname: !!binary aGk=\n', ['run.yaml:2', '!!binary']),
        ('1: 2', ['run.yaml:1', 'key must be text']),
        ('[a]: 2', ['run.yaml:1', 'key must be text']),
        ('<<: {seed: 1}', ['run.yaml:1', '<<', 'unknown key']),
        ('seed: 1\n---\nseed: 2', ['run.yaml:2', 'single document']),
        ('- 1', ['run.yaml:1', 'mapping']),
        ('', ['run.yaml', 'empty']),
        ('# only a comment\n', ['run.yaml', 'empty']),
        (b'seed: 1\nname: \xff\xfe', ['run.yaml:2', 'UTF-8', '0xff']),
        (b'seed: 1\n\x00\x01', ['run.yaml:2', 'U+0000']),
        ('a: &a [*a]', ['run.yaml:1', 'alias']),
        ('seed: *missing', ['run.yaml:1', 'missing']),
    ],
)
def test_a_damaged_file_is_told_with_its_line(tmp_path, text, parts):
    message = error_of(from_text, tmp_path, text)
    assert all(part in message for part in parts), message


def bomb() -> str:
    lines = ['a: &a [x, x, x, x, x, x, x, x, x]']
    lines += [f'{chr(c + 1)}: &{chr(c + 1)} [{", ".join(["*" + chr(c)] * 9)}]' for c in range(ord('a'), ord('p'))]
    return '\n'.join(lines)


@pytest.mark.parametrize(
    'text',
    [
        bomb(),
        '[' * 10**6,
        '{' * 10**6,
        '- ' * 5 * 10**5,
        '- x\n' * 2 * 10**5,
        'seed: ' + '9' * 10**6,
        'x' * 2 * 10**6,
        '"' * 10**6,
    ],
    ids=['aliases', 'brackets', 'braces', 'dashes', 'items', 'digits', 'large', 'quotes'],
)
def test_a_hostile_file_ends_in_bounded_time(tmp_path, text):
    start = time.monotonic()
    error_of(from_text, tmp_path, text)
    assert time.monotonic() - start < 5


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / 'big.yaml'
    with path.open('wb') as file:
        file.truncate(2**30)
    start = time.monotonic()
    assert 'larger than' in error_of(config.load, Run, path, [])
    assert time.monotonic() - start < 1


def test_a_path_that_is_no_file(tmp_path):
    assert 'nothing' in error_of(config.load, Run, tmp_path / 'none.yaml', [])
    assert 'no regular file' in error_of(config.load, Run, tmp_path, [])
    error_of(config.load, Run, tmp_path / 'new\nline;$(x).yaml', [])
    error_of(config.load, Run, tmp_path / 'nul\0.yaml', [])


def test_what_has_no_default_must_be_given(tmp_path):
    message = error_of(config.load, Needy, None, [])
    assert 'source (text)' in message and 'steps (a whole number)' in message
    assert from_text(tmp_path, 'source: x', 'steps=3', cls=Needy) == Needy('x', 3)


def test_an_error_names_the_file_or_the_override_that_gave_the_value(tmp_path):
    text = 'sampler:\n  top_p: 1\n  dtype: float16\n'
    assert error_of(from_text, tmp_path, text, 'sampler.top_p=2').startswith(f'{tmp_path / "run.yaml"}:3: sampler.dtype: ')
    assert error_of(from_text, tmp_path, text, 'sampler.dtype=int8').startswith('override: sampler.dtype: ')
    assert error_of(config.load, Run, None, ['samplers.top_p=2']).startswith('override: samplers: unknown key')
    assert error_of(from_text, tmp_path, text, 'sampler={dtype: int8}').startswith('override: sampler.dtype: ')


def test_an_override_cannot_reach_into_what_has_no_parts(tmp_path):
    text = 'seed: 4\nstrategies: [{kind: best_of_n, n: 2}]'
    assert 'seed is 4, which has no parts' in error_of(from_text, tmp_path, text, 'seed.x=1')
    for index in ('1', '-1', 'x', '9' * 5000):
        assert 'the list has 1, counted from 0' in error_of(from_text, tmp_path, text, f'strategies.{index}.n=1')


def test_an_alias_is_the_value_it_names(tmp_path):
    assert from_text(tmp_path, 'sampler: &s {top_p: 0.25}\njudge: *s').judge == Sampler(top_p=0.25)


def test_build_puts_the_given_path_before_its_errors():
    assert config.build(Sampler, {'stop': ['x']}) == Sampler(stop=('x',))
    assert error_of(config.build, Sampler, {'top': 1}, 'policy.sampler').startswith('policy.sampler.top: unknown key')


plain_text = (
    st.text(max_size=30)
    | st.text('ab \n\u2028', min_size=100, max_size=400)
    | st.sampled_from(['yes', 'null', '1e-3', '010', ' x ', 'a: b', '#', '---', '\x85\u2028\ufeff', '\r\n', '<<'])
)
finite = st.floats(allow_nan=False, allow_infinity=False)
samplers = st.builds(Sampler, temperature=finite, top_p=st.none() | finite, stop=st.lists(plain_text, max_size=3).map(tuple))
leaves = st.builds(BestOfN, n=st.integers(1, 2**70), vote=st.sampled_from(Vote))
trees = st.recursive(leaves, lambda inner: st.builds(BeamSearch, bins=st.lists(inner, max_size=3).map(tuple)), max_leaves=6)
runs = st.builds(
    Run,
    name=plain_text,
    seed=st.integers(),
    strict=st.booleans(),
    limit=st.integers() | st.just('all'),
    price=st.floats(allow_nan=False),
    sampler=samplers,
    judge=st.none() | samplers,
    strategy=trees,
    strategies=st.lists(trees, max_size=3).map(tuple),
    weights=st.dictionaries(plain_text, finite, max_size=3),
)


@settings(deadline=None, max_examples=150)
@given(runs)
@example(Run(sampler=Sampler(stop=('\x85', '\u2028', ' \r\n'))))
def test_a_dump_loads_back_to_an_equal_instance(tmp_path_factory, run):
    path = tmp_path_factory.mktemp('dump') / 'run.yaml'
    path.write_text(config.dump(run), encoding='utf-8', newline='')
    again = config.load(Run, path, [])
    assert again == run
    assert config.digest(again) == config.digest(run)
    assert config.dump(again) == config.dump(run)


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet='ab:- \n\t[]{},#&*!|>\'"%@?~0.e', max_size=60) | st.binary(max_size=60))
def test_any_bytes_give_a_mapping_or_one_clear_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp('fuzz') / 'run.yaml'
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    try:
        tree, _ = yaml_text.read(path)
    except ConfigError as error:
        assert '\n' not in str(error)
    else:
        assert isinstance(tree, dict)


def test_a_digest_follows_the_values():
    assert config.digest(Run(seed=1)) != config.digest(Run(seed=2))
    assert config.digest(Run(price=1)) == config.digest(Run(price=1.0))
    assert config.digest(Run(weights={'a': 1.0, 'b': 2.0})) == config.digest(Run(weights={'b': 2.0, 'a': 1.0}))
    assert config.digest(Run()) == config.digest(config.load(Run, None, []))
    assert config.digest(Run(weights={'a': -0.0})) == config.digest(Run(weights={'a': 0.0}))


def test_an_annotation_that_cannot_be_read_is_a_programming_error():
    pair = dataclasses.make_dataclass('Pair', [('pair', tuple[int, int])], frozen=True)
    with pytest.raises(TypeError, match='tuple'):
        config.load(pair, None, ['pair=[1, 2]'])


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('seed', True),
        ('seed', '4'),
        ('sampler', 4),
        ('strategy', Strategy()),
        ('limit', 'some'),
        ('weights', {'a': None}),
        ('strategies', [BestOfN(n=1)]),
    ],
)
def test_a_dump_refuses_what_the_annotation_does_not_allow(field, value):
    with pytest.raises(TypeError, match=field):
        config.dump(dataclasses.replace(Run(), **{field: value}))


def test_a_large_count_may_be_written_with_an_exponent():
    @dataclasses.dataclass(frozen=True)
    class Limits:
        flops: int = 0

    assert config.build(Limits, {'flops': 6e10}).flops == 60_000_000_000
    assert type(config.build(Limits, {'flops': 6e10}).flops) is int
    for bad in (4.0, 1e6 + 0.5, 1e300):
        with pytest.raises(ConfigError, match='expected a whole number'):
            config.build(Limits, {'flops': bad})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Keeper:
    kept: Annotated[dict[str, Any], Plain()]


def test_plain_values_are_kept_as_they_are_overridden_and_written_back(tmp_path):
    path = tmp_path / 'x.yaml'
    path.write_text('kept: {a: {b: [1, {c: "x: #"}], d: null}, e: 1.0e-3}\n')
    keeper = config.load(Keeper, path, ('kept.a.b.1.c=y', 'kept.f.g=[2]'))
    assert keeper.kept == {'a': {'b': [1, {'c': 'y'}], 'd': None}, 'e': 0.001, 'f': {'g': [2]}}
    assert type(keeper.kept['f']) is dict
    path.write_text(config.dump(keeper))
    assert config.load(Keeper, path) == keeper
    assert config.build(Keeper, {'kept': {}}) == Keeper(kept={})


@pytest.mark.parametrize('text', ['kept: 3', 'kept: [a]', 'kept: null', 'kept: text'])
def test_plain_values_are_a_mapping(tmp_path, text):
    path = tmp_path / 'x.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match='kept: expected a mapping'):
        config.load(Keeper, path)
