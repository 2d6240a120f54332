"""A probe: how often the policy would solve a question, read off its own states over the prompt before anything is drawn.

It is linear: the states of `engine.prompt_states`, weighted, added up, sigmoid. What was trained (`jaxreason train probe`) fits
one policy and one prompt, and refuses others. It is a verifier whose one score of a row looks at nothing but the row's
question, so that whoever asks for scores can ask for it, and is charged for reading the prompt.
"""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.cost import FREE, Cost
from jaxreason.core.errors import ConfigError, TokenizerError, WeightsError
from jaxreason.core.files import write_whole
from jaxreason.core.flops import forward_flops
from jaxreason.core.protocols import Scored
from jaxreason.core.types import Question, Row
from jaxreason.core.verifier_spec import Unscored
from jaxreason.data.prompts import PromptSpec
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.engine.prompt_states import NUM_ROWS, prompt_states, state_size
from jaxreason.engine.reward_model import sigmoid
from jaxreason.engine.scoring_memory import ScoringMemory, scoring_memory
from jaxreason.models.safetensors_file import SafetensorsFile, write_safetensors

if TYPE_CHECKING:
    from jaxreason.engine.language_model import LanguageModel

PROBE = 'probe.json'  # what it is and how good; written last
WEIGHTS = 'probe.safetensors'


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class QuestionProbe:
    """A probe ready to score. Earlier attempts that come with a question are not read: how hard it is does not depend on them.

    Attributes:
        name: as it was asked for.
        config: architecture of the policy.
        tokenizer: of the policy.
        prompt: how the policy is asked.
        weights: of the states, [2 d] float64; the scale of every state is in them.
        bias: log-odds where all states are 0.
        lm: the policy; None where it was opened for its prices only.
        digest: SHA-256 of weights, policy and prompt.
    """

    name: str
    config: ModelConfig
    tokenizer: Tokenizer
    prompt: PromptSpec
    weights: np.ndarray = dataclasses.field(repr=False)
    bias: float
    lm: 'LanguageModel | None' = None
    digest: str = ''
    # Predicted pass rates by text. A question comes back under every seed and strategy: it is charged each time, and read once.
    _known: dict[str, float] = dataclasses.field(default_factory=dict, init=False, repr=False)

    @property
    def stats(self) -> frozenset[str]:
        return frozenset()

    def score(self, rows: Sequence[Row], carry: Any) -> Scored:
        """The predicted pass rate of every row's question, in [0, 1]; see `Verifier.score`. Nothing is carried."""
        texts = [row.question.text for row in rows]
        prompts = {text: self._ids(text) for text in dict.fromkeys(texts)}
        if missing := {text: ids for text, ids in prompts.items() if text not in self._known and not isinstance(ids, Unscored)}:
            self._read(missing)
        scores: list[tuple[float, ...]] = []
        unscored: dict[int, Unscored] = {}
        for index, text in enumerate(texts):
            ids = prompts[text]
            reason = ids if isinstance(ids, Unscored) else Unscored.NAN if math.isnan(self._known[text]) else None
            scores.append(() if reason else (self._known[text],))
            if reason:
                unscored[index] = reason
        return Scored(scores, [self._cost(row.question) for row in rows], None, unscored)

    def price(self, row: Row, num_tokens: int, carry: Any = None) -> int:
        """FLOPs of reading the row's question, however far the row grows."""
        return self._cost(row.question).verify

    def memory(self, questions: Sequence[Question], num_tokens: int, is_cpu: bool) -> ScoringMemory:
        """Bytes on one device beside the policy, whose parameters it uses; arguments as of `RewardModel.memory`."""
        lengths = [len(ids) for ids in (self._ids(question.text) for question in questions) if not isinstance(ids, Unscored)]
        mesh = None if self.lm is None or self.lm.mesh is None else dict(self.lm.mesh.shape)
        found = scoring_memory(self.config, 0, NUM_ROWS, max(lengths, default=1), mesh, is_cpu)
        return found._replace(parameters=0)

    def _cost(self, question: Question) -> Cost:
        """All tokens of the prompt, and the probe itself."""
        ids = self._ids(question.text)
        if isinstance(ids, Unscored):
            return FREE
        flops = forward_flops(self.config, 0, len(ids), 0) + 2 * len(self.weights)
        return Cost(verify=flops, scored_tokens=len(ids))

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - prices are asked for many times a question
    def _ids(self, text: str) -> tuple[int, ...] | Unscored:
        try:
            ids = tuple(self.prompt.encode(self.tokenizer, text))
        except TokenizerError:
            return Unscored.TEXT
        return ids if len(ids) <= self.config.max_context else Unscored.TOO_LONG

    def _read(self, prompts: Mapping[str, Sequence[int]]) -> None:
        """Remembers the pass rates of questions; NaN where the model gave a number that is none."""
        assert self.lm is not None, 'one that was opened for its prices does not score'
        texts = list(prompts)
        for batch in prompt_states(self.lm, list(prompts.values())):
            for index, state in zip(batch.prompts, batch.states, strict=True):
                # A sum of its own for each: a matrix product's bits may change with the rows beside it.
                self._known[texts[index]] = sigmoid(math.fsum(state * self.weights) + self.bias)


