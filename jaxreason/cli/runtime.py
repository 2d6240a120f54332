"""What a command sets up before the first compilation, and how it tells of a device that is missing or too small."""

import contextlib
import os
from collections.abc import Iterator

from jaxreason.core.errors import ConfigError

# Options of glibc's mallopt, as malloc.h numbers them.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


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


def keep_freed_memory() -> None:
    """Has the C library keep what is freed for what is asked for next; call it before anything asks for a device.

    The CPU backend asks for the memory of all intermediate results anew at every call. A training step's are so large that
    glibc maps them, and gives them back, each time: the system then clears hundreds of megabytes a step, a third of a small
    model's time. The price is that a process keeps the most that it ever used, which in training it uses at every step.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)  # of glibc; other systems are left as they are
    if mallopt is not None:
        for option, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1)):
            mallopt(option, value)


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
