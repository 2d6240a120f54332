"""What a tokenizer is made of, whatever file it came from: pieces as bytes, special pieces, the ids that begin and end text.

Three spellings of bytes are in use. Byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM2) writes every byte as one printable
character; SentencePiece (Llama 2, Mistral, Gemma) writes text, a space as `▁`, and single bytes as `<0xFF>`; a character
vocabulary writes text. Once pieces are bytes, decoding is concatenation, and step boundaries can be searched without a
tokenizer.
"""

import dataclasses
import enum
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from jaxreason.core.errors import TokenizerError

if TYPE_CHECKING:
    import tokenizers

SPACE = '▁'  # how SentencePiece writes a space
MAX_ID = 1 << 22  # an id beyond this is a damaged file: the largest vocabularies in use have about 2^18 pieces
# Pieces that end a turn or a document, by the names that model families gave them. Only special pieces are looked up here.
END_PIECES = frozenset(
    {
        *('<|im_end|>', '<|eot_id|>', '<|eom_id|>', '<|end_of_text|>', '<|endoftext|>', '<end_of_turn>', '<turn|>', '<|end|>'),
        *('<|return|>', '<|eot|>', '<|end_of_turn|>', '<|END_OF_TURN_TOKEN|>', '<|endofturn|>', '<end_of_utterance>'),
        *('<｜end▁of▁sentence｜>', '</s>'),
    }
)
_BYTE_PIECE = re.compile(r'<0x([0-9A-Fa-f]{2})>')


class Spelling(enum.Enum):
    """How the pieces of a vocabulary write bytes."""

    BYTE_LEVEL = 'byte-level'
    SENTENCEPIECE = 'sentencepiece'
    TEXT = 'text'


class SpacePrefix(enum.Enum):
    """Where an encoder puts a space of its own in front of text."""

    NEVER = 'never'
    FIRST = 'first'  # at the start only
    ALWAYS = 'always'  # at the start, and again after every special piece


@dataclasses.dataclass(frozen=True)
class Special:
    """A piece that text cannot produce: it controls the model. `lstrip`/`rstrip`: it swallows the white space beside it."""

    id: int
    lstrip: bool = False
    rstrip: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Definition:
    """A tokenizer as read from a file, checked.

    Attributes:
        backend: encodes text in which no special piece is recognised.
        inner: the same without a space in front, where `space_prefix` is `FIRST`.
        pieces: what each id adds to the text, as bytes; empty for special and unused ids.
        specials: special pieces by their text.
        bos_id: begins a sequence, if the model has such a piece.
        eos_ids: ids that end a generation: end of sequence first, then ends of turns.
        pad_id: fills rows; never attended to.
        add_bos: whether the model expects `bos_id` in front of every sequence.
        space_prefix: where the encoder adds a space.
        chat_template: Jinja source, if the model has one.
        unknown_id: what the backend writes for characters that it has no piece for.
    """

    backend: 'tokenizers.Tokenizer'
    inner: 'tokenizers.Tokenizer | None' = None
    pieces: tuple[bytes, ...]
    specials: Mapping[str, Special]
    bos_id: int | None
    eos_ids: tuple[int, ...]
    pad_id: int
    add_bos: bool
    space_prefix: SpacePrefix = SpacePrefix.NEVER
    chat_template: str | None = None
    unknown_id: int | None = None

    def __post_init__(self):
        if not self.eos_ids:
            raise TokenizerError(
                'tokenizer: expected an end-of-sequence token, found none; name eos_token in its configuration.'
            )
        named = {'bos': self.bos_id, 'pad': self.pad_id, **{f'eos {i}': i for i in self.eos_ids}}
        for name, index in named.items():
            if index is not None and not 0 <= index < len(self.pieces):
                raise TokenizerError(
                    f'tokenizer: {name} id {index} is outside its {len(self.pieces)} tokens; the file is damaged.'
                )
        if self.add_bos and self.bos_id is None:
            raise TokenizerError('tokenizer: asks for a beginning-of-sequence token but names none; set bos_token.')


def byte_alphabet() -> dict[int, str]:
    """The printable character that stands for each byte in a byte-level vocabulary: itself, or the next free one from 256."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(rest)}


_BYTE_OF = {character: byte for byte, character in byte_alphabet().items()}


def piece_bytes(piece: str, spelling: Spelling) -> bytes:
    """Spells `piece` out.

    Args:
        piece: as written in the vocabulary; not a special piece.
        spelling: how that vocabulary writes bytes.

    Returns:
        The bytes that the piece adds to the text.
    """
    if spelling is Spelling.BYTE_LEVEL and all(character in _BYTE_OF for character in piece):
        return bytes(_BYTE_OF[character] for character in piece)
    if spelling is Spelling.SENTENCEPIECE:
        if single := _BYTE_PIECE.fullmatch(piece):
            return bytes([int(single[1], 16)])
        piece = piece.replace(SPACE, ' ')
    # A byte-level vocabulary may hold foreign pieces that no text maps to; they are written as they stand.
    return piece.encode('utf-8', errors='replace')


def check_ids(ids: Iterable[tuple[str, int]]) -> int:
    """Checks that ids are usable and belong to one piece each.

    Args:
        ids: pairs of piece and id.

    Returns:
        The number of rows that they need: the largest id plus one. Holes are allowed.

    Raises:
        TokenizerError: an id is not a small natural number, two pieces share one, or a piece is empty.
    """
    owner: dict[int, str] = {}
    for piece, index in ids:
        if not isinstance(piece, str) or not piece:
            raise TokenizerError(
                f'tokenizer: token {index!r} is {piece!r}, expected text that is not empty; the file is damaged.'
            )
        if type(index) is not int or not 0 <= index < MAX_ID:
            raise TokenizerError(f'tokenizer: token {piece[:40]!r} has id {index!r}, expected 0 to {MAX_ID - 1}.')
        if owner.setdefault(index, piece) != piece:
            raise TokenizerError(f'tokenizer: id {index} belongs to both {owner[index][:40]!r} and {piece[:40]!r}.')
    if not owner:
        raise TokenizerError('tokenizer: the vocabulary is empty.')
    return max(owner) + 1


def end_ids(first: Iterable[int | None], specials: Mapping[str, Special]) -> tuple[int, ...]:
    """The ids that end a generation: those a file names, then special pieces known to end a turn, by id."""
    known = sorted(special.id for piece, special in specials.items() if piece in END_PIECES)
    return tuple(dict.fromkeys([index for index in first if index is not None] + known))
