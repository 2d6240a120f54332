"""`jaxreason solve "QUESTION" [key=value ...] [--effort low|medium|high] [--show-tree] [--dry-run]`, or `--file QUESTIONS`."""

import argparse
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxreason.allocation.adaptive import ComputeOptimal
from jaxreason.allocation.catalog import STRATEGIES
from jaxreason.analysis.tables import unscored_sentence
from jaxreason.analysis.tree import tree_lines
from jaxreason.cli.words import sort_words
from jaxreason.core.errors import ConfigError, DataError
from jaxreason.core.keys import text_id
from jaxreason.core.records import to_line
from jaxreason.core.terminal import printable
from jaxreason.core.types import Outcome, Question
from jaxreason.data.jsonl import read_rows
from jaxreason.search.strategy import Strategy

if TYPE_CHECKING:
    from rich.console import Console

EFFORT = {'low': 4, 'medium': 16, 'high': 64}
FLAGS = ('file', 'effort')
_LOOKS = {'kept': '', 'left': 'dim', 'chosen': 'bold'}  # of a line of the tree


def add_parser(subparsers) -> None:
    """Declares the verb."""
    parser = subparsers.add_parser(
        'solve',
        help='answer a question, or a file of questions, and show the votes',
        description='Answers questions. Fields are set by their dotted names, for example strategy.n=8 model.source=PATH; '
        'text that looks like name=value goes after --.',
    )
    parser.add_argument('question', nargs='*', help='text of a question')
    parser.add_argument('--file', type=Path, help='file of questions: one a line, or .jsonl with a field "question"')
    parser.add_argument('--effort', choices=EFFORT, help='solutions per question: 4, 16 or 64')
    parser.add_argument('--dry-run', action='store_true', help='print configuration, shapes, memory and FLOPs; answer nothing')
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument('--json', action='store_true', help='print one JSON object a question')
    shown.add_argument(
        '--show-tree', action='store_true', help='print every step that was searched, its score, and what was left'
    )


