"""SmolLM2 under our sampler against transformers: the same greedy continuations, token for token."""

import pytest

from jaxreason.core.types import Question
from jaxreason.data.datasets import load_problems
from jaxreason.data.prompts import PromptSpec
from jaxreason.engine.language_model import load
from jaxreason.engine.sampler import Sampler
from jaxreason.models.fetch import resolve
from jaxreason.models.folder import read_checkpoint
from jaxreason.models.hugging_face import from_parameters
from jaxreason.search.greedy import Greedy

NUM_TOKENS = 64
PROMPT = PromptSpec(few_shot=0, instruction='')
OTHERS = [
    'Explain in two sentences why the sky is blue.',
    'Write a short poem about the sea.',
    'List five fruits.',
    'What is the capital of France, and what is it known for?',
    'Translate "good morning" into Spanish and German.',
    'Write a Python function that adds two numbers.',
    'Who was Ada Lovelace?',
    'Give three tips for sleeping well.',
]


@pytest.fixture(scope='module')
def reference():
    """The same dequantised weights in transformers, float32."""
    import torch
    import transformers

    checkpoint = read_checkpoint(resolve('smollm2-135m'))
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**checkpoint.config.to_hugging_face()))
    tensors = from_parameters(checkpoint.config, checkpoint.parameters)
    missing, unknown = model.load_state_dict({name: torch.from_numpy(values) for name, values in tensors.items()}, strict=False)
    assert (missing, unknown) == (['lm_head.weight'], [])  # tied to the embedding
    return model.eval()


def test_greedy_continuations_agree(reference):
    """Every token that we chose is the reference's most likely one after the same text: its greedy run is then the same run."""
    import torch

    lm = load('smollm2-135m')
    questions = [p.question for p in load_problems('basic', limit=20 - len(OTHERS))]
    questions += [Question(f'other-{i}', text) for i, text in enumerate(OTHERS)]
    sampler = Sampler(lm, temperature=0, max_tokens=NUM_TOKENS, num_rows=16, rows_per_slot=1, prompt=PROMPT)
    agreed = 0
    for outcome in Greedy().solve(questions, sampler):
        prompt = PROMPT.encode(lm.tokenizer, outcome.question.text)
        tokens = outcome.candidates[0].tokens
        with torch.no_grad():
            logits = reference(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
        assert tokens == tuple(logits.argmax(dim=-1).tolist()), outcome.question.id
        assert len(tokens) == NUM_TOKENS or tokens[-1] in lm.eos_ids
        agreed += len(tokens)
    print(f'\n20 prompts, {agreed} greedy tokens, all equal')


def test_one_continuation_agrees_with_the_reference_s_own_generation(reference):
    import torch

    lm = load('smollm2-135m')
    question = Question('sky', OTHERS[0])
    sampler = Sampler(lm, temperature=0, max_tokens=NUM_TOKENS, num_rows=1, rows_per_slot=1, prompt=PROMPT)
    prompt = torch.tensor([PROMPT.encode(lm.tokenizer, question.text)])
    with torch.no_grad():
        whole = reference.generate(prompt, max_new_tokens=NUM_TOKENS, do_sample=False, eos_token_id=list(lm.eos_ids))
    (outcome,) = Greedy().solve([question], sampler)
    assert outcome.candidates[0].tokens == tuple(whole[0, prompt.shape[1] :].tolist())
