"""What a command sets up before the first compilation, and how it tells of a device that is missing or too small."""

import contextlib
import os
from collections.abc import Iterator

from jaxreason.core.errors import ConfigError


def start_jax() -> None:
    """Prepares JAX and finds the devices of a process alone; errors as of `find_devices`."""
    prepare_jax()
    find_devices()


def prepare_jax() -> None:
    """Imports JAX, and keeps compiled programs in the user's cache, unless the user has chosen otherwise.

    JAX reads `JAX_COMPILATION_CACHE_DIR` itself; set but empty, it turns the cache off.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    import jax

    from jaxreason.core.user_cache import user_cache
    from jaxreason.engine.compiles import compiled

    compiled()  # counts from here on
    if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
        jax.config.update('jax_compilation_cache_dir', str(user_cache('compiled')))
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)


def find_devices() -> None:
    """Finds the devices.

    Raises:
        ConfigError: there is no device of the kind that was asked for.
    """
    import jax

    try:
        jax.devices()
    except RuntimeError as error:
        raise ConfigError(f'no device to run on: {_first_line(error)}; see JAX_PLATFORMS.') from error


@contextlib.contextmanager
def device_errors() -> Iterator[None]:
    """Tells of too little memory as of any other mistake; everything else that goes wrong there is a bug.

    Raises:
        ConfigError: the memory of the device or of the host does not suffice.
    """
    import jax

    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        remedy = 'lower sampler.num_rows, sampler.memory_limit or sampler.max_tokens (evaluate --dry-run shows what is needed)'
        raise ConfigError(f'there is too little memory: {_first_line(error)}; {remedy}.') from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip('.')[:300]
