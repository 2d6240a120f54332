import hashlib

import jax
import numpy as np
import pytest

from jaxreason.core.keys import check_seed, fold, question_key, question_words, text_id


def data(key):
    return tuple(int(x) for x in jax.random.key_data(key))


def key_of(seed, question_id):
    return question_key(*map(np.uint32, (seed, *question_words(question_id))))


def test_an_address_is_its_path():
    root = jax.random.key(3)
    assert data(fold(root, 'sample', 7, 2)) == data(fold(fold(fold(root, 'sample'), 7), 2))
    different = [fold(root, 'sample', 7, 2), fold(root, 'sample', 2, 7), fold(root, 'fork', 7, 2), fold(root, 'sample', 7)]
    assert len({data(key) for key in different}) == 4


def test_a_question_is_addressed_by_the_digest_of_its_id():
    digest = hashlib.sha256(b'gsm8k/12').hexdigest()
    assert question_words('gsm8k/12') == (int(digest[:8], 16), int(digest[8:16], 16))
    assert text_id('gsm8k/12') == digest[:16]
    assert question_words('\ud800') != question_words('\ud801')
    assert data(key_of(0, 'a')) != data(key_of(1, 'a')) != data(key_of(1, 'b'))


def test_golden_key():
    """A changed address would silently change every record: this number may only change with a note in the CHANGELOG."""
    key = jax.random.fold_in(key_of(42, 'basic-001'), 3)
    assert data(key) == (3381520546, 1791688045)


@pytest.mark.parametrize('seed', [-1, 2**32, 2**64])
def test_seeds_outside_32_bits_are_refused(seed):
    with pytest.raises(ValueError, match='seed must be in'):
        check_seed(seed)
    assert check_seed(2**32 - 1) == 2**32 - 1
