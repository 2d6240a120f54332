"""Reads the tokenizer that a GGUF file carries.

Two models of text are in use there. `gpt2` is byte-level BPE with ranked merges; how text is cut into words first is named
by `tokenizer.ggml.pre`, one regular expression (or two) a family. `llama` is SentencePiece: no cut, and the pair to merge
is the one whose union has the best score; ranks follow from the scores.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jaxreason.core.errors import TokenizerError
from jaxreason.data.vocabulary import (
    END_PIECES,
    SPACE,
    Definition,
    SpacePrefix,
    Special,
    Spelling,
    check_ids,
    end_ids,
    piece_bytes,
)

if TYPE_CHECKING:
    import tokenizers
    from tokenizers.pre_tokenizers import PreTokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r'|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
_QWEN2 = _LLAMA3.replace(r'\p{N}{1,3}', r'\p{N}')
_CASED = (  # a word is upper case then lower case
    r'[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+'
    r'|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*'
)
_TEKKEN = _CASED + r'|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+'
_GPT4O = (
    '|'.join(part + _CONTRACTIONS + '?' for part in _CASED.split('|'))
    + r'|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
_QWEN35 = _CONTRACTIONS + r'|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
_DEEPSEEK3 = (
    r'\p{N}{1,3}',
    '[一-龥぀-ゟ゠-ヿ]+',
    r'[!"#$%&' + r"'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
    r'|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+',
)
_FALCON = (r'[\p{P}\$\+<=>\^~\|`]+', _GPT2, '[0-9][0-9][0-9]')
_DEFAULT = (r'[\p{P}\$\+<=>\^~\|]+', _GPT2, r'\p{N}+', '[0-9][0-9][0-9]')

# Name in the file -> expressions, applied one after the other, each cutting the pieces of the one before.
PRE_TOKENIZERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(('gpt-2', 'phi-2', 'olmo', 'jina-es', 'jina-de', 'mpt'), (_GPT2,)),
    **dict.fromkeys(('smollm', 'starcoder', 'refact', 'command-r', 'codeshell', 'exaone', 'minerva-7b'), (r'\p{N}', _GPT2)),
    **dict.fromkeys(('llama-bpe', 'llama3', 'llama-v3', 'dbrx', 'smaug-bpe'), (_LLAMA3,)),
    **dict.fromkeys(('qwen2', 'deepseek-r1-qwen', 'stablelm2'), (_QWEN2,)),
    **dict.fromkeys(('gpt-4o', 'llama4'), (_GPT4O,)),
    'tekken': (_TEKKEN,),
    'qwen35': (_QWEN35,),
    'deepseek-v3': _DEEPSEEK3,
    'falcon': _FALCON,
    'default': _DEFAULT,
}
# These look a whole word up before merging, and begin every sequence with a token unless the file says otherwise.
_WHOLE_WORDS = frozenset({'llama-bpe', 'llama3', 'llama-v3', 'tekken'})


def read_metadata(metadata: Mapping[str, object]) -> Definition:
    """Builds the tokenizer of a GGUF file.

    Args:
        metadata: keys and values; arrays are sequences.

    Raises:
        TokenizerError: a key is missing or damaged, or its kind is not supported.
    """
    model = metadata.get('tokenizer.ggml.model')
    if model not in ('gpt2', 'llama'):
        raise TokenizerError(
            f'GGUF tokenizer: model is {model!r}, supported are gpt2 (byte-level BPE) and llama (SentencePiece).'
        )
    spelling = Spelling.BYTE_LEVEL if model == 'gpt2' else Spelling.SENTENCEPIECE
    pieces = _texts(metadata, 'tokenizer.ggml.tokens')
    kinds = _kinds(metadata, pieces)
    check_ids((piece, index) for index, piece in enumerate(pieces))
    if len(set(pieces)) != len(pieces):
        twice = next(piece for index, piece in enumerate(pieces) if pieces.index(piece) != index)
        raise TokenizerError(f'GGUF tokenizer: token {twice[:40]!r} has two ids; the file is damaged.')
    specials = _specials(metadata, pieces, kinds)
    prefix = SpacePrefix.NEVER
    unknown_id = None
    if model == 'gpt2':
        backend = _byte_level(metadata, pieces, kinds)
    else:
        if metadata.get('tokenizer.ggml.add_space_prefix', True):
            prefix = SpacePrefix.ALWAYS
        unknown_id = next((index for index, kind in enumerate(kinds) if kind == UNKNOWN), None)
        unknown = None if unknown_id is None else pieces[unknown_id]
        backend = _sentencepiece(metadata, pieces, kinds, unknown, prefix)
    _add_user_pieces(backend, pieces, kinds)
    bos_id = _id(metadata, 'bos')
    named = [_id(metadata, name) for name in ('eos', 'eot', 'eom')]
    eos_ids = end_ids(named, specials)
    pad_id = _id(metadata, 'padding')
    add_bos = metadata.get(
        'tokenizer.ggml.add_bos_token', model == 'llama' or metadata.get('tokenizer.ggml.pre') in _WHOLE_WORDS
    )
    template = metadata.get('tokenizer.chat_template')
    return Definition(
        backend=backend,
        pieces=tuple(_bytes_of(piece, kind, spelling) for piece, kind in zip(pieces, kinds, strict=True)),
        specials=specials,
        bos_id=bos_id,
        eos_ids=eos_ids,
        pad_id=pad_id if pad_id is not None else eos_ids[0] if eos_ids else 0,
        add_bos=bool(add_bos) and bos_id is not None,
        space_prefix=prefix,
        chat_template=template if isinstance(template, str) else None,
        unknown_id=unknown_id,
    )


def _texts(metadata: Mapping[str, object], key: str) -> list[str]:
    values = metadata.get(key)
    if not isinstance(values, Sequence) or isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise TokenizerError(f'GGUF tokenizer: expected {key} to be an array of text, got {type(values).__name__}.')
    return list(values)


def _numbers(metadata: Mapping[str, object], key: str) -> list[float]:
    values = metadata.get(key)
    if not isinstance(values, Sequence) or not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        raise TokenizerError(f'GGUF tokenizer: expected {key} to be an array of numbers, got {type(values).__name__}.')
    return list(values)


def _kinds(metadata: Mapping[str, object], pieces: Sequence[str]) -> list[int]:
    """The kind of each piece. Ends of turns are control whatever the file says, or text could write them."""
    given = metadata.get('tokenizer.ggml.token_type')
    kinds = [NORMAL] * len(pieces) if given is None else [int(kind) for kind in _numbers(metadata, 'tokenizer.ggml.token_type')]
    if len(kinds) != len(pieces):
        raise TokenizerError(f'GGUF tokenizer: {len(pieces)} tokens but {len(kinds)} token types; the file is damaged.')
    control = {_id(metadata, name) for name in ('bos', 'eos', 'eot', 'eom')}
    return [
        CONTROL if kind in (NORMAL, USER_DEFINED) and (index in control or piece in END_PIECES) else kind
        for index, (piece, kind) in enumerate(zip(pieces, kinds, strict=True))
    ]


def _id(metadata: Mapping[str, object], name: str) -> int | None:
    value = metadata.get(f'tokenizer.ggml.{name}_token_id')
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TokenizerError(
            f'GGUF tokenizer: tokenizer.ggml.{name}_token_id is {value!r}, expected an id; the file is damaged.'
        )
    index = value
    # Converters write 2^32 - 1 for "none".
    return None if index in (-1, 0xFFFFFFFF) else index


def _specials(metadata: Mapping[str, object], pieces: Sequence[str], kinds: Sequence[int]) -> dict[str, Special]:
    # Phi-3's control tokens swallow the line break after them. The file does not say so: the reference goes by the model's
    # name.
    name = str(metadata.get('general.name', '')).lower()
    swallow = 'phi-3' in name or 'phi3' in name
    keep = ('<unk>', '<s>', '<|endoftext|>')
    return {
        piece: Special(index, rstrip=swallow and piece not in keep)
        for index, (piece, kind) in enumerate(zip(pieces, kinds, strict=True))
        if kind in (CONTROL, UNKNOWN)
    }


def _bytes_of(piece: str, kind: int, spelling: Spelling) -> bytes:
    if kind in (CONTROL, UNKNOWN, UNUSED):
        return b''
    return piece.encode('utf-8', errors='replace') if kind == USER_DEFINED else piece_bytes(piece, spelling)


def _byte_level(metadata: Mapping[str, object], pieces: Sequence[str], kinds: Sequence[int]) -> 'tokenizers.Tokenizer':
    from tokenizers import Tokenizer, models

    vocabulary = {piece: index for index, piece in enumerate(pieces) if kinds[index] in (NORMAL, USER_DEFINED)}
    merges = []
    for line in _texts(metadata, 'tokenizer.ggml.merges'):
        left, space, right = line.partition(' ')
        if not (space and left in vocabulary and right in vocabulary and left + right in vocabulary):
            raise TokenizerError(f'GGUF tokenizer: merge {line[:60]!r} joins pieces that are not in the vocabulary.')
        merges.append((left, right))
    name = str(metadata.get('tokenizer.ggml.pre', 'default'))
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=name in _WHOLE_WORDS))
    backend.pre_tokenizer = _pre_tokenizer(name)
    return backend


def _pre_tokenizer(name: str) -> 'PreTokenizer':
    from tokenizers import Regex, pre_tokenizers

    if name not in PRE_TOKENIZERS:
        known = ', '.join(sorted(PRE_TOKENIZERS))
        raise TokenizerError(f'GGUF tokenizer: pre-tokenizer {name[:40]!r} is not supported; supported are {known}.')
    cuts = [pre_tokenizers.Split(Regex(expression), 'isolated') for expression in PRE_TOKENIZERS[name]]
    return pre_tokenizers.Sequence([*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _sentencepiece(
    metadata: Mapping[str, object], pieces: Sequence[str], kinds: Sequence[int], unknown: str | None, prefix: SpacePrefix
) -> 'tokenizers.Tokenizer':
    from tokenizers import Tokenizer, models, normalizers

    scores = _numbers(metadata, 'tokenizer.ggml.scores')
    if len(scores) != len(pieces):
        raise TokenizerError(f'GGUF tokenizer: expected one score for each of {len(pieces)} tokens; the file is damaged.')
    mergeable = {piece: index for index, piece in enumerate(pieces) if kinds[index] in (NORMAL, USER_DEFINED)}
    ranked = []
    for piece, index in mergeable.items():
        splits = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        pairs = [(mergeable[a], mergeable[b]) for a, b in splits if a in mergeable and b in mergeable]
        ranked += [(-scores[index], index, a, b) for a, b in pairs]
    ranked.sort()
    vocabulary = {piece: index for index, piece in enumerate(pieces) if kinds[index] in (NORMAL, USER_DEFINED, BYTE, UNKNOWN)}
    backend = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=[(pieces[a], pieces[b]) for _, _, a, b in ranked],
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=any(kind == BYTE for kind in kinds),
        )
    )
    spaces = normalizers.Replace(' ', SPACE)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), spaces]) if prefix is SpacePrefix.ALWAYS else spaces
    return backend


def _add_user_pieces(backend: 'tokenizers.Tokenizer', pieces: Sequence[str], kinds: Sequence[int]) -> None:
    """Pieces that are always recognised whole, in text too; they keep the ids that the vocabulary gives them."""
    from tokenizers import AddedToken

    whole = [piece for piece, kind in zip(pieces, kinds, strict=True) if kind == USER_DEFINED]
    if whole:
        backend.add_tokens([AddedToken(piece, normalized=False, special=False) for piece in whole])
