"""What the processes of a run tell each other: that they live, how far they are, that they stop and why; text and lines.

Two threads do it, so that a busy or compiling process still answers. One writes a heartbeat to the board every second and reads
the notices of the others (process 0 reads their heartbeats too, and posts a notice for one that has gone silent); the other
watches that one, and tells the command line. Silence is counted in own rounds, not by the clock: a machine that slept does not
take the others for dead. Nothing that decides a token depends on any of this.
"""

import collections
import contextlib
import dataclasses
import json
import os
import platform
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jaxreason.core.errors import ProcessError
from jaxreason.engine.processes import Board

SILENT_ROUNDS = 30
_ROUND_SECONDS = 1.0
_FAREWELL_SECONDS = 3.0
_PIECE = 1 << 19  # bytes that one value on the board holds
_PIECES_AHEAD = 4  # of a stream, not yet taken: what it costs of process 0's memory
REMEDY = 'what is finished is on disk: rerun the same command on every process to go on.'


@dataclasses.dataclass(frozen=True)
class Ears:
    """Who wants to know; called from a thread.

    Attributes:
        on_stop: another process was interrupted, says the line; this one should stop at its next chunk.
        on_lost: another process died or failed, says the line; this one should end now.
    """

    on_stop: Callable[[str], None]
    on_lost: Callable[[str], None]


