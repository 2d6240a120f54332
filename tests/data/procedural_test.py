"""Generated problems: every worked step recomputed here, from the text of the question."""

import itertools
import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core.errors import ConfigError
from jaxreason.core.types import Finish, Question, Row, Verdict
from jaxreason.data.answers import answer_of
from jaxreason.data.grading import Grader
from jaxreason.data.procedural import KINDS, MAX_DIFFICULTY, NANO_CHARACTERS, generate, read_spec, stream

ADDRESSES = {'seed': st.integers(0, 2**32), 'index': st.integers(0, 10**6), 'difficulty': st.integers(1, 12)}


def evaluate(text: str, x: Fraction = Fraction(0)) -> Fraction:
    """Integers, `x`, + - * / with precedence, unary minus, brackets: the shunting-yard algorithm."""
    words = re.findall(r'\d+|x|[-+*/()]', text)
    assert ''.join(words) == text.replace(' ', ''), text
    values: list[Fraction] = []
    signs: list[str] = []
    strength = {'(': 0, '+': 1, '-': 1, '*': 2, '/': 2, '~': 3}

    def reduce(least: int) -> None:
        while signs and strength[signs[-1]] >= least:
            sign = signs.pop()
            right = values.pop()
            if sign == '~':
                values.append(-right)
                continue
            left = values.pop()
            values.append({'+': left + right, '-': left - right, '*': left * right}[sign] if sign != '/' else left / right)

    operand = True
    for word in words:
        if word == '(':
            signs.append(word)
        elif word == ')':
            reduce(1)
            assert signs.pop() == '('
            operand = False
        elif word in '+-*/' and operand:
            assert word == '-'
            signs.append('~')
        elif word in '+-*/':
            reduce(strength[word])
            signs.append(word)
            operand = True
        else:
            values.append(x if word == 'x' else Fraction(word))
            operand = False
    reduce(1)
    assert len(values) == 1 and not signs
    return values[0]


def matched(pattern: str, text: str) -> re.Match[str]:
    match = re.fullmatch(pattern, text)
    assert match is not None, (pattern, text)
    return match


def test_the_arithmetic_of_this_test():
    assert evaluate('2 + 3*(4 - 6)/8 - -1') == Fraction(9, 4)
    assert evaluate('7 - (2 - 3) - 4*x', Fraction(2)) == 0


@pytest.mark.parametrize('kind', KINDS)
@settings(deadline=None, max_examples=60)
@given(**ADDRESSES)
def test_a_problem_is_a_function_of_its_address(kind, seed, index, difficulty):
    problem = generate(kind, seed, index, difficulty)
    assert problem == generate(kind, seed, index, difficulty)
    assert len(problem.steps) == difficulty and problem.level == str(difficulty) and problem.subject == kind
    assert problem.steps[-1].endswith(problem.answer) or kind in ('word', 'nano_sloppy', 'nano_drafts', 'nano_duel')
    assert '\n' not in ''.join(problem.steps)
    assert [p.id for p in itertools.islice(stream(kind, seed, difficulty, index), 2)] == [
        problem.id,
        generate(kind, seed, index + 1, difficulty).id,
    ]


@settings(deadline=None, max_examples=150)
@given(**ADDRESSES)
def test_nano_runs_left_to_right_modulo_a_hundred(seed, index, difficulty):
    problem = generate('nano', seed, index, difficulty)
    assert set(problem.text) | set(''.join(problem.steps)) <= set(NANO_CHARACTERS)
    assert len(problem.text) == 3 + 3 * max(8, difficulty) and problem.text.endswith('=')
    start, *operations = matched(r'(\d\d)((?:[-+*]\d\d)+) *=', problem.text).group(1, 2)
    value, expected = int(start), []
    for sign, operand in re.findall(r'([-+*])(\d\d)', operations[0]):
        value = {'+': value + int(operand), '-': value - int(operand), '*': value * int(operand)}[sign] % 100
        expected.append(f'{value:02d}')
    assert list(problem.steps) == expected and problem.answer == expected[-1]


