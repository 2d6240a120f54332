"""Randomness is addressed, not threaded: a draw depends on what it is for, never on what ran before or beside it.

The address of a draw is (seed, question id, sample, position); a fork of rank 1 or more adds (fork, step, rank). So the first
4 of 64 samples are those of best-of-4, and permuting, splitting or re-sharding a batch changes no draw.
"""

import hashlib
import json
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jax

SEED_LIMIT = 2**32
_GENERATOR = 'threefry2x32'  # named, so that no setting of the user's JAX changes a draw


def fold(key: 'jax.Array', *path: 'str | int | jax.Array') -> 'jax.Array':
    """Key at `path` under `key`: strings by CRC-32, integers as they are."""
    import jax

    for part in path:
        key = jax.random.fold_in(key, zlib.crc32(part.encode()) if isinstance(part, str) else part)
    return key


def question_words(question_id: str) -> tuple[int, int]:
    """The id of a question as two 32-bit words: the first 16 hexadecimal digits of its SHA-256."""
    digest = hashlib.sha256(question_id.encode('utf-8', 'surrogatepass')).hexdigest()
    return int(digest[:8], 16), int(digest[8:16], 16)


def text_id(text: str) -> str:
    """An id for a question that came as plain text: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]


def address_number(*path: str | int) -> int:
    """A whole number in [0, 2^256) that the address alone decides: for choices that are made beside the device."""
    return int(hashlib.sha256(json.dumps(path).encode()).hexdigest(), 16)


def check_seed(seed: int) -> int:
    """Returns `seed`.

    Raises:
        ValueError: it is outside [0, 2^32).
    """
    if not 0 <= seed < SEED_LIMIT:
        raise ValueError(f'seed must be in [0, 2^32), got {seed}.')
    return seed


def question_key(seed: 'int | jax.Array', high: 'int | jax.Array', low: 'int | jax.Array') -> 'jax.Array':
    """Key under which all samples of a question lie, given its `question_words`."""
    import jax

    return fold(jax.random.key(seed, impl=_GENERATOR), 'sample', high, low)


def wrap_key(data: 'jax.Array') -> 'jax.Array':
    """The key whose data, two 32-bit words, this is."""
    import jax

    return jax.random.wrap_key_data(data, impl=_GENERATOR)
