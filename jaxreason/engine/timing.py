"""What a session did with the device's time. Not part of any cost: padding, idle rows and compilation show up here."""

import contextlib
import dataclasses
import time

from jaxreason.engine.compiles import compiled


@dataclasses.dataclass
class Timing:
    """Counters of one session.

    Attributes:
        seconds: wall time inside the device calls, compilation included.
        chunks: calls from the host.
        steps: decode steps.
        row_steps: decode steps times rows, idle ones included.
        tokens: tokens drawn for somebody.
        prefilled: positions computed at once, padding included: of prompts, and of solutions that words were put into.
        parked: rows moved out to make room.
        copied: keys and values of a row copied: parked, brought back, forked, or moved beside others.
        programs: compiled by the process since the session was opened, small ones included.
        programs_cached: of them, those that the persistent cache had.
        compile_seconds: of all of them.
    """

    seconds: float = 0.0
    chunks: int = 0
    steps: int = 0
    row_steps: int = 0
    tokens: int = 0
    prefilled: int = 0
    parked: int = 0
    copied: int = 0
    programs: int = 0
    programs_cached: int = 0
    compile_seconds: float = 0.0

    def __post_init__(self):
        self._before = compiled()

    @contextlib.contextmanager
    def pumping(self):
        """Adds the wall time of the block."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - began
            self.programs, self.programs_cached, self.compile_seconds = compiled() - self._before

    def count_chunk(self, steps: int, num_rows: int, tokens: int) -> None:
        """Adds one call from the host."""
        self.chunks += 1
        self.steps += steps
        self.row_steps += steps * num_rows
        self.tokens += tokens
