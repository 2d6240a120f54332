"""Reads the tokenizer of a Hugging Face folder.

`tokenizer.json` holds the pieces and how text is cut; `tokenizer_config.json` names special pieces and holds the chat template,
unless a file of its own does; `generation_config.json` may name further ends. The file is a program for the `tokenizers`
library, so it is checked before it is believed: ids, merges, and regular expressions that could take for ever.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jaxreason.core.errors import TokenizerError
from jaxreason.data.vocabulary import END_PIECES, Definition, SpacePrefix, Special, Spelling, check_ids, end_ids, piece_bytes

if TYPE_CHECKING:
    import tokenizers

MAX_FILE_BYTES = 256 << 20
MAX_EXPRESSION = 4096


def read_folder(folder: Path) -> Definition:
    """Reads and checks the tokenizer in `folder`.

    Raises:
        TokenizerError: a file is missing or damaged, or the tokenizer is of a kind that is not supported.
    """
    source = folder / 'tokenizer.json'
    if not source.is_file():
        raise TokenizerError(f'{folder}: has no tokenizer.json; convert the tokenizer to that format and put it there.')
    text = _read(source)
    data = _parse(text, source)
    config = _optional_json(folder / 'tokenizer_config.json')
    model = data.get('model')
    if not isinstance(model, dict) or model.get('type', 'BPE') != 'BPE' or not isinstance(model.get('vocab'), dict):
        kind = model.get('type') if isinstance(model, dict) else None
        raise TokenizerError(f'{source}: model is {kind!r}, supported is BPE (byte-level or SentencePiece-style).')
    _check_model(model, source)
    _check_expressions(data, source)
    added = _added(data, source)
    vocabulary = model['vocab']
    rows = check_ids([*vocabulary.items(), *((piece, entry['id']) for piece, entry in added.items())])
    backend = _backend(json.dumps(data), source)
    for piece, entry in added.items():
        if backend.token_to_id(piece) != entry['id']:
            raise TokenizerError(
                f'{source}: added token {piece[:40]!r} has id {entry["id"]}, its place in the vocabulary gives '
                f'{backend.token_to_id(piece)}; there is a hole in the ids.'
            )
    spelling = _spelling(data, model)
    pieces = [b''] * rows
    for piece, index in vocabulary.items():
        pieces[index] = piece_bytes(piece, spelling)
    for piece, entry in added.items():
        pieces[entry['id']] = b'' if entry['special'] else piece.encode('utf-8', errors='replace')
    specials = {
        piece: Special(entry['id'], lstrip=bool(entry.get('lstrip')), rstrip=bool(entry.get('rstrip')))
        for piece, entry in added.items()
        if entry['special']
    }
    return _named(folder, config, backend, data, model, tuple(pieces), specials)


def read_chat_template(folder: Path) -> str | None:
    """Reads the chat template in `folder`.

    Returns:
        The contents of `chat_template.jinja`, else the entry in `tokenizer_config.json`, else that in `chat_template.json`; of
        several by name, the one named default; None where there is none.

    Raises:
        TokenizerError: a file is damaged, or the template is no text.
    """
    own = folder / 'chat_template.jinja'
    if own.is_file():
        return _read(own)
    for path in (folder / 'tokenizer_config.json', folder / 'chat_template.json'):
        template = _optional_json(path).get('chat_template')
        if isinstance(template, list):
            named = (item for item in template if isinstance(item, dict) and item.get('name') == 'default')
            template = next(named, {}).get('template')
        if template is not None and not isinstance(template, str):
            raise TokenizerError(
                f'{path}: chat_template must be text, got {type(template).__name__}; take the file of the original model.'
            )
        if template is not None:
            return template
    return None


def _named(folder, config, backend, data, model, pieces, specials) -> Definition:
    """Finds the pieces with a role, and puts the definition together."""
    all_ids = {**model['vocab'], **{piece: special.id for piece, special in specials.items()}}

    def id_of(name: str) -> int | None:
        piece = config.get(f'{name}_token')
        piece = piece.get('content') if isinstance(piece, dict) else piece
        return all_ids.get(piece) if isinstance(piece, str) else None

    bos_id, pad_id = id_of('bos'), id_of('pad')
    more = _optional_json(folder / 'generation_config.json').get('eos_token_id', [])
    more = [index for index in (more if isinstance(more, list) else [more]) if type(index) is int]
    eos_ids = end_ids([id_of('eos'), *more], specials)
    add_bos = config.get('add_bos_token')
    if not isinstance(add_bos, bool):
        add_bos = bos_id is not None and backend.encode('').ids[:1] == [bos_id]
    prefix = _space_prefix(data)
    unknown = model.get('unk_token')
    return Definition(
        backend=backend,
        inner=_without_prefix(data) if prefix is SpacePrefix.FIRST else None,
        pieces=pieces,
        specials=specials,
        bos_id=bos_id,
        eos_ids=eos_ids,
        pad_id=pad_id if pad_id is not None else eos_ids[0] if eos_ids else 0,
        add_bos=add_bos and bos_id is not None,
        space_prefix=prefix,
        chat_template=read_chat_template(folder),
        unknown_id=all_ids.get(unknown) if isinstance(unknown, str) else None,
    )


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise TokenizerError(f'{path}: larger than {MAX_FILE_BYTES} bytes; this is not a tokenizer.')
        return path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f'{path}: cannot be read as UTF-8 text ({error}); copy the file again.') from None


def _parse(text: str, path: Path) -> dict:
    def unique(pairs: list[tuple[str, object]]) -> dict:
        row = dict(pairs)
        if len(row) != len(pairs):
            raise ValueError('a key is there twice')
        return row

    try:
        data = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f'{path}: damaged ({error}); copy the file again.') from None
    if not isinstance(data, dict):
        raise TokenizerError(f'{path}: expected a JSON object, got {type(data).__name__}; copy the file again.')
    return data


def _optional_json(path: Path) -> dict:
    return _parse(_read(path), path) if path.is_file() else {}


def _check_model(model: dict, source: Path) -> None:
    for key in ('dropout', 'continuing_subword_prefix', 'end_of_word_suffix'):
        if model.get(key):
            raise TokenizerError(f'{source}: BPE with {key} {model[key]!r} is not supported; use a tokenizer without it.')


def _added(data: dict, source: Path) -> dict[str, dict]:
    added: dict[str, dict] = {}
    entries = data.get('added_tokens') or []
    for entry in entries if isinstance(entries, list) else [entries]:
        if not isinstance(entry, dict) or not isinstance(entry.get('content'), str) or not entry['content']:
            raise TokenizerError(f'{source}: an added token has no text; remove it or copy the file again.')
        if type(entry.get('id')) is not int or not isinstance(entry.get('special'), bool):
            raise TokenizerError(f'{source}: added token {entry["content"][:40]!r} lacks id or special; copy the file again.')
        if entry.get('single_word') and entry['special']:
            raise TokenizerError(f'{source}: special token {entry["content"][:40]!r} asks for single_word, not supported.')
        # Ends of turns are control whatever the file says, or text could write them.
        entry['special'] = entry['special'] or entry['content'] in END_PIECES
        if added.setdefault(entry['content'], entry) is not entry:
            raise TokenizerError(f'{source}: added token {entry["content"][:40]!r} is there twice; remove one.')
    return added


def _backend(text: str, source: Path) -> 'tokenizers.Tokenizer':
    from tokenizers import Tokenizer

    try:
        backend = Tokenizer.from_str(text)
    except BaseException as error:
        # The Rust side panics with a class that is no Exception; an interrupt must pass.
        if not isinstance(error, Exception) and type(error).__name__ != 'PanicException':
            raise
        raise TokenizerError(f'{source}: damaged ({" ".join(str(error).split())[:200]}); copy the file again.') from None
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return backend


def _parts(data: dict, *keys: str) -> Iterator[dict]:
    """Every component below `keys`, nested sequences included."""
    queue = [data.get(key) for key in keys]
    while queue:
        part = queue.pop()
        if isinstance(part, dict):
            yield part
            queue += part.values()
        elif isinstance(part, list):
            queue += part


def _spelling(data: dict, model: dict) -> Spelling:
    parts = list(_parts(data, 'normalizer', 'pre_tokenizer', 'decoder'))
    kinds = {part.get('type') for part in parts}
    if 'ByteLevel' in kinds:
        return Spelling.BYTE_LEVEL
    if 'Metaspace' in kinds or model.get('byte_fallback') or any(part.get('String') == '▁' for part in parts):
        return Spelling.SENTENCEPIECE
    return Spelling.TEXT


def _space_prefix(data: dict) -> SpacePrefix:
    prefix = SpacePrefix.NEVER
    for part in _parts(data, 'normalizer', 'pre_tokenizer'):
        if part.get('type') == 'Prepend' or part.get('add_prefix_space') is True:
            prefix = SpacePrefix.ALWAYS
        if part.get('type') == 'Metaspace':
            scheme = part.get('prepend_scheme', 'always')
            prefix = {'first': SpacePrefix.FIRST, 'never': SpacePrefix.NEVER}.get(scheme, SpacePrefix.ALWAYS)
    return prefix


def _without_prefix(data: dict) -> 'tokenizers.Tokenizer':
    for part in _parts(data, 'pre_tokenizer'):
        if part.get('type') == 'Metaspace':
            part['prepend_scheme'] = 'never'
    return _backend(json.dumps(data), Path('tokenizer.json'))


def _check_expressions(data: dict, source: Path) -> None:
    """Refuses regular expressions that repeat a group: so one takes exponential time, and no tokenizer in use does it."""
    for part in _parts(data, 'normalizer', 'pre_tokenizer', 'post_processor', 'decoder'):
        expression = part.get('Regex')
        if expression is None:
            continue
        if not isinstance(expression, str) or len(expression) > MAX_EXPRESSION or _repeats_a_group(expression):
            shown = str(expression)[:60]
            raise TokenizerError(
                f'{source}: regular expression {shown!r} repeats a group or is too long; it could take for ever.'
            )


def _repeats_a_group(expression: str) -> bool:
    depth_of_class, index = 0, 0
    while index < len(expression):
        character = expression[index]
        if character == '\\':
            index += 2
            continue
        if character == '[':
            depth_of_class += 1
        elif character == ']' and depth_of_class:
            depth_of_class -= 1
        elif character == ')' and not depth_of_class and expression[index + 1 : index + 2] in ('*', '+', '{'):
            return True
        index += 1
    return False
