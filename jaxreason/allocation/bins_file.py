"""What `jaxreason difficulty` writes down: of every question the value of every estimate, and what it cost.

`difficulty.jsonl` has a line a question: `question_id`, `values` and `flops` by the name of the estimate. The pass rate among
graded samples is called `oracle`; it is free, since nobody could pay for it. `difficulty.json` sums the estimates up.
"""

import json
from pathlib import Path
from typing import NamedTuple

from jaxreason.core.errors import RunError

FILE = 'difficulty.jsonl'
SUMMARY = 'difficulty.json'
ORACLE = 'oracle'


class KnownValue(NamedTuple):
    """How easy a question is, and the FLOPs that it took to find out."""

    value: float
    flops: int


def read_known(source: str, estimate: str) -> dict[str, KnownValue]:
    """Reads one estimate of all questions.

    Args:
        source: run folder of `jaxreason difficulty`.
        estimate: name of the estimate.

    Returns:
        Values by question id.

    Raises:
        RunError: there is no such file or estimate, or a line is damaged.
    """
    path = Path(source) / FILE
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, ValueError) as error:
        raise RunError(f'{path}: cannot be read ({error}); name the finished run folder of jaxreason difficulty.') from error
    found: dict[str, KnownValue] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if estimate not in row['values']:
                have = ', '.join(row['values'])
                raise RunError(f'{path}: has no estimate {estimate[:60]!r}, it has {have}.')
            found[row['question_id']] = KnownValue(float(row['values'][estimate]), int(row['flops'].get(estimate, 0)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise RunError(f'{path}:{number}: expected the values of a question, got a damaged line.') from error
    if not found:
        raise RunError(f'{path}: expected a line a question, it has none: let jaxreason difficulty finish.')
    return found


def read_probes(source: str) -> dict[str, str]:
    """Digests of the probes that a difficulty run asked, by the name of the verifier.

    Raises:
        RunError: there is no summary, or it is damaged.
    """
    path = Path(source) / SUMMARY
    try:
        return dict(json.loads(path.read_text(encoding='utf-8')).get('probes', {}))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunError(f'{path}: cannot be read ({error}); let jaxreason difficulty finish.') from error
