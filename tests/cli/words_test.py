"""Which word of a command line is what."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.cli.words import sort_words
from jaxreason.core.errors import ConfigError

FLAGS = ('out', 'json')


@pytest.mark.parametrize(
    ('words', 'config', 'overrides', 'options', 'text'),
    [
        (['a.yaml', 'x.y=1', '--out', 'd'], 'a.yaml', ('x.y=1',), ('--out', 'd'), ()),
        (['--x.y=1', '--out=d=e'], None, ('x.y=1',), ('--out=d=e',), ()),
        (['data.source=a.yaml'], None, ('data.source=a.yaml',), (), ()),
        (['x=', 'y=a=b', 'z=a\nb'], None, ('x=', 'y=a=b', 'z=a\nb'), (), ()),
        (['What is 2=x?'], None, (), ('What is 2=x?',), ()),
        (['2=x', '=x', '.a=1', 'a..b=1', 'a b=1', '-x=1'], None, (), ('2=x', '=x', '.a=1', 'a..b=1', 'a b=1', '-x=1'), ()),
        (['--json', '--', 'x=1', 'a.yaml', '--out', '--'], None, (), ('--json',), ('x=1', 'a.yaml', '--out', '--')),
        (['strategies.0.n=4'], None, ('strategies.0.n=4',), (), ()),
        (['-.yaml', 'a.yaml.txt'], None, (), ('-.yaml', 'a.yaml.txt'), ()),
        (['out=d'], None, ('out=d',), (), ()),
    ],
)
def test_words_are_sorted(words, config, overrides, options, text):
    assert sort_words(words, FLAGS) == (config, overrides, options, text)


def test_two_configurations_are_refused():
    with pytest.raises(ConfigError, match=r'a\.yaml and b\.yaml.*--'):
        sort_words(['a.yaml', 'b.yaml'], FLAGS)


@settings(deadline=None)
@given(words=st.lists(st.text(max_size=12)), text=st.lists(st.text(max_size=12)))
def test_no_word_is_lost_and_what_follows_the_dashes_is_text(words, text):
    words = [word for word in words if word != '--' and not word.endswith('.yaml')]
    sorted_words = sort_words([*words, '--', *text], FLAGS)
    assert sorted_words.text == tuple(text)
    assert len(sorted_words.overrides) + len(sorted_words.options) == len(words)
