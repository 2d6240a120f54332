"""All folders that the page about the paper reads, of a world that does as the paper says, or as planted otherwise."""

import json
from pathlib import Path

from jaxreason.allocation.fit_config import FitConfig
from jaxreason.analysis.fit_folder import write_fit
from jaxreason.analysis.fit_inputs import read_inputs
from jaxreason.analysis.fitting import fit
from jaxreason.analysis.metrics import write_metrics
from jaxreason.core import config as config_files
from jaxreason.core.records import Block, Record, to_line
from tests.analysis.chain_run import grid, write_chain_run

QUESTIONS = 100  # twenty a level, the easiest first
ENVIRONMENT = {
    'commit': 'c' * 40, 'device': 'cpu', 'weights': 'w' * 64, 'tokenizer': 't' * 64, 'prompt': 'p' * 64, 'data': 'd' * 64,
    'seeds': [0], 'verifiers': {'prm': 'v' * 64, 'orm': 'o' * 64},
}  # fmt: skip
STRATEGIES = {
    'majority': '{kind: majority, n: 16}',
    'greedy': '{kind: greedy}',
    'best-of-n': '{kind: best_of_n, n: 16, verifier: prm}',
    'best-of-n, min': '{kind: best_of_n, n: 16, verifier: prm, agg_strategy: min}',
    'best-of-n, prod': '{kind: best_of_n, n: 16, verifier: prm, agg_strategy: prod}',
    'best-of-n, mean': '{kind: best_of_n, n: 16, verifier: prm, agg_strategy: mean}',
    'best-of-n, single': '{kind: best_of_n, n: 16, verifier: prm, vote: naive}',
    'best-of-n, orm': '{kind: best_of_n, n: 16, verifier: orm}',
    'beam': '{kind: beam_search, n: 16, beam_width: 4, verifier: prm}',
    'lookahead': '{kind: lookahead, n: 4, beam_width: 4, lookahead: 3, verifier: prm}',
}
# Of the twenty questions of a level so many are right: levels 1 to 5.
PAPER = {
    ('majority', 1): (12, 8, 5, 2, 0), ('majority', 4): (14, 9, 6, 2, 0), ('majority', 16): (16, 10, 6, 2, 0),
    ('greedy', 1): (12, 9, 5, 2, 0),
    ('best-of-n', 1): (12, 8, 5, 2, 0), ('best-of-n', 4): (16, 11, 7, 3, 0), ('best-of-n', 16): (20, 16, 10, 5, 0),
    ('best-of-n, min', 16): (16, 12, 8, 3, 0), ('best-of-n, prod', 16): (15, 12, 8, 3, 0),
    ('best-of-n, mean', 16): (19, 15, 9, 4, 0), ('best-of-n, single', 16): (15, 11, 8, 3, 0),
    ('best-of-n, orm', 1): (12, 8, 5, 2, 0), ('best-of-n, orm', 4): (15, 10, 7, 3, 0),
    ('best-of-n, orm', 16): (16, 12, 7, 3, 0),
    ('beam', 4): (17, 14, 12, 8, 0), ('beam', 16): (12, 10, 15, 11, 0),
    ('lookahead', 16): (10, 8, 6, 3, 0),
}  # fmt: skip
PRICE = {'greedy': 100, 'majority': 100, 'lookahead': 175}  # FLOPs a solution
SAMPLER = '{temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, max_tokens: 28, stop: []}'
STEPS = {'prm': 0.93, 'orm': 0.71}  # AUC of steps, as an exact checker would find it
FIT = """\
runs: [{run}]
difficulty: {bins}
strategies: {strategies}
budgets: [1, 4, 16]
reference: {reference}
reference_n: 16
predicted: predicted
estimates:
  known: {{kind: known, source: {bins}, estimate: predicted}}
baselines: [greedy]
resamples: {resamples}
"""


def question(index: int) -> str:
    return f'q{index:04d}'


