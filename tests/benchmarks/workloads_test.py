import pytest
from harness import workloads as work

NAMES = {'a': (1, 128, 1, 128), 'b': (1, 128, 16, 2048), 'c': (8, 1024, 64, 8192), 'd': (16, 1992, 16, 1320)}


def words(text):
    """A tokenizer of words: enough to be cut to length."""
    return [hash(word) % 1000 for word in text.split()]


@pytest.fixture(scope='module')
def made():
    return work.workloads(words)


@pytest.mark.parametrize('name', NAMES)
def test_counts(made, name):
    workload = made[name]
    found = len(workload.prompts), workload.prompt_tokens, len(workload.rows), workload.new_tokens
    assert found == NAMES[name]


def test_uneven_spans_what_was_promised(made):
    lengths, targets = [len(prompt) for prompt in made['d'].prompts], [target for _, target in made['d'].rows]
    assert (min(lengths), max(lengths), min(targets), max(targets)) == (33, 250, 16, 256)


def test_prompts_differ_and_are_those_of_their_texts(made):
    for workload in made.values():
        assert len(set(workload.texts)) == len(workload.texts)
        assert [tuple(words(text)) for text in workload.texts] == list(workload.prompts)


def test_a_tokenizer_that_cannot_be_cut_to_length_is_told():
    with pytest.raises(ValueError, match='prompt of 128 tokens, got'):
        work.workloads(lambda text: words(text) * 3)


def test_a_warm_up_is_short_but_keeps_its_room(made):
    message = made['d'].message(4)
    assert {target for _, target in message['rows']} == {4} and message['most_tokens'] == 256
    assert message['prompts'] == made['d'].prompts


def test_nano_has_1024_rows_of_equal_prompts():
    nano = work.nano_workload(lambda text: [ord(letter) for letter in text])
    assert len(nano.rows) == 1024 and {len(prompt) for prompt in nano.prompts} == {work.NANO_PROMPT}
    assert len(set(nano.texts)) == work.NANO_PROMPTS
