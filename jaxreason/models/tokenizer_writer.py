"""Writes the tokenizer of a GGUF file as the `tokenizer.json` of a Hugging Face folder."""

import json
from collections.abc import Mapping

from jaxreason.core.errors import TokenizerError
from jaxreason.data.gguf_tokenizer import read_metadata
from jaxreason.data.vocabulary import SpacePrefix


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
