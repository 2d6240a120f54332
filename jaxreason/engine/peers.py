"""What the processes of a run tell each other: that they live, how far they are, that they stop and why; text and lines.

Two threads do it, so that a busy or compiling process still answers. One writes a heartbeat to the board every second and reads
the notices of the others (process 0 reads their heartbeats too, and posts a notice for one that has gone silent); the other
watches that one, and tells the command line. Silence is counted in own rounds, not by the clock: a machine that slept does not
take the others for dead. Nothing that decides a token depends on any of this.
"""

import collections
import contextlib
import dataclasses
import itertools
import json
import os
import platform
import queue
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
        self._gone: set[int] = set()  # taken for dead
        self._round = 0
        self._over = threading.Event()  # nobody is watched any more
        self._exchanges: collections.Counter[str] = collections.Counter()
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        if board is not None and count > 1:
            board.put(f'name/{index}', f'process {index} ({platform.node()}, pid {os.getpid()})'.encode())
            _start(self._rounds, self._beat)
            _start(self._rounds, self._watch)
            _start(self._call)

    @property
    def is_first(self) -> bool:
        """Whether this process writes what there is one of."""
        return self.index == 0

    def name(self, index: int) -> str:
        """A process for people: its number and, after a first exchange, its host and process id."""
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
        self._send(f'{name}/{self.index}', iter([zlib.compress(text.encode())]), tick)
        found = []
        for index in range(self.count):
            pieces = self._receive(f'{name}/{index}', tick, keep=True)
            found.append(zlib.decompress(b''.join(pieces)).decode())
        if len(self._names) < self.count:  # all are there now; read ahead, since the board may be what is lost
            names = self._ask(tick, self._shared.folder, 'name')
            self._names = {int(index): name.decode() for index, name in names.items()}
        return found

    def send(self, lines: Iterable[str], tick: Callable[[], None] | None = None) -> None:
        """Sends lines to process 0, which must `receive` them; a few pieces at most lie on the board."""
        self._send(f'lines/{self.index}', (line.encode() + b'\n' for line in lines), tick, ahead=_PIECES_AHEAD)

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
        if self._board is None:
            return
        is_new = not self._over.is_set()
        self._over.set()
        notice = json.dumps({'kind': kind, 'why': why}).encode() if is_new else None
        # In a thread: if the board was lost a call to it may never return.
        _start(self._bid_farewell, self._board, notice).join(_FAREWELL_SECONDS)

    def _bid_farewell(self, board: Board, notice: bytes | None) -> None:
        with contextlib.suppress(Exception):  # whoever cannot be told will notice the silence
            if notice is not None:
                board.put(f'notice/{self.index}', notice)
                board.put(f'heard/{self.index}', b'')
            living = set(range(1, self.count)) - self._gone
            while self.is_first and living - {int(index) for index in board.folder('heard')}:
                time.sleep(0.05)

    def _send(self, name: str, chunks: Iterator[bytes], tick: Callable[[], None] | None, ahead: int | None = None) -> None:
        """Puts a stream on the board in pieces: the first byte of a piece says whether more follow.

        Args:
            name: of the stream.
            chunks: what to send.
            tick: called while the board is waited for.
            ahead: pieces that may lie on the board untaken; None for any number, of a stream that is not taken away.
        """
        part, held = 0, b''
        for chunk in itertools.chain(chunks, (None,)):
            held += chunk or b''
            while len(held) > _PIECE or chunk is None:
                piece, held = held[:_PIECE], held[_PIECE:]
                is_last = chunk is None and not held
                if ahead is not None and part >= ahead:
                    while self._ask(tick, self._shared.get, f'{name}/{part - ahead}') is not None:
                        time.sleep(0.02)
                self._ask(tick, self._shared.put, f'{name}/{part}', (b'.' if is_last else b'+') + piece)
                part += 1
                if is_last:
                    return

    def _receive(self, name: str, tick: Callable[[], None] | None, keep: bool) -> Iterator[bytes]:
        for part in itertools.count():
            piece = None
            while piece is None:
                piece = self._ask(tick, self._shared.get, f'{name}/{part}', 0.25)
            if not keep:
                self._ask(tick, self._shared.delete, f'{name}/{part}')
            yield piece[1:]
            if piece[:1] == b'.':
                return

    @property
    def _shared(self) -> Board:
        assert self._board is not None, 'a process alone shares nothing'
        return self._board

    def _ask(self, tick: Callable[[], None] | None, call: Callable[..., Any], *args: Any) -> Any:
        """Asks the board. The call is made in another thread: one to a board that was lost may never return.

        Raises:
            ProcessError: no answer, for longer than the watch takes to notice and to tell.
        """
        reply: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

        def answer() -> None:
            try:
                reply.put((call(*args), None))
            except Exception as error:  # whatever the board's failure is called
                reply.put((None, error))

        self._calls.put(answer)
        deadline = time.monotonic() + 4 * self._limit * self._round_seconds
        failure = None
        while time.monotonic() < deadline:
            if tick:
                tick()
            with contextlib.suppress(queue.Empty):
                value, failure = reply.get(timeout=0.1)
                if failure is None:
                    return value
                time.sleep(self._round_seconds / 4)  # the watch says in a moment what has happened
                self._calls.put(answer)
        raise ProcessError(f'{self.name(0)} does not answer: {REMEDY}') from failure

    def _call(self) -> None:
        while True:
            self._calls.get()()

    def _rounds(self, work: Callable[[], None]) -> None:
        while not self._over.wait(self._round_seconds):
            work()

    def _beat(self) -> None:
        """A sign of life, and what the others say."""
        board = self._shared
        self._round += 1
        try:
            board.put(f'beat/{self.index}', json.dumps([self._round, *self._progress]).encode())
            for index, notice in board.folder('notice').items():
                if int(index) != self.index and int(index) not in self._seen:
                    self._seen.add(int(index))
                    self._notices.append((int(index), json.loads(notice)))
                    board.put(f'heard/{self.index}', b'')
            if self.is_first:
                self._listen({int(index): json.loads(beat) for index, beat in board.folder('beat').items()})
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
                self._gone.add(index)
                self.give_notice('lost', why)
                self._lose(why)
                return

    def _lose(self, why: str) -> None:
        self._over.set()
        self._ears.on_lost(f'{why}; {REMEDY}')


def _start(work: Callable[..., None], *args: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread
