"""Every test runs on the CPU with eight virtual devices, with silent broadcasting and reused keys turned into errors."""

import os

from tests.compiling import EIGHT_DEVICES, QUICK

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = ' '.join((os.environ.get('XLA_FLAGS', ''), EIGHT_DEVICES, QUICK)).strip()

import jax

jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_debug_key_reuse', True)
