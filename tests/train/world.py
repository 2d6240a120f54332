"""A run small enough to be killed often: a linear model, thirty examples, one compiled step for all of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.core.architecture import ModelConfig
from jaxreason.data.batches import Batches, Example, pack
from jaxreason.models.transformer import init_parameters
from jaxreason.train.checkpoints import Checkpoints
from jaxreason.train.loop import LoopConfig, Parts, fit
from jaxreason.train.metrics import Metrics
from jaxreason.train.optimiser import OptimiserConfig, make_optimiser, rate_schedule
from jaxreason.train.patience import Patience
from jaxreason.train.state import TrainState, make_step

FILES = {'model.json': '{}\n', 'tokenizer/tokenizer.json': '{}\n'}
STEPS = 12
LOOP = LoopConfig(steps=STEPS, batch=2, length=16, save_every=4, keep=2, evaluate_every=6, give_up_after=3)
TINY = ModelConfig(
    vocab_size=24, num_layers=2, width=16, mlp_width=32, num_heads=2, num_kv_heads=2, head_width=8, max_positions=64
)


def parameters(config):
    """Parameters drawn without compiling anything."""
    shapes = jax.eval_shape(lambda key: init_parameters(config, key), jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * leaf.shape[-1] ** -0.5, jnp.float32), shapes)


class Killed(BaseException):
    """What a kill looks like from inside: nothing is saved, nothing is tidied."""


def examples(count=30, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Example(tuple(map(int, rng.integers(3, 19, rng.integers(2, 5)))), tuple(map(int, rng.integers(3, 19, 3))))
        for _ in range(count)
    ]


def objective(params, batch, key=None):
    """Squared error of a linear guess at the target; NaN where a batch holds the token 23."""
    guess = jnp.take(params['kernel'], batch['tokens']) + params['bias']
    is_target = batch['targets'] >= 0
    error = jnp.where(is_target, guess - batch['targets'], 0.0)
    poison = jnp.where(jnp.any(batch['tokens'] == 23), jnp.nan, 1.0)
    return jnp.sum(jnp.square(error)) * poison, {'weight': jnp.sum(is_target).astype(jnp.float32)}


@functools.cache
def step_and_optimiser(accumulate=1):
    config = OptimiserConfig(learning_rate=0.3, warmup_steps=3)
    optimiser = make_optimiser(config, STEPS)
    return make_step(objective, optimiser, rate_schedule(config, STEPS), accumulate), optimiser


def begin(optimiser):
    params = {'kernel': jnp.linspace(0.0, 1.0, 24), 'bias': jnp.zeros(())}
    return jax.device_put(TrainState.begin(params, optimiser), jax.devices()[0])


def run(
    folder, report=lambda _: None, rows=None, loop=LOOP, place=dict, say=lambda _: None, checkpoints=Checkpoints, losses=None
):
    """Trains, or goes on; returns the parameters as NumPy arrays. `losses`: what its evaluations find, in order."""
    step, optimiser = step_and_optimiser()
    rows = pack(examples(), loop.length)[0] if rows is None else rows
    folder.mkdir(exist_ok=True)
    batches = Batches(rows, batch=loop.batch, seed=7)
    with checkpoints(folder, loop.keep, FILES, say) as kept:
        state = begin(optimiser)
        restored = kept.restore(state, batches.restore)
        start, state = (0, state) if restored is None else (restored.step, restored.state)
        with Metrics(folder, start) as metrics:
            following = None if losses is None else iter(losses[len(metrics.held_out_losses) :])
            evaluate = lambda params: {'loss': next(following) if following else float(jnp.sum(params['kernel']))}  # noqa: E731
            patience = Patience(loop.patience, loop.after_lowest)
            patience.resume(metrics, kept, loop.steps)
            state = fit(loop, Parts(step, batches, place, evaluate, kept, metrics), state, start, patience, report)
    return jax.tree.map(np.asarray, state.params)
