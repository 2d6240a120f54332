"""`jaxreason solve`: questions in, votes and answers out."""

import json
from pathlib import Path

import pytest

from jaxreason.cli.solve import _print
from jaxreason.core.cost import Cost
from jaxreason.core.types import Candidate, Finish, Outcome, Question

GOLDEN = Path(__file__).parents[1] / 'engine' / 'golden' / 'math-shepherd'
MAJORITY = 'strategy={kind: majority, n: 4}'


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_it_prints_question_votes_answer_and_cost(command, tiny):
    code, out, err = command('solve', '1+1 = ?', *tiny, MAJORITY)
    assert (code, err) == (0, '')
    assert out.startswith('1+1 = ?\n') and 'answer: ' in out and 'GFLOPs' in out and ' of 4' in out


def test_json_is_one_object_a_question_in_order(command, tiny):
    code, out, err = command('solve', '1+1 = ?', '2+2 = ?', '--json', *tiny, MAJORITY)
    found = lines(out)
    assert (code, err) == (0, '') and [one['question']['text'] for one in found] == ['1+1 = ?', '2+2 = ?']
    for one in found:
        assert len(one['candidates']) == 4
        assert one['answer'] == (one['votes'][0][0] if one['votes'] else None)
        assert one['cost']['new_tokens'] == sum(c['cost']['new_tokens'] for c in one['candidates']) > 0
    assert lines(command('solve', '2+2 = ?', '--json', *tiny, MAJORITY)[1]) == found[1:], 'a neighbour changes nothing'


BEAM = 'strategy={kind: beam_search, n: 6, beam_width: 2, verifier: mean_logprob}'


@pytest.mark.parametrize('strategy', [MAJORITY, BEAM])
def test_the_tree_is_a_line_a_step(command, tiny, strategy):
    (found,) = lines(command('solve', '1+1 = ?', '--json', *tiny, strategy)[1])
    code, out, err = command('solve', '1+1 = ?', '--show-tree', *tiny, strategy)
    plain = command('solve', '1+1 = ?', *tiny, strategy)[1]
    assert (code, err) == (0, '') and out.splitlines()[-2] == plain.splitlines()[-2], 'the answer and its price are the same'
    assert out.count('left after round') == len(found['pruned'])
    assert out.count('◀ chosen') == sum(c['answer'] == found['answer'] for c in found['candidates']) > 0
    assert all(branch['cost']['discarded'] >= 0 for branch in found['pruned'])
    steps = sum(len(c['steps']) - c['forked_at'] for c in found['candidates']) + sum(len(b['steps']) for b in found['pruned'])
    heads = [line.split() for line in out.splitlines()].index(['answer', 'weight', 'solutions'])
    assert heads == 1 + steps, 'below the question stands the tree, below that the votes'


def test_a_dry_run_says_what_answering_needs_and_answers_nothing(command, tiny, tmp_path):
    prm = {'prm': {'source': str(GOLDEN), 'preset': 'math-shepherd', 'max_context': 256}}
    strategy = 'strategy={kind: best_of_n, n: 4, verifier: prm}'
    words = ('1+1 = ?', '2+2 = ?', '--dry-run', *tiny, strategy, f'verifiers={json.dumps(prm)}')
    code, out, err = command('solve', *words)
    assert (code, err) == (0, '') and 'max_context: 256' in out and 'answer:' not in out
    for part in (
        'questions     2, seed 0: 2 units',
        '4 rows in 2 slots',
        'verifier prm  30,368 parameters',
        'for the whole run',
    ):
        assert part in out, part
    assert not any(tmp_path.iterdir())