@settings(deadline=None, max_examples=150)
@given(**ADDRESSES)
def test_drafts_are_worked_result_first_and_from_the_last_word(seed, index, difficulty):
    problem = generate('nano_drafts', seed, index, difficulty)
    assert set(problem.text) | set(problem.answer) <= set(NANO_CHARACTERS)
    assert len(problem.text) == 5 * max(4, difficulty) and problem.text[-1] == '='
    words, result, expected = problem.text[:-1].split(), None, []
    assert len(words) == difficulty and '+' not in words[-1]
    for word in reversed(words):
        value, values = int(word.replace('+', str(result))[0]), ''
        for digit in word[1:]:
            value = max(value, int(digit)) - min(value, int(digit))
            values += str(value)
        expected.insert(0, values[-1] + values)
        result = value
    assert list(problem.steps) == expected and problem.answer == '='.join(expected)


def test_half_of_the_words_of_drafts_begin_with_the_next_result():
    words = [word for index in range(400) for word in generate('nano_drafts', 't', index, 4).text[:-1].split()]
    assert 0.45 < sum(word[0] == '+' for word in words) / (0.75 * len(words)) < 0.55


def test_a_line_of_drafts_is_one_answer():
    """Every word of it counts, in its place."""
    with Grader(num_workers=1) as grader:
        _check_lines(grader)


def _check_lines(grader):
    for index in range(50):
        gold = generate('nano_drafts', 't', index, 4).answer
        words = gold.split('=')
        swapped = '='.join([words[1], words[0], *words[2:]])
        wrong = [gold[:at] + str((int(gold[at]) + 1) % 10) + gold[at + 1 :] for at in (0, 6, 13, 18)]
        for given_answer in (swapped, gold.replace('=', ''), '='.join(words[:3]), words[-1], *wrong):
            expected = Verdict.CORRECT if given_answer == gold else Verdict.WRONG
            assert grader.grade_answer(gold, given_answer) is expected, (gold, given_answer)
        row = Row(handle=0, question=Question('q', ''), answer_format='last_line', sample=0, text=gold, finish=Finish.STOP)
        assert grader.grade_answer(gold, answer_of(row)) is Verdict.CORRECT


def _equation(step: str) -> tuple[Fraction, Fraction]:
    left, right = step.split('=')
    return evaluate(left), evaluate(right)


@settings(deadline=None, max_examples=150)
@given(**ADDRESSES)
def test_chain_follows_its_instructions(seed, index, difficulty):
    problem = generate('chain', seed, index, difficulty)
    value = Fraction(matched(r'Start with (\d+)\. .*', problem.text)[1])
    done = []
    for verb, operand in re.findall(r'(Add|Subtract|Multiply by) (\d+)\.', problem.text):
        before, n = value, Fraction(operand)
        value = {'Add': value + n, 'Subtract': value - n, 'Multiply by': value * n}[verb]
        done.append((before, value))
    assert problem.answer == str(value) and len(done) == difficulty
    for step, (before, after) in zip(problem.steps, done, strict=True):
        left, right = _equation(step)
        assert left == right == after and step.startswith(f'{before} ')


@settings(deadline=None, max_examples=300)
@given(**ADDRESSES)
def test_arithmetic_is_right_in_every_step(seed, index, difficulty):
    problem = generate('arithmetic', seed, index, difficulty)
    expression = matched(r'What is (.*)\?', problem.text)[1]
    assert evaluate(expression) == Fraction(problem.answer)
    assert len(re.findall(r'(?<=[\d)]) [-+*/] ', expression)) == difficulty
    for step in problem.steps:
        left, right = _equation(step)
        assert left == right and right.denominator == 1
    # Every operation works on numbers of the question or on results of earlier steps, each result used once.
    available = [Fraction(number) for number in re.findall(r'\d+', expression)]
    for step in problem.steps:
        parts = matched(r'(-?\d+) [-+*/] \(?(-?\d+)\)? = .*', step)
        available.remove(Fraction(parts[1]))
        available.remove(Fraction(parts[2]))
        available.append(_equation(step)[1])
    assert available == [Fraction(problem.answer)]


