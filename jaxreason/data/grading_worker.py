"""The process that runs math-verify for `grading_pool`: a script of its own, started by path, importing nothing of ours.

It reads length-framed JSON from standard input and answers on what was standard output. The kernel ends it when a request
takes too much processor time or memory; it ends itself when its input closes or its parent is gone. math-verify is called
without its own time-outs, which are whole seconds of `SIGALRM`.

It answers "equal" for exact equality only: decimals are handed over as fractions, and numerical agreement means 50 digits.
"""

import contextlib
import json
import os
import re
import resource
import select
import signal
import struct
import sys

CPU_SECONDS = 1.0  # per request; with the start of a new worker it stays below two
MEMORY_BYTES = 500 << 20  # of address space, all of Python and SymPy included
PARENT_CHECK_SECONDS = 5.0
_DECIMAL = re.compile(r'(?<![\d.])(\d*)\.(\d+)(?![\d.])')


def main() -> None:
    """Serves requests until the input closes."""
    source = sys.stdin.fileno()
    sink = os.dup(sys.stdout.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what a library prints must not enter the protocol
    parent = os.getppid()
    signal.signal(signal.SIGPROF, signal.SIG_DFL)

    import logging

    logging.disable(logging.CRITICAL)
    _equal('\\frac{x}{2}', '\\frac{1}{2} x')  # imports and builds the grammar before the limits count
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    _write(sink, {'ready': True})
    while True:
        ready, _, _ = select.select([source], [], [], PARENT_CHECK_SECONDS)
        if not ready:
            if os.getppid() != parent:
                return
            continue
        request = _read(source)
        if request is None:
            return
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            reply: dict[str, bool | None] = {'equal': _equal(request['gold'], request['answer'])}
        except MemoryError:
            reply = {'equal': None}
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write(sink, reply)
        if reply['equal'] is None:
            return  # after running out of memory a fresh process is safer


def _equal(gold: str, answer: str) -> bool:
    from math_verify import LatexExtractionConfig, parse, verify

    parsed = []
    for text in (gold, answer):
        exact = _DECIMAL.sub(lambda m: f'\\frac{{{int(m[1] + m[2])}}}{{{10 ** len(m[2])}}}', text)
        values = parse(f'${exact}$', [LatexExtractionConfig()], fallback_mode='no_fallback', parsing_timeout=None)
        if not values:
            return False
        parsed.append(values)
    return bool(verify(parsed[0], parsed[1], float_rounding=50, numeric_precision=50, timeout_seconds=None))


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS knows no limit of address space
        resource.setrlimit(which, (ceiling, hard))


def _read(source: int) -> dict | None:
    header = _read_exactly(source, 4)
    if header is None:
        return None
    body = _read_exactly(source, struct.unpack('>I', header)[0])
    return None if body is None else json.loads(body)


def _read_exactly(source: int, count: int) -> bytes | None:
    data = b''
    while len(data) < count:
        chunk = os.read(source, count - len(data))
        if not chunk:
            return None
        data += chunk
    return data


def _write(sink: int, reply: dict) -> None:
    body = json.dumps(reply).encode()
    os.write(sink, struct.pack('>I', len(body)) + body)


if __name__ == '__main__':
    main()