def test_the_seed_decides(command, tiny):
    texts = [command('solve', '1+1 = ?', '--json', *tiny, MAJORITY, f'seed={seed}')[1] for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(('effort', 'n'), [('low', 4), ('medium', 16), ('high', 64)])
def test_effort_is_the_number_of_solutions(command, tiny, effort, n):
    assert len(lines(command('solve', 'x', '--json', '--effort', effort, *tiny)[1])[0]['candidates']) == n
    same = command('solve', 'x', '--json', f'--effort={effort}', f'strategy={{kind: majority, n: {n}}}', *tiny)
    assert len(lines(same[1])[0]['candidates']) == n


def test_text_after_the_dashes_is_the_question(command, tiny):
    out = command('solve', '--json', *tiny, MAJORITY, '--', 'x=1', 'a.yaml', '--file')[1]
    assert lines(out)[0]['question']['text'] == 'x=1 a.yaml --file'


def test_files_hold_a_question_a_line_or_objects(command, tiny, tmp_path):
    (tmp_path / 'q.txt').write_text('1+1 = ?\r\n\n  a+b.c\n')
    (tmp_path / 'q.jsonl').write_text('{"question": "1+1 = ?", "id": 7}\n{"question": "a+b.c"}\n')
    for name in ('q.txt', 'q.jsonl'):
        found = lines(command('solve', '--file', name, '--json', *tiny, MAJORITY)[1])
        assert [one['question']['text'] for one in found] == ['1+1 = ?', 'a+b.c']


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('q.txt', b'', 'has none'),
        ('q.txt', b'\n \n', 'has none'),
        ('q.txt', b'a\n\xff', 'not UTF-8'),
        ('q.jsonl', b'', 'empty'),
        ('q.jsonl', b'{"question": "1"}\n\n{"question": 5}\n', 'line 3'),
        ('q.jsonl', b'{"text": "1"}\n', 'line 1'),
        ('q.jsonl', b'{"question": "1"\n', 'line 1'),
    ],
)
def test_files_without_questions_are_refused(refused, tiny, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    error = refused('solve', '--file', name, *tiny)
    assert name in error and message in error


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ([], 'needs a question'),
        (['--file', 'nothing.txt'], 'nothing.txt'),
        (['x', 'strategy.m=2'], 'unknown key'),
        (['x', 'strategy={kind: greedy}', '--effort', 'low'], '4 solutions, strategy asks for 1: leave out'),
        (['x', '--effort', 'high', 'strategy.n=2'], '64 solutions, strategy asks for 2'),
        (['x', '--show-tree', '--json'], 'not allowed with argument --show-tree'),
        (['x', 'a.yaml'], 'a.yaml'),
        (['x', 'model.source=nowhere/at/all'], 'nowhere/at/all'),
        (['x', 'budget={generations: 2}'], 'budget allows 2'),
        (['x', 'strategy.n=1000000000'], 'at most 65,536'),
    ],
)
def test_mistakes_are_one_line(refused, words, message):
    assert message in refused('solve', *words)


def test_what_a_model_wrote_cannot_drive_the_terminal(capsys):
    text = '[bold]x[/]\x1b[2J\nThe answer is \x1b]0;4\x07.'
    shape = {'tokens': (1,), 'steps': (text,), 'step_ends': (1,), 'finish': Finish.STOP}
    candidate = Candidate(sample=0, text=text, answer='\x1b]0;4\x07', cost=Cost(new_tokens=1), **shape)
    question = Question('q', 'What\x1b[31m\nis [it]?')
    votes = (('\x1b]0;4\x07', 1.0),)
    _print(
        Outcome(
            question=question,
            answer=candidate.answer,
            candidates=(candidate,),
            votes=votes,
            cost=Cost(decode=10**9, new_tokens=1),
        )
    )
    out = capsys.readouterr().out
    assert '\x1b' not in out and '\x07' not in out
    assert 'What\\x1b[31m\nis [it]?' in out and '[bold]x[/]\\x1b[2J\n' in out and 'answer: \\x1b]0;4\\x07' in out
    assert '1 tokens, 1.0 GFLOPs' in out


def test_solutions_that_a_verifier_could_not_score_are_a_line(capsys):
    shape = {'text': 'x', 'tokens': (1,), 'steps': ('x',), 'step_ends': (1,), 'finish': Finish.STOP, 'answer': '4'}
    reasons = [{'prm': 'too_long'}, {}, {'prm': 'nan'}, {'prm': 'too_long'}]
    candidates = tuple(Candidate(sample=index, unscored=reason, **shape) for index, reason in enumerate(reasons))
    for shown, words in ((candidates, '3 of 4 samples (1 nan, 2 too long); they count as 0.'), (candidates[1:2], '')):
        _print(Outcome(question=Question('q', '?'), answer='4', candidates=shown, votes=(('4', 1.0),), cost=Cost()))
        assert [line for line in capsys.readouterr().out.splitlines() if 'could not' in line] == (
            [f'prm could not score {words}'] if words else []
        )


VOTES = 'difficulty: {kind: votes, n: 2, cuts: [%s]}'
ONE_A_BIN = 'bins: [{kind: majority, n: 3}, {kind: beam_search, n: 4, beam_width: 2, verifier: mean_logprob}]'
BY_HAND = 'strategy={kind: compute_optimal, %s, %s}'


@pytest.mark.parametrize(
    ('cut', 'level', 'said'),
    [(0.0, 1, 'level 1 of 2, answered by majority of 3'), (1.1, 2, 'level 2 of 2, answered by beam_search of 4')],
)
def test_an_adaptive_strategy_says_how_hard_the_question_is_and_what_answered(command, tiny, cut, level, said):
    strategy = BY_HAND % (VOTES % cut, ONE_A_BIN)
    plain = command('solve', '1+1 = ?', *tiny, strategy)
    tree = command('solve', '1+1 = ?', '--show-tree', *tiny, strategy)
    for code, out, err in (plain, tree):
        assert (code, err) == (0, '') and out.splitlines()[-3] == f'difficulty: {said}'
    (found,) = lines(command('solve', '1+1 = ?', '--json', *tiny, strategy)[1])
    assert found['level'] == level and (found['cost']['probe'] > 0) == (level == 2), 'a majority goes on with what was drawn'
    assert len(found['candidates']) == 3 if level == 1 else found['pruned']


