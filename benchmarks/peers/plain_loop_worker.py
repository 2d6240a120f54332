"""The loop that one would write first: the same nano policy, one jitted step a token, called from Python.

Every row has its prompt for itself; tokens stay on the device until the end, so that steps are dispatched without waiting.
Setting: `dtype`.
"""

import functools

from worker_loop import serve


class PlainLoop:
    """The model and its two programs: the prompt at once, then a token."""

    def load(self, settings):
        from jaxreason.cli.runtime import start_jax

        start_jax()
        import jax
        import jaxlib
        from nano_model import load_nano

        self._lm, self._dtype = load_nano(settings['dtype']), settings['dtype']
        self._step = jax.jit(functools.partial(_step, self._lm.config), donate_argnames='cache', static_argnames='greedy')
        return {'jax': jax.__version__, 'jaxlib': jaxlib.__version__}

    def ready(self, workload, greedy):
        """Memory for keys and values of all rows."""
        import jax
        import jax.numpy as jnp
        import numpy as np

        from jaxreason.models.cache import Cache

        self._tokens = np.array([workload['prompts'][prompt] for prompt, _ in workload['rows']], np.int32)
        rows, length = self._tokens.shape
        cache = Cache.empty(self._lm.config, rows, 1, 0, length + workload['most_tokens'], self._dtype)
        self._cache = jax.block_until_ready(jax.tree.map(jnp.asarray, cache))

    def run(self, workload, seed, greedy):
        import jax
        import numpy as np

        rows, length = self._tokens.shape
        count = max(target for _, target in workload['rows'])
        key, token_bc, cache = jax.random.key(seed), self._tokens, self._cache
        self._cache = None
        position, drawn = np.arange(length, dtype=np.int32)[None].repeat(rows, 0), []
        for at in range(length, length + count):
            token_bc, cache = self._step(self._lm.params, token_bc, position, cache, jax.random.fold_in(key, at), greedy=greedy)
            drawn.append(token_bc)
            position = np.full((rows, 1), at, np.int32)
        tokens_bt = np.concatenate([np.asarray(token_b1) for token_b1 in drawn], 1)
        return [row[:target].tolist() for row, (_, target) in zip(tokens_bt, workload['rows'], strict=True)]


def _step(config, params, tokens_bc, positions_bc, cache, key, *, greedy):
    """Runs the tokens and draws the one after the last of them."""
    import jax
    import jax.numpy as jnp

    from jaxreason.models.heads import lm_logits
    from jaxreason.models.transformer import forward

    hidden_bcd, cache = forward(config, params, tokens_bc, positions_bc, cache)
    logits_bv = lm_logits(config, params, hidden_bcd[:, -1:])[:, 0]
    token_b = jnp.argmax(logits_bv, -1) if greedy else jax.random.categorical(key, logits_bv)
    return token_b.astype(jnp.int32)[:, None], cache


if __name__ == '__main__':
    serve(PlainLoop())