def write_search(folder: Path, right: dict[tuple[str, int], tuple[int, ...]]) -> None:
    """A run of searches; which questions of a level are right depends on the strategy, so that differences have intervals."""
    folder.mkdir(parents=True)
    lines = []
    for (label, n), counts in right.items():
        for index in range(QUESTIONS):
            is_right = index % 20 < counts[index // 20]
            cost = {'decode': PRICE.get(label, 120) * n, 'new_tokens': 5 * n}
            block = Block(answer='1', verdict='correct' if is_right else 'wrong', cost=cost)
            record = Record(
                question_id=question(index), strategy=label, n=n, budget={}, seed=0, pool=f'{label}{n}',
                blocks=(block,), votes=(('1', 1.0),),
            )  # fmt: skip
            lines.append(to_line(record))
    (folder / 'records.jsonl').write_text(''.join(f'{line}\n' for line in lines))
    named = ''.join(f'  "{label}": {fields}\n' for label, fields in STRATEGIES.items())
    (folder / 'config.yaml').write_text(f'model: {{source: runs/sft_nano}}\nsampler: {SAMPLER}\nstrategies:\n{named}')
    (folder / 'environment.json').write_text(json.dumps(ENVIRONMENT))
    metrics = write_metrics(folder).metrics
    auc = {
        name: {'point': value, 'low': round(value - 0.02, 6), 'high': round(value + 0.02, 6)} for name, value in STEPS.items()
    }
    metrics['verifiers'] = {
        name: {
            'steps': {'step_auc': auc[name], 'within_question_step_auc': auc[name]},
            'within_question_auc': {'last': auc[name]},
        }
        for name in STEPS
    }
    (folder / 'metrics.json').write_text(json.dumps(metrics))


def write_difficulty(folder: Path, num_questions: int = QUESTIONS) -> None:
    """A run of difficulty under another seed: the predicted values are those of the oracle, but for some neighbours."""
    folder.mkdir(parents=True)
    (folder / 'environment.json').write_text(json.dumps({**ENVIRONMENT, 'seeds': [101]}))
    (folder / 'difficulty.json').write_text('{}\n')
    rows = []
    for index in range(num_questions):
        easy = 1 - index / num_questions
        values = {'oracle': easy, 'predicted': 0.5 * easy + 0.3 + 0.02 * (index % 7)}
        rows.append({'question_id': question(index), 'values': values, 'flops': {'oracle': 0, 'predicted': 40}})
    (folder / 'difficulty.jsonl').write_text(''.join(to_line(row) + '\n' for row in rows))


def write_fitted(folder: Path, run: Path, bins: Path, strategies: list[str], reference: str, resamples: int = 100) -> None:
    """A fit over a run and its bins."""
    text = FIT.format(
        run=run, bins=bins, strategies=json.dumps(strategies), reference=json.dumps(reference), resamples=resamples
    )
    path = folder.with_suffix('.yaml')
    path.write_text(text)
    config = config_files.load(FitConfig, path)
    inputs = read_inputs(config)
    write_fit(folder, config, inputs, fit(config, inputs))


def write_searches(base: Path, right: dict[tuple[str, int], tuple[int, ...]] | None = None) -> str:
    """The part on searches; returns the lines of its configuration."""
    write_search(base / 'sweep', right or PAPER)
    write_difficulty(base / 'bins')
    write_fitted(base / 'fit', base / 'sweep', base / 'bins', ['majority', 'best-of-n', 'beam'], 'best-of-n')
    return f'search: {base}/sweep\ndifficulty: {base}/bins\nfit: {base}/fit\n'


def write_revisions(base: Path) -> str:
    """The part on revisions, whose chains are better the longer they are; returns the lines of its configuration."""
    strategies = {
        **grid(16, 'majority'),
        **{label.replace('weighted', 'orm'): each for label, each in grid(16, 'weighted', verifier='orm').items()},
    }
    write_chain_run(base / 'chains', strategies, [1, 4, 16], num_questions=60)
    _add_greedy(base / 'chains', 60)
    (base / 'chains' / 'environment.json').write_text(json.dumps(ENVIRONMENT))
    write_metrics(base / 'chains')
    write_difficulty(base / 'chain-bins', 60)
    labels = [label for label in strategies if label.startswith('orm')]
    write_fitted(base / 'chain-fit', base / 'chains', base / 'chain-bins', labels, 'orm 1 x 16')
    return f'revisions: {{run: {base}/chains, difficulty: {base}/chain-bins, fit: {base}/chain-fit}}\n'


def _add_greedy(folder: Path, num_questions: int) -> None:
    """Adds a strategy that the writer of chains does not know: right on the easier half."""
    config, records = folder / 'config.yaml', folder / 'records.jsonl'
    config.write_text(config.read_text().replace('strategies:\n', 'strategies:\n  greedy: {kind: greedy}\n'))
    lines = [
        to_line(
            Record(
                question_id=question(index), strategy='greedy', n=1, budget={}, seed=0, pool='greedy.n1', votes=(('1', 1.0),),
                blocks=(Block(answer='1', verdict='correct' if 2 * index < num_questions else 'wrong', cost={'decode': 100}),),
            )
        )
        for index in range(num_questions)
    ]  # fmt: skip
    records.write_text(records.read_text() + ''.join(f'{line}\n' for line in lines))
