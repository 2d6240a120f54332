"""A character-level vocabulary, for small models that are trained from nothing."""

from jaxreason.core.errors import TokenizerError
from jaxreason.data.vocabulary import Definition, Special

PAD, BOS, EOS = '<pad>', '<bos>', '<eos>'


def define(characters: str) -> Definition:
    """Defines the vocabulary: pad 0, beginning 1, end 2, then one id a character.

    Raises:
        TokenizerError: a character is there twice, or there is none.
    """
    from tokenizers import Tokenizer, models

    if not characters or len(set(characters)) != len(characters):
        raise TokenizerError(f'characters: expected each of {characters!r} once and at least one; remove the repeated ones.')
    specials = {PAD: Special(0), BOS: Special(1), EOS: Special(2)}
    vocabulary = {character: index for index, character in enumerate(characters, start=len(specials))}
    return Definition(
        backend=Tokenizer(models.BPE(vocab=vocabulary, merges=[])),
        pieces=(b'',) * len(specials) + tuple(character.encode() for character in characters),
        specials=specials,
        bos_id=1,
        eos_ids=(2,),
        pad_id=0,
        add_bos=True,
    )
