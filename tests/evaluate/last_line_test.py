"""A policy whose answer is the bare last line of its solution: evaluated and graded as it was asked to answer."""

import json

from jaxreason.core.records import pool_from
from jaxreason.data.grading import Grader
from jaxreason.evaluate.runner import evaluate
from tests.evaluate.tiny_world import read_config, read_lines

NANO = (
    'seeds=[0]',
    "prompt={template: raw, step_delimiter: '\\n', answer_format: last_line}",
    'strategies={majority: {kind: majority, n: 16}}',
    'sampler={temperature: 1.0, max_tokens: 24, num_rows: 8, rows_per_slot: 4}',
)


def candidates_of(folder):
    pools = [pool_from(line) for line in read_lines(folder / 'pools' / 'samples.jsonl')]
    return [(pool, candidate) for pool in pools for candidate in pool.candidates]


def test_the_bare_last_line_is_what_is_graded(world, tmp_path):
    evaluate(read_config(world, *NANO, 'data={source: "procedural:nano_sloppy:1-2", limit: 3}'), tmp_path / 'nano')
    found = candidates_of(tmp_path / 'nano')
    ended = [(pool, candidate) for pool, candidate in found if candidate.finish == 'stop' and candidate.text.strip()]
    assert 2 < len(ended) < len(found) == 48
    for pool, candidate in found:
        last = candidate.text.strip().splitlines()[-1].strip() if (pool, candidate) in ended else None
        assert candidate.answer == last
    # The same questions, so the same draws, with the answer of one sample for the right one.
    pool, chosen = next((pool, candidate) for pool, candidate in ended if candidate.answer.isdigit())
    row = {'id': pool.question_id, 'question': pool.question, 'answer': chosen.answer}
    (tmp_path / 'problems.jsonl').write_text(json.dumps(row))
    source = f'data={{source: {json.dumps(str(tmp_path / "problems.jsonl"))}}}'
    evaluate(read_config(world, *NANO, source), tmp_path / 'again')
    again = [candidate for _, candidate in candidates_of(tmp_path / 'again')]
    assert [(c.text, c.answer) for c in again] == [(c.text, c.answer) for c in pool.candidates]
    with Grader(num_workers=1) as grader:
        assert [c.verdict for c in again] == [grader.grade_answer(chosen.answer, c.answer).value for c in again]
    assert again[chosen.sample].verdict == 'correct'
