"""Text to token ids and back, for byte-level and SentencePiece-style BPE vocabularies.

Three promises that prompts and step boundaries rest on:

- *Text is text.* `encode` recognises special pieces only when asked to; what a user or a model wrote cannot start a turn.
- *Decoding is concatenation.* Every id has its bytes (`token_bytes`); text is their join. An unfinished UTF-8 character at the
  end is left out, since its next token may complete it.
- *A tokenizer that does not fit is refused*, when it is read or when it meets its model, not in the middle of a run.

Byte-pair encoding: Sennrich, Haddow, Birch 2016; byte level: Radford et al. 2019; SentencePiece: Kudo, Richardson 2018.
"""

import codecs
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jaxreason.core.errors import TokenizerError
from jaxreason.data.vocabulary import Definition, SpacePrefix, Special

if TYPE_CHECKING:
    import tokenizers

_UTF8_BYTES = [*range(0xC0), *range(0xC2, 0xF5)]  # 0xC0, 0xC1 and 0xF5 on never occur in UTF-8


class Tokenizer:
    """Encodes text for one model; made by `from_folder`, `from_gguf` or `from_characters`.

    Attributes:
        vocab_size: number of ids, holes included: the largest id plus one.
        bos_id: begins a sequence; None where the model has no such token.
        eos_ids: end a generation: end of sequence first, then ends of turns.
        pad: fills rows.
        add_bos: whether the model expects `bos_id` in front of every sequence.
        chat_template: Jinja source of the model's own chat format, if it has one.
    """

    def __init__(self, definition: Definition):
        self._definition = definition
        self._specials = definition.specials
        self._special_ids = {special.id: piece for piece, special in definition.specials.items()}
        self._not_plain = frozenset(self._special_ids) - {definition.unknown_id}  # ids that no plain text may come out as
        longest_first = sorted(definition.specials, key=len, reverse=True)
        self._special_pattern = re.compile('|'.join(map(re.escape, longest_first))) if longest_first else None
        self.vocab_size = len(definition.pieces)
        self.bos_id = definition.bos_id
        self.eos_ids = definition.eos_ids
        self.pad = definition.pad_id
        self.add_bos = definition.add_bos
        self.chat_template = definition.chat_template
        present = {piece for piece in definition.pieces if len(piece) == 1}
        self._writes_all_bytes = all(bytes([byte]) in present for byte in _UTF8_BYTES)

    @classmethod
    def from_folder(cls, path: str | Path) -> 'Tokenizer':
        """Reads a Hugging Face folder: `tokenizer.json`, and beside it the configuration and chat template if there are any.

        Raises:
            TokenizerError: a file is missing or damaged, or the tokenizer is of a kind that is not supported.
        """
        from jaxreason.data.folder_tokenizer import read_folder

        return cls(read_folder(Path(path)))

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, object]) -> 'Tokenizer':
        """Builds the tokenizer that a GGUF file describes.

        Args:
            metadata: the file's keys and values, arrays as sequences.

        Raises:
            TokenizerError: a key is missing or damaged, or the tokenizer is of a kind that is not supported.
        """
        from jaxreason.data.gguf_tokenizer import read_metadata

        return cls(read_metadata(metadata))

    @classmethod
    def from_source(cls, source: 'Path | Mapping[str, object] | None') -> 'Tokenizer | None':
        """The tokenizer of a checkpoint: a folder, the metadata of a GGUF file, or None where there is none."""
        if source is None:
            return None
        return cls.from_folder(source) if isinstance(source, Path) else cls.from_gguf(source)

    @classmethod
    def from_characters(cls, characters: str) -> 'Tokenizer':
        """Makes a character-level tokenizer for models trained from nothing: pad 0, beginning 1, end 2, then the characters.

        Args:
            characters: each at most once, in the order of their ids.
        """
        from jaxreason.data.character_tokenizer import define

        return cls(define(characters))

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Encodes `text`. No beginning-of-sequence token is added (prompts add it).

        Args:
            text: any text without lone surrogates.
            special: whether special pieces written in `text` stand for themselves; False for anything a user or model wrote.

        Returns:
            Token ids.

        Raises:
            TokenizerError: the vocabulary cannot write the text.
        """
        return self.encode_runs(self.split_special(text) if special else [text])

    def split_special(self, text: str) -> list[str | int]:
        """Cuts `text` at the special pieces in it: runs of plain text, and ids."""
        if self._special_pattern is None:
            return [text]
        runs: list[str | int] = []
        start, strip_next = 0, False
        for match in self._special_pattern.finditer(text):
            special: Special = self._specials[match[0]]
            run = text[start : match.start()]
            run = run.lstrip() if strip_next else run
            runs += [run.rstrip() if special.lstrip else run, special.id]
            start, strip_next = match.end(), special.rstrip
        tail = text[start:]
        return [*runs, tail.lstrip() if strip_next else tail]

    def encode_runs(self, runs: Iterable[str | int]) -> list[int]:
        """Encodes plain text between ids that are given: the form in which prompts keep the user's words apart from control."""
        ids: list[int] = []
        for run in runs:
            if isinstance(run, int):
                ids.append(run)
            elif run:
                first = not ids or self._definition.space_prefix is SpacePrefix.ALWAYS
                ids += self._encode_text(run, first=first)
        return ids

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Writes `ids` as text; never fails.

        Args:
            ids: token ids; an id without a piece adds nothing.
            skip_special: whether special pieces are left out.

        Returns:
            The text. Bytes that are no UTF-8 become U+FFFD; an unfinished character at the end is left out. The space that
            a SentencePiece-style encoder puts in front is taken off again.
        """
        shown = {} if skip_special else self._special_ids
        data = b''.join(shown[index].encode() if index in shown else self.token_bytes(index) for index in ids)
        text = codecs.getincrementaldecoder('utf-8')(errors='replace').decode(data)
        return text[1:] if self._definition.space_prefix is not SpacePrefix.NEVER and text.startswith(' ') else text

    def token_bytes(self, index: int) -> bytes:
        """What id `index` adds to the text: nothing for special pieces, unused ids and ids outside the vocabulary."""
        return self._definition.pieces[index] if 0 <= index < self.vocab_size else b''

    def all_token_bytes(self, rows: int | None = None) -> list[bytes]:
        """`token_bytes` of every id, up to `rows` (the embedding may have more rows than there are ids)."""
        return [self.token_bytes(index) for index in range(rows or self.vocab_size)]

    def special_text(self, index: int | None) -> str:
        """The text of a special piece by its id; empty for None and for ids that are not special."""
        return '' if index is None else self._special_ids.get(index, '')

    @property
    def special_pieces(self) -> tuple[str, ...]:
        """The text of every special piece, by id."""
        return tuple(self._special_ids[index] for index in sorted(self._special_ids))

    def check_fits(self, embedding_rows: int) -> None:
        """Refuses a model whose embedding is too small for this vocabulary.

        Raises:
            TokenizerError: an id has no embedding row.
        """
        if self.vocab_size > embedding_rows:
            raise TokenizerError(
                f'tokenizer: its largest id is {self.vocab_size - 1}, the model has embeddings for ids below {embedding_rows}; '
                'use the tokenizer that belongs to the weights.'
            )

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides what ids a text gets, and of the chat template."""
        definition = self._definition
        words = [
            definition.backend.to_str(),
            sorted((piece, s.id, s.lstrip, s.rstrip) for piece, s in definition.specials.items()),
            [self.bos_id, self.eos_ids, self.pad, self.add_bos, definition.space_prefix.value, self.chat_template],
        ]
        return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()

    def __repr__(self) -> str:
        return f'Tokenizer(vocab_size={self.vocab_size}, bos_id={self.bos_id}, eos_ids={self.eos_ids}, add_bos={self.add_bos})'

    def _encode_text(self, text: str, *, first: bool) -> list[int]:
        definition = self._definition
        try:
            data = text.encode('utf-8')
        except UnicodeEncodeError as error:
            raise TokenizerError(
                f'tokenizer: character {error.start} of the text is a lone surrogate; mend the text.'
            ) from None
        backend = definition.backend if first or definition.inner is None else definition.inner
        ids = run_backend(backend, text)
        if special := self._not_plain.intersection(ids):
            raise TokenizerError(
                f'tokenizer: plain text came out as the special token {self._special_ids[min(special)]!r}; '
                'the vocabulary is not usable.'
            )
        if not self._writes_all_bytes and definition.unknown_id is None:
            # A backend drops what it has no piece for, and says nothing.
            written = b''.join(map(definition.pieces.__getitem__, ids))
            if written not in (data, b' ' + data):
                at = next(
                    (n for n, (a, b) in enumerate(zip(written, data, strict=False)) if a != b), min(len(written), len(data))
                )
                rest = data[at : at + 12].decode('utf-8', errors='replace')
                raise TokenizerError(
                    f'tokenizer: its vocabulary cannot write the text from {rest!r} on; use another tokenizer.'
                )
        return ids


def run_backend(backend: 'tokenizers.Tokenizer', text: str) -> list[int]:
    """Encodes `text`, with a crash of the backend (a regular expression that gave up) told as an error."""
    try:
        return backend.encode(text, add_special_tokens=False).ids
    except BaseException as error:
        # The Rust side panics with a class that is no Exception and cannot be imported; an interrupt must pass.
        if not isinstance(error, Exception) and type(error).__name__ != 'PanicException':
            raise
        raise TokenizerError(f'tokenizer: could not encode a text of {len(text)} characters: {str(error)[:200]}') from None
