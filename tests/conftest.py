"""Every test runs on the CPU with eight virtual devices, with silent broadcasting and reused keys turned into errors.

Most of the time goes into compiling what runs once, so that the compiler is told to try less hard than it does for users.
"""

import os

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = ' '.join(
    (
        os.environ.get('XLA_FLAGS', ''),
        '--xla_force_host_platform_device_count=8',
        '--xla_backend_optimization_level=1',
        '--xla_cpu_use_fusion_emitters=false',
    )
).strip()

import jax

jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_debug_key_reuse', True)
