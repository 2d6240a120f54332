"""The shipped questions: every answer and every step is right, by an arithmetic of the test's own."""

import json
import re
from fractions import Fraction
from pathlib import Path

import pytest

from jaxreason.data.datasets import BASIC, load_problems

FILES = (BASIC, BASIC.with_name('few_shot.jsonl'))
_EQUATION = re.compile(r'((?:\(?\d[\d.]*\)?\s*[-+*/]\s*)+\(?\d[\d.]*\)?)\s*=\s*(-?\d[\d.]*\d|\d+)')


def evaluate(expression: str) -> Fraction:
    """Sums, products and brackets over numbers, by recursive descent."""
    words = re.findall(r'\d+(?:\.\d+)?|[-+*/()]', expression)
    assert ''.join(words) == expression.replace(' ', ''), expression

    def atom() -> Fraction:
        word = words.pop(0)
        if word == '(':
            value = summed()
            assert words.pop(0) == ')'
            return value
        return -atom() if word == '-' else Fraction(word)

    def product() -> Fraction:
        value = atom()
        while words and words[0] in '*/':
            value = value * atom() if words.pop(0) == '*' else value / atom()
        return value

    def summed() -> Fraction:
        value = product()
        while words and words[0] in '+-':
            value = value + product() if words.pop(0) == '+' else value - product()
        return value

    value = summed()
    assert not words, expression
    return value


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]


def test_the_arithmetic_of_this_test():
    assert evaluate('2 + 3 * (4 - 6) / 8 - -1') == Fraction(9, 4)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_answers_and_steps_are_right(path):
    for row in rows(path):
        *steps, last = row['answer'].split('\n')
        value = evaluate(row['expression'])
        assert value.denominator == 1 and last == f'#### {value}', row['id']
        assert re.search(rf'\b{value}\b', steps[-1]), row['id']
        equations = [pair for step in steps for pair in _EQUATION.findall(step)]
        assert equations, row['id']
        for left, right in equations:
            assert evaluate(left) == Fraction(right), (row['id'], left, right)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_numbers_of_the_question_are_those_of_the_expression(path):
    words = {
        'half': '2',
        'quarter': '4',
        'quarters': '4',
        'third': '3',
        'thirds': '3',
        'fifth': '5',
        'twice': '2',
        'double': '2',
    }
    words |= {name: str(n) for n, name in enumerate(('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven'))}
    for row in rows(path):
        text = row['question'].lower()
        known = set(re.findall(r'\d+', text)) | {words[word] for word in re.findall(r'[a-z]+', text) if word in words}
        unknown = set(re.findall(r'\d+', row['expression'])) - known
        assert len(unknown) <= 2, (row['id'], unknown)


def test_the_set_is_as_described():
    problems = load_problems('basic')
    assert [problem.id for problem in problems] == sorted({problem.id for problem in problems})
    assert len(problems) == len({problem.text for problem in problems}) >= 120
    levels = [problem.level for problem in problems]
    assert sorted(set(levels)) == ['1', '2', '3', '4'] and levels.count('1') + levels.count('2') >= 60
    assert all(1 <= len(problem.steps) <= 4 for problem in problems)
    assert all(set(row) == {'id', 'question', 'answer', 'expression', 'level'} for path in FILES for row in rows(path))
