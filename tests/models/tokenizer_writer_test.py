"""A GGUF tokenizer written as tokenizer.json encodes and decodes as the GGUF file means it."""

import pytest
from tokenizers import Tokenizer as Backend

from jaxreason.core.errors import TokenizerError
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.models.tokenizer_writer import tokenizer_json

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
LETTERS = [chr(code) for code in range(0x21, 0x7F)]
TEXTS = ['ab', ' ab 12', 'a b', 'ba<end>', '', 'abba  ab']


def byte_level() -> dict[str, object]:
    pieces = ['<start>', '<end>', *LETTERS, 'Ġ', 'ab', 'Ġab', '<pad>']
    return {
        'tokenizer.ggml.model': 'gpt2',
        'tokenizer.ggml.pre': 'smollm',
        'tokenizer.ggml.tokens': pieces,
        'tokenizer.ggml.token_type': [CONTROL, CONTROL, *[NORMAL] * (len(pieces) - 3), CONTROL],
        'tokenizer.ggml.merges': ['a b', 'Ġ ab'],
        'tokenizer.ggml.bos_token_id': 0,
        'tokenizer.ggml.eos_token_id': 1,
        'tokenizer.ggml.padding_token_id': len(pieces) - 1,
        'tokenizer.ggml.add_bos_token': False,
    }


def sentencepiece() -> dict[str, object]:
    pieces = ['<unk>', '<s>', '<end>', *[f'<0x{byte:02X}>' for byte in range(256)], '▁', 'a', 'b', 'ab', '▁ab']
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * 5]
    return {
        'tokenizer.ggml.model': 'llama',
        'tokenizer.ggml.tokens': pieces,
        'tokenizer.ggml.token_type': kinds,
        'tokenizer.ggml.scores': [-float(index) for index in range(len(pieces))],
        'tokenizer.ggml.bos_token_id': 1,
        'tokenizer.ggml.eos_token_id': 2,
        'tokenizer.ggml.unknown_token_id': 0,
    }


KINDS = {
    'gpt2': byte_level(),
    'llama': sentencepiece(),
    'llama-no-prefix': sentencepiece() | {'tokenizer.ggml.add_space_prefix': False},
}


@pytest.mark.parametrize('metadata', KINDS.values(), ids=KINDS)
@pytest.mark.parametrize('text', TEXTS)
def test_ids_and_texts_are_those_of_the_file(metadata, text):
    written = Backend.from_str(tokenizer_json(metadata))
    meant = Tokenizer.from_gguf(metadata)
    ids = meant.encode(text, special=True)
    assert written.encode(text, add_special_tokens=False).ids == ids
    assert written.decode(ids) == text.replace('<end>', '')


@pytest.mark.parametrize('metadata', KINDS.values(), ids=KINDS)
def test_special_pieces_keep_their_ids(metadata):
    written = Backend.from_str(tokenizer_json(metadata))
    assert written.get_vocab_size() == len(metadata['tokenizer.ggml.tokens'])
    for piece, index in Tokenizer.from_gguf(metadata)._specials.items():
        assert written.token_to_id(piece) == index.id
    assert written.encode('<end>', add_special_tokens=False).ids == [metadata['tokenizer.ggml.eos_token_id']]


def test_a_beginning_is_added_where_the_file_wants_one():
    written = Backend.from_str(tokenizer_json(sentencepiece()))
    assert (
        written.encode('ab').ids[0] == 1 and written.encode('ab').ids[1:] == written.encode('ab', add_special_tokens=False).ids
    )
    without = Backend.from_str(tokenizer_json(byte_level()))
    assert without.encode('ab').ids == without.encode('ab', add_special_tokens=False).ids


def test_a_tokenizer_that_is_not_supported_is_an_error():
    with pytest.raises(TokenizerError, match='supported are'):
        tokenizer_json({'tokenizer.ggml.model': 'bert'})
