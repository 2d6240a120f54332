"""How many answers a second one core grades, by kind, without and with worker processes.

python benchmarks/grading.py
"""

import itertools
import time

from jaxreason.data.answers import extract_answer
from jaxreason.data.grading import Grader, exact_verdict

FILLER = 'First we add the two numbers, then we multiply by three and simplify the fraction.\n' * 12
KINDS = {
    'integer': lambda n: (str(n), rf'{FILLER}The result follows. $\boxed{{{n}}}$'),
    'statement': lambda n: (str(n), f'{FILLER}So the final answer is {n:,} apples.'),
    'fraction': lambda n: (f'{n}/7', rf'{FILLER}$\boxed{{\frac{{{3 * n}}}{{21}}}}$'),
    'decimal': lambda n: (f'{n / 8}', rf'{FILLER}$\boxed{{\frac{{{n}}}{{8}}}}$'),
    'surd': lambda n: (rf'{n}\sqrt5', rf'{FILLER}$\boxed{{\frac{{{5 * n}}}{{\sqrt5}}}}$'),
    'polynomial': lambda n: (f'x^2-{n * n}', rf'{FILLER}$\boxed{{(x-{n})(x+{n})}}$'),
    'interval': lambda n: (rf'[{n},\infty)', rf'{FILLER}$\boxed{{x \ge {n}}}$'),
    'wrong': lambda n: (str(n), rf'{FILLER}$\boxed{{{n + 1}}}$'),
}
SECONDS = 1.0


def main() -> None:
    """Prints a line for each kind."""
    for name, make in KINDS.items():
        print(f'{name:12} {_rate(make):10,.0f} a second, one core')
    with Grader(num_workers=1) as grader:
        start = time.perf_counter()
        grader.warm_up()
        print(f'{"start":12} {time.perf_counter() - start:10.2f} s for a worker')
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            count += 1
            grader.grade('1', rf'\boxed{{\sin^2({count}x)+\cos^2({count}x)}}')
        print(f'{"identity":12} {count / (time.perf_counter() - start):10,.0f} a second, one worker')


def _rate(make) -> float:
    """Answers a second, extraction included; every answer is new, so that no cache helps."""
    start, done = time.process_time(), 0
    for batch in itertools.count():
        pairs = [make(1 + batch * 200 + n) for n in range(200)]
        for gold, response in pairs:
            exact_verdict(gold, extract_answer(response))
        done += len(pairs)
        if (spent := time.process_time() - start) > SECONDS:
            return done / spent
    raise AssertionError


if __name__ == '__main__':
    main()
