"""Hostile chat templates end in one error, soon; the renderer serves the next request."""

import time

import pytest

from jaxreason.core.errors import TokenizerError
from jaxreason.data.chat_template import render_chat

TURNS = [{'role': 'user', 'content': ' hi '}]


def test_templates_are_rendered_as_the_ecosystem_does():
    source = '{% for m in messages %}\n  {% if loop.first %}\n{{ m.role }}: {{ m.content | trim }}\n  {% endif %}\n{% endfor %}'
    assert render_chat(source, TURNS) == 'user: hi\n'
    assert (
        render_chat('{{ messages | tojson }}', [{'role': 'user', 'content': '<é>'}]) == '[{"role": "user", "content": "<é>"}]'
    )
    assert render_chat('{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}', TURNS) == '01'
    assert (
        render_chat('{% generation %}a{% endgeneration %}{{ bos_token }}{{ eos_token }}', TURNS, bos_token='B', eos_token='E')
        == 'aBE'
    )
    assert render_chat('{{ add_generation_prompt }}', TURNS, add_generation_prompt=False) == 'False'
    assert render_chat("{{ strftime_now('%Y-%m-%d') }}", TURNS, date='2001-02-03') == '2001-02-03'


HOSTILE = {
    'attribute walk': ("{{ ''.__class__.__mro__[1].__subclasses__() }}", 'unsafe'),
    'attribute by filter': ("{{ (''|attr('__class__')).__mro__ }}", 'unsafe'),
    'change of arguments': ('{{ messages.append(1) }}', 'unsafe|Security'),
    'long range': ('{% for i in range(10**9) %}x{% endfor %}', 'Range'),
    'endless loop': ('{% for a in range(99999) %}' * 4 + '{% endfor %}' * 4, 'more than 2 s'),
    'endless macro': ('{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}', 'recursion'),
    'branching macro': (
        '{% macro f(n) %}{% if n %}{% set a = f(n-1) %}{% set b = f(n-1) %}{% endif %}{% endmacro %}{{ f(60) }}',
        '2 s',
    ),
    'gigabyte at once': ("{{ 'a' * 10**9 }}", 'could not be rendered'),
    'gigabyte in pieces': ("{% for i in range(99999) %}{{ 'a' * 99999 }}{% endfor %}", 'characters'),
    'doubling': (
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        'could not be rendered',
    ),
    'wide format': ("{{ '%1000000000d' % 1 }}", 'could not be rendered'),
    'wide date': ("{{ strftime_now('%999999999d') }}", 'not allowed'),
    'refusal': ("{{ raise_exception('no system turn\nplease') }}", 'no system turn please'),
    'unfinished': ('{% if %}', 'Expected an expression'),
    'unknown name': ('{{ nothing.at.all }}', 'undefined'),
    'file': ("{% include '/etc/passwd' %}", 'could not be rendered'),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_a_hostile_template_ends_in_one_error(name):
    source, message = HOSTILE[name]
    began = time.monotonic()
    with pytest.raises(TokenizerError, match=message) as caught:
        render_chat(source, TURNS)
    assert time.monotonic() - began < 20
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 700
    assert render_chat('{{ messages[0].content }}', TURNS) == ' hi '


def test_a_renderer_that_cannot_stop_itself_is_killed(monkeypatch):
    monkeypatch.setattr('jaxreason.data.chat_template.WALL_SECONDS', 3.0)  # one multiplication: no signal gets through
    with pytest.raises(TokenizerError, match='no answer within 3 s'):
        render_chat('{{ (7 ** (10 ** 8)) % 11 }}', TURNS)
    assert render_chat('{{ messages[0].content }}', TURNS) == ' hi '


def test_a_long_template_is_refused():
    with pytest.raises(TokenizerError, match='at most'):
        render_chat('x' * (2 << 20), TURNS)
