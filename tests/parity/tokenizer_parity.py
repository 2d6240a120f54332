"""Token ids of SmolLM2 against llama.cpp's, its chat prompts against transformers', live.

    python tests/parity/tokenizer_parity.py --write-golden

Needs the extra `parity` (xllamacpp, transformers). Run so, it writes the golden files that the default tests use: it cuts a
small vocabulary out of the model's, puts it into throw-away models of one layer, one for each way to cut text, and records
what llama.cpp makes of difficult texts.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import sys
import tempfile
import urllib.request
from pathlib import Path

import gguf
import numpy as np
import pytest
import xllamacpp

from jaxreason.data.gguf_tokenizer import BYTE, CONTROL, NORMAL, PRE_TOKENIZERS, UNKNOWN, USER_DEFINED
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.data.vocabulary import SPACE, Spelling, piece_bytes
from jaxreason.models.fetch import resolve
from jaxreason.models.gguf_file import GgufFile

GOLDEN = Path(__file__).parents[1] / 'data' / 'golden'
SHARED = Path(__file__).parents[3] / 'shared' / 'data'
SMALL_MERGES = 1500
TEXTS = (
    'Hello world, it is 2024-07-26!',
    '123456 7890 1 22 333 4444 ٣٤٥ ½ Ⅷ x² 1,234.56',
    '  two  three   four    \t tab\t\ttabs \n line\n\nblank\n\n\nmany \n \n mixed\r\ncrlf\r\n\r\n end  ',
    "It's we're I'M they'LL you'd 'twas don’t I've'd",
    'naïve Café ÅNGSTRÖM ﬁ ligature Straße Ελληνικά русский עברית العربية हिन्दी 中文字符 日本語かな 한국어',
    '😀👍🏽 👩‍👩‍👧 e\u0301 a\u0300\u0301 \u200b zero\u00a0nbsp \u3000ideographic',
    'If $x^2 + \\frac{1}{2}y = \\sqrt{3}$, find \\boxed{x+y} <= 10 && !done || a->b; /* c */',
    'camelCaseWord HTTPServer snake_case SHOUTING McDonald iPhone15Pro',
    'a\x01b\x7fc \x0bvt \x0cff \x85nel \u2028ls',
    '### Step 1: <b>bold</b> #### 42\n\n\n\n',
    '<|im_start|>user\nHi<|im_end|>\n <|im_start|> assistant<|endoftext|>',
    '',
    ' ',
    '\n',
    'x' * 50 + ' ' * 40 + '=' * 30 + '.' * 20,
    'the the  the\u00adsoft [PAD] <tool> <tool>call</tool> ▁under ▁▁',
)


class LlamaCpp:
    """A model file behind llama.cpp's own server, asked to tokenize."""

    def __init__(self, path: Path):
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 256, 1, False, 0
        params.cpuparams.n_threads = 1
        self._server = xllamacpp.Server(params)

    def encode(self, text: str, special: bool) -> list[int]:
        body = json.dumps({'content': text, 'add_special': False, 'parse_special': special}).encode()
        request = urllib.request.Request(
            self._server.listening_address + '/tokenize', data=body, headers={'Content-Type': 'application/json'}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)['tokens']


def read_metadata(path: Path) -> dict:
    return {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}


def problem_texts(folder: Path) -> list[str]:
    """The problems in the order of the digest: MATH-500, then GSM8K test."""
    texts = []
    for name, field in (('math500.jsonl', 'problem'), ('gsm8k_test.jsonl', 'question')):
        texts += [json.loads(line)[field] for line in (folder / name).read_text(encoding='utf-8').splitlines()]
    return texts


def digest(encoded: list[list[int]]) -> str:
    return hashlib.sha256(json.dumps(encoded).encode()).hexdigest()


def problems_digest() -> str:
    """The digest of llama.cpp's ids of all problems, as recorded."""
    return (GOLDEN / 'smollm2_problems.sha256').read_text(encoding='utf-8').strip()


