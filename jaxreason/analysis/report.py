"""One HTML page about one or more runs, from their folders alone: numbers, figures, and what the model wrote.

The page is a single file without scripts or requests, readable on a phone and in the dark. Long runs are shortened, and say so.
"""

import collections
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxreason.analysis import (
    difficulty_page,
    fit_page,
    health_page,
    matching_page,
    page,
    revisions_page,
    step_judgement,
    tables,
    training_page,
)
from jaxreason.analysis.figures import FIGURES, pictures, save_all
from jaxreason.analysis.fit_folder import FitRun, is_fit, read_fit
from jaxreason.analysis.matching_page import MatchRun
from jaxreason.analysis.metrics import Metrics, Summary, metrics_of
from jaxreason.analysis.rows import PHASES
from jaxreason.analysis.run_folder import JudgementRun, Run, is_judgement, read_judgements, read_run
from jaxreason.analysis.training_page import TrainingRun
from jaxreason.analysis.tree_page import folded_tree
from jaxreason.core.errors import RunError
from jaxreason.core.files import write_whole
from jaxreason.core.quantities import quantity
from jaxreason.core.records import Pool, PoolCandidate, Record
from jaxreason.core.types import Verdict
from jaxreason.search.chains import chains_of

MAX_QUESTIONS = 200
MAX_CANDIDATES = 8
MAX_TREES = 3  # questions
MAX_POOLS = 4  # shown without a click: a sweep of searches has one for each strategy and n
MAX_CHARACTERS = 4_000

_MARKS = {Verdict.CORRECT: '✓', Verdict.WRONG: '✗', Verdict.UNJUDGED: '?'}


def write_report(run_folders: Sequence[Path], out_path: Path, summaries: Mapping[Path, Summary] = MappingProxyType({})) -> None:
    """Writes the page about some runs, and the figures of each (PNG and CSV) into its own `figures/`.

    Args:
        run_folders: finished runs, at least one.
        out_path: the HTML file.
        summaries: of runs of `evaluate`, by folder, as far as they were made already.

    Raises:
        RunError: a run cannot be read, or the page cannot be written.
    """
    if not run_folders:
        raise RunError('report: expected at least one run folder, got none.')
    parts = [_part(folder, summaries.get(folder)) for folder in run_folders]
    title = f'jaxreason: {", ".join(part.name for part in parts)}'
    body = ['<h1>jaxreason report</h1>', *(part.section for part in parts)]
    for part in parts:
        part.save_figures()
    write_whole(out_path, page.document(title, body))


class _Part(NamedTuple):
    """What a page says of one run."""

    name: str
    section: str
    save_figures: Callable[[], object]


def _part(folder: Path, summary: Summary | None) -> _Part:
    if is_judgement(folder):
        return _judgements(folder)
    if matching_page.is_match(folder):
        return _match(folder)
    if is_fit(folder):
        return _fit(folder)
    return _training(folder) if training_page.is_training_run(folder) else _search(folder, summary)


def _search(folder: Path, summary: Summary | None) -> _Part:
    if summary is None:
        run = read_run(folder)
        summary = Summary(run, metrics_of(run))
    run, metrics = summary
    save = functools.partial(save_all, metrics, figure_caption(run, metrics), folder / 'figures')
    return _Part(run.name, _section(run, metrics), save)


def _judgements(folder: Path) -> _Part:
    run = read_judgements(folder)
    made_with = f'verifier {run.verifier or "unknown"}, commit {_commit(run.environment)}'
    parts = [*_heading(run, made_with), step_judgement.section(run), *_inputs(run)]
    return _Part(run.name, '\n'.join(['<section>', *parts, '</section>']), lambda: None)


def _training(folder: Path) -> _Part:
    run = training_page.read_training_run(folder)
    parts = [*_heading(run, f'commit {_commit(run.environment)}'), *training_page.section(run), *_inputs(run)]
    save = functools.partial(training_page.save_figures, run, folder / 'figures')
    return _Part(run.name, '\n'.join(['<section>', *parts, '</section>']), save)


def _match(folder: Path) -> _Part:
    run = matching_page.read_match(folder)
    parts = [*_heading(run, f'commit {_commit(run.environment)}'), *matching_page.section(run), *_inputs(run)]
    save = functools.partial(matching_page.save_figures, run, folder / 'figures')
    return _Part(run.name, '\n'.join(['<section>', *parts, '</section>']), save)


def _fit(folder: Path) -> _Part:
    run = read_fit(folder)
    made_with = f'model {run.environment.get("model", "unknown")}, commit {_commit(run.environment)}'
    parts = [*_heading(run, made_with), *fit_page.section(run), *_inputs(run)]
    save = functools.partial(fit_page.save_figures, run, folder / 'figures')
    return _Part(run.name, '\n'.join(['<section>', *parts, '</section>']), save)


def figure_caption(run: Run, metrics: Metrics) -> str:
    """What a figure rests on: questions, seeds, model, commit."""
    seeds = f'{metrics["num_seeds"]} seeds' if metrics['num_seeds'] > 1 else 'a single seed'
    basis = f'{metrics["num_questions"]} questions, {seeds}, {_made_with(run)}'
    return f'{basis}. Bands and bars: 95 % bootstrap intervals over questions.'


