import os
import sys
import time

import pytest
from harness import contestants
from harness.contestants import Contestant, ContestantError, read_answer

WORK = {'rows': [(0, 3), (0, 2)], 'prompts': [[1, 2]]}
FAKE = """
import sys
sys.path.insert(0, {peers!r})
from worker_loop import serve

class Fake:
    def load(self, settings):
        print('a library that prints')
        self.settings = settings
        return {{'fake': '1'}}
    def ready(self, workload, greedy):
        pass
    def run(self, workload, seed, greedy):
        {run}

serve(Fake())
"""
DRAWS = 'return [[7] * target for _, target in workload["rows"]]'


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Starts workers whose `run` is the given line, and ends them."""
    peers, started = str(contestants.WORKERS), []
    monkeypatch.setattr(contestants, 'WORKERS', tmp_path)

    def start(run=DRAWS):
        (tmp_path / 'fake.py').write_text(FAKE.format(peers=peers, run=run))
        started.append(Contestant('fake', sys.executable, 'fake.py', {}, {}))
        return started[-1]

    yield start
    for contestant in started:
        contestant.close()


def state(pid):
    with open(f'/proc/{pid}/stat') as file:
        return file.read().rpartition(')')[2].split()[0]


def test_a_run_is_timed_and_counted(fake):
    contestant = fake('import time; time.sleep(0.05); ' + DRAWS)
    contestant.load(10)
    run = contestant.run(WORK, 1, 10)
    assert contestant.versions == {'fake': '1'} and run.tokens == 5 and run.head == (7, 7, 7)
    assert 0.05 <= run.seconds < 5


@pytest.mark.skipif(not os.path.exists('/proc/self/stat'), reason='needs /proc')
def test_a_contestant_that_waits_is_stopped(fake):
    contestant = fake()
    contestant.load(10)
    for _ in range(2):
        deadline = time.monotonic() + 2
        while state(contestant._process.pid) != 'T':
            assert time.monotonic() < deadline
        assert contestant.run(WORK, 1, 10).peak_bytes > 2**20


def test_too_few_tokens_are_a_failure(fake):
    contestant = fake('return [[7], [7]]')
    contestant.load(10)
    with pytest.raises(ContestantError, match='expected 5 tokens, got 2'):
        contestant.run(WORK, 1, 10)


def test_a_slow_one_is_given_up(fake):
    contestant = fake('import time; time.sleep(30)')
    contestant.load(10)
    with pytest.raises(ContestantError, match='took longer than 0 s'):
        contestant.run(WORK, 1, 0.2)


def test_what_a_peer_raises_is_told(fake):
    contestant = fake('raise ValueError("no such model")')
    contestant.load(10)
    with pytest.raises(ContestantError, match='ValueError: no such model'):
        contestant.run(WORK, 1, 10)


def test_a_peer_that_dies_is_told(fake):
    contestant = fake('import os; print("last words", flush=True); os._exit(1)')
    contestant.load(10)
    with pytest.raises(ContestantError, match='last words'):
        contestant.run(WORK, 1, 10)


def test_a_missing_environment_is_told():
    with pytest.raises(ContestantError, match='no/such/python cannot be run .*README'):
        Contestant('peer', 'no/such/python', 'vllm_worker.py', {}, {})


@pytest.mark.parametrize('line', ['warning: something\n', '[1]\n', '{"seconds": \n'])
def test_a_line_that_is_no_answer(line):
    with pytest.raises(ContestantError, match='expected a JSON object'):
        read_answer('peer', line, [])
