"""A plain torch training step: the same decoder, causal SDPA, fused AdamW, clipping by the global norm.

Settings: `shape` (a name of `training_work.py`), `threads`, `compile` (by `torch.compile`, which needs a C++ compiler).
Projections of a kind are one product (queries, keys and values; gate and up).
"""

import itertools

import training_work
from worker_loop import serve


class Torch:
    """A model and its optimiser."""

    def load(self, settings):
        import torch

        torch.set_num_threads(settings['threads'])
        self._torch = torch
        shape = training_work.SHAPES[settings['shape']]
        self._parameters = _parameters(torch, shape)
        matrices = [p for p in self._parameters.values() if not p.is_norm]
        norms = [p for p in self._parameters.values() if p.is_norm]
        groups = [{'params': matrices, 'weight_decay': training_work.DECAY}, {'params': norms, 'weight_decay': 0.0}]
        self._optimiser = torch.optim.AdamW(
            groups, lr=training_work.LEARNING_RATE, betas=training_work.BETAS, eps=training_work.EPSILON, fused=True
        )
        self._loss = _loss(torch, shape)
        if settings['compile']:
            self._loss = torch.compile(self._loss)
        ids = torch.from_numpy(training_work.texts(shape))
        targets = ids[:, :, 1:].clone()
        targets[:, :, : training_work.PROMPT - 1] = -100
        self._batches = itertools.cycle(list(zip(ids[:, :, :-1].contiguous(), targets, strict=True)))
        return {'torch': torch.__version__}

    def train(self, steps):
        losses = []
        for _ in range(steps):
            tokens, targets = next(self._batches)
            loss = self._loss(self._parameters, tokens, targets)
            loss.backward()
            self._torch.nn.utils.clip_grad_norm_(list(self._parameters.values()), training_work.CLIP)
            self._optimiser.step()
            self._optimiser.zero_grad(set_to_none=True)
            losses.append(loss.item())
        return losses


def _parameters(torch, shape):
    found = {name: torch.from_numpy(values) for name, values in training_work.weights(shape).items()}
    made = {'embedding': found['embedding'], 'final_norm': torch.ones(shape.width)}
    for layer in range(shape.num_layers):
        made[f'{layer}.qkv'] = torch.cat([found[name][layer] for name in 'qkv'], dim=1).T.contiguous()
        made[f'{layer}.o'] = found['o'][layer].T.contiguous()
        made[f'{layer}.gate_up'] = torch.cat([found['gate'][layer], found['up'][layer]], dim=1).T.contiguous()
        made[f'{layer}.down'] = found['down'][layer].T.contiguous()
        for name in ('attention_norm', 'mlp_norm'):
            made[f'{layer}.{name}'] = torch.ones(shape.width)
    parameters = {name: torch.nn.Parameter(values) for name, values in made.items()}
    for name, parameter in parameters.items():
        parameter.is_norm = name.endswith('norm')
    return parameters


def _loss(torch, shape):
    """The loss as a function of parameters, tokens and targets."""
    from torch.nn import functional

    n, h = shape.num_heads, shape.head_width
    half = torch.arange(0, h, 2, dtype=torch.float64) / h
    angles = torch.outer(torch.arange(shape.length, dtype=torch.float64), training_work.ROPE_THETA**-half)
    cos, sin = angles.cos().float(), angles.sin().float()

    def norm(x, scale):
        return functional.rms_norm(x, (shape.width,), scale, training_work.NORM_EPSILON)

    def rotate(x):
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

    def loss(p, tokens, targets):
        b, t = tokens.shape
        x = functional.embedding(tokens, p['embedding'])
        for layer in range(shape.num_layers):
            y = functional.linear(norm(x, p[f'{layer}.attention_norm']), p[f'{layer}.qkv'])
            q, k, v = y.view(b, t, 3, n, h).permute(2, 0, 3, 1, 4)
            y = functional.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
            x = x + functional.linear(y.transpose(1, 2).reshape(b, t, n * h), p[f'{layer}.o'])
            gate, up = functional.linear(norm(x, p[f'{layer}.mlp_norm']), p[f'{layer}.gate_up']).chunk(2, dim=-1)
            x = x + functional.linear(functional.silu(gate) * up, p[f'{layer}.down'])
        logits = functional.linear(norm(x, p['final_norm']), p['embedding'])
        return functional.cross_entropy(logits.view(b * t, -1), targets.reshape(-1), ignore_index=-100)

    return loss


if __name__ == '__main__':
    serve(Torch())
