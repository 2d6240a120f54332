"""Where this user's fetched and compiled things are kept."""

import os
import sys
from pathlib import Path
from typing import Literal


def user_cache(kind: Literal['weights', 'compiled', 'kernels']) -> Path:
    """The folder for one kind of things: model weights, programs that JAX compiled, kernels for CPUs; it need not exist."""
    given = os.environ.get('XDG_CACHE_HOME', '')
    if os.path.isabs(given):  # the standard says that a relative path is to be ignored
        base = Path(given)
    elif sys.platform == 'darwin':
        base = Path.home() / 'Library' / 'Caches'
    else:
        base = Path.home() / '.cache'
    return base / 'jaxreason' / kind