def write_model(path: Path, metadata: dict) -> None:
    """A llama of one layer and width 32, with the tokenizer that `metadata` describes."""
    width, heads, hidden, rows = 32, 2, 32, len(metadata['tokenizer.ggml.tokens'])
    writer = gguf.GGUFWriter(path, 'llama')
    writer.add_block_count(1)
    writer.add_context_length(256)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(rows)
    for key, value in metadata.items():
        match value:
            case bool():
                writer.add_bool(key, value)
            case int():
                writer.add_uint32(key, value)
            case str():
                writer.add_string(key, value)
            case _:
                writer.add_array(key, value)
    shapes = {'token_embd': (rows, width), 'output': (rows, width), 'output_norm': (width,)}
    shapes |= {f'blk.0.{name}': (width,) for name in ('attn_norm', 'ffn_norm')}
    shapes |= {f'blk.0.{name}': (width, width) for name in ('attn_q', 'attn_k', 'attn_v', 'attn_output')}
    shapes |= {f'blk.0.{name}': (width, hidden) for name in ('ffn_gate', 'ffn_up', 'ffn_down')}
    for name, shape in shapes.items():
        writer.add_tensor(f'{name}.weight', np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def small_vocabulary(metadata: dict) -> dict:
    """The special pieces, the bytes and the first merges of a byte-level vocabulary, with two user-defined pieces."""
    tokens, kinds = metadata['tokenizer.ggml.tokens'], metadata['tokenizer.ggml.token_type']
    merges = metadata['tokenizer.ggml.merges'][:SMALL_MERGES]
    specials = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL][:3]
    singles = [token for token, kind in zip(tokens, kinds, strict=True) if kind == NORMAL and len(token) == 1]
    whole = ['<tool>', '</tool>']
    pieces = [*specials, *singles, *dict.fromkeys(merge.replace(' ', '') for merge in merges), *whole]
    types = [CONTROL if piece in specials else USER_DEFINED if piece in whole else NORMAL for piece in pieces]
    return {
        'tokenizer.ggml.model': 'gpt2',
        'tokenizer.ggml.tokens': pieces,
        'tokenizer.ggml.token_type': types,
        'tokenizer.ggml.merges': merges,
        'tokenizer.ggml.bos_token_id': 1,
        'tokenizer.ggml.eos_token_id': 2,
        'tokenizer.ggml.add_bos_token': False,
    }


def small_sentencepiece(small: dict) -> dict:
    """The same words as a SentencePiece vocabulary: scores fall with the rank, bytes are a fall-back."""
    words = []
    for piece, kind in zip(small['tokenizer.ggml.tokens'], small['tokenizer.ggml.token_type'], strict=True):
        with contextlib.suppress(UnicodeDecodeError):
            if kind == NORMAL:
                words.append(piece_bytes(piece, Spelling.BYTE_LEVEL).decode().replace(' ', SPACE))
    words = list(dict.fromkeys(words))
    pieces = ['<unk>', '<s>', '</s>', *(f'<0x{byte:02X}>' for byte in range(256)), *words, '<tool>']
    count = len(words)
    return {
        'tokenizer.ggml.model': 'llama',
        'tokenizer.ggml.tokens': pieces,
        'tokenizer.ggml.token_type': [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * count, USER_DEFINED],
        'tokenizer.ggml.scores': [0.0] * 259 + [-float(rank) for rank in range(count)] + [0.0],
        'tokenizer.ggml.bos_token_id': 1,
        'tokenizer.ggml.eos_token_id': 2,
        'tokenizer.ggml.unknown_token_id': 0,
    }


def families(small: dict) -> dict[str, dict]:
    """One vocabulary for each way to cut text that is not a synonym of another."""
    names = {expressions: name for name, expressions in reversed(PRE_TOKENIZERS.items())}
    byte_level = {name: small | {'tokenizer.ggml.pre': name} for name in names.values()}
    spaced = small_sentencepiece(small)
    return byte_level | {'llama': spaced, 'llama-no-prefix': spaced | {'tokenizer.ggml.add_space_prefix': False}}


def compare(name: str, reference: LlamaCpp, tokenizer: Tokenizer, texts) -> tuple[list[list[int]], int]:
    """Asks both sides; says where they differ. Returns the reference's ids, and how many texts differ."""
    wrong, rows = 0, []
    for text, special in itertools.product(texts, (False, True)):
        theirs, ours = reference.encode(text, special), tokenizer.encode(text, special=special)
        rows.append(theirs)
        if theirs != ours:
            wrong += 1
            print(f'{name}: {text[:80]!r} special={special}\n  llama.cpp {theirs[:60]}\n  ours      {ours[:60]}')
    print(f'{name}: {len(rows) - wrong} of {len(rows)} equal')
    return rows, wrong


