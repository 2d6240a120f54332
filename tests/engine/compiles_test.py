import jax
import jax.numpy as jnp
import pytest

from jaxreason.core.budget import UNLIMITED
from jaxreason.core.types import Question
from jaxreason.engine.compiles import Compiles, compiled
from jaxreason.search.drive import Task, drive
from jaxreason.search.majority import Majority

QUESTIONS = [Question(f'c{i}', f'what is {i}+{i * 7}?') for i in range(3)]


def run(sampler):
    """The timing of a session that has answered all questions."""
    session = sampler.session()
    strategy = Majority(n=2)
    tasks = [Task(q, strategy.search(q, UNLIMITED), UNLIMITED, 0, 2) for q in QUESTIONS]
    assert len(list(drive(tasks, session, {}))) == 3
    return session.timing


def test_every_program_is_counted_once():
    before = compiled()
    double = jax.jit(lambda x: x * 2 + 1)
    x = jnp.ones(17)
    before = compiled()
    double(x)
    once = compiled() - before
    assert once.programs == 1 and once.cached == 0 and once.seconds > 0
    double(x)
    assert compiled() - before == once


def test_a_second_session_of_the_same_shapes_compiles_nothing(make_sampler):
    sampler = make_sampler(num_rows=10, rows_per_slot=5, chunk=7)  # shapes of no other test
    first, second = run(sampler), run(sampler)
    assert first.programs > 0 and first.compile_seconds > 0
    assert (second.programs, second.programs_cached, second.compile_seconds) == (0, 0, 0.0)
    assert second.tokens == first.tokens > 0


def test_programs_from_the_persistent_cache_are_told_apart(tmp_path):
    from jax.experimental.compilation_cache import compilation_cache

    options = {
        'jax_compilation_cache_dir': str(tmp_path),
        'jax_persistent_cache_min_compile_time_secs': 0.0,
        'jax_persistent_cache_min_entry_size_bytes': -1,
    }
    old = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    try:
        compilation_cache.reset_cache()
        found = []
        for _ in range(2):
            before = compiled()
            jax.jit(lambda x: x * 3 + 1)(5.0)
            found.append((compiled() - before)[:2])
            jax.clear_caches()
        assert found == [(1, 0), (1, 1)]
    finally:
        for name, value in old.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


@pytest.mark.parametrize(
    ('compiles', 'words'),
    [
        (Compiles(7, 5, 12.34), 'compiled 7 programs in 12.3 s, 5 of them from the cache'),
        (Compiles(1, 0, 0.5), 'compiled 1 program in 0.5 s, none of them from the cache'),
        (Compiles(4, 4, 2.0), 'compiled 4 programs in 2.0 s, all of them from the cache'),
    ],
)
def test_the_line_that_a_run_ends_with(compiles, words):
    assert str(compiles) == words