class ProbeFile(NamedTuple):
    """What a folder of a probe holds.

    Attributes:
        weights: as in `QuestionProbe`.
        bias: likewise.
        policy: digest of the policy that it was trained on.
        prompt: digest of the prompt.
        tokenizer: digest.
    """

    weights: np.ndarray
    bias: float
    policy: str
    prompt: str
    tokenizer: str


def write_probe(folder: Path, probe: ProbeFile, about: Mapping[str, Any]) -> None:
    """Writes a probe; a folder that has `probe.json` has all of it.

    Args:
        folder: there already.
        probe: what it is.
        about: what else is worth noting, as JSON values.

    Raises:
        JaxreasonError: it cannot be written.
    """
    temporary = folder / f'.{WEIGHTS}.part'
    arrays = {'weights': np.asarray(probe.weights, np.float64), 'bias': np.asarray([probe.bias], np.float64)}
    write_safetensors(temporary, arrays)
    temporary.replace(folder / WEIGHTS)
    told = {
        'weights': _sha256(folder / WEIGHTS),
        'policy': probe.policy,
        'prompt': probe.prompt,
        'tokenizer': probe.tokenizer,
        **about,
    }
    write_whole(folder / PROBE, json.dumps(told, indent=2, sort_keys=True, allow_nan=False) + '\n')


def load_probe(source: str | Path, lm: 'LanguageModel', prompt: PromptSpec) -> QuestionProbe:
    """Loads a probe.

    Args:
        source: folder of `jaxreason train probe`.
        lm: the policy.
        prompt: how it is asked.

    Raises:
        WeightsError: files are missing or damaged, or do not belong together.
        ConfigError: it was trained on another policy, tokenizer or prompt.
    """
    found = _open(source, lm.config, lm.need_tokenizer(), prompt)
    if found.policy != lm.digest:
        raise _other(source, 'policy', found.policy, lm.digest)
    return dataclasses.replace(_probe(source, found, lm.config, lm.need_tokenizer(), prompt), lm=lm)


def open_probe(source: str | Path, config: ModelConfig, tokenizer: Tokenizer, prompt: PromptSpec) -> QuestionProbe:
    """A probe that tells prices and memory and cannot score; the policy's weights are not compared. Errors as of `load_probe`.

    Args:
        source: likewise.
        config: architecture of the policy.
        tokenizer: of the policy.
        prompt: likewise.
    """
    return _probe(source, _open(source, config, tokenizer, prompt), config, tokenizer, prompt)


def _probe(
    source: str | Path, found: ProbeFile, config: ModelConfig, tokenizer: Tokenizer, prompt: PromptSpec
) -> QuestionProbe:
    words = f'{_sha256(Path(source) / WEIGHTS)}\n{found.policy}\n{found.prompt}'
    return QuestionProbe(
        name=str(source),
        config=config,
        tokenizer=tokenizer,
        prompt=prompt,
        weights=found.weights,
        bias=found.bias,
        digest=hashlib.sha256(words.encode()).hexdigest(),
    )


def _open(source: str | Path, config: ModelConfig, tokenizer: Tokenizer, prompt: PromptSpec) -> ProbeFile:
    """What the folder holds, found to be whole and to fit tokenizer and prompt."""
    path = Path(source)
    try:
        told = json.loads((path / PROBE).read_text(encoding='utf-8'))
        digests = {name: told[name] for name in ('weights', 'policy', 'prompt', 'tokenizer')}
    except OSError as error:
        raise WeightsError(
            f'{path / PROBE}: cannot be read ({error.strerror}); name the finished folder of jaxreason train probe.'
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f'{path / PROBE}: damaged; train the probe again.') from error
    if _sha256(path / WEIGHTS) != digests.pop('weights'):
        raise WeightsError(f'{path / WEIGHTS}: is not the file that {PROBE} was written for; train the probe again.')
    file = SafetensorsFile.open(path / WEIGHTS)
    found = ProbeFile(np.array(file.tensor('weights')), float(file.tensor('bias')[0]), **digests)
    if found.weights.shape != (state_size(config),):
        raise ConfigError(
            f'{path}: reads {len(found.weights)} numbers, the policy gives {state_size(config)}: it was trained on another one.'
        )
    for what, mine, theirs in (('tokenizer', found.tokenizer, tokenizer.digest), ('prompt', found.prompt, prompt.digest)):
        if mine != theirs:
            raise _other(source, what, mine, theirs)
    return found


def _other(source: str | Path, what: str, mine: str, theirs: str) -> ConfigError:
    return ConfigError(
        f'{source}: the probe was trained with another {what} ({str(mine)[:12]}, here {theirs[:12]}): use that one, or train '
        'the probe again (jaxreason train probe).'
    )


def _sha256(path: Path) -> str:
    try:
        with path.open('rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    except OSError as error:
        raise WeightsError(f'{path}: cannot be read ({error.strerror}); train the probe again.') from error
