"""`evaluate --dry-run` and `solve --dry-run`: what a run would do, need and cost, from problems and headers of weights alone.

FLOPs are upper bounds: every solution at `max_tokens`. Of a search over steps no useful bound is known. It is counted as that
many whole solutions, each scored once, and marked with `~`: it spends more where it leaves long steps for short ones (with a
random policy 0.6 to 0.85 of the estimate on most questions, up to 1.3 of it on some).
"""

import statistics
from collections.abc import Mapping, Sequence

from jaxreason.allocation.adaptive import ComputeOptimal
from jaxreason.allocation.estimators import bare
from jaxreason.core.architecture import ModelConfig
from jaxreason.core.flops import decode_flops, prompt_flops
from jaxreason.core.keys import text_id
from jaxreason.core.types import Problem, Question
from jaxreason.data.datasets import load_problems
from jaxreason.engine.backbone_verifier import heads_of
from jaxreason.evaluate.config import EvaluateConfig, SolveConfig, open_verifiers
from jaxreason.evaluate.inspection import Inspected, Trained, aligned, flops_text, inspect
from jaxreason.evaluate.most_work import Work, works_of
from jaxreason.evaluate.units import Unit, copies_of, units_of
from jaxreason.search.revision import Revision
from jaxreason.search.strategy import Parallel


def describe(config: EvaluateConfig) -> str:
    """Says what a run would do.

    Args:
        config: of the run.

    Returns:
        Lines of text, each a heading and what belongs to it.

    Raises:
        JaxreasonError: the run would refuse the problems, the weights, the tokenizer or the length of a prompt.
    """
    problems = load_problems(config.data)
    seeds = f'{len(config.seeds)} seed' + 's' * (len(config.seeds) > 1)
    return _described(config, problems, ('problems', f'{len(problems):,} of {config.data.source}, {seeds}'))


def describe_questions(config: SolveConfig, questions: Sequence[str]) -> str:
    """Says what answering questions would do: what evaluating a strategy on them would. Result and errors as of `describe`."""
    alike = ('model', 'prompt', 'sampler', 'verifiers')
    evaluation = EvaluateConfig(
        seeds=(config.seed,),
        strategies={'answer': config.strategy},
        budgets=(config.budget,),
        **{name: getattr(config, name) for name in alike},
    )
    problems = [Problem(id=text_id(text), text=text, answer='') for text in questions]
    return _described(evaluation, problems, ('questions', f'{len(problems):,}, seed {config.seed}'))


def _described(config: EvaluateConfig, problems: Sequence[Problem], about: tuple[str, str]) -> str:
    units = units_of(config, problems)
    seen = inspect(config, problems, copies_of(config, units), open_verifiers(config.verifiers))
    if seen.model is not None and seen.tokenizer is not None:
        for head in heads_of(seen.verifiers):
            head.check_policy(seen.model, seen.tokenizer)
            head.check_prompt(config.prompt, problems[0].question)
    heading, words = about
    lines = [(heading, f'{words}: {len(units):,} units of search'), *seen.lines, *_work(seen, units)]
    left_out = [('left out' if index == 0 else '', line) for index, line in enumerate(config.exceptions)]
    return aligned([*lines, *left_out])


def most_flops(
    config: EvaluateConfig, unit: Unit, model: ModelConfig, prompt_tokens: int, verifiers: Mapping[str, Trained]
) -> int:
    """The most that a unit can spend, every solution at `max_tokens` unless its budget ends it before; of a tree about that.

    Args:
        config: of the run.
        unit: what is searched.
        model: the policy.
        prompt_tokens: length of the unit's prompt.
        verifiers: trained ones, by name.
    """
    question = unit.problem.question
    flops = max(_flops(config, unit, work, question, model, prompt_tokens, verifiers) for work in works_of(config, unit))
    return flops if unit.budget.flops is None else min(flops, unit.budget.flops)