def _made_with(run: Run) -> str:
    return f'model {run.model or "unknown"}, commit {_commit(run.environment)}'


def _commit(environment: Mapping[str, Any]) -> str:
    commit = str(environment.get('commit', 'unknown'))
    return commit[:10] + commit[40:] if len(commit) >= 40 else commit  # a full hash, with a plus where the tree was changed


def _heading(run: Run | JudgementRun | TrainingRun | MatchRun | FitRun, made_with: str) -> list[str]:
    return [
        f'<h2>{page.text(run.name)}</h2>',
        f'<p class="quiet">{page.text(made_with)}, device {page.text(run.environment.get("device", "unknown"))}</p>',
    ]


def _inputs(run: Run | JudgementRun | TrainingRun | MatchRun | FitRun) -> list[str]:
    """Configuration and environment, folded."""
    parts = ['<h3>Configuration and environment</h3>']
    for name, content in (('config.yaml', run.config), ('environment.json', _pretty(run.environment))):
        parts.append(page.folded(name, f'<pre>{page.text(page.clipped(content, 10 * MAX_CHARACTERS))}</pre>'))
    return parts


def _section(run: Run, metrics: Metrics) -> str:
    parts = [
        *_heading(run, _made_with(run)),
        page.table(tables.columns(metrics), tables.rows(metrics)),
        f'<p class="quiet">{page.text(f"{tables.caption(metrics)} {tables.readings(metrics)}".rstrip())}</p>',
    ]
    parts += [*pictures(FIGURES, metrics), *difficulty_page.section(metrics), *revisions_page.section(metrics)]
    parts += [_cost(metrics), _samples(metrics), *health_page.section(metrics)]
    parts += [_questions(run, metrics), *_inputs(run)]
    return '\n'.join(['<section>', *parts, '</section>'])


def _cost(metrics: Metrics) -> str:
    """FLOPs per question by phase."""
    rows = []
    for row in metrics['rows']:
        flops = row['flops']
        parts = [quantity(flops[name]) for name in (*PHASES, 'total', 'lookahead', 'discarded')]
        rows.append((tables.label(row), str(row['n']), *parts))
    heads = ('strategy', 'n', *PHASES, 'total', 'lookahead', 'discarded')
    note = 'FLOPs per question. Lookahead and discarded work are parts of the total.'
    return f'<h3>Cost by phase</h3>{page.table(heads, rows)}<p class="quiet">{note}</p>'


def _samples(metrics: Metrics) -> str:
    """What the pools hold: how samples ended, how many answers could not be judged, and how many samples not be scored."""
    rows = []
    for pool in metrics['pools']:
        total = sum(pool['candidates'].values()) or 1  # a budget below the prompt leaves a pool without candidates
        counts = [
            *((f'ended by {name}', count) for name, count in pool['finish'].items()),
            *((f'{name} answers', count) for name, count in pool['candidates'].items()),
            *(
                (f'not scored by {name}: {why.replace("_", " ")}', n)
                for name, whys in pool['unscored'].items()
                for why, n in whys.items()
            ),
        ]
        rows += [(pool['pool'], name, f'{count:,}', f'{100 * count / total:.1f} %') for name, count in counts]
        rows.append((pool['pool'], 'questions with a correct sample', '', tables.percent(pool['any_correct'])))
    if not rows:
        return ''
    table = page.table(('pool', 'what', 'samples', 'share'), rows, num_words=2)
    names = f'{len(metrics["pools"])} pools of samples'
    return f'<h3>Samples</h3>{table if len(metrics["pools"]) <= MAX_POOLS else page.folded(names, table)}'


def _questions(run: Run, metrics: Metrics) -> str:
    """Every question with its answers, its votes and some of its candidates."""
    shown = _shown(metrics)
    seed = min(record.seed for record in run.records)
    by_question: dict[str, list[Record]] = collections.defaultdict(list)
    for record in run.records:
        if record.seed == seed:
            by_question[record.question_id].append(record)
    pools = {(pool.pool, pool.question_id): pool for pool in run.pools if pool.seed == seed}
    names = sorted(by_question)
    label, n = tables.label(shown), shown['n']
    omitted = f' The first {MAX_QUESTIONS} of {len(names):,} are shown.' if len(names) > MAX_QUESTIONS else ''
    note = f'Seed {seed}; mark and answer of {label} at n={n}. Open a question for all strategies and some samples.{omitted}'
    trees = {name: _trees(by_question[name], pools, run.step_delimiter) for name in names[:MAX_TREES]}
    blocks = [_question(by_question[name], shown, pools, trees.get(name, [])) for name in names[:MAX_QUESTIONS]]
    return '\n'.join(['<h3>Questions</h3>', f'<p class="quiet">{page.text(note)}</p>', *blocks])


def _shown(metrics: Metrics) -> Mapping[str, Any]:
    """The row whose answers head the questions: the most accurate at the largest n."""
    largest = max(row['n'] for row in metrics['rows'])
    return max((row for row in metrics['rows'] if row['n'] == largest), key=lambda row: row['accuracy']['point'])