def test_where_all_bins_are_alike_nothing_is_looked_for(command, tiny):
    alike = 'bins: [{kind: majority, n: 3}, {kind: majority, n: 3}]'
    out = command('solve', '1+1 = ?', *tiny, BY_HAND % (VOTES % 0.5, alike))[1]
    assert 'difficulty: makes no difference, answered by majority of 3\n' in out
    (found,) = lines(command('solve', '1+1 = ?', '--json', *tiny, BY_HAND % (VOTES % 0.5, alike))[1])
    (same,) = lines(command('solve', '1+1 = ?', '--json', *tiny, MAJORITY.replace('4', '3'))[1])
    assert found == same and found['level'] is None


def test_a_budget_that_ends_with_looking_says_so(command, tiny):
    cut_off = BY_HAND % (VOTES % 1.1, ONE_A_BIN)
    out = command('solve', '1+1 = ?', *tiny, cut_off, 'budget={tokens: 20}')[1]
    assert 'difficulty: nothing more found, answered by the samples looked at\n' in out
    (found,) = lines(command('solve', '1+1 = ?', '--json', *tiny, cut_off, 'budget={tokens: 20}')[1])
    assert found['cost']['new_tokens'] <= 20 and found['level'] is None and len(found['candidates']) == 2


ALLOCATION = """\
difficulty: {kind: votes, n: 2, cuts: [1.1]}
table:
- {n: 4, bins: [{kind: majority, n: 1}, {kind: majority, n: 4}]}
- {n: 16, bins: [{kind: majority, n: 1}, {kind: majority, n: 13}]}
- {n: 64, bins: [{kind: majority, n: 1}, {kind: best_of_n, n: 60, verifier: self_certainty}]}
"""


@pytest.mark.parametrize(('effort', 'n'), [('low', 4), ('medium', 13), ('high', 60)])
def test_effort_is_a_row_of_an_allocation(command, tiny, tmp_path, effort, n):
    (tmp_path / 'allocation.yaml').write_text(ALLOCATION)
    for kind in ([], ['strategy.kind=compute_optimal']):
        words = ('strategy.allocation=allocation.yaml', *kind, '--effort', effort, '--json', *tiny)
        (found,) = lines(command('solve', '1+1 = ?', *words)[1])
        assert (found['level'], len(found['candidates'])) == (2, n)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['strategy.allocation=nothing.yaml'], 'nothing.yaml'),
        (['strategy.allocation=damaged.yaml'], 'damaged.yaml'),
        (['strategy.allocation=bins.yaml'], '1 cuts make 2 bins, n = 4 has 1'),
        (['strategy.allocation=good.yaml', 'strategy.n=65'], 'knows budgets from n = 4 to 64, got 65'),
        (['strategy.allocation=good.yaml', 'strategy.n=3'], 'knows budgets from n = 4 to 64, got 3'),
        (['strategy.allocation=good.yaml', 'budget={generations: 59}'], 'begins 60 solutions, the budget allows 59'),
        (['strategy={kind: compute_optimal}'], 'takes either allocation: FILE, or difficulty and bins'),
        (['strategy={kind: compute_optimal, allocation: good.yaml, bins: [{kind: greedy}]}'], 'takes either allocation'),
        ([BY_HAND % (VOTES % 0.5, ONE_A_BIN + ', n: 4')], 'bins given by hand: leave it out'),
        ([BY_HAND % (VOTES % 0.5, ONE_A_BIN), '--effort', 'high'], '64 solutions, strategy asks for 4'),
        ([BY_HAND % (VOTES % 0.5, ONE_A_BIN), 'budget={generations: 5}'], 'begins 6 solutions, the budget allows 5'),
        ([BY_HAND % ('difficulty: {kind: known, source: nowhere}', ONE_A_BIN)], 'nowhere/difficulty.jsonl: cannot be read'),
    ],
)
def test_an_allocation_that_cannot_be_used_is_one_line(refused, tiny, tmp_path, words, message):
    (tmp_path / 'good.yaml').write_text(ALLOCATION)
    (tmp_path / 'damaged.yaml').write_bytes(b'difficulty: {kind: votes\ntable: \xff')
    (tmp_path / 'bins.yaml').write_text('difficulty: {kind: votes, n: 1, cuts: [0.5]}\ntable: [{n: 4, bins: [{kind: greedy}]}]')
    assert message in refused('solve', '1+1 = ?', *tiny, *words)
