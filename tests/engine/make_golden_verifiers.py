"""Writes tests/engine/golden/<preset>/: tiny checkpoints laid out as the published PRMs, with the scores that torch computes.

    python tests/engine/make_golden_verifiers.py

Needs the extra `parity`. Architecture, tensor names, config.json, label and marker strings are those of the published models;
the weights are random, the vocabularies small. What is computed here shares no code with jaxreason: texts are put together as
the models' authors do, encoded by transformers, run by torch.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parent / 'golden'
SYSTEM = 'Please reason step by step, and put your final answer within \\boxed{}.'
_TINY = {
    'hidden_size': 32,
    'intermediate_size': 64,
    'num_hidden_layers': 2,
    'num_attention_heads': 4,
    'num_key_value_heads': 2,
    'max_position_embeddings': 512,
}
ARCHITECTURE = {
    'qwen2.5-math-prm': ('Qwen2ForProcessRewardModel', 'qwen2', {'tie_word_embeddings': False, 'rope_theta': 10000.0}),
    'skywork-o1-open-prm': ('Qwen2ForRewardModel', 'qwen2', {'tie_word_embeddings': True, 'rope_theta': 1e6}),
    'math-shepherd': ('MistralForCausalLM', 'mistral', {'sliding_window': 4096}),
    'rlhflow-prm': (
        'LlamaForCausalLM',
        'llama',
        {
            'rope_theta': 500000.0,
            'rope_scaling': {
                'rope_type': 'llama3',
                'factor': 8.0,
                'low_freq_factor': 1.0,
                'high_freq_factor': 4.0,
                'original_max_position_embeddings': 64,
            },
        },
    ),
}
# Questions with the steps of a solution: the last one is open, one is a single step, one has line breaks and accents.
SOLUTIONS = [
    ('What is 12 + 30 * 2?', ('First, 30 * 2 = 60.\n\n', 'Then 12 + 60 = 72.\n\n', 'The answer is 72.')),
    ('Is 7 - 9 = 2?', ('No: 7 - 9 = -2.',)),
    ('Sum of 1, 2, 3?\nGive a number.', ('Café: 1 + 2\n= 3.\n\n', 'And 3 + 3 = 6, so\n\\boxed{6}.')),
]
_SPLIT = '|'.join(
    [
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        '[^\\r\\n\\p{L}\\p{N}]?\\p{L}+',
        '\\p{N}',
        ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*',
        '\\s*[\\r\\n]+',
        '\\s+(?!\\S)',
        '\\s+',
    ]
)
_CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
_LLAMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    '{% set first = messages[0].content | trim %}{% set rest = messages[1:] %}'
    "{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\\n\\nToday: 26 Jul 2024\\n\\n' + first + '<|eot_id|>' }}"
    "{% for m in rest %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}"
    '{% endfor %}'
)


def byte_level(specials: Sequence[str]):
    """A byte-level BPE with a few merges and these special pieces."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_SPLIT), 'isolated'), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    # Line breaks after a full stop are one piece, as in the real vocabularies: layouts must not depend on it.
    texts = ['The answer is the one.\n\nFirst, then.\n', 'user assistant system\n\n', '.\n.\n.\n\n.\n\n'] * 3
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in specials])
    return tokenizer