def compare_chat(metadata: dict, questions: list[str]) -> int:
    """Compares prompts with transformers' `apply_chat_template`, fresh and continuing an answer; returns how many differ."""
    from transformers import PreTrainedTokenizerFast

    from jaxreason.data.prompts import PromptSpec
    from jaxreason.models.tokenizer_writer import tokenizer_json

    tokens, template = metadata['tokenizer.ggml.tokens'], metadata['tokenizer.chat_template']
    roles = {f'{role}_token': tokens[metadata[f'tokenizer.ggml.{role}_token_id']] for role in ('bos', 'eos')}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'tokenizer.json'
        path.write_text(tokenizer_json(metadata), encoding='utf-8')
        (Path(folder) / 'tokenizer_config.json').write_text(json.dumps(roles | {'chat_template': template}), encoding='utf-8')
        reference = PreTrainedTokenizerFast(tokenizer_file=str(path), chat_template=template, **roles)
        tokenizer = Tokenizer.from_folder(folder)
    wrong, count = 0, 0
    specs = (PromptSpec(few_shot=2), PromptSpec(system='Be brief.', answer_format='hash'))
    for question, spec, partial in itertools.product(questions, specs, ('', 'First 1 + 1 = 2.', 'First, $x$.\n\nThen')):
        messages = spec.messages(question) + ([{'role': 'assistant', 'content': partial}] if partial else [])
        theirs = reference.apply_chat_template(
            messages, tokenize=True, return_dict=False, add_generation_prompt=not partial, continue_final_message=bool(partial)
        )
        count += 1
        wrong += theirs != spec.encode(tokenizer, question, partial)
    print(f'chat prompts: {count - wrong} of {count} equal')
    return wrong


def write_golden(metadata: dict) -> int:
    small, golden, wrong = small_vocabulary(metadata), {}, 0
    with tempfile.TemporaryDirectory() as folder:
        for name, vocabulary in families(small).items():
            path = Path(folder) / f'{name}.gguf'
            write_model(path, vocabulary)
            golden[name], differ = compare(name, LlamaCpp(path), Tokenizer.from_gguf(vocabulary), TEXTS)
            wrong += differ
    GOLDEN.mkdir(exist_ok=True)
    vocabularies = {'gpt2': small, 'llama': small_sentencepiece(small)}
    for name, value in (('small_vocabulary', vocabularies), ('llama_cpp_ids', {'texts': TEXTS, 'ids': golden})):
        (GOLDEN / f'{name}.json').write_text(json.dumps(value, separators=(',', ':')) + '\n', encoding='utf-8')
    return wrong


@pytest.fixture(scope='module')
def weights() -> Path:
    return resolve('smollm2-135m')


@pytest.fixture(scope='module')
def problems() -> list[str]:
    if not SHARED.is_dir():
        pytest.skip('needs math500.jsonl and gsm8k_test.jsonl in ../shared/data')
    return problem_texts(SHARED)


def test_every_problem_has_the_ids_of_llama_cpp(weights, problems):
    rows, wrong = compare('problems', LlamaCpp(weights), Tokenizer.from_gguf(read_metadata(weights)), problems)
    assert (len(rows), wrong) == (2 * 1819, 0)
    assert digest(rows[::2]) == problems_digest()


def test_every_problem_has_the_ids_that_were_recorded(weights, problems):
    """What `tests/data/tokenizer_test.py` checks where the weights are in the cache."""
    tokenizer = Tokenizer.from_gguf(GgufFile.open(weights).metadata)
    ids = [tokenizer.encode(text) for text in problems]
    assert len(ids) == 1819
    assert digest(ids) == problems_digest()
    assert [tokenizer.decode(row) for row in ids] == problems


def test_difficult_texts_have_the_ids_of_llama_cpp(weights):
    tokenizer = Tokenizer.from_gguf(read_metadata(weights))
    rows, wrong = compare('difficult texts', LlamaCpp(weights), tokenizer, TEXTS)
    assert (len(rows), wrong) == (2 * len(TEXTS), 0)


def test_chat_prompts_are_those_of_transformers(weights, problems):
    assert compare_chat(read_metadata(weights), problems[::20]) == 0


def main() -> int:
    parser = argparse.ArgumentParser(description='Rewrites tests/data/golden.')
    parser.add_argument('--write-golden', action='store_true', required=True, help='rewrite tests/data/golden')
    parser.parse_args()
    return 1 if write_golden(read_metadata(resolve('smollm2-135m'))) else 0


if __name__ == '__main__':
    sys.exit(main())
