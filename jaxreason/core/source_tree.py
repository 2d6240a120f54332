"""Which version of the source runs."""

import subprocess
from pathlib import Path


def commit() -> str:
    """The commit of the source tree that runs, if it is a git checkout; a plus where it has uncommitted changes."""
    root = Path(__file__).resolve().parents[2]
    if not (root / '.git').exists():
        return 'not a checkout'
    try:
        head = subprocess.run(
            ['git', '-C', str(root), 'rev-parse', 'HEAD'], capture_output=True, text=True, check=True, timeout=10
        )
        status = subprocess.run(
            ['git', '-C', str(root), 'status', '--porcelain', '--untracked-files=no'],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return 'unknown'
    return head.stdout.strip() + ('+' if status.stdout.strip() else '')
