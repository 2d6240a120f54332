"""The answer that a response names: boxes, statements, thinking blocks, hedges, withdrawals, hostile lengths."""

import dataclasses
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core.types import Finish, Question, Row
from jaxreason.data.answers import answer_of, extract_answer, last_line
from jaxreason.data.boxes import find_boxes
from jaxreason.data.thinking import outside_thinking


@pytest.mark.parametrize(
    ('text', 'answer'),
    [
        ('The answer is $42$.', '$42$'),
        ('**Answer: 42**', '42'),
        ('**Answer:** 42', '42'),
        ('Answer:42', '42'),
        ('So the final answer is: 42 apples', '42 apples'),
        ('#### 42', '42'),
        ('5 + 7 = 12 clips.\n#### 12', '12'),
        ('The answer is −11.', '−11'),
        ('The answer is 3 1/4.', '3 1/4'),
        ('The answer is 4.5.', '4.5'),
        ('The answer is 0.333...', '0.333...'),
        ('Answer: 4:30 p.m.', '4:30 p.m.'),
        ('The correct answer is **B**.', 'B'),
        ('<answer>42</answer>', '42'),
        ('## Final Answer\n\\[ 42 \\]', '42'),
        ('**Final Answer**\n\n42', '42'),
        ('The answer is:\n\n$$\\frac{1}{2}$$\n', '\\frac{1}{2}'),
        ('The answer is 18 dollars because 3 * 6 = 18.', '18 dollars'),
        ('the answer is $18, which is nice', '$18'),
        ('What is 3 + 4? The answer is 7.', '7'),
        ('So if John has 3 apples, the answer is 3.', '3'),
        ('The answer is no, it cannot be done.', 'no'),
        (r'\[ x = \boxed{\frac{1}{2}} \]', r'\frac{1}{2}'),
        (r'\boxed 5', '5'),
        (r'\fbox{5}', '5'),
        (r'$\boxed{\{6,4\}}$', r'\{6,4\}'),
    ],
)
def test_what_chat_models_write(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    'text',
    [
        '',
        ':',
        'Thought process:',
        'Options: 18, 19, 20',
        '42',
        'There are 42 of them.',
        "I can't tell.",
        'The answer is not 19.',
        'Answer the following question: 5 + 3',
        'If the answer is 19 then we are done.',
        "I don't think the answer is 19.",
        'Could it be that the answer is 19?',
        r'$\boxed{}$',
        r'$\boxed{20',
        r'<think>\boxed{20}',
        '#### Explanation\nfirst we add',
    ],
)
def test_nothing_is_inferred_where_no_answer_is_named(text):
    assert extract_answer(text) is None