def _flops(
    config: EvaluateConfig,
    unit: Unit,
    work: Work,
    question: Question,
    model: ModelConfig,
    prompt_tokens: int,
    verifiers: Mapping[str, Trained],
) -> int:
    """FLOPs of one thing that a unit may turn out to be."""
    longest = config.sampler.max_tokens
    # Later tokens meet more keys: tokens cost most where few solutions hold them all.
    full, rest = divmod(_tokens(config, unit, work), longest)
    flops = work.prompts * prompt_flops(model, prompt_tokens) + full * decode_flops(model, prompt_tokens, 0, longest)
    flops += decode_flops(model, prompt_tokens, 0, rest) if rest else 0
    # A verifier without weights costs nothing.
    judged = {verifiers[name]: number for name, number in work.judged.items() if name in verifiers}
    flops += sum(number * verifier.price(bare(question), longest) for verifier, number in judged.items())
    return flops + work.known + sum(verifiers[name].price(bare(question), 0) for name in work.probes)


def _work(seen: Inspected[EvaluateConfig], units: Sequence[Unit]) -> list[tuple[str, str]]:
    """What each pool samples and, where the model is known, what it costs at most."""
    config, model, lengths = seen.config, seen.model, seen.lengths
    pools: dict[str, list[Unit]] = {}
    for unit in units:
        pools.setdefault(unit.pool, []).append(unit)
    table = [('pool', 'units', 'solutions', 'new tokens <=', 'FLOPs a unit <=', 'FLOPs <=')]
    everything = 0
    for name, members in pools.items():
        about = '~' if is_tree(config, members[0]) else ''
        solutions = max(work.solutions for work in works_of(config, members[0]))
        cells = (f'{len(members):,}', f'{solutions:,}', f'{about}{_most_tokens(config, members[0]):,}')
        flops = 0
        if model is not None and lengths is not None:
            flops = sum(most_flops(config, unit, model, lengths[unit.problem.id], seen.verifiers) for unit in members)
        everything += flops
        table.append((name, *cells, about + flops_text(flops / len(members)), about + flops_text(flops)))
    if model is None or lengths is None:
        return [('work', columns([row[:4] for row in table]))]
    median = int(statistics.median(lengths.values()))
    trees = any(is_tree(config, unit) for unit in units)
    note = '~ counts searches over steps, and chains that are told to go on, as whole solutions; they may spend more'
    return [
        ('work', columns(table)),
        ('FLOPs', f'{flops_text(prompt_flops(model, median))} for the median prompt, paid once a unit'),
        ('', f'{flops_text(decode_flops(model, median, 0, 1))} for the first token after it'),
        ('', f'{flops_text(decode_flops(model, median, config.sampler.max_tokens - 1, 1))} for the last of max_tokens'),
        ('', f'{flops_text(everything)} for the whole run, {"about" if trees else "at most"}'),
        *([('', note)] if trees else []),
    ]


def is_tree(config: EvaluateConfig, unit: Unit) -> bool:
    """Whether a unit may leave more behind than it keeps, so that its FLOPs are an estimate."""
    if unit.label is None:
        return False
    strategy = config.strategies[unit.label].at(unit.n)
    several = strategy.row.bins if isinstance(strategy, ComputeOptimal) else (strategy,)
    return any(each.generations > 1 and not isinstance(each, Parallel | Revision) for each in several)


def _most_tokens(config: EvaluateConfig, unit: Unit) -> int:
    return max(_tokens(config, unit, work) for work in works_of(config, unit))


def _tokens(config: EvaluateConfig, unit: Unit, work: Work) -> int:
    most = work.solutions * config.sampler.max_tokens
    return most if unit.budget.tokens is None else min(most, unit.budget.tokens)


def columns(table: Sequence[Sequence[str]]) -> str:
    """Cells in columns: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return '\n'.join(
        '  '.join(f'{cell:<{width}}' if index == 0 else f'{cell:>{width}}' for index, (cell, width) in enumerate(cells))
        for cells in (zip(row, widths, strict=True) for row in table)
    )