def sentencepiece():
    """A BPE in the manner of SentencePiece, with bytes to fall back on and the pieces of Math-Shepherd's labels."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    merges = [('▁', 'к'), ('▁к', 'и'), ('▁', '+'), ('▁', '-'), ('▁', '='), ('▁', 't'), ('▁t', 'h'), ('▁th', 'e'), ('i', 's')]
    pieces = ['<unk>', '<s>', '</s>', *(f'<0x{byte:02X}>' for byte in range(256)), '▁', 'к', 'и']
    pieces += [chr(code) for code in range(33, 127)]
    pieces += [a + b for a, b in merges]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token='<unk>', fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')])
    tokenizer.decoder = decoders.Sequence([decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(single='<s> $A', special_tokens=[('<s>', 1)])
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in ('<unk>', '<s>', '</s>')])
    return tokenizer


def write_tokenizer(preset: str, folder: Path) -> int:
    """Writes tokenizer.json and its configuration; returns the size of the vocabulary."""
    config: dict[str, Any] = {'tokenizer_class': 'PreTrainedTokenizerFast'}
    if preset == 'math-shepherd':
        tokenizer = sentencepiece()
        config |= {'bos_token': '<s>', 'eos_token': '</s>', 'add_bos_token': True}
    elif preset == 'rlhflow-prm':
        pieces = ['<|begin_of_text|>', '<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>']
        tokenizer = byte_level(pieces)
        config |= {'bos_token': pieces[0], 'eos_token': pieces[3], 'chat_template': _LLAMA}
    else:
        tokenizer = byte_level(['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<extra_0>'])
        bos = '<|endoftext|>' if preset == 'skywork-o1-open-prm' else None
        config |= {'bos_token': bos, 'eos_token': '<|im_end|>', 'add_bos_token': False, 'chat_template': _CHATML}
    tokenizer.save(str(folder / 'tokenizer.json'))
    (folder / 'tokenizer_config.json').write_text(json.dumps(config))
    return tokenizer.get_vocab_size()


def build(preset: str, vocab_size: int, seed: int):
    """The decoder and its head with random weights that float16 holds exactly."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    _, model_type, more = ARCHITECTURE[preset]
    config = AutoConfig.for_model(
        model_type, vocab_size=vocab_size, bos_token_id=None, eos_token_id=None, pad_token_id=None, **_TINY, **more,
        attn_implementation='eager',
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval().float()
    d = _TINY['hidden_size']
    head: Any = None
    if preset == 'qwen2.5-math-prm':
        head = torch.nn.Sequential(torch.nn.Linear(d, d), torch.nn.ReLU(), torch.nn.Linear(d, 2))
    elif preset == 'skywork-o1-open-prm':
        head = torch.nn.Linear(d, 1)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in [*model.named_parameters(), *(head.named_parameters() if head is not None else ())]:
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim == 1:
                weight.copy_(((1.0 if 'norm' in name else 0.0) + 0.3 * noise).half().float())
            else:
                weight.copy_((noise * (1.0 if 'embed' in name else 1.5 * weight.shape[1] ** -0.5)).half().float())
    return config, model, head


def tensors(preset: str, model, head) -> dict[str, np.ndarray]:
    """Weights under the names of the published files."""
    found = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    if preset == 'qwen2.5-math-prm':
        found.pop('lm_head.weight')
        found |= {f'score.{name}': weight.detach().numpy() for name, weight in head.named_parameters()}
    elif preset == 'skywork-o1-open-prm':
        found |= {f'v_head.summary.{name}': weight.detach().numpy() for name, weight in head.named_parameters()}
    return found


def _run(model, ids: Sequence[int]):
    """Hidden states after the last norm, and logits."""
    import torch

    with torch.no_grad():
        result = model(torch.tensor([list(ids)]), output_hidden_states=True, use_cache=False)
    return result.hidden_states[-1][0], result.logits[0]


def reference(preset: str, tokenizer, model, head, question: str, steps: Sequence[str]) -> list[float]:
    """Step scores as the model's authors compute them; `tokenizer` is transformers' own."""
    import torch

    text = ''.join(steps)
    if preset == 'qwen2.5-math-prm':
        messages = [
            {'role': 'system', 'content': SYSTEM},
            {'role': 'user', 'content': question},
            {'role': 'assistant', 'content': text.replace('\n\n', '<extra_0>') + '<extra_0>'},
        ]
        ids = tokenizer.encode(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False))
        with torch.no_grad():
            probabilities = torch.softmax(head(_run(model, ids)[0]), dim=-1)[:, 1]
        marker = tokenizer.encode('<extra_0>')[0]
        return [float(probabilities[place]) for place, token in enumerate(ids) if token == marker]
    if preset == 'skywork-o1-open-prm':
        line_break = tokenizer.encode('\n')[-1]
        ids = tokenizer.encode(tokenizer.bos_token + question + '\n')
        places = []
        for line in text.split('\n'):
            ids += [*(tokenizer.encode(line) if line else []), line_break]
            places.append(len(ids) - 1)
        with torch.no_grad():
            values = torch.sigmoid(head(_run(model, ids)[0]))[:, 0]
        # The authors score every line; a step of several lines has the score of its last one.
        ends = np.cumsum([len((step if step.endswith('\n') else step + '\n').split('\n')) - 1 for step in steps])
        return [float(values[places[end - 1]]) for end in ends]
    if preset == 'math-shepherd':
        solution = text.replace('\n\n', ' ки\n\n')
        solution = solution if solution.endswith('\n\n') else solution + ' ки'
        ids = tokenizer.encode(f'{question}\n {solution}')
        good, bad = tokenizer.encode('+ -', add_special_tokens=False)
        marker = tokenizer.encode('ки')[-1]
        scores = torch.softmax(_run(model, ids)[1][:, [good, bad]], dim=-1)[:, 0]
        return [float(scores[place]) for place, token in enumerate(ids) if token == marker]
    good, bad = tokenizer.encode('+')[-1], tokenizer.encode('-')[-1]
    conversation, scores = [], []
    for index, step in enumerate(text.split('\n\n')):
        conversation.append({'role': 'user', 'content': f'{question} {step}' if index == 0 else step})
        conversation.append({'role': 'assistant', 'content': '+'})
        ids = tokenizer.encode(tokenizer.apply_chat_template(conversation, tokenize=False), add_special_tokens=False)
        scores.append(float(torch.softmax(_run(model, ids)[1][-3, [good, bad]], dim=-1)[0]))
    return scores


def write(preset: str, folder: Path, seed: int) -> list[list[float]]:
    """Writes a checkpoint; returns the scores of `SOLUTIONS`."""
    from safetensors.numpy import save_file
    from transformers import AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    # Embeddings of published models have more rows than their tokenizers have ids.
    size = -(-write_tokenizer(preset, folder) // 16) * 16
    config, model, head = build(preset, size, seed)
    named = {name: value.astype(np.float16) for name, value in tensors(preset, model, head).items()}
    save_file(named, str(folder / 'model.safetensors'), metadata={'format': 'pt'})
    architecture, model_type, more = ARCHITECTURE[preset]
    words = {'architectures': [architecture], 'model_type': model_type, 'vocab_size': size, **_TINY, **more}
    words |= {'hidden_act': 'silu', 'rms_norm_eps': config.rms_norm_eps, 'torch_dtype': 'float16'}
    if model_type == 'qwen2':  # their files name code to run; it is not needed, and never run
        words['auto_map'] = {'AutoModel': 'modeling_qwen2_rm.Anything'}
    (folder / 'config.json').write_text(json.dumps(words, indent=1))
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    return [reference(preset, tokenizer, model, head, question, steps) for question, steps in SOLUTIONS]


def main() -> None:
    for seed, preset in enumerate(ARCHITECTURE):
        scores = write(preset, GOLDEN / preset, seed)
        lines = [{'question': q, 'steps': s, 'scores': x} for (q, s), x in zip(SOLUTIONS, scores, strict=True)]
        (GOLDEN / preset / 'scores.json').write_text(json.dumps(lines, indent=1))
        print(preset, scores)


if __name__ == '__main__':
    main()
