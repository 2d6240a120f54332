"""The section of the report about a training run: its curves, and of a verifier how good it is on held-out questions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxreason.analysis import health_page, page
from jaxreason.analysis.drawing import Frame, Plot, picture_of, save
from jaxreason.analysis.figures import plot_reliability, reliability_rows
from jaxreason.core.errors import RunError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS, HELD_OUT = 'metrics.jsonl', 'held_out.json'
_POINTS = 120  # of a curve: more are averaged


class TrainingRun(NamedTuple):
    """What a training run wrote."""

    name: str
    lines: Sequence[Mapping[str, Any]]  # of metrics.jsonl
    held_out: Mapping[str, Any] | None  # of held_out.json, where there is one
    config: str
    environment: Mapping[str, Any]


def is_training_run(folder: Path) -> bool:
    """Whether a folder is that of `jaxreason train`."""
    return (folder / METRICS).is_file() and (folder / 'checkpoints').is_dir()


def read_training_run(folder: Path) -> TrainingRun:
    """Reads a folder of `jaxreason train`, which may still be at work.

    Raises:
        RunError: a file is missing or damaged.
    """
    try:
        text = (folder / METRICS).read_text(encoding='utf-8')
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith('\n')]
        path = folder / HELD_OUT
        held_out = json.loads(path.read_text(encoding='utf-8')) if path.is_file() else None
        environment = json.loads((folder / 'environment.json').read_text(encoding='utf-8'))
        config = (folder / 'config.yaml').read_text(encoding='utf-8')
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f'{folder}: not a whole training run ({str(error)[:200]}); run the training on.') from error
    return TrainingRun(folder.resolve().name, lines, held_out, config, environment)


def figures_of(run: TrainingRun) -> list[tuple[str, Plot, Frame]]:
    """Name, drawing and frame of every figure that has something to show."""
    bins = ((run.held_out or {}).get('calibration') or {'bins': []})['bins']
    made: list[tuple[str, Plot, Frame]] = [
        ('loss_against_steps', plot_losses, loss_frame(run.lines)),
        ('held_out_reliability', plot_step_reliability, reliability_rows(run.name, bins)),
    ]
    return [(name, plot, frame) for name, plot, frame in made if frame]


def loss_frame(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Losses by step: of training, averaged over neighbouring steps where there are many, and on held-out examples."""
    learnt = [(line['step'], line['loss']) for line in lines if line.get('loss') is not None]
    size = max(1, -(-len(learnt) // _POINTS))
    groups = [learnt[first : first + size] for first in range(0, len(learnt), size)]
    frame = [
        {'curve': 'training', 'step': group[-1][0], 'loss': round(sum(loss for _, loss in group) / len(group), 6)}
        for group in groups
    ]
    found = [(line['step'], line['held_out_loss']) for line in lines if line.get('held_out_loss') is not None]
    return frame + [{'curve': 'held out', 'step': step, 'loss': round(loss, 6)} for step, loss in found]


def plot_losses(ax: 'Axes', frame: Frame) -> None:
    """Draws losses (nats a target) against steps; the best held-out one is marked."""
    styles = {'training': ('-', '#7d8590', 1.0), 'held out': ('o-', '#e07b1a', 1.8)}
    for curve, (style, colour, width) in styles.items():
        points = [(row['step'], row['loss']) for row in frame if row['curve'] == curve]
        if not points:
            continue
        ax.plot(*zip(*points, strict=True), style, color=colour, linewidth=width, label=curve)
        if curve == 'held out':
            step, loss = min(points, key=lambda point: point[1])
            ax.annotate(
                f'{loss:.3f}', (step, loss), (0, -14), textcoords='offset points', ha='center', color=colour, fontsize=9
            )
    ax.set_xlabel('steps')
    ax.set_ylabel('loss, nats a target')
    ax.margins(y=0.12)


def plot_step_reliability(ax: 'Axes', frame: Frame) -> None:
    """Draws the mean label of steps against their score (per cent), intervals as bars."""
    plot_reliability(ax, frame)
    ax.set_xlabel('score of a step, % (mean of each tenth of the scale)')
    ax.set_ylabel('label of these steps, % (mean)')


def section(run: TrainingRun) -> list[str]:
    """The section as HTML parts."""
    steps = max((line['step'] for line in run.lines), default=0)
    parts = [f'<p class="quiet">{steps:,} steps</p>', *(picture_of(name, plot, frame) for name, plot, frame in figures_of(run))]
    return parts if run.held_out is None else [*parts, _held_out(run.held_out)]


def save_figures(run: TrainingRun, folder: Path) -> None:
    """Writes PNG and CSV of every figure; errors as of `figures.save`."""
    questions = '' if run.held_out is None else f'{run.held_out["num_questions"]:,} held-out questions, '
    caption = f'{run.name}: {questions}commit {str(run.environment.get("commit", "unknown"))[:10]}. Bars: 95 % bootstrap.'
    for name, plot, frame in figures_of(run):
        save(name, plot, frame, caption, folder)


def _held_out(held_out: Mapping[str, Any]) -> str:
    rows = [
        ('solutions', f'{held_out["num_solutions"]:,} of {held_out["num_questions"]:,} questions'),
        ('loss, nats a step', health_page.number(held_out['loss'])),
        *health_page.steps_of(held_out, 'whose label is at least one half'),
        *(
            (f'AUC of right against wrong answers within questions, {kind}', health_page.number(value))
            for kind, value in held_out['within_question_auc'].items()
        ),
        *((f'left out: {reason.replace("_", " ")}', f'{count:,}') for reason, count in held_out['left_out'].items()),
    ]
    note = (
        'On questions that nothing was learnt from. A step counts as right where its label is at least one half: with '
        'Monte-Carlo labels, where at least half of its rollouts ended right. [95 % bootstrap interval over questions] '
        '(number of questions).'
    )
    table = page.table(('what', 'value'), rows)
    return f'<h3>Held-out questions</h3>{table}<p class="quiet">{page.text(note)}</p>'
