"""Ours: the step of `jaxreason train sft` on packed rows, fed and read as the training loop does.

Settings: `shape` (a name of `training_work.py`) and `layers` (`unrolled` or `scanned`).
"""

import itertools

import training_work
from worker_loop import serve


class Jaxreason:
    """A model, its optimiser and the compiled step."""

    def load(self, settings):
        from jaxreason.cli.runtime import keep_freed_memory, start_jax

        keep_freed_memory()  # as the command does
        start_jax()
        import jax
        import jaxlib
        import optax

        from jaxreason.data.batches import Example, in_batches, pack
        from jaxreason.train.next_token import next_token_objective
        from jaxreason.train.optimiser import OptimiserConfig, make_optimiser, rate_schedule
        from jaxreason.train.state import TrainState, make_step

        shape = training_work.SHAPES[settings['shape']]
        config, params = config_of(shape), _parameters(shape)
        beta1, beta2 = training_work.BETAS
        asked = OptimiserConfig(
            learning_rate=training_work.LEARNING_RATE,
            schedule='constant',
            warmup_steps=0,
            beta1=beta1,
            beta2=beta2,
            epsilon=training_work.EPSILON,
            weight_decay=training_work.DECAY,
            clip_norm=training_work.CLIP,
        )
        optimiser = make_optimiser(asked, 1)
        objective = next_token_objective(config, unrolled=settings['layers'] == 'unrolled')
        self._step = make_step(objective, optimiser, rate_schedule(asked, 1))
        self._state = jax.device_put(TrainState.begin(params, optimiser), jax.local_devices()[0])
        prompt = training_work.PROMPT
        rows = [tuple(map(int, row)) for row in training_work.texts(shape).reshape(-1, shape.length + 1)]
        packed, _ = pack([Example(row[:prompt], row[prompt:]) for row in rows], shape.length)
        self._batches = itertools.cycle(list(in_batches(packed, shape.rows)))
        return {'jax': jax.__version__, 'jaxlib': jaxlib.__version__, 'optax': optax.__version__}

    def train(self, steps):
        import jax

        losses, pending = [], []
        for _ in range(steps):
            batch = jax.device_put(dict(next(self._batches)), jax.local_devices()[0])
            self._state, measured = self._step(self._state, batch)
            pending.append(measured)
            if len(pending) > 1:
                losses.append(jax.device_get(pending.pop(0))['loss'].item())
        losses.append(jax.device_get(pending.pop())['loss'].item())
        jax.block_until_ready(self._state)
        return losses


def config_of(shape):
    """Our architecture."""
    from jaxreason.core.architecture import ModelConfig

    return ModelConfig(
        vocab_size=shape.vocab_size,
        num_layers=shape.num_layers,
        width=shape.width,
        mlp_width=shape.mlp_width,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_heads,
        head_width=shape.head_width,
        max_positions=shape.length,
        norm_epsilon=training_work.NORM_EPSILON,
        rope_theta=training_work.ROPE_THETA,
        tied_head=True,
    )


def _parameters(shape):
    import jax.numpy as jnp

    found = {name: jnp.asarray(values) for name, values in training_work.weights(shape).items()}
    layers, d, n, h = shape.num_layers, shape.width, shape.num_heads, shape.head_width
    kernels = {name: {'kernel': found[name].reshape(layers, d, n, h)} for name in 'qkv'}
    kernels['o'] = {'kernel': found['o'].reshape(layers, n, h, d)}
    ones = {'scale': jnp.ones((layers, d))}
    return {
        'embedding': found['embedding'],
        'layers': {
            'attention': kernels,
            'attention_norm': ones,
            'mlp': {name: {'kernel': found[name]} for name in ('gate', 'up', 'down')},
            'mlp_norm': {'scale': jnp.ones((layers, d))},
        },
        'final_norm': {'scale': jnp.ones(d)},
    }


if __name__ == '__main__':
    serve(Jaxreason())
