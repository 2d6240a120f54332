"""Turns a question into the text and the token ids that a policy continues.

One `PromptSpec` decides every number of a run, so it is a frozen value with a digest. Four things are guarded:

- *One beginning.* The beginning-of-sequence token is there once if the model wants it, whether its template writes it or not.
- *No injection.* Special pieces count only where the template writes them. What a user or a model wrote is encoded as text,
  also when it spells a special piece, and next to template text it merges as the reference tokenizer would merge it.
- *Attempts are turns.* Where a question comes with earlier attempts, each is the answer that a turn gave, and the last turn
  asks for a better one; under `raw` each stands in the same frame as the answer that is asked for.
- *Continuing is not restarting.* A partial answer is appended as it stands, never stripped or re-templated: up to a step
  boundary its ids are those of the uninterrupted text.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from jaxreason.core.errors import ConfigError, TokenizerError
from jaxreason.core.types import AnswerFormat, Problem
from jaxreason.data.chat_template import DATE, render_chat
from jaxreason.data.datasets import load_problems
from jaxreason.data.tokenizer import Tokenizer

Template = Literal['chat', 'plain', 'raw']
# How a solution ends, and the sentence that asks for it.
ANSWER_FORMATS = {
    'boxed': ('The final answer is $\\boxed{{{answer}}}$.', 'Think step by step, and put your final answer within \\boxed{}.'),
    'hash': ('#### {answer}', 'Think step by step. End with a line that holds #### and the answer.'),
    'plain': ('The answer is {answer}.', 'Think step by step. End with "The answer is" and the answer.'),
    'last_line': ('{answer}', 'Think step by step. End with a line that holds the answer and nothing else.'),
}
REVISE = 'The solution above may be wrong. Check it step by step, and write a new solution that is right.'
_BARE = re.compile(r'[-+]?\d[\d.,/]*')  # a value alone on its line
_FEW_SHOT = Path(__file__).parent / 'questions' / 'few_shot.jsonl'
# Unicode noncharacters: never part of text that is interchanged. One marks special pieces that the user wrote, so that they are
# not taken for the template's.
_MARKS = [chr(code) for code in range(0xFDD0, 0xFDF0)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptSpec:
    """How questions are put to a policy.

    Attributes:
        template: `chat` (the model's own chat template, examples as turns), `plain` (Question/Solution text, for models without
            one) or `raw` (the question alone).
        system: system message; None leaves it to the template, which may have one of its own.
        few_shot: number of worked examples before the question.
        examples: where they are taken from, first ones first; empty means the shipped set. The question asked is passed over,
            even if that leaves one example less.
        step_delimiter: what stands between the steps of the examples, and ends a step of the answer.
        answer_format: `boxed`, `hash` (####), `plain` (The answer is N.) or `last_line` (the bare last line of a solution that
            the policy has ended itself); how examples end, what the instruction asks for, and where the answer is found.
        instruction: follows every question; None means the sentence of the answer format, empty means none.
        revise: asks for a better answer after an earlier attempt; None means the shipped sentence, followed by the instruction.
            Under `raw` the question stands there once more.
        attempt_columns: earlier attempts are filled up with spaces to so many characters, so that in a world of fixed columns
            every attempt stands where the answer will.
        date: ISO date that a chat template may print.
    """

    template: Template = 'chat'
    system: str | None = None
    few_shot: int = 0
    examples: tuple[Problem, ...] = ()
    step_delimiter: str = '\n\n'
    answer_format: AnswerFormat = 'boxed'
    instruction: str | None = None
    revise: str | None = None
    attempt_columns: int = 0
    date: str = DATE

    def __post_init__(self):
        if self.template not in get_args(Template):
            raise ConfigError(f'template must be one of {", ".join(get_args(Template))}, got {self.template!r}.')
        if self.answer_format not in ANSWER_FORMATS:
            raise ConfigError(f'answer_format must be one of {", ".join(ANSWER_FORMATS)}, got {self.answer_format!r}.')
        if not self.step_delimiter:
            raise ConfigError('step_delimiter must be the text that ends a step, such as a blank line, got an empty one.')
        if not re.fullmatch(r'\d{4}-\d{2}-\d{2}', self.date):
            raise ConfigError(f'date must be an ISO date such as {DATE}, got {self.date!r}.')
        if self.few_shot and not 0 < self.few_shot <= len(self._pool()):
            raise ConfigError(f'few_shot must be at most {len(self._pool())}, the number of examples, got {self.few_shot}.')
        if any(not example.steps for example in self.examples):
            raise ConfigError('examples must have worked steps, got one without.')
        if self.template == 'raw' and (self.system or self.few_shot or self.instruction or self.revise):
            raise ConfigError(
                'template raw is the question alone: drop system, few_shot, instruction and revise, or choose plain.'
            )
        if not 0 <= self.attempt_columns <= 2**20:
            raise ConfigError(f'attempt_columns must be in [0, 2^20], got {self.attempt_columns}.')

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Text after which a model that continues this prompt has left the question, apart from its own end tokens."""
        return ('\nQuestion:',) if self.template == 'plain' else ()

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of everything here that decides the text of a prompt, or where the answer to it is found.

        The chat template is in the tokenizer's digest.
        """
        # Without examples the format is in the instruction; else it only says whether the answer is the last line.
        form = self.answer_format if self.few_shot or self.answer_format == 'last_line' else 'boxed'
        words = (
            dataclasses.asdict(self)
            | {'answer_format': form}
            | {'examples': [dataclasses.astuple(e) for e in self._pool()] if self.few_shot else []}
        )
        words['instruction'] = self._instruction()
        if self.revise is None and not self.attempt_columns:  # it says what it said before there were attempts
            del words['revise'], words['attempt_columns']
        return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()

    def messages(self, question: str, attempts: Sequence[str] = ()) -> list[dict[str, str]]:
        """The conversation that asks `question`: system message, examples as turns, question, attempts as turns.

        Args:
            question: text of the question.
            attempts: earlier answers to it, the oldest first; after each of them a better one is asked for.
        """
        turns = [('system', self.system)] if self.system is not None else []
        for example in self._examples(question):
            turns += [('user', self._ask(example.text)), ('assistant', self._solution(example))]
        turns.append(('user', self._ask(question)))
        for attempt in attempts:
            turns += [('assistant', attempt.ljust(self.attempt_columns)), ('user', self._ask_again(question))]
        return [{'role': role, 'content': content} for role, content in turns]

    def ending(self, problem: Problem) -> tuple[str, ...]:
        """What follows the worked steps of a problem, so that they end as a solution should.

        Nothing where the answer is the bare last line and the last step is a bare value: it is what the worker answered, right
        or wrong.
        """
        if self.answer_format == 'last_line' and problem.steps and _BARE.fullmatch(problem.steps[-1].strip()):
            return ()
        return (ANSWER_FORMATS[self.answer_format][0].format(answer=problem.answer),)

    def render(self, question: str, partial: str = '', tokenizer: Tokenizer | None = None, attempts: Sequence[str] = ()) -> str:
        """Writes the prompt as one text, for people and for servers that tokenize themselves.

        Args:
            question: text of the question.
            partial: beginning of the answer, appended as it stands.
            tokenizer: brings the chat template; needed only for `template='chat'`.
            attempts: earlier answers, the oldest first.

        Returns:
            Prompt and partial answer, special pieces written out.

        Raises:
            ConfigError: a chat prompt without a tokenizer.
            TokenizerError: the tokenizer has no chat template, or it cannot be rendered.
        """
        if self.template == 'chat' and tokenizer is None:
            raise ConfigError('prompt: template chat needs the tokenizer that brings the chat template; pass tokenizer=.')
        return self._text(tokenizer, self.messages(question, attempts), len(attempts)) + partial

    def encode(self, tokenizer: Tokenizer, question: str, partial: str = '', attempts: Sequence[str] = ()) -> list[int]:
        """Encodes the prompt.

        Args:
            tokenizer: of the policy.
            question: text of the question.
            partial: beginning of the answer, appended as it stands.
            attempts: earlier answers, the oldest first.

        Returns:
            Token ids, with the beginning-of-sequence token exactly once where the model wants it.

        Raises:
            TokenizerError: the tokenizer has no chat template, it cannot be rendered, or the text cannot be encoded.
        """
        messages = self.messages(question, attempts)
        guard = _Guard(tokenizer.special_pieces, [tokenizer.chat_template or '', *(turn['content'] for turn in messages)])
        hidden = [turn | {'content': guard.hide(turn['content'])} for turn in messages]
        text = self._text(tokenizer, hidden, len(attempts))
        runs = [guard.show(run) if isinstance(run, str) else run for run in tokenizer.split_special(text)]
        return _begin_once(tokenizer, encode_continued(tokenizer, runs, partial))

    def most_tokens(self, tokenizer: Tokenizer, question: str, num_attempts: int, max_tokens: int) -> int:
        """Tokens of the longest prompt that a question is expected to have; errors as of `encode`.

        Args:
            tokenizer: of the policy.
            question: text of the question.
            num_attempts: earlier answers that are shown with it at most.
            max_tokens: of an answer. Its text may be encoded to more tokens than it was drawn in, which is rare.
        """
        bare = dataclasses.replace(self, attempt_columns=0) if num_attempts else self
        frame = len(bare.encode(tokenizer, question, attempts=('',) * num_attempts))
        return frame + num_attempts * max(max_tokens, self.attempt_columns)

    def _text(self, tokenizer: Tokenizer | None, messages: Sequence[dict[str, str]], num_attempts: int) -> str:
        if self.template == 'raw':
            return ''.join(turn['content'] + '\n' * (turn['role'] == 'assistant') for turn in messages)
        if self.template == 'plain':
            return _plain(messages, num_attempts)
        assert tokenizer is not None
        if tokenizer.chat_template is None:
            raise TokenizerError('prompt: this tokenizer has no chat template; use template: plain.')
        return render_chat(
            tokenizer.chat_template,
            messages,
            bos_token=tokenizer.special_text(tokenizer.bos_id),
            eos_token=tokenizer.special_text(tokenizer.eos_ids[0]),
            date=self.date,
        )

    def _instruction(self) -> str:
        if self.template == 'raw':
            return ''
        return ANSWER_FORMATS[self.answer_format][1] if self.instruction is None else self.instruction

    def _ask(self, question: str) -> str:
        instruction = self._instruction()
        return f'{question}\n\n{instruction}' if instruction else question

    def _ask_again(self, question: str) -> str:
        if self.template == 'raw':
            return question
        if self.revise is not None:
            return self.revise
        return f'{REVISE}\n\n{instruction}' if (instruction := self._instruction()) else REVISE

    def _solution(self, example: Problem) -> str:
        return self.step_delimiter.join([*example.steps, *self.ending(example)])

    def _pool(self) -> tuple[Problem, ...]:
        return self.examples or shipped_examples()

    def _examples(self, question: str) -> list[Problem]:
        if not self.few_shot:
            return []
        asked = ' '.join(question.split())
        return [e for e in self._pool() if ' '.join(e.text.split()) != asked][: self.few_shot]


@functools.cache
def shipped_examples() -> tuple[Problem, ...]:
    """The worked examples that come with the package; none of them is in its question sets."""
    return tuple(load_problems(str(_FEW_SHOT)))


def _plain(messages: Sequence[dict[str, str]], num_attempts: int) -> str:
    labels = {'system': '{}\n\n', 'user': 'Question: {}\nSolution:\n', 'assistant': '{}\n\n'}
    asked = len(messages) - 2 * num_attempts  # what a user says after that is no question of its own
    turns = [labels[turn['role']].replace('{}', turn['content']) for turn in messages[:asked]]
    again = labels | {'user': '{}\nSolution:\n'}
    return ''.join([*turns, *(again[turn['role']].replace('{}', turn['content']) for turn in messages[asked:])])


class _Guard:
    """Keeps special pieces in the words of users and models from being read as the template's.

    Each is replaced by its number between two marks while the template is rendered and cut, and put back as text.
    """

    def __init__(self, pieces: tuple[str, ...], words: Sequence[str]):
        self._mark = next((mark for mark in _MARKS if not any(mark in text for text in words)), '')
        if not self._mark:
            raise TokenizerError('prompt: the text uses every reserved noncharacter U+FDD0 to U+FDEF; remove one of them.')
        self._pieces, self._pattern = _longest_first(pieces)

    def hide(self, text: str) -> str:
        return self._pattern.sub(lambda match: f'{self._mark}{self._pieces.index(match[0])}{self._mark}', text)

    def show(self, text: str) -> str:
        return re.sub(f'{self._mark}(\\d+){self._mark}', lambda match: self._pieces[int(match[1])], text)


@functools.lru_cache(maxsize=16)  # a tokenizer's pieces are the same for every prompt
def _longest_first(pieces: tuple[str, ...]) -> tuple[list[str], re.Pattern[str]]:
    pieces_by_length = sorted(pieces, key=len, reverse=True)
    return pieces_by_length, re.compile('|'.join(map(re.escape, pieces_by_length)) or '(?!)')


def encode_continued(tokenizer: Tokenizer, runs: list[str | int], partial: str) -> list[int]:
    """Encodes a prompt and the answer begun, so that the ids begin the ids of whatever follows.

    Where a text ends decides how its last white space is cut: two line breaks at the end may be one token, and two tokens when
    a word follows. A text that ends in a line break is therefore encoded with a word after it, which is then taken off.
    """
    *head, last = runs
    head, last = (head, last + partial) if isinstance(last, str) else (runs, partial)
    ids = tokenizer.encode_runs([*head, last])
    if not last.endswith('\n'):
        return ids
    try:
        longer = tokenizer.encode_runs([*head, last + 'So'])
    except TokenizerError:  # a vocabulary of single characters may lack these letters, and joins nothing to them
        return ids
    size = sum(len(tokenizer.token_bytes(index)) for index in ids)
    ends = list(itertools.accumulate(len(tokenizer.token_bytes(index)) for index in longer))
    return longer[: ends.index(size) + 1] if size in ends else ids


def _begin_once(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    if not tokenizer.add_bos:
        return ids
    if ids[:1] != [tokenizer.bos_id]:
        return [tokenizer.bos_id, *ids]  # type: ignore[list-item]
    if ids[1:2] == [tokenizer.bos_id]:
        raise TokenizerError('prompt: the chat template writes the beginning-of-sequence token twice; mend the template.')
    return ids
