"""Trees on the page: those of the terminal, read back from pools."""

import dataclasses
import html
import re

import pytest

from jaxreason.analysis import tree_page
from jaxreason.analysis.report import MAX_TREES, write_report
from jaxreason.analysis.tree import tree_lines
from jaxreason.core.budget import Budget
from jaxreason.core.records import to_line
from jaxreason.core.types import Problem, Verdict
from jaxreason.evaluate.units import Unit, pool_of
from jaxreason.search.beam_search import BeamSearch
from jaxreason.search.best_of_n import BestOfN
from tests.analysis.conftest import write_run
from tests.search.fakes import FakeSampler, HashVerifier

PROBLEMS = [Problem(id=f'q{index}', text=f'question {index}', answer='2') for index in range(5)]
BEAM = BeamSearch(n=6, beam_width=2)


def searched(problem, strategy=BEAM):
    (outcome,) = strategy.solve([problem.question], FakeSampler(), HashVerifier(), seed=0)
    return outcome, pool_of(Unit(problem, 0, 'beam', Budget(), 6), outcome, [Verdict.WRONG] * len(outcome.candidates), strategy)


def text_of(folded):
    return html.unescape(re.sub('<[^>]*>', '', folded.split('<pre class="tree">')[1].split('</pre>')[0])).splitlines()


@pytest.mark.parametrize('problem', PROBLEMS)
def test_the_tree_of_a_pool_is_the_tree_of_its_search(problem):
    """Steps of the fake policy end with full stops, the space behind them is the next step's."""
    outcome, pool = searched(problem)
    folded = tree_page.folded_tree(pool, '.')
    assert text_of(folded) == [line.text for line in tree_lines(outcome, tree_page.WIDTH)]
    assert f'{len(outcome.pruned)} branches left' in folded


def test_what_is_no_tree_is_not_drawn():
    _, flat = searched(PROBLEMS[0], BestOfN(n=6))
    _, pool = searched(PROBLEMS[0])
    assert tree_page.folded_tree(flat, '.') is None
    assert tree_page.folded_tree(pool, '\n\n') is None, 'another delimiter makes other steps'
    assert tree_page.folded_tree(dataclasses.replace(pool, chosen=None), '.') is None


def test_markup_in_a_step_stays_text_and_long_trees_are_cut(monkeypatch):
    _, pool = searched(PROBLEMS[0])
    evil = '<script>alert(1)</script>\x1b[2J'
    branch = dataclasses.replace(pool.pruned[0], steps=(evil, *pool.pruned[0].steps[1:]))
    folded = tree_page.folded_tree(dataclasses.replace(pool, pruned=(branch, *pool.pruned[1:])), '.')
    assert '<script' not in folded and '&lt;script&gt;alert(1)' in folded and '\x1b' not in folded
    monkeypatch.setattr(tree_page, 'MAX_LINES', 3)
    assert re.fullmatch(r'\d+ more lines are not shown', text_of(tree_page.folded_tree(pool, '.'))[3])


def test_the_report_shows_the_trees_of_the_first_questions(tmp_path, run):
    records, _ = run
    pools = [searched(problem)[1] for problem in PROBLEMS]
    template = dataclasses.replace(records[0], strategy='beam', n=6, seed=0, pool='beam.n6', budget={})
    records = [dataclasses.replace(template, question_id=pool.question_id) for pool in pools]
    folder = tmp_path / 'run'
    write_run(folder, records, [])
    (folder / 'pools/beam.n6.jsonl').write_text(''.join(f'{to_line(pool)}\n' for pool in pools))
    (folder / 'config.yaml').write_text('strategies: {beam: {kind: beam_search}}\nprompt: {step_delimiter: "."}\n')
    write_report([folder], tmp_path / 'report.html')
    text = (tmp_path / 'report.html').read_text()
    assert text.count('tree of beam.n6') == MAX_TREES < len(pools)
