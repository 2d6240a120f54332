"""Renders chat templates in a process of its own; started by `chat_template.py`, never imported.

A template comes with a weights file, so it is a program of unknown origin. The sandbox keeps it from Python's objects; this
process keeps it from taking time or memory: a limit on the CPU time of each request, on the size of the process, on what it
may write. One request and one reply a line, as JSON.
"""

import datetime
import json
import re
import resource
import signal
import sys

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY_BYTES = 1 << 30
CPU_SECONDS = 2.0
MAX_CHARACTERS = 16 << 20
_DATE_FORMAT = re.compile(r'(?:[^%]|%-?[aAbBdHIjmMpSuwyYZ%])*')


class Refused(TemplateError):
    """The template asked for what it cannot have, or refuses the conversation."""


class Generation(Extension):
    """`{% generation %}` marks the assistant's words for training; it writes its body as it stands."""

    tags = {'generation'}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(('name:endgeneration',), drop_needle=True)


def render(request: dict) -> str:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
    date = datetime.datetime.fromisoformat(request['date'])
    environment.filters['tojson'] = to_json
    environment.globals['raise_exception'] = refuse
    environment.globals['strftime_now'] = lambda form: format_date(date, form)
    chunks, size = [], 0
    for chunk in environment.from_string(request['template']).generate(**request['variables']):
        size += len(chunk)
        if size > MAX_CHARACTERS:
            raise Refused(f'it writes more than {MAX_CHARACTERS} characters')
        chunks.append(chunk)
    return ''.join(chunks)


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False) -> str:
    """As plain JSON: Jinja's own filter escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def refuse(message):
    raise Refused(f'it says: {message}')


def format_date(date: datetime.datetime, form: str) -> str:
    # A width in a format (%999999999d) is a request for memory.
    if not isinstance(form, str) or len(form) > 100 or not _DATE_FORMAT.fullmatch(form):
        raise Refused(f'date format {str(form)[:40]!r} is not allowed')
    return date.strftime(form)


def out_of_time(signum, frame):
    raise Refused(f'it takes more than {CPU_SECONDS:g} s')


def answer(line: bytes) -> dict:
    try:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        return {'text': render(json.loads(line))}
    except Exception as error:  # whatever a template does wrong is told to the asker, by its kind
        return {'error': f'{type(error).__name__}: {error}'[:500]}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGPROF, out_of_time)
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(json.dumps(answer(line)).encode() + b'\n')
        sys.stdout.buffer.flush()


if __name__ == '__main__':
    main()
