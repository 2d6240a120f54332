import dataclasses
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxreason.core.budget import UNLIMITED
from jaxreason.core.errors import ConfigError
from jaxreason.core.requests import Extend, Start, Take, Until
from jaxreason.core.types import Finish, Question
from jaxreason.engine.confidence import Confidence
from jaxreason.engine.mesh import make_mesh
from jaxreason.models.sharding import parameter_shardings
from jaxreason.models.transformer import init_parameters, unstack_layers
from jaxreason.search.deepconf import DeepConf
from jaxreason.search.drive import Task, drive
from jaxreason.search.majority import Majority

QUESTIONS = [Question(f'q{i}', f'what is {i}+{i * 7}?') for i in range(6)]


@pytest.fixture(scope='module')
def wide(lm):
    """As `lm`, with heads for eight devices."""
    config = dataclasses.replace(
        lm.config, num_heads=16, num_kv_heads=8, head_width=4, vocab_size=lm.config.vocab_size // 8 * 8
    )
    return dataclasses.replace(lm, config=config, params=unstack_layers(init_parameters(config, jax.random.key(7))))


def spread_over(lm, shape):
    mesh = make_mesh(shape)
    return dataclasses.replace(lm, mesh=mesh, params=jax.device_put(lm.params, parameter_shardings(lm.config, lm.params, mesh)))


SLOW = pytest.mark.slow


@pytest.mark.parametrize('data, model', [pytest.param(8, 1, marks=SLOW), (4, 2), pytest.param(2, 4, marks=SLOW), (1, 8)])
def test_a_mesh_draws_what_one_device_draws(wide, make_sampler, data, model):
    """Eight virtual devices: the same draws; float32 sums over the split width may flip a near-tie, here none does."""
    spread = spread_over(wide, {'data': data, 'model': model})
    sampler = dataclasses.replace(make_sampler(num_rows=16, rows_per_slot=2), lm=wide)
    expected = Majority(n=3).solve(QUESTIONS, sampler, seed=4)
    found = Majority(n=3).solve(QUESTIONS, dataclasses.replace(sampler, lm=spread), seed=4)
    assert [[c.tokens for c in o.candidates] for o in found] == [[c.tokens for c in o.candidates] for o in expected]
    np.testing.assert_allclose(spread.logits([[3, 4, 5]]), wide.logits([[3, 4, 5]]), atol=1e-4)


def test_a_vocabulary_that_is_spread_gives_the_same_confidence(wide, make_sampler):
    spread = spread_over(wide, {'data': 2, 'model': 4})
    sampler = dataclasses.replace(make_sampler(num_rows=16, rows_per_slot=2, stats=('confidence',)), lm=wide)
    strategy, verifier = DeepConf(n=3, verifier=None), Confidence(measure='mean')
    expected = strategy.solve(QUESTIONS, sampler, verifier, seed=4)
    found = strategy.solve(QUESTIONS, dataclasses.replace(sampler, lm=spread), verifier, seed=4)
    for ours, theirs in zip(found, expected, strict=True):
        for mine, other in zip(ours.candidates, theirs.candidates, strict=True):
            assert mine.tokens == other.tokens
            np.testing.assert_allclose(mine.scores, other.scores, atol=1e-4)


def forking(question):
    """Steps, after each of which the last row goes on twice: more rows than places, so that rows are forked and parked."""
    rows, _ = yield Start(question, copies=6)
    while any(row.finish is Finish.OPEN for row in rows):
        rows, _ = yield Extend(rows, until=Until.STEP)
        going = [index for index, row in enumerate(rows) if row.finish is Finish.OPEN]
        if going:
            rows, _ = yield Take(rows, (*going, going[-1])[:6])
    return [row.tokens for row in rows]


def test_forks_on_a_mesh_draw_what_they_draw_on_one_device(wide, make_sampler):
    found = []
    for lm in (wide, spread_over(wide, {'data': 4, 'model': 2})):
        sampler = dataclasses.replace(make_sampler(num_rows=16, rows_per_slot=2, temperature=1.5), lm=lm)
        session = sampler.session()
        tasks = [Task(question, forking(question), UNLIMITED, 4, 6) for question in QUESTIONS]
        found.append((dict(drive(tasks, session, {})), session.timing.parked > 0, session.timing.copied > 0))
    assert found[0] == found[1] and all(found[0][1:])


def test_one_axis_may_take_the_rest():
    assert dict(make_mesh({'model': 2, 'data': -1}).shape) == {'data': 4, 'model': 2}


@pytest.mark.parametrize(
    'shape, match',
    [({'data': 3}, 'needs 3 devices, this process sees 8'), ({'tp': 8}, 'mesh axes are data and model'),
     ({'data': 0}, 'must be at least 1'), ({'data': -1, 'model': -1}, 'one may be -1')],
)  # fmt: skip
def test_an_impossible_mesh_is_refused(shape, match):
    with pytest.raises(ConfigError, match=match):
        make_mesh(shape)


def test_slots_that_a_mesh_does_not_divide_are_refused(lm, make_sampler):
    spread = spread_over(lm, {'data': 8})
    with pytest.raises(ConfigError, match='impossible mesh: data = 8 does not divide slots = 2 .* data may take 1 or 2,'):
        Majority(n=1).solve(QUESTIONS[:1], dataclasses.replace(make_sampler(num_rows=8, rows_per_slot=4), lm=spread))


TWO_PROCESSES = """\
import os, sys
from jaxreason.engine.processes import Group, join
join(Group(sys.argv[1], 2, int(sys.argv[2])), seconds=60)
import jax
from jaxreason.core.errors import ConfigError
from jaxreason.engine.mesh import make_mesh, spans_processes
own = make_mesh({'data': 2})
assert set(own.devices.flat) == set(jax.local_devices()) and not spans_processes(own)
assert dict(make_mesh({'model': -1}).shape) == {'data': 1, 'model': 2}, 'the rest of this process'
everything = make_mesh({'data': 2, 'model': 2})
assert set(everything.devices.flat) == set(jax.devices()) and spans_processes(everything)
try:
    make_mesh({'data': 3})
except ConfigError as error:
    print(error, flush=True)
jax.distributed.shutdown()
"""


def test_a_mesh_lies_on_one_process_or_on_all():
    with socket.create_server(('127.0.0.1', 0)) as listener:
        address = f'127.0.0.1:{listener.getsockname()[1]}'
    environment = {**os.environ, 'XLA_FLAGS': '--xla_force_host_platform_device_count=2'}
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', TWO_PROCESSES, address, str(index)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for index in range(2)
    ]
    try:
        for process in processes:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            assert 'needs 3 devices, this process sees 2, 2 processes together 4.' in out
    finally:
        for process in processes:
            process.kill()