def run(parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    words = sort_words(argv[1:], FLAGS)
    args = parser.parse_args([argv[0], *words.options])
    questions = [*args.question, *([' '.join(words.text)] if words.text else []), *(_read(args.file) if args.file else [])]
    if not questions:
        raise ConfigError('solve needs a question, for example: jaxreason solve "What is 17 * 23?"')
    from jaxreason.cli.runtime import device_errors, start_jax
    from jaxreason.core import config as config_files
    from jaxreason.evaluate.config import SolveConfig

    effort = [f'strategy.n={EFFORT[args.effort]}'] if args.effort else []
    if any(word.startswith('strategy.allocation=') for word in words.overrides):
        effort.insert(0, 'strategy.kind=compute_optimal')  # the only kind that has one
    config = config_files.load(SolveConfig, Path(words.config) if words.config else None, [*effort, *words.overrides])
    if args.effort and config.strategy.generations != EFFORT[args.effort]:
        raise ConfigError(
            f'--effort {args.effort} is {EFFORT[args.effort]} solutions, strategy asks for {config.strategy.generations}: '
            'leave out one of them.'
        )
    if args.dry_run:
        from jaxreason.evaluate.dry_run import describe_questions

        print(config_files.dump(config), end='')
        print(printable(describe_questions(config, questions), keep='\n'))
        return 0
    start_jax()
    with device_errors():
        plainly = functools.partial(_print, strategy=config.strategy, with_tree=args.show_tree)
        _solve(config, questions, _print_json if args.json else plainly)
    return 0


def _solve(config, questions: Sequence[str], show: Callable[[Outcome], None]) -> None:
    """Answers questions together; shows them in their order, each as soon as those before it are there."""
    import jax

    from jaxreason.cli.interrupt import Interrupt
    from jaxreason.engine.backbone_verifier import heads_of
    from jaxreason.engine.sampler import Sampler
    from jaxreason.engine.scoring_memory import memory_beside
    from jaxreason.evaluate.config import load_policy, load_verifiers

    with Interrupt() as interrupt:
        lm = load_policy(config.model)
        verifiers = load_verifiers(config.verifiers, lm, config.prompt)
        asked = [Question(text_id(text), text) for text in questions]
        beside = memory_beside(verifiers.values(), asked, config.sampler.max_tokens, jax.default_backend() == 'cpu')
        sampler = Sampler(lm, prompt=config.prompt, heads=heads_of(verifiers), beside=beside, **vars(config.sampler))
        stream = config.strategy.stream(
            asked, sampler, verifiers, seed=config.seed, budget=config.budget, on_tick=interrupt.check
        )
        found: dict[int, Outcome] = {}
        shown = 0
        for index, outcome in stream:
            found[index] = outcome
            while shown in found:
                show(found.pop(shown))
                shown += 1


def _print(outcome: Outcome, strategy: Strategy | None = None, with_tree: bool = False) -> None:
    """One outcome for people: the answer, how the votes fell, a solution that gives it or the whole tree, what it cost.

    Args:
        outcome: of a question.
        strategy: that answered; one that chooses among others says what it chose.
        with_tree: print every step.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from jaxreason.data.normalise import answer_key

    console = Console(highlight=False)
    console.print(Text(printable(outcome.question.text, keep='\n'), style='bold'))
    chosen = next((c for c in outcome.candidates if outcome.answer is not None and c.answer == outcome.answer), None)
    if with_tree:
        for text, look in tree_lines(outcome, _width(console)):
            console.print(Text(text, style=_LOOKS[look]), soft_wrap=True)
    elif chosen is not None:
        console.print(Text(printable(chosen.text.strip(), keep='\n'), style='dim'))
    table = Table('answer', 'weight', 'solutions', box=None)
    for answer, weight in outcome.votes[:8]:
        solutions = sum(c.answer is not None and answer_key(c.answer) == answer_key(answer) for c in outcome.candidates)
        table.add_row(Text(printable(answer)), f'{weight:.4g}', f'{solutions} of {len(outcome.candidates)}')
    silent = sum(c.answer is None for c in outcome.candidates)
    if silent:
        table.add_row('(names no answer)', '', f'{silent} of {len(outcome.candidates)}')
    console.print(table)
    for line in _unscored(outcome):
        console.print(Text(printable(line), style='yellow'))
    if isinstance(strategy, ComputeOptimal):
        console.print(Text(_chosen(strategy, outcome)))
    answer = '(no candidate names an answer)' if outcome.answer is None else printable(outcome.answer)
    cost = outcome.cost
    console.print(Text(f'answer: {answer}', style='bold').append(f'   {cost.new_tokens} tokens', style='not bold'), end='')
    console.print(f', {cost.flops / 1e9:.1f} GFLOPs\n')


def _chosen(strategy: ComputeOptimal, outcome: Outcome) -> str:
    """How hard the question is, and what was done about it."""
    bins = strategy.row.bins
    if not strategy.is_looking:
        return f'difficulty: makes no difference, answered by {_named(bins[0])}'
    if outcome.level is None:
        return 'difficulty: nothing more found, answered by the samples looked at'
    return f'difficulty: level {outcome.level} of {len(bins)}, answered by {_named(bins[outcome.level - 1])}'


def _named(strategy: Strategy) -> str:
    """The kind of a strategy, and the solutions that it begins."""
    kind = next(name for name, each in STRATEGIES.items() if type(strategy) is each)
    return f'{kind} of {strategy.generations}'


def _width(console: 'Console') -> int:
    """Cells of a line: those of the terminal; 120 where there is none."""
    return console.width if console.is_terminal else 120


def _unscored(outcome: Outcome) -> list[str]:
    """A line for every verifier that could not score some solutions."""
    reasons: dict[str, Counter[str]] = {}
    for candidate in outcome.candidates:
        for name, reason in candidate.unscored.items():
            reasons.setdefault(name, Counter())[reason] += 1
    return [unscored_sentence(name, counts, len(outcome.candidates)) for name, counts in sorted(reasons.items())]


def _print_json(outcome: Outcome) -> None:
    """One outcome as a line of JSON."""
    fields = dataclasses.asdict(outcome)
    parts = [fields, *fields['candidates'], *fields['pruned']]
    costs = [outcome.cost, *(c.cost for c in outcome.candidates), *(branch.cost for branch in outcome.pruned)]
    for part, cost in zip(parts, costs, strict=True):
        part['cost'] = cost._asdict()  # by name: a tuple of nine numbers says nothing
    print(to_line(fields), flush=True)


def _read(path: Path) -> list[str]:
    """The questions of a file: the field `question` of JSON Lines, else a line each."""
    if path.suffix == '.jsonl':
        return [_question(row, f'{path}, line {number}') for number, row in read_rows(path)]
    try:
        lines = path.read_text(encoding='utf-8').split('\n')
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror}); give a file of questions.') from error
    except UnicodeDecodeError as error:
        raise DataError(f'{path}: byte {error.start} is not UTF-8; save the file as UTF-8.') from error
    questions = [line.strip() for line in lines if line.strip()]
    if not questions:
        raise DataError(f'{path}: expected a question a line, the file has none.')
    return questions


def _question(row: Mapping[str, object], where: str) -> str:
    text = row.get('question')
    if not isinstance(text, str) or not text.strip():
        raise DataError(f'{where}: expected a field "question" with text; mend the line.')
    return text
