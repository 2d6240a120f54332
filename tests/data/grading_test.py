"""Grading: labelled pairs, real reference answers, attacks, threads, scripts, and the worker processes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jaxreason.core.errors import ConfigError, JaxreasonError
from jaxreason.core.types import Verdict
from jaxreason.data.answers import extract_answer
from jaxreason.data.grading import Grader, exact_verdict, grade

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / 'shared' / 'data'
IDENTITY = ('1', r'\boxed{\sin^2 x+\cos^2 x}')  # beyond the exact comparison: goes to a worker
ENDLESS = ('3', r'\boxed{(\sin x+\cos x+\tan x+1)^{25}-(\sin y+\cos y+\tan y+1)^{25}}')


def _rows(path: Path) -> list[dict]:
    if not path.exists():
        pytest.skip(
            f'needs ../shared/data/{path.name} beside the repository; real reference answers are not checked without it'
        )
    return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]


@pytest.fixture(scope='module')
def grader():
    with Grader(num_workers=2) as shared:
        shared.warm_up()
        yield shared


def _workers(grader: Grader) -> list[int]:
    return [worker._process.pid for worker in grader._pool._workers]


def test_labelled_pairs(grader):
    pairs = _rows(HERE / 'labelled_pairs.jsonl')
    verdicts = grader.grade_many((pair['gold'], pair['response']) for pair in pairs)
    false = [p for p, v in zip(pairs, verdicts, strict=True) if (v is Verdict.CORRECT) != (p['truth'] == 'right')]
    assert len(pairs) >= 240
    assert not [pair for pair in false if pair['truth'] == 'wrong']
    assert len(false) <= 0.03 * len(pairs), false


@pytest.mark.parametrize('name', ['gsm8k_test', 'math500', 'aime24', 'amc23'])
def test_every_reference_answer_equals_itself_and_only_its_equals(name, grader):
    rows = _rows(SHARED / f'{name}.jsonl')
    golds = [str(row['answer']).split('####')[-1].strip() for row in rows]
    assert set(grader.grade_many((gold, rf'So it is $\boxed{{{gold}}}$.') for gold in golds)) == {Verdict.CORRECT}
    distinct = sorted(set(golds))[:250]
    for gold in distinct:
        for other in distinct:
            if exact_verdict(gold, other) is not Verdict.WRONG and gold != other:
                assert _written_differently(gold, other), (gold, other)


def _written_differently(gold: str, other: str) -> bool:
    """Whether two reference answers that grade equal are the same value, by a comparison of characters alone."""

    def bare(text: str) -> str:
        for noise in (r'^\circ', r'\mbox{ cm}^2', r'\$', 'x=', '_9', '$', ' ', r'\!', '{', '}', '(', ')', ','):
            text = text.replace(noise, '')
        return text

    return sorted(bare(gold)) == sorted(bare(other))


def test_worked_solutions_grade_correct(grader):
    rows = _rows(SHARED / 'math500.jsonl')
    verdicts = grader.grade_many((row['answer'], row['solution']) for row in rows)
    assert verdicts.count(Verdict.CORRECT) >= 0.99 * len(rows)
    shifted = [rows[i - 1]['answer'] for i in range(len(rows))]
    verdicts = grader.grade_many((gold, row['solution']) for gold, row in zip(shifted, rows, strict=True))
    for gold, row, verdict in zip(shifted, rows, verdicts, strict=True):
        assert verdict is Verdict.WRONG or _written_differently(gold, row['answer']), (gold, row['answer'])


def test_no_decision_in_time_is_unjudged_and_the_worker_is_replaced():
    with Grader(num_workers=1) as grader:
        assert grader.grade(*IDENTITY) is Verdict.CORRECT
        first = _workers(grader)
        start = time.monotonic()
        assert grader.grade(*ENDLESS) is Verdict.UNJUDGED
        assert time.monotonic() - start < 10.0
        assert _workers(grader) == []
        assert grader.grade(*IDENTITY) is Verdict.CORRECT
        assert _workers(grader) != first


def test_a_worker_has_limits(grader):
    grader.warm_up()
    limits = Path(f'/proc/{_workers(grader)[0]}/limits').read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith('Max address space')]
    assert int(line.split()[3]) <= 512 << 20


def test_a_crashed_worker_is_tried_once_more():
    with Grader(num_workers=1) as grader:
        assert grader.grade(*IDENTITY) is Verdict.CORRECT
        os.kill(_workers(grader)[0], signal.SIGSEGV)
        assert grader.grade(*IDENTITY) is Verdict.CORRECT


def test_workers_end_with_their_grader():
    grader = Grader(num_workers=1)
    grader.warm_up()
    (worker,) = _workers(grader)
    grader.close()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert grader.grade(*IDENTITY) is Verdict.CORRECT  # starts another when asked again
    grader.close()


def test_four_threads_at_once(grader):
    cases = [
        ('1/2', r'\boxed{0.5}', 'correct'),
        (*IDENTITY, 'correct'),
        ('3', r'\boxed{4}', 'wrong'),
        ('55', r'\boxed{\sum_{k=1}^{10} k}', 'correct'),
    ]
    assert threading.current_thread() is threading.main_thread()
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda case: grader.grade(case[0], case[1]) == case[2], cases * 10))
    assert all(results)
    assert len(_workers(grader)) <= 2


def test_a_fork_is_refused():
    with Grader(num_workers=1) as grader:
        grader.warm_up()
        grader._pool._process_id += 1
        with pytest.raises(JaxreasonError, match='fork'):
            grader.grade(*IDENTITY)
        grader._pool._process_id -= 1


def test_no_worker_is_an_error():
    with pytest.raises(ConfigError, match='at least 1'):
        Grader(num_workers=0)


SCRIPT = """
import jaxreason.data.grading as grading
print(grading.grade('1', r'\\boxed{\\sin^2 x+\\cos^2 x}'), grading.grade('1/2', r'\\boxed{0.5}'), grading.grade('3', '3'))
"""


@pytest.mark.parametrize('how', ['file', 'stdin'])
def test_unguarded_scripts(how, tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT)
    command = [sys.executable, str(script)] if how == 'file' else [sys.executable, '-']
    result = subprocess.run(
        command, input=SCRIPT if how == 'stdin' else None, capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert result.stdout.split() == ['correct', 'correct', 'wrong'], result.stderr


def test_no_orphan_survives_a_killed_parent(tmp_path):
    code = 'import time, jaxreason.data.grading as g; x = g.Grader(1); x.warm_up(); print([w._process.pid for w in x._pool._workers][0], flush=True); time.sleep(60)'  # noqa: E501
    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _is_running(worker):
        time.sleep(0.05)
    assert not _is_running(worker)


def _is_running(process: int) -> bool:
    try:
        return Path(f'/proc/{process}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_plain_answers_are_fast():
    pairs = [(str(n), rf'We add them up. So the answer is $\boxed{{{n + n % 2}}}$.') for n in range(2000)]
    start = time.process_time()
    verdicts = [exact_verdict(gold, extract_answer(response)) for gold, response in pairs]
    assert time.process_time() - start < 2.0  # half the promised rate, for slow machines
    assert verdicts.count(Verdict.CORRECT) == 1000


def test_the_shared_grader():
    assert grade('1/2', r'... \boxed{0.5}') is Verdict.CORRECT
    assert grade('1/2', '0.5') is Verdict.WRONG


def test_equal_answers_of_one_question_are_judged_once(monkeypatch):
    with Grader(num_workers=2) as grader:
        asked = []
        monkeypatch.setattr(grader._pool, 'equal', lambda gold, answer: asked.append(answer) or True)
        pairs = [(r'\sin(2x)', r'\boxed{2\sin x\cos x}')] * 5 + [('2', r'\boxed{2}')]
        assert grader.grade_many(pairs) == [Verdict.CORRECT] * 6
        assert len(asked) == 1


def test_a_stop_is_heard_between_two_hard_answers(monkeypatch):
    """Ctrl-C waits for the answer at work, not for all of them."""
    with Grader(num_workers=1) as grader:
        asked = []
        monkeypatch.setattr(grader._pool, 'equal', lambda gold, answer: asked.append(answer) or time.sleep(0.2) or True)

        def stop():
            raise KeyboardInterrupt

        pairs = [(rf'\sin({2 * n}x)', rf'\boxed{{2\sin({n}x)\cos({n}x)}}') for n in range(1, 9)]
        with pytest.raises(KeyboardInterrupt):
            grader.grade_many(pairs, on_tick=stop)
        assert 1 <= len(asked) <= 3
