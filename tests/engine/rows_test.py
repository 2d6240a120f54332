"""The number of rows that is chosen: never more than fits, is wanted, or is worth while; and what is refused."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import ConfigError
from jaxreason.core.types import Question
from jaxreason.engine import memory, rows
from jaxreason.engine.rows import GIB, Place, check_memory, choose_rows, memory_of
from jaxreason.engine.sampler import SamplerSettings
from jaxreason.search.majority import Majority

MODEL = ModelConfig(
    vocab_size=49_152, num_layers=30, width=576, mlp_width=1536, num_heads=9, num_kv_heads=3, head_width=64,
    max_positions=8192, tied_head=True, parameter_dtype='bfloat16', matmul_dtype='bfloat16',
)  # fmt: skip
PLENTY = Place(1e15, is_cpu=True)

limits = st.floats(0.3, 100).map(lambda gib: gib * GIB)
places = st.builds(Place, limits, st.booleans(), st.sampled_from([{}, {'data': 4}, {'data': 2, 'model': 3}]))
copies = st.none() | st.lists(st.integers(1, 70), min_size=1, max_size=40)
settings = st.builds(SamplerSettings, rows_per_slot=st.sampled_from([1, 3, 4, 8, 20, 100]), max_tokens=st.integers(1, 3000))


def choose(settings, place, copies, longest=300):
    try:
        return choose_rows(settings, MODEL, longest, copies, place)
    except ConfigError:
        return None


@given(settings, places, copies)
def test_what_is_chosen_fits_and_divides(settings, place, copies):
    choice = choose(settings, place, copies)
    if choice is None:
        return
    assert memory_of(settings, MODEL, 300, choice.num_rows, choice.rows_per_slot, place).total <= place.limit
    assert choice.num_rows % (choice.rows_per_slot * place.mesh.get('data', 1)) == 0
    assert choice.rows_per_slot == (settings.rows_per_slot if copies is None else min(settings.rows_per_slot, max(copies)))
    if choice.why == 'demand':
        assert choice.num_rows >= sum(copies)
    # Never far beyond what somebody wants, what is worth while, or what cannot be less.
    unit = choice.rows_per_slot * place.mesh.get('data', 1)
    most = rows.MOST_ON_CPU if place.is_cpu else 256
    assert choice.num_rows <= max(most, unit)


@given(settings, places, copies, st.floats(1, 4))
def test_more_memory_is_never_fewer_rows(settings, place, copies, factor):
    less, more = choose(settings, place, copies), choose(settings, place._replace(limit=place.limit * factor), copies)
    assert less is None or (more is not None and more.num_rows >= less.num_rows)


@given(settings, st.lists(st.integers(1, 70), min_size=1, max_size=40))
def test_the_next_good_number_above_the_memory_limited_one_does_not_fit(settings, copies):
    place = Place(0.6 * GIB, is_cpu=True)
    choice, free = choose(settings, place, copies), choose(settings, PLENTY, copies)
    if choice is None or choice.why != 'memory':
        assert choice is None or choice == free
        return
    counts = rows._counts(choice.rows_per_slot, True)
    above = counts[counts.index(choice.num_rows) + 1]
    assert memory_of(settings, MODEL, 300, above, choice.rows_per_slot, place).total > place.limit


@pytest.mark.parametrize(
    ('copies', 'is_cpu', 'expected'),
    [
        (None, True, (64, 4, 'most')),
        (None, False, (256, 4, 'most')),
        ([1], True, (1, 1, 'demand')),
        ([16], True, (16, 4, 'demand')),
        ([3], True, (3, 3, 'demand')),
        ([17] * 40, True, (64, 4, 'most')),
        ([70], True, (64, 4, 'most')),
        ([41], True, (48, 4, 'demand')),
        ([50], False, (64, 4, 'demand')),
        ([1] * 20, True, (24, 1, 'demand')),
        ([5, 5], True, (16, 4, 'demand')),  # two slots of each
    ],
)
def test_numbers(copies, is_cpu, expected):
    assert choose_rows(SamplerSettings(), MODEL, 300, copies, Place(1e15, is_cpu)) == expected


def test_a_mesh_divides_what_a_device_holds():
    one = memory_of(SamplerSettings(), MODEL, 300, 48, 4, PLENTY._replace(is_cpu=False))
    spread = memory_of(SamplerSettings(), MODEL, 300, 48, 4, PLENTY._replace(mesh={'data': 4, 'model': 3}))
    assert spread == (one.parameters // 3, one.cache // 12, one.logits // 12)


def test_what_does_not_fit_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r'needs 0\.5\d+ GiB for 4 rows \(parameters 0\.5.*limit is 0\.1: raise') as caught:
        choose_rows(SamplerSettings(), MODEL, 300, None, Place(0.1 * GIB, True))
    assert '\n' not in str(caught.value) and 'lower sampler.max_tokens' in str(caught.value)
    given = SamplerSettings(num_rows=1024)
    check_memory(given, MODEL, 300, PLENTY)
    with pytest.raises(ConfigError, match='for 1024 rows.*the limit is 2: raise sampler.memory_limit, lower sampler.num_rows'):
        check_memory(given, MODEL, 300, Place(2 * GIB, True))


def test_the_limit_of_a_host_is_half_of_it_or_of_its_container(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, '_CONTAINER', tmp_path / 'memory.max')
    whole = memory.host_memory()
    assert whole > 2**28 and memory.place_of(None, None) == Place(0.5 * whole, True, {})
    (tmp_path / 'memory.max').write_text('max\n')
    assert memory.host_memory() == whole
    (tmp_path / 'memory.max').write_text('1000000\n')
    assert memory.host_memory() == 1_000_000 and memory.place_of(None, None).limit == 500_000
    assert memory.place_of(2.0, None).limit == 2 * GIB == memory.place_on_cpu(2.0, {'data': -1}).limit
    assert memory.place_on_cpu(None, {'data': 2}).limit == 250_000


def test_a_session_takes_the_rows_that_are_wanted_and_draws_the_same(make_sampler):
    questions = [Question(f'q{i}', f'what is {i}+{i}?') for i in range(3)]
    auto = make_sampler(num_rows='auto', rows_per_slot=4)
    session = auto.session()
    session.prepare(questions, [3, 3, 3])
    assert (session.sampler.num_rows, session.sampler.rows_per_slot, session.room()) == (15, 3, 15)
    assert session.sampler.boundaries is auto.boundaries
    session.prepare(questions[:1], [1])
    assert session.sampler.num_rows == 15, 'rows are chosen once'
    expected = Majority(n=3).solve(questions, make_sampler(num_rows=15, rows_per_slot=3), seed=5)
    assert Majority(n=3).solve(questions, auto, seed=5) == expected


def test_a_session_refuses_what_does_not_fit_before_anything_is_allocated(make_sampler):
    tight = make_sampler(num_rows='auto', memory_limit=1e-6)
    for sampler in (tight, dataclasses.replace(tight, num_rows=8)):
        session = sampler.session()
        with pytest.raises(ConfigError, match='raise sampler.memory_limit'):
            session.prepare([Question('q', 'what?')])
        assert session._cache is None


def test_rooms_come_from_the_buckets_of_the_sampler(make_sampler):
    question = Question('q', 'a' * 290)
    session = make_sampler(buckets=(64, 320)).session()
    session.prepare([question])
    assert (session._cache.prompt_room, session._cache.row_room) == (320, 64)
    assert Majority(n=1).solve([question], make_sampler(buckets=(64, 320)), seed=1)[0].cost.new_tokens > 0
    with pytest.raises(ConfigError, match="question 'q': its prompt of 291 tokens exceeds 256"):
        make_sampler(buckets=(64, 256)).session().prepare([question])


def test_no_questions_need_no_memory(make_sampler):
    session = make_sampler(num_rows='auto').session()
    session.prepare([])
    assert session._cache is None and session.room() == 0
    assert Majority(n=3).solve([], make_sampler(num_rows='auto')) == []
