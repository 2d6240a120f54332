"""What a run shows while it runs: a row for every finished question, and a bar with tokens per second and time left."""

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from jaxreason.core.terminal import printable
from jaxreason.core.types import Verdict
from jaxreason.evaluate.config import EvaluateConfig
from jaxreason.evaluate.runner import Finished
from jaxreason.evaluate.runner import Progress as RunProgress

# What a verdict looks like: word and style.
MARKS = {Verdict.CORRECT: ('right', 'green'), Verdict.WRONG: ('wrong', 'red'), Verdict.UNJUDGED: ('?', 'yellow')}


class Display:
    """Prints rows and, on a terminal, a live bar below them; enter it for the time of a run."""

    def __init__(self, config: EvaluateConfig, quiet: bool):
        self._quiet = quiet
        self._labels = list(config.strategies)
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
        self._bar.update(self._task, completed=progress.done, total=progress.total, rate=rate)
        if progress.finished and not self._quiet:
            self._console.print(self._row(progress, progress.finished, rate))

    def _row(self, progress: RunProgress, finished: Finished, rate: str) -> Text:
        verdicts = {record.strategy: record.blocks[0].verdict for record in finished.records}  # the largest n comes last
        right = sum(c.verdict == Verdict.CORRECT for c in finished.pool.candidates)
        count = f'{right}/{len(finished.pool.candidates)} right'
        name = printable(finished.pool.question_id[:24])
        row = Text(f'{progress.done:>4}/{progress.total}  {name:<14} {count:>12}')
        for label in self._labels:
            if label in verdicts:
                row.append(f'  {printable(label)} ').append(*MARKS[Verdict(verdicts[label])])
        return row.append(f'  {rate}')
