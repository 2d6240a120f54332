"""`jaxreason solve "QUESTION" [key=value ...] [--effort low|medium|high]`, or `--file QUESTIONS`."""

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxreason.cli.words import sort_words
from jaxreason.core.errors import ConfigError, DataError
from jaxreason.core.records import to_line
from jaxreason.core.types import Outcome

EFFORT = {'low': 4, 'medium': 16, 'high': 64}
FLAGS = ('file', 'effort', 'json')


def add_parser(subparsers) -> None:
    """Declares the verb."""
    parser = subparsers.add_parser(
        'solve',
        help='answer a question, or a file of questions, and show the votes',
        description='Answers questions. Fields are set by their dotted names, for example strategy.n=8 model.source=PATH; '
        'text that looks like name=value goes after --.',
    )
    parser.add_argument('question', nargs='*', help='text of a question')
    parser.add_argument('--file', type=Path, help='questions from a file: one a line, or JSON Lines with a field "question"')
    parser.add_argument('--effort', choices=EFFORT, help='solutions per question: 4, 16 or 64')
    parser.add_argument('--json', action='store_true', help='print one JSON object a question')


def run(parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    words = sort_words(argv[1:], FLAGS)
    args = parser.parse_args([argv[0], *words.options])
    questions = [*args.question, *([' '.join(words.text)] if words.text else []), *(_read(args.file) if args.file else [])]
    if not questions:
        raise ConfigError('solve needs a question, for example: jaxreason solve "What is 17 * 23?"')
    from jaxreason.cli.runtime import start_jax
    from jaxreason.core import config as config_files
    from jaxreason.evaluate.config import SolveConfig

    # First, so that what the user wrote himself wins.
    effort = [f'strategy.n={EFFORT[args.effort]}'] if args.effort else []
    config = config_files.load(SolveConfig, Path(words.config) if words.config else None, [*effort, *words.overrides])
    start_jax()
    _solve(config, questions, _print_json if args.json else _print)
    return 0


def _solve(config, questions: Sequence[str], show: Callable[[Outcome], None]) -> None:
    """Answers questions together; shows them in their order, each as soon as those before it are there."""
    from jaxreason.cli.interrupt import Interrupt
    from jaxreason.engine.language_model import load
    from jaxreason.engine.sampler import Sampler
    from jaxreason.engine.verifier import VERIFIERS

    with Interrupt() as interrupt:
        lm = load(config.model.source, dtype=config.model.dtype, mesh=config.model.mesh)
        sampler = Sampler(lm, prompt=config.prompt, **vars(config.sampler))
        verifiers = {name: kind() for name, kind in VERIFIERS.items()}
        stream = config.strategy.stream(
            questions, sampler, verifiers, seed=config.seed, budget=config.budget, on_tick=interrupt.check
        )
        found: dict[int, Outcome] = {}
        shown = 0
        for index, outcome in stream:
            found[index] = outcome
            while shown in found:
                show(found.pop(shown))
                shown += 1


def _print(outcome: Outcome) -> None:
    """One outcome for people: the answer, how the votes fell, a solution that gives it, what it cost."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from jaxreason.data.answers import answer_key

    console = Console(highlight=False)
    console.print(f'[bold]{escape(outcome.question.text)}[/]')
    chosen = next((c for c in outcome.candidates if outcome.answer is not None and c.answer == outcome.answer), None)
    if chosen is not None:
        console.print(escape(chosen.text.strip()), style='dim')
    table = Table('answer', 'weight', 'solutions', box=None)
    for answer, weight in outcome.votes[:8]:
        solutions = sum(c.answer is not None and answer_key(c.answer) == answer_key(answer) for c in outcome.candidates)
        table.add_row(escape(answer), f'{weight:.4g}', f'{solutions} of {len(outcome.candidates)}')
    silent = sum(c.answer is None for c in outcome.candidates)
    if silent:
        table.add_row('(names no answer)', '', f'{silent} of {len(outcome.candidates)}')
    console.print(table)
    answer = '(no candidate names an answer)' if outcome.answer is None else escape(outcome.answer)
    cost = outcome.cost
    console.print(f'[bold]answer: {answer}[/]   {cost.new_tokens} tokens, {cost.flops / 1e9:.1f} GFLOPs\n')


def _print_json(outcome: Outcome) -> None:
    """One outcome as a line of JSON."""
    print(to_line({**dataclasses.asdict(outcome), 'cost': outcome.cost._asdict()}))


def _read(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'{path}: cannot be read as text: {error}.') from error
    questions = []
    for number, line in enumerate(filter(str.strip, lines), 1):
        if line.lstrip().startswith('{'):
            try:
                line = json.loads(line)['question']
            except (ValueError, KeyError) as error:
                raise DataError(f'{path}: line {number} is no JSON object with a field "question".') from error
        questions.append(line)
    if not questions:
        raise DataError(f'{path}: no questions in it.')
    return questions
