"""What a command sets up before the first compilation."""

import os


def start_jax() -> None:
    """Keeps compiled programs in the user's cache, unless the user has chosen another place or forbidden it.

    JAX reads `JAX_COMPILATION_CACHE_DIR` itself; set but empty, it turns the cache off.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    import jax

    from jaxreason.models.fetch import user_cache

    if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
        jax.config.update('jax_compilation_cache_dir', str(user_cache().parent / 'compiled'))
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)
