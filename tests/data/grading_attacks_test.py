"""Attacks on the grader: none is ever correct, each is settled in bounded time, none has a side effect."""

import os
import resource
import time
from pathlib import Path

import pytest

from jaxreason.core.types import Verdict
from jaxreason.data.grading import Grader

ENDLESS = r'\boxed{(\sin x+\cos x+\tan x+1)^{25}-(\sin y+\cos y+\tan y+1)^{25}}'  # ends its worker


def hostile_responses(marker: str) -> list[str]:
    """Responses that attack a grader; none of them answers 3, or may be taken for it.

    By class: huge values, deep nesting, length, disguise, code, empty answers, answers that hedge.

    Args:
        marker: path of a file that code inside a response would create.

    Returns:
        Responses to a question whose answer is 3.
    """
    rows = ('&'.join(f'a_{{{i},{j}}}+x^{{{i}}}' for j in range(20)) for i in range(20))
    matrix = r'\begin{pmatrix}' + r'\\'.join(rows) + r'\end{pmatrix}'
    power = r'(\sin x+\cos x+\tan x+1)^{25}'
    return [
        '9**9**9**9',
        '9^9^9^9',
        r'\boxed{9^{9^{9^{9}}}}',
        r'\boxed{99999999!}',
        r'\boxed{((9!)!)!}',
        r'\boxed{\binom{10^9}{5\cdot10^8}}',
        r'\boxed{\sum_{k=1}^{10^{12}} 1/(k^3+k+1)}',
        r'\boxed{\prod_{k=1}^{10^7}(k+1/3)}',
        r'\boxed{\sin(10^{10^8})}',
        r'\boxed{7^{10^9} \mod 10}',
        r'\boxed{\gcd(10^{10^6},6^{10^6})}',
        r'\boxed{10^{10^{10}}}',
        r'\boxed{' + r'\frac{1}{' * 300 + '3' + '}' * 301,
        r'\boxed{' + r'\frac{1}{' * 3000 + '3' + '}' * 3001,
        r'\boxed{' + r'\sqrt{' * 500 + '3' + '}' * 501,
        r'\boxed{' + '(' * 5000 + '3}',
        r'\boxed{' + '1+' * 20_000 + '3}',
        r'\boxed{' + '3' * 5000 + '}',
        r'\boxed{' + '3' * 1_000_000 + '}',
        r'\boxed{3.' + '0' * 99_999 + '1}',
        r'\boxed{' * 2000 + '3',
        '$' * 20_000,
        'answer ' * 5000,
        ' 1 000' * 20_000,
        r'\boxed{1} ' * 2000,
        rf'\boxed{{{matrix}}}',
        rf'\boxed{{{power}-{power.replace("x", "y")}}}',
        r'\boxed{1e999999999}',
        r'\boxed{e^{e^{e^{e^{3}}}}}',
        '\\boxed{\x003}',
        '\\boxed{\ud8003}',
        '\\boxed{\u202e3}',
        '\\boxed{３} \\boxed{٣}',
        f'__import__("os").system("touch {marker}")',
        rf'\boxed{{__import__("os").system("touch {marker}")}}',
        rf'\boxed{{\operatorname{{eval}}(__import__("os").system("touch {marker}"))}}',
        rf"\boxed{{\mathrm{{__import__('os').system('touch {marker}')}}}}",
        r'\boxed{().__class__.__base__.__subclasses__()}',
        '',
        r'\boxed{}',
        ':',
        'Thought process:',
        'mark this correct',
        r'\boxed{1,2,3,4,5}',
        r'\boxed{3 \text{ or } 4}',
        r'\boxed{[0,10]}',
        r'\boxed{x}',
        r'\boxed{4=3}',
        'lorem ipsum 3 dolor ' * 500_000,
        '</think>' * 5000,
    ]


@pytest.fixture(scope='module')
def grader():
    with Grader(num_workers=1) as shared:
        yield shared


def _workers(grader: Grader) -> list[int]:
    return [worker._process.pid for worker in grader._pool._workers]


def test_attacks_are_never_correct_and_cost_little(grader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / 'touched'
    for number, response in enumerate(hostile_responses(str(marker)), start=1):
        grader.warm_up()
        children, own = _children_seconds(grader), time.process_time()
        start = time.monotonic()
        verdict = grader.grade('3', response)
        wall = time.monotonic() - start
        assert verdict is not Verdict.CORRECT, number
        assert time.process_time() - own < 1.0, number
        assert wall < 10.0, number
        assert _children_seconds(grader) - children < 2.0, number
    assert list(tmp_path.iterdir()) == []


def test_the_processor_time_of_a_worker_that_dies_is_seen():
    with Grader(num_workers=1) as grader:
        grader.warm_up()
        before = _children_seconds(grader)
        assert grader.grade('3', ENDLESS) is Verdict.UNJUDGED
        assert _workers(grader) == []
        assert 0.9 < _children_seconds(grader) - before < 2.0  # the second that a request may take


def _children_seconds(grader: Grader) -> float:
    """Processor seconds of all workers so far: those that ended, and those that live."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + _cpu_seconds(_workers(grader))


def _cpu_seconds(processes: list[int]) -> float:
    total = 0
    for process in processes:
        fields = Path(f'/proc/{process}/stat').read_text().rsplit(')', 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf('SC_CLK_TCK')


def test_attacks_behind_a_statement_are_never_correct(grader, tmp_path):
    marker = tmp_path / 'touched'
    for response in hostile_responses(str(marker)):
        if len(response) < 50_000:
            bare = response.removeprefix(r'\boxed{').removesuffix('}')
            for form in (f'The answer is {bare}', f'The answer is ${bare}$', rf'\boxed{{\boxed{{{bare}}}}}'):
                assert grader.grade('3', form) is not Verdict.CORRECT, form[:80]
    assert not marker.exists()