def _trees(records: Sequence[Record], pools: Mapping[tuple[str, str], Pool], step_delimiter: str) -> list[str]:
    """The trees of a question, folded: of every strategy that grew one that of its largest n."""
    largest = {tables.label(vars(record)): record for record in sorted(records, key=lambda record: record.n)}
    names = dict.fromkeys(record.pool for _, record in sorted(largest.items()))
    found = [pools[name, records[0].question_id] for name in names if (name, records[0].question_id) in pools]
    return [tree for pool in found if (tree := folded_tree(pool, step_delimiter)) is not None]


def _question(
    records: Sequence[Record], shown: Mapping[str, Any], pools: Mapping[tuple[str, str], Pool], trees: Sequence[str]
) -> str:
    chosen = [record for record in records if _is_row(record, shown)]
    pool = next((pools[key] for r in [*chosen, *records] if (key := (r.pool, r.question_id)) in pools), None)
    question = pool.question if pool else records[0].question_id
    facts = []
    if chosen:
        facts.append(f'{_answer(chosen[0].blocks[0].answer)}{f" (gold {page.foreign(pool.gold)})" if pool else ""}')
    if pool:
        correct = sum(candidate.verdict == Verdict.CORRECT for candidate in pool.candidates)
        are_chains = any(candidate.revises is not None for candidate in pool.candidates)
        facts.append(f'{correct}/{len(pool.candidates)} {"attempts" if are_chains else "samples"} correct')
    verdict = _mark(chosen[0].blocks[0].verdict) if chosen else ''
    line = ''.join(
        [
            f'<span class="line">{verdict}<span class="text">{page.foreign(page.clipped(question, 160))}</span>',
            f'<span class="facts">{" · ".join(facts)}</span></span>',
        ]
    )
    body = [f'<pre>{page.text(page.clipped(question, MAX_CHARACTERS))}</pre>', _answers(records)]
    if pool:
        body += [_candidate(candidate, name) for name, candidate in _named(pool)[:MAX_CANDIDATES]]
        if len(pool.candidates) > MAX_CANDIDATES:
            body.append(f'<p class="quiet">{len(pool.candidates) - MAX_CANDIDATES} more samples are in the run folder.</p>')
    body += trees
    return page.folded(line, '\n'.join(body))


def _is_row(record: Record, row: Mapping[str, Any]) -> bool:
    return all(getattr(record, name) == row[name] for name in ('strategy', 'n', 'budget', 'pool'))


def _answers(records: Sequence[Record]) -> str:
    """What every strategy answered at its largest n, with the votes."""
    largest: dict[str, Record] = {}
    for record in sorted(records, key=lambda record: record.n):
        largest[tables.label(vars(record))] = record
    rows = []
    for label, record in sorted(largest.items()):
        votes = [f'{page.clipped(answer, 60)} × {weight:.3g}' for answer, weight in record.votes[:5]]
        more = f', {len(record.votes) - 5} more' if len(record.votes) > 5 else ''
        block = record.blocks[0]
        answer = 'no answer' if block.answer is None else page.clipped(block.answer, 60)
        rows.append((f'{label}, n={record.n}', block.verdict, answer, ', '.join(votes) + more))
    return page.table(('strategy', 'verdict', 'answer', 'votes'), rows, num_words=4)


def _named(pool: Pool) -> list[tuple[str, PoolCandidate]]:
    """The candidates of a pool, each with its name: attempts by chain, others in the order of their draws."""
    chains = chains_of(pool.candidates)
    if all(len(chain) == 1 for chain in chains):
        return [(f'sample {candidate.sample}', candidate) for candidate in pool.candidates]
    return [
        (f'chain {number}, attempt {turn}', candidate)
        for number, chain in enumerate(chains, start=1)
        for turn, candidate in enumerate(chain, start=1)
    ]


def _candidate(candidate: PoolCandidate, name: str) -> str:
    facts = [name, page.text(candidate.finish), f'{len(candidate.tokens)} tokens']
    for verifier, scores in candidate.scores.items():
        steps = ' '.join(f'{score:.2f}' for score in scores[:12]) + (' …' if len(scores) > 12 else '')
        facts.append(f'{page.text(verifier)} {steps or page.text(candidate.unscored.get(verifier, ""))}')
    line = f'{_mark(candidate.verdict)} {_answer(candidate.answer)} <span class="facts">{" · ".join(facts)}</span>'
    return page.folded(line, f'<pre>{page.text(page.clipped(candidate.text, MAX_CHARACTERS))}</pre>')


def _mark(verdict: str) -> str:
    known = Verdict(verdict)
    return f'<span class="mark {known.value}" title="{known.value}">{_MARKS[known]}</span>'


def _answer(answer: str | None) -> str:
    return '<i>no answer</i>' if answer is None else page.foreign(page.clipped(answer, 80))


def _pretty(environment: Mapping[str, Any]) -> str:
    return json.dumps(environment, indent=2, sort_keys=True, ensure_ascii=False)
