"""Writes tokenizers as the files of a Hugging Face folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxreason.core.errors import TokenizerError
from jaxreason.data import character_tokenizer
from jaxreason.data.gguf_tokenizer import read_metadata
from jaxreason.data.vocabulary import SpacePrefix
from jaxreason.models.folder_writer import tokenizer_config

# What decides the ids of a text, the prompt, and the tokens that end an answer.
TOKENIZER_FILES = (
    'generation_config.json',
    'tokenizer.json',
    'tokenizer_config.json',
    'chat_template.jinja',
    'chat_template.json',
)


def character_files(characters: str) -> dict[str, str]:
    """Writes a character tokenizer, as `Tokenizer.from_characters` makes it.

    Args:
        characters: as given to it.

    Returns:
        Names of files and their contents.

    Raises:
        TokenizerError: as of `from_characters`.
    """
    definition = character_tokenizer.define(characters)
    layout = json.loads(definition.backend.to_str())
    ids = {piece: special.id for piece, special in definition.specials.items()}
    layout['model']['vocab'] = {**ids, **layout['model']['vocab']}
    plain = {'single_word': False, 'lstrip': False, 'rstrip': False, 'normalized': False, 'special': True}
    layout['added_tokens'] = [{'id': index, 'content': piece, **plain} for piece, index in ids.items()]
    settings = {
        'tokenizer_class': 'PreTrainedTokenizerFast',
        'clean_up_tokenization_spaces': False,
        'add_bos_token': definition.add_bos,
        'bos_token': character_tokenizer.BOS,
        'eos_token': character_tokenizer.EOS,
        'pad_token': character_tokenizer.PAD,
    }
    return {'tokenizer.json': json.dumps(layout, indent=1), 'tokenizer_config.json': json.dumps(settings, indent=1)}


def folder_files(
    source: Path | Mapping[str, object] | None,
    chat_template: str | None = None,
    eos_ids: Sequence[int] = (),
    bos_id: int | None = None,
) -> dict[str, str]:
    """What a folder needs so that the same tokenizer is read from it.

    Args:
        source: a folder with a tokenizer, whose files are taken as they are, or the metadata of a GGUF file.
        chat_template: of a GGUF file.
        eos_ids: tokens that end a text, of a GGUF file.
        bos_id: token that begins a text, of a GGUF file.

    Returns:
        Names of files and their contents.

    Raises:
        TokenizerError: a file cannot be read, or the tokenizer is damaged.
    """
    if source is None:
        return {}
    if not isinstance(source, Path):
        text = tokenizer_json(source)
        settings = tokenizer_config(text, chat_template, eos_ids, bos_id)
        return {'tokenizer.json': text, 'tokenizer_config.json': json.dumps(settings, indent=1)}
    try:
        return {name: (source / name).read_text(encoding='utf-8') for name in TOKENIZER_FILES if (source / name).is_file()}
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(
            f'{source}: its tokenizer cannot be read as UTF-8 text ({error}); copy the files again.'
        ) from error


def tokenizer_json(metadata: Mapping[str, object]) -> str:
    """Translates a GGUF file's tokenizer so that Hugging Face's libraries encode and decode as the file means it.

    Args:
        metadata: of a GGUF file.

    Returns:
        The contents of `tokenizer.json`. Pieces that the file marks as unused are left out.

    Raises:
        TokenizerError: the tokenizer is damaged or of a kind that is not supported.
    """
    from tokenizers import Tokenizer, decoders, processors

    definition = read_metadata(metadata)
    layout = json.loads(definition.backend.to_str())
    given = {entry['content']: entry for entry in layout['added_tokens']}
    for piece, special in definition.specials.items():
        layout['model']['vocab'][piece] = special.id
        given[piece] = {
            'id': special.id,
            'content': piece,
            'single_word': False,
            'lstrip': special.lstrip,
            'rstrip': special.rstrip,
            'normalized': False,
            'special': True,
        }
    layout['added_tokens'] = sorted(given.values(), key=lambda entry: entry['id'])
    try:
        tokenizer = Tokenizer.from_str(json.dumps(layout))
    except Exception as error:  # the library raises nothing narrower
        raise TokenizerError(f'GGUF tokenizer: cannot be written as tokenizer.json: {error}.') from error
    if metadata['tokenizer.ggml.model'] == 'gpt2':
        tokenizer.decoder = decoders.ByteLevel()
    else:
        # The encoder's own space is taken off again; where it adds none, a space in front is the text's.
        strip = [] if definition.space_prefix is SpacePrefix.NEVER else [decoders.Strip(' ', 1, 0)]
        tokenizer.decoder = decoders.Sequence([decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse(), *strip])
    if definition.add_bos and definition.bos_id is not None:
        bos = next(piece for piece, special in definition.specials.items() if special.id == definition.bos_id)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f'{bos}:0 $A:0', special_tokens=[(bos, definition.bos_id)]
        )
    return tokenizer.to_str(pretty=True)
