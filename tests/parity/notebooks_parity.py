"""The quickstart notebook with the model that it names, not a random one."""

from tests.notebooks_test import execute, kinds_of, words_of  # noqa: F401 - a fixture


def test_the_quickstart_runs_with_its_own_model(execute):  # noqa: F811
    found = execute('01_quickstart', MODEL='smollm2-135m', QUESTIONS=4)
    words = words_of(found)
    assert any(line.isdigit() for line in words.splitlines()), 'it answers with a number, if not with the right one'
    assert 'apples' in words and 'GFLOPs: prompt' in words and 'best_of_n, log-prob  n = 16' in words
    assert 'image/png' in kinds_of(found)
