"""Renders a conversation with a model's own chat template.

Templates are Jinja programs inside weights files. They run sandboxed, in one worker process that is started when first
needed, kept, and killed when it does not answer: an endless loop or a gigabyte of output becomes a `TokenizerError` after
some seconds. The date that a template may print is given, not read from a clock: a prompt must not change overnight.
"""

import atexit
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from jaxreason.core.errors import TokenizerError

WALL_SECONDS = 20.0  # the worker limits its CPU time itself; this is for one that cannot
MAX_TEMPLATE_CHARACTERS = 1 << 20
DATE = '2024-07-26'  # what Llama 3's template prints where there is no clock


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, str]],
    *,
    add_generation_prompt: bool = True,
    bos_token: str = '',
    eos_token: str = '',
    date: str = DATE,
) -> str:
    """Renders `messages`.

    Args:
        template: Jinja source.
        messages: turns, each with `role` and `content`.
        add_generation_prompt: whether to open the assistant's next turn.
        bos_token: text of the beginning-of-sequence token.
        eos_token: text of the end-of-sequence token.
        date: ISO date that the template may print.

    Returns:
        The conversation as one text, special tokens written out.

    Raises:
        TokenizerError: the template is damaged, refuses the conversation, or takes too much time, memory or room.
    """
    if len(template) > MAX_TEMPLATE_CHARACTERS:
        raise TokenizerError(f'chat template: {len(template)} characters, at most {MAX_TEMPLATE_CHARACTERS} are rendered.')
    variables = {
        'messages': [dict(message) for message in messages],
        'add_generation_prompt': add_generation_prompt,
        'bos_token': bos_token,
        'eos_token': eos_token,
    }
    reply = _WORKER.ask({'template': template, 'variables': variables, 'date': date})
    if 'text' not in reply:
        reason = ' '.join(str(reply.get('error')).split())
        raise TokenizerError(f'chat template: could not be rendered ({reason}); mend it, or use the plain prompt template.')
    return reply['text']


class _Worker:
    """The process that renders; one for this process, restarted after a failure."""

    def __init__(self):
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._owner = 0

    def ask(self, request: dict) -> dict:
        line = json.dumps(request).encode() + b'\n'
        with self._lock:
            try:
                process = self._started()
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write(line)
                process.stdin.flush()
                return json.loads(self._read_line(process.stdout))
            except (OSError, ValueError, TimeoutError) as error:
                self._stop()
                return {'error': f'the renderer stopped: {error}'}
            except BaseException:  # an interrupt: the pending reply must not answer the next request
                self._stop()
                raise

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _started(self) -> subprocess.Popen:
        # A forked child shares the pipes of its parent, and must not read the parent's replies.
        if self._process is None or self._process.poll() is not None or self._owner != os.getpid():
            script = str(Path(__file__).with_name('template_worker.py'))
            self._process = subprocess.Popen(
                [sys.executable, '-P', script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._owner = os.getpid()
        return self._process

    def _stop(self) -> None:
        # A forked child leaves the process to the parent that started it.
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
        self._process = None

    @staticmethod
    def _read_line(pipe: IO[bytes]) -> bytes:
        deadline = time.monotonic() + WALL_SECONDS
        parts: list[bytes] = []
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while not parts or not parts[-1].endswith(b'\n'):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f'no answer within {WALL_SECONDS:g} s')
                part = os.read(pipe.fileno(), 1 << 20)
                if not part:
                    raise OSError('it used too much memory or crashed')
                parts.append(part)
        return b''.join(parts)


_WORKER = _Worker()
atexit.register(_WORKER.close)