@pytest.mark.parametrize(
    ('text', 'answer'),
    [
        (r'The answer is 19, so \boxed{20}.', '20'),
        (r'\boxed{20}. The answer is 19.', '20'),
        (r'\boxed{19} and then, after adding the last one of them, \boxed{20}', '20'),
        ('The answer is 19. Then we add one. The answer is 20.', '20'),
        (r'<think>\boxed{19}</think>\boxed{20}', '20'),
        (r'opened by the prompt \boxed{19}</think>\boxed{20}', '20'),
        (r'\boxed{20}<think>\boxed{19}</think>', '20'),
        (r'<THINKING>The answer is 19.</THINKING>The answer is 20.', '20'),
        (r'\boxed{2 \cdot \boxed{20}}', r'2 \cdot {20}'),
        ('\\boxed{ was never closed\n\nbut later \\boxed{20}', '20'),
    ],
)
def test_the_last_outer_box_outside_thinking_wins(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ('text', 'answer'),
    [
        (r'$\boxed{20}$ or $\boxed{21}$', '20 or 21'),
        (r'$\boxed{20}$, maybe $\boxed{21}$', '20 or 21'),
        (r'\boxed{20} or maybe 21', '20 or 21'),
        (r'\boxed{20} \pm 5', '20 or 5'),
        ('Answer: 20. Answer: 21.', '20 or 21'),
        (r'The answer is \(20\) or \(21\).', r'\(20\) or \(21\)'),
        ('The answer is\n$$20$$ or $$21$$', '20 or 21'),
        (r'\boxed{20} \boxed{20.0}', '20.0'),
        ('The answer is 20.\n\nAnswer: 20', '20'),
    ],
)
def test_values_side_by_side_come_back_as_a_list(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ('text', 'answer'),
    [
        (r'$\boxed{19}$ no, $\boxed{20}$', '20'),
        (r'\boxed{19}. Wait, I made a mistake. The answer is 20.', '20'),
        ('The answer is 19. Actually, the answer is 20.', '20'),
        (r'The final answer is 19. I hope it helps. Correction: $\boxed{20}$', '20'),
        (r'\boxed{19}. That is wrong.', None),
        ("The answer is 19. Hmm, that's not right.", None),
        (r'\boxed{20}. Let me double check: yes, it fits.', '20'),
        (r'\boxed{20}. Note that 19 is wrong since it is odd, and some would say that is wrong.', '20'),
    ],
)
def test_withdrawn_values_do_not_count(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ('text', 'answer'),
    [
        (r'\boxed{18} is correct. A common mistake is 20, which is wrong.', '18'),
        (r'\boxed{18}. Some would say 20. It is wrong.', '18'),
        (r'\boxed{18}. 17 is close, but it is wrong.', '18'),
        (r'\boxed{18}, which is wrong.', None),
        (r'\boxed{18}. Check: 3 * 6 = 17. So that is wrong.', None),
    ],
)
def test_what_is_called_wrong_must_be_the_answer_itself(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ('text', 'answer'),
    [
        ('The answer is 42.\n\nQuestion: What is 1 + 2? The answer is 3.', '42'),
        ('\\boxed{18}.\n\nHuman: next\n\nAssistant: \\boxed{5}', '18'),
        ('#### 18\n\nQuestion: next\n\n#### 5', '18'),
        ('#### 18\n\n**Q2**: next\n\n#### 5', '18'),
        ('Problem 1: what?\nThe answer is 18.', '18'),
        ('Question: is the answer 7?\nAnswer: 18', '18'),
        ('The answer is 19.\nBut the question: was it odd? The answer is 20.', '20'),
    ],
)
def test_a_question_of_the_models_own_ends_the_response(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ('text', 'answer'),
    [
        ('Answer: 18. The answer is wrong if you forget the muffins.', '18'),
        ('The answer is a right triangle.', 'a right triangle'),
        ('The answer is 18, she is rich', '18'),
        ('The answer is 18; she is rich', '18'),
        ('Answer: 18: her profit', '18'),
        ('The answer is 18 and Tom has 3', '18'),
        ('The answer is 18 Explanation: She sells them', '18'),
        ('Answer: 18</s>', '18'),
        ('The answer comes to 18', '18'),
        ('The answer, then, is 18', '18'),
        ('Answer - 18', '18'),
        ('Answer: Alice and Bob', 'Alice and Bob'),
        ('Answer: x = 4; y = 6', 'x = 4; y = 6'),
        ('Answer: 9:45', '9:45'),
    ],
)
def test_a_stated_value_ends_where_the_next_clause_begins(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ('text', 'answer'),
    [
        ('**Answer:** Janet makes $18 every day.', '$18 every day'),
        ('The answer is that she has 18 apples', '18 apples'),
        (r'\boxed{\text{Janet makes 18 dollars}}', '18 dollars'),
        ('Answer: Room 5', 'Room 5'),
        ('Answer: Friday the 13th', 'Friday the 13th'),
        ('Answer: Tom has 3 and 4', 'Tom has 3 and 4'),
        ('Answer: She makes about 18 dollars', 'She makes about 18 dollars'),
        ('Answer: She paid 18 of 20 dollars', 'She paid 18 of 20 dollars'),
    ],
)
def test_a_sentence_gives_its_only_number(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    'text',
    [
        'Question: 1\n' * 200_000,
        'The answer is 5.\n' * 200_000 + 'Question:',
        'The answer is ? Question:\n' * 50_000,
        'answer, then ' * 200_000,
        'answer - ' * 200_000,
        'The answer is ' + 'is a ' * 500_000,
        '\\boxed{' + 'is ' * 100_000 + '5}',
        'lorem ipsum 12 dolor. ' * 450_000,
        '</think>' * 5000,
        '<think>' * 100_000,
        '\\boxed{' * 2000,
        '\\boxed{' * 100_000 + '3',
        '\\boxed{1}\n' * 20_000 + '\\boxed{',
        'answer ' * 200_000,
        'the final answer ' * 500_000,
        'answer$' * 300_000,
        'answer is ' * 500_000,
        '$' * 1_000_000,
        '{' * 1_000_000 + '\\boxed{',
        '\n' * 5_000_000 + 'answer',
        ' ' * 5_000_000 + 'answer is',
        '*' * 1_000_000 + 'answer: ' + '*' * 1_000_000,
        '#### ' * 500_000,
        'The answer is ' + '(' * 1_000_000,
    ],
    ids=lambda text: f'{text[:12]!r} x{len(text)}',
)
def test_hostile_lengths_cost_linear_time(text):
    start = time.process_time()
    extract_answer(text)
    assert time.process_time() - start < 2.0


def test_a_quarter_of_a_million_closed_boxes_are_read_once():
    assert extract_answer('\\boxed{7} then some other words. ' * 50_000) == '7'
    assert len(find_boxes('\\boxed{1}' * 1000)) == 1000


def test_thinking_is_removed_whole():
    assert outside_thinking('a<think>b</think>c<think>d').replace('\n\n', '|') == 'a|c'
    assert outside_thinking('b</think>c</think>d') == 'c</think>d'


@given(st.text(max_size=200))
@settings(deadline=None)
def test_no_text_raises(text):
    extract_answer(text)
    extract_answer('\\boxed{' + text)
    extract_answer('The answer is ' + text)


@given(
    value=st.integers(-(10**9), 10**9),
    before=st.text(alphabet='ab .\n$', max_size=40),
    after=st.text(alphabet='ab .\n$', max_size=40),
)
@settings(deadline=None)
def test_a_box_is_found_wherever_it_stands(value, before, after):
    assert extract_answer(f'{before}\\boxed{{{value}}}{after}') == str(value)


@pytest.mark.parametrize(
    ('text', 'line'),
    [('95\n65', '65'), ('95\n 65 \n\n', '65'), ('65', '65'), ('95\n\\boxed{3}', '\\boxed{3}'), (' \n', None), ('', None)],
)
def test_a_bare_answer_is_the_last_line(text, line):
    assert last_line(text) == line


@pytest.mark.parametrize('finish', Finish)
def test_a_bare_last_line_is_an_answer_only_where_the_policy_ended(finish):
    row = Row(handle=0, question=Question('q', '?'), sample=0, text='95\n65\n', finish=finish)
    assert answer_of(row) is None
    assert answer_of(dataclasses.replace(row, answer_format='last_line')) == ('65' if finish is Finish.STOP else None)
    stated = dataclasses.replace(row, text='\\boxed{7}\n65')
    assert answer_of(stated) == '7', 'whatever ended it'
