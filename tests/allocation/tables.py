"""Small tables of cells whose every number is known, and what is fitted on them."""

import numpy as np

from jaxreason.allocation.cells import Cell, Cells
from jaxreason.allocation.fit import Looks, Mode, Task


def make_record(question, strategy, n, seed, right=(True,), flops=100, budget=None):
    """A record, parsed: a block for every entry of `right`, each of which spent `flops`."""
    blocks = [
        {
            'answer': '1',
            'verdict': 'correct' if each else 'wrong',
            'cost': {'decode': flops - 10, 'prefill': 10, 'new_tokens': 3},
        }
        for each in right
    ]
    return {
        'question_id': question, 'strategy': strategy, 'n': n, 'seed': seed,
        'budget': budget or {}, 'pool': 'samples', 'blocks': blocks, 'votes': [],
    }  # fmt: skip


def make_cells(correct, flops, names, questions=None):
    """A table from arrays, `[questions, seeds, cells]`; `names` are (strategy, n)."""
    correct, flops = np.array(correct, float), np.array(flops, float)
    questions = questions or tuple(f'q{index:03d}' for index in range(len(correct)))
    return Cells(
        questions=tuple(questions),
        seeds=tuple(range(correct.shape[1])),
        cells=tuple(Cell(*name) for name in names),
        correct=correct,
        first=(correct > 0.5).astype(float),
        flops=flops,
        first_flops=flops,
    )


def make_task(correct, flops, generations, budgets, **fields):
    """A task over rows; the reference is cell 0 at every budget, unless told otherwise."""
    correct, flops = np.array(correct, float), np.array(flops, float)
    defaults = {
        'mode': Mode.PER_QUESTION,
        'num_bins': 2,
        'reference': (0,) * len(budgets),
        'grid': np.arange(correct.shape[1]),
        'folds': np.arange(len(correct)) % 2,
    }
    return Task(
        budgets=tuple(budgets), correct=correct, flops=flops, generations=np.array(generations), **{**defaults, **fields}
    )


def make_looks(task, values, name='look', charge=0.0, more=0, **fields):
    """An estimate that costs `charge` FLOPs and `more` solutions, whatever the cell."""
    return Looks(
        name=name,
        values=np.array(values, float),
        correct=fields.pop('correct', task.correct),
        flops=task.flops + charge,
        generations=task.generations + more,
        **fields,
    )
