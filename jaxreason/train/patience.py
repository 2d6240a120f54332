"""When training stops before its last step, and which of its checkpoints is the one to load."""

import dataclasses
import math

from jaxreason.train.checkpoints import Checkpoints
from jaxreason.train.metrics import Metrics


@dataclasses.dataclass
class Patience:
    """Tells when the held-out loss has stopped falling; a loss that is no number never counts as lower.

    Attributes:
        limit: evaluations in a row without a lower loss that end the training; None for any number.
        after: evaluations between the lowest loss and the parameters to be loaded.
        lowest: loss so far.
        waited: evaluations since.
    """

    limit: int | None
    after: int = 0
    lowest: float = math.inf
    waited: int = 0

    def hear(self, loss: float, is_last: bool = False) -> bool:
        """Takes note of an evaluation.

        Args:
            loss: held-out.
            is_last: no step follows.

        Returns:
            Whether the parameters that were evaluated are those to be loaded, for all that is known by now.
        """
        self.lowest, self.waited = (loss, 0) if loss < self.lowest else (self.lowest, self.waited + 1)
        if self.limit is None or self.lowest == math.inf:
            return False
        return self.waited == self.after or (is_last and self.waited < self.after)

    @property
    def is_over(self) -> bool:
        """Whether training should stop."""
        return self.limit is not None and self.waited >= self.limit

    def resume(self, metrics: Metrics, checkpoints: Checkpoints, last_step: int) -> None:
        """Takes note of the evaluations before the checkpoint that a run goes on from.

        A process may have been killed after it had saved the checkpoint to be loaded, and before it had said that it is the
        one: this says so then.

        Args:
            metrics: cut off after that checkpoint.
            checkpoints: of the same run.
            last_step: no step follows it.

        Raises:
            RunError: what is to be said cannot be written.
        """
        for step, loss in metrics.held_out_losses:
            if self.hear(loss, step == last_step) and step == metrics.step:
                checkpoints.name_best(step)