class Peers:
    """This process among the others of a run. With one process alone nothing is started, sent or waited for."""

    def __init__(
        self,
        board: Board | None = None,
        index: int = 0,
        count: int = 1,
        ears: Ears | None = None,
        silent_rounds: int = SILENT_ROUNDS,
        round_seconds: float = _ROUND_SECONDS,
    ):
        """Makes itself known and begins to watch.

        Args:
            board: what all see; None for a process alone.
            index: this process, in [0, count).
            count: processes in all.
            ears: who is told; None if nobody needs to be.
            silent_rounds: rounds without a sign of life after which another is taken for dead.
            round_seconds: between two heartbeats.
        """
        self.index = index
        self.count = count
        self._board = board
        self._ears = ears or Ears(lambda line: None, lambda line: None)
        self._limit = silent_rounds
        self._round_seconds = round_seconds
        self._names: dict[int, str] = {}
        self._progress = (0, 0)
        self._others: dict[int, tuple[int, int]] = {}
        self._quiet: dict[int, int] = {}  # rounds without a new heartbeat; process 0 only
        self._last: dict[int, int] = {}
        self._answered = True
        self._unanswered = 0
        self._notices: collections.deque[tuple[int, Mapping[str, Any]]] = collections.deque()
        self._seen: set[int] = set()
        self._round = 0
        self._over = threading.Event()  # nobody is watched any more
        self._exchanges: collections.Counter[str] = collections.Counter()
        if board is not None and count > 1:
            board.put(f'name/{index}', f'process {index} ({platform.node()}, pid {os.getpid()})'.encode())
            for work in (self._beat, self._watch):
                threading.Thread(target=self._rounds, args=(work,), daemon=True).start()

    @property
    def is_first(self) -> bool:
        """Whether this process writes what there is one of."""
        return self.index == 0

    def name(self, index: int) -> str:
        """A process for people: its number and, once it was heard of, its host and process id."""
        return self._names.get(index, f'process {index}')

    def tell(self, done: int, tokens: int) -> None:
        """Notes how far this process is, for the next heartbeat."""
        self._progress = (done, tokens)

    def others(self) -> tuple[int, int]:
        """Units done and tokens drawn by the others, as far as process 0 has heard."""
        heard = list(self._others.values())
        return sum(done for done, _ in heard), sum(tokens for _, tokens in heard)

    def exchange(self, what: str, text: str, tick: Callable[[], None] | None = None) -> list[str]:
        """Gives every process the text of every process. All must call it, in the same order; it waits for them.

        Args:
            what: a word for it.
            text: of this process.
            tick: called several times a second while others are waited for; what it raises ends the wait.

        Returns:
            The texts, by process.
        """
        if self._board is None:
            return [text]
        self._exchanges[what] += 1
        name = f'{what}/{self._exchanges[what]}'
        self._send(f'{name}/{self.index}', iter([zlib.compress(text.encode())]), ahead=None)
        found = []
        for index in range(self.count):
            pieces = self._receive(f'{name}/{index}', tick, keep=True)
            found.append(zlib.decompress(b''.join(pieces)).decode())
        return found

    def send(self, lines: Iterable[str]) -> None:
        """Sends lines to process 0, which must `receive` them; a few pieces at most lie on the board."""
        self._send(f'lines/{self.index}', (line.encode() + b'\n' for line in lines), ahead=_PIECES_AHEAD)

    def receive(self, index: int, tick: Callable[[], None] | None = None) -> Iterator[str]:
        """Receives the lines that another process sends."""
        rest = b''
        for piece in self._receive(f'lines/{index}', tick, keep=False):
            *lines, rest = (rest + piece).split(b'\n')
            yield from (line.decode() for line in lines)

    def leave(self) -> None:
        """Ends the watch, when every process is known to be through."""
        self._over.set()

    def give_notice(self, kind: str, why: str) -> None:
        """Tells the others that this process ends before its time: `stop` if it was interrupted, `failed` otherwise.

        Process 0 takes the board with it, so it waits a few seconds for the others to have heard.
        """
        if self._board is None or self._over.is_set():
            self._wait_until_heard()
            return
        self._over.set()
        with contextlib.suppress(Exception):  # whoever cannot be told will notice the silence
            self._board.put(f'notice/{self.index}', json.dumps({'kind': kind, 'why': why}).encode())
            self._board.put(f'heard/{self.index}', b'')
        self._wait_until_heard()

    def _wait_until_heard(self) -> None:
        if self._board is None or self.index:
            return
        deadline = time.monotonic() + _FAREWELL_SECONDS
        with contextlib.suppress(Exception):
            while len(self._board.folder('heard').keys() - {'0'}) < self.count - 1 and time.monotonic() < deadline:
                time.sleep(0.05)

    def _send(self, name: str, chunks: Iterator[bytes], ahead: int | None) -> None:
        """Puts a stream on the board in pieces: the first byte of a piece says whether more follow."""
        part, held = 0, b''
        for chunk in chunks:
            held += chunk
            while len(held) > _PIECE:
                self._put_piece(name, part, b'+' + held[:_PIECE], ahead)
                part, held = part + 1, held[_PIECE:]
        self._put_piece(name, part, b'.' + held, ahead)

    def _put_piece(self, name: str, part: int, piece: bytes, ahead: int | None) -> None:
        assert self._board is not None, 'nothing is sent by a process alone'
        board = self._board
        if ahead is not None and part >= ahead:
            while self._try(lambda: board.get(f'{name}/{part - ahead}')) is not None:
                time.sleep(0.02)
        self._try(lambda: board.put(f'{name}/{part}', piece))

    def _receive(self, name: str, tick: Callable[[], None] | None, keep: bool) -> Iterator[bytes]:
        assert self._board is not None, 'nothing is sent to a process alone'
        board, part = self._board, 0
        while True:
            piece = None
            while piece is None:
                if tick:
                    tick()
                piece = self._try(lambda at=part: board.get(f'{name}/{at}', seconds=0.25))
            if not keep:
                self._try(lambda at=part: board.delete(f'{name}/{at}'))
            yield piece[1:]
            if piece[:1] == b'.':
                return
            part += 1

    def _try(self, call: Callable[[], Any]) -> Any:
        """Asks the board; while it does not answer, waits for the watch to say what has happened.

        Raises:
            ProcessError: it has not answered for longer than the watch takes to notice.
        """
        deadline = time.monotonic() + 4 * self._limit * self._round_seconds
        while True:
            try:
                return call()
            except Exception as error:
                if time.monotonic() > deadline:
                    raise ProcessError(f'{self.name(0)} does not answer: {REMEDY}') from error
                time.sleep(self._round_seconds / 4)

    def _rounds(self, work: Callable[[], None]) -> None:
        while not self._over.wait(self._round_seconds):
            work()

    def _beat(self) -> None:
        """A sign of life, and what the others say."""
        assert self._board is not None, 'only started with one'
        self._round += 1
        try:
            self._board.put(f'beat/{self.index}', json.dumps([self._round, *self._progress]).encode())
            if len(self._names) < self.count:  # read ahead: the board may be what is lost
                self._names = {int(index): name.decode() for index, name in self._board.folder('name').items()}
            for index, notice in self._board.folder('notice').items():
                if int(index) != self.index and int(index) not in self._seen:
                    self._seen.add(int(index))
                    self._notices.append((int(index), json.loads(notice)))
                    self._board.put(f'heard/{self.index}', b'')
            if self.is_first:
                self._listen({int(index): json.loads(beat) for index, beat in self._board.folder('beat').items()})
        except Exception:  # whatever the board's failure is called: the watch counts the rounds without an answer
            return
        self._answered = True

    def _listen(self, beats: Mapping[int, list[int]]) -> None:
        """Counts the rounds in which another has not moved."""
        for index in range(1, self.count):
            number, done, tokens = beats.get(index, (0, 0, 0))
            self._quiet[index] = self._quiet.get(index, 0) + 1 if self._last.get(index) == number else 0
            self._last[index] = number
            self._others[index] = (done, tokens)

    def _watch(self) -> None:
        """Acts on what was heard, or on nothing being heard."""
        if self._notices:
            index, notice = self._notices.popleft()
            if notice['kind'] == 'stop':
                self._over.set()
                self._ears.on_stop(f'{self.name(index)} was interrupted')
            elif notice['kind'] == 'lost':
                self._lose(str(notice['why']))
            else:
                self._lose(f'{self.name(index)} stopped: {notice["why"]}')
            return
        self._unanswered = 0 if self._answered else self._unanswered + 1
        self._answered = False
        if self._board is not None and self._board.is_lost:
            self._lose(f'{self.name(0)} died: its connection was closed')
        elif not self.is_first and self._unanswered >= self._limit:
            self._lose(f'{self.name(0)} died or hangs: no answer for {self._limit * self._round_seconds:.0f} s')
        for index, rounds in list(self._quiet.items()):
            if rounds >= self._limit:
                why = f'{self.name(index)} died or hangs: nothing heard for {self._limit * self._round_seconds:.0f} s'
                self.give_notice('lost', why)
                self._lose(why)
                return

    def _lose(self, why: str) -> None:
        self._over.set()
        self._ears.on_lost(f'{why}; {REMEDY}')
