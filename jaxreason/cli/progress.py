"""What a run shows while it runs: a row for every finished question, and a bar with tokens per second and time left."""

import abc
import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from jaxreason.cli import status
from jaxreason.core.judged_steps import JudgedSteps
from jaxreason.core.labels import LabelledQuestion
from jaxreason.core.terminal import printable
from jaxreason.core.types import Verdict
from jaxreason.evaluate.config import EvaluateConfig
from jaxreason.evaluate.runner import Finished
from jaxreason.evaluate.runner import Progress as RunProgress

# What a verdict looks like: word and style.
MARKS = {Verdict.CORRECT: ('right', 'green'), Verdict.WRONG: ('wrong', 'red'), Verdict.UNJUDGED: ('?', 'yellow')}


class Display(abc.ABC):
    """Prints rows and, on a terminal, a live bar below them; enter it for the time of a run."""

    def __init__(self, quiet: bool):
        self._quiet = quiet
        self._console = Console(highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn('{task.fields[rate]}'),
            TimeElapsedColumn(),
            TextColumn('left'),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self._console,
            disable=not sys.stdout.isatty(),
        )
        self._began: int | None = None
        self._task = self._bar.add_task('units', total=None, rate='')

    def __enter__(self) -> 'Display':
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Prints a line."""
        self._console.print(Text(printable(line)))

    def show(self, progress: RunProgress) -> None:
        """Moves the bar, and prints a row if a unit was finished."""
        rate = f'{progress.tokens / progress.seconds:.0f} tokens/s' if progress.seconds > 1 else ''
        self._tell(progress)
        self._bar.update(self._task, completed=progress.done, total=progress.total, rate=rate)
        if progress.finished and not self._quiet:
            self._console.print(self._row(progress, progress.finished).append(f'  {rate}'))

    def _tell(self, progress: RunProgress) -> None:
        if self._began is None:  # units that an earlier session finished say nothing about this one's speed
            self._began = progress.done
        new = progress.done - self._began
        left = progress.seconds / new * (progress.total - progress.done) if new else None
        status.tell(progress.done, progress.total, progress.tokens / max(progress.seconds, 1.0), left)

    @abc.abstractmethod
    def _row(self, progress: RunProgress, finished: Any) -> Text:
        """What to print of a unit that was just finished."""


class EvaluateDisplay(Display):
    """Of every unit how many candidates are right, and what each strategy made of them at its largest n."""

    def __init__(self, config: EvaluateConfig, quiet: bool):
        super().__init__(quiet)
        self._labels = list(config.strategies)

    def _row(self, progress: RunProgress, finished: Finished) -> Text:
        verdicts = {record.strategy: record.blocks[0].verdict for record in finished.read()}
        right = sum(c.verdict == Verdict.CORRECT for c in finished.pool.candidates)
        count = f'{right}/{len(finished.pool.candidates)} right'
        name = printable(finished.pool.question_id[:24])
        row = Text(f'{progress.done:>4}/{progress.total}  {name:<14} {count:>12}')
        for label in self._labels:
            if label in verdicts:
                row.append(f'  {printable(label)} ').append(*MARKS[Verdict(verdicts[label])])
        return row


class LabelDisplay(Display):
    """Of every question how many samples are right, the mean of its labels, and how many solutions follow earlier attempts."""

    def _row(self, progress: RunProgress, finished: LabelledQuestion) -> Text:
        soft = [value for solution in finished.solutions for value in solution.soft]
        right = sum(solution.is_correct for solution in finished.solutions)
        name = printable(finished.question_id[:24])
        wrong = finished.dropped.get('wrong', 0)
        row = Text(f'{progress.done:>4}/{progress.total}  {name:<14} {right:>3}/{len(finished.solutions) + wrong} right')
        if soft:
            row.append(f'  {len(soft):>4} labels, mean {sum(soft) / len(soft):.2f}')
        if following := sum(bool(solution.attempts) for solution in finished.solutions):
            row.append(f'  {following:>4} after earlier attempts')
        dropped = sum(finished.dropped.values()) - wrong
        return row.append(f'  {dropped} dropped', 'yellow') if dropped else row


class JudgementDisplay(Display):
    """Of every solution how many steps it has, its scores, and where it first goes wrong."""

    def _row(self, progress: RunProgress, finished: JudgedSteps) -> Text:
        name = printable(finished.id[-32:])
        row = Text(f'{progress.done:>4}/{progress.total}  {name:<32} {finished.num_steps:>3} steps')
        row.append('  none wrong' if finished.first_wrong is None else f'  wrong from {finished.first_wrong + 1:>2}')
        if finished.unscored is not None:
            return row.append(f'  unscored: {finished.unscored}', 'yellow')
        return row.append(f'  lowest score {min(finished.scores):.2f}')