@settings(deadline=None, max_examples=200)
@given(**ADDRESSES)
def test_every_line_of_an_equation_has_the_same_solution(seed, index, difficulty):
    problem = generate('linear', seed, index, difficulty)
    left, right = problem.text.removeprefix('Solve for x: ').split('=')
    x = Fraction(problem.answer)
    assert evaluate(left, x) == evaluate(right, x)
    slope = [evaluate(left, Fraction(n)) - evaluate(right, Fraction(n)) for n in (0, 1)]
    assert slope[0] != slope[1]  # one solution, not none or all
    for step in problem.steps:
        for claim in re.sub(r'^Subtract [\dx*]+: ', '', step).split(', so '):
            values = {evaluate(side, x) for side in claim.split('=')}
            assert len(values) == 1, (step, values)
    assert problem.steps[-1].endswith(f'= {problem.answer}')


@settings(deadline=None, max_examples=200)
@given(**ADDRESSES)
def test_stories_are_told_and_worked_alike(seed, index, difficulty):
    problem = generate('word', seed, index, difficulty)
    sentences = re.findall(r'[^.?]+[.?]', problem.text)
    assert len(sentences) == difficulty + 2 and sentences[-1].endswith('?')
    value = Fraction(matched(r'\D*(\d+).*', sentences[0])[1])
    for sentence, step in zip(sentences[1:-1], problem.steps, strict=True):
        told = re.findall(r'\d+', sentence)
        left, right = matched(r'.*: (.*) = (\d+) \w+', step).groups()
        used = re.findall(r'\d+', left)
        assert used[0] == str(value) and sorted(used[1:]) == sorted(told)
        assert evaluate(left) == Fraction(right)
        value = Fraction(right)
        assert value.denominator == 1 and value > 0
    assert problem.answer == str(value)


@pytest.mark.parametrize('kind', KINDS)
def test_difficulty_is_the_number_of_steps(kind):
    lengths = [len(generate(kind, 0, 0, difficulty).steps) for difficulty in range(1, MAX_DIFFICULTY + 1)]
    assert lengths == list(range(1, MAX_DIFFICULTY + 1))


@pytest.mark.parametrize('kind', KINDS)
def test_problems_differ(kind):
    texts = {problem.text for problem in itertools.islice(stream(kind, 'train', 3), 200)}
    assert len(texts) > 190
    assert not texts & {problem.text for problem in itertools.islice(stream(kind, 'test', 3), 20)} or kind.startswith('nano')


def test_the_same_on_every_machine():
    golden = {
        'nano': ('61-21*06+56               =', '96'),
        'chain': ('Start with 6. Multiply by 2. Multiply by 6. Subtract 4. What number do you get?', '68'),
        'arithmetic': ('What is (1 * 16 + 15) * 5?', '155'),
        'linear': ('Solve for x: 2*x - 18 = 5*x - 54', '12'),
        'word': (
            'Ada saves 20 dollars. A kind bank multiplies the money by 3. Ada works 3 days and earns 11 dollars a day. '
            'An aunt adds 6 dollars. How many dollars does Ada have in the end?',
            '99',
        ),
    }
    for kind, (text, answer) in golden.items():
        problem = generate(kind, 0, 0, 3)
        assert (problem.text, problem.answer) == (text, answer)


@pytest.mark.parametrize(
    'arguments', [('sums', 0, 0, 1), ('word', 0, 0, 0), ('word', 0, 0, MAX_DIFFICULTY + 1), ('word', 0, -1, 1)]
)
def test_impossible_addresses_are_refused(arguments):
    with pytest.raises(ConfigError, match='procedural problems: '):
        generate(*arguments)


def test_a_name_may_give_a_range_of_difficulties():
    problems = list(itertools.islice(read_spec('procedural:linear:2-4', 'train', 7), 6))
    assert [problem.level for problem in problems] == ['2', '3', '4', '2', '3', '4']
    assert problems[4] == generate('linear', 'train7', 4, 3)
