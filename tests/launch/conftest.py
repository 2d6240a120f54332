"""A stand-in for gcloud that plays the service and its workers: folders are the workers' disks, local shells their ssh."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / 'launch' / 'tpu_vm.sh'

# Every call leaves its arguments in calls/, each ended by a NUL. `states` holds what the next describes answer, the last one
# for ever.
GCLOUD = r"""#!/usr/bin/env bash
stub=$(cd -- "$(dirname -- "$0")/.." && pwd)
printf '%s\0' "$@" >"$stub/calls/$(printf %03d "$(ls "$stub/calls" | wc -l)")"
workers=$(cat "$stub/workers")
places() { # the name and the sources and destination of scp, or what follows ssh NAME
  local word
  for word; do case $word in --*) ;; *) printf '%s\0' "$word" ;; esac; done
}
flag() { # the value of flag $1
  local word
  for word in "${@:2}"; do case $word in "$1="*) printf '%sx' "${word#*=}" ;; esac; done
}
on_each() { if [[ $1 == all ]]; then seq 0 $((workers - 1)); else echo "$1"; fi; }
worker=$(flag --worker "$@") worker=${worker%x}
case "$3 $4" in
  'queued-resources describe')
    IFS= read -r state <"$stub/states"
    if (($(wc -l <"$stub/states") > 1)); then sed -i 1d "$stub/states"; fi
    if [[ $state == ABSENT ]]; then
      echo "ERROR: (gcloud.x) NOT_FOUND: Resource 'projects/p/locations/z/queuedResources/$5' was not found." >&2
      exit 1
    fi
    [[ $state != DENIED ]] || { echo 'ERROR: (gcloud.x) PERMISSION_DENIED: no' >&2; exit 7; }
    printf '%b\n' "$state"
    ;;
  'queued-resources delete') [[ ! -e $stub/delete_error ]] || { cat "$stub/delete_error" >&2; exit 3; } ;;
  'queued-resources create') [[ ! -e $stub/create_error ]] || { cat "$stub/create_error" >&2; exit 4; } ;;
  'tpu-vm describe') echo "$workers" ;;
  'tpu-vm ssh')
    command=$(flag --command "$@") command=${command%x} worst=0
    for i in $(on_each "$worker"); do
      clean=(env -i "HOME=$stub/home/$i" "HOSTNAME=t1v-n-12ab-w-$i" "PATH=$stub/remote:/usr/bin:/bin")
      (cd "$stub/home/$i" && exec "${clean[@]}" sh -c "$command") || worst=$?
    done
    exit "$worst"
    ;;
  'tpu-vm scp')
    words=()
    while IFS= read -r -d '' word; do words+=("$word"); done < <(places "${@:5}")
    for i in $(on_each "$worker"); do
      here=()
      for word in "${words[@]}"; do
        case $word in *:*) here+=("$stub/home/$i/${word#*:}") ;; *) here+=("$word") ;; esac
      done
      cp -p -- "${here[@]}" || exit
    done
    ;;
esac
"""

# Python of a worker: makes an environment whose programs only record what they were called with. `body` is what a run does.
PYTHON = r"""#!/usr/bin/env bash
case "$*" in
  '-m venv '*)
    mkdir -p "$3/bin"
    cat >"$3/bin/python" <<'END'
#!/usr/bin/env bash
if [[ $1 == --version ]]; then echo Python 3.11.9; else printf '%s\n' "$PWD: $*" >>~/pip; fi
END
    cat >"$3/bin/jaxreason" <<'END'
#!/usr/bin/env bash
[[ $* != --help ]] || exit 0
printf '%s\0' "$@" >~/argv
env -0 >~/env
[[ ! -f ~/body ]] || . ~/body
END
    chmod +x "$3/bin/"*
    ;;
esac
"""


class Cloud:
    """The stand-in: what it will answer, what it was asked, and the disks of its workers."""

    def __init__(self, root: Path):
        self.root = root
        for folder in ('bin', 'remote', 'calls', 'local', 'home/0', 'home/1'):
            (root / folder).mkdir(parents=True)
        self.program('bin/gcloud', GCLOUD)
        self.program('remote/python3.11', PYTHON)
        self.answer('ACTIVE')
        (root / 'workers').write_text('2')

    def program(self, name: str, text: str) -> None:
        """Writes a program."""
        (self.root / name).write_text(text)
        (self.root / name).chmod(0o755)

    def answer(self, *states: str) -> None:
        """The states that the next describes give."""
        (self.root / 'states').write_text(''.join(f'{state}\n' for state in states))

    def __call__(
        self, verb: str, *words: str, name: str = 'demo', variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs the script as a user does, in an empty folder."""
        path = f'{self.root / "bin"}:{os.environ["PATH"]}'
        return subprocess.run(
            [str(SCRIPT), verb, '--name', name, '--zone', 'us-east5-a', *words],
            cwd=self.root / 'local',
            env={'HOME': str(self.root), 'PATH': path, **(variables or {})},
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of every gcloud call so far."""
        return [path.read_text().split('\0')[:-1] for path in sorted((self.root / 'calls').iterdir())]

    def home(self, worker: int) -> Path:
        """The home directory of a worker."""
        return self.root / 'home' / str(worker)

    def is_ended(self, worker: int) -> bool:
        """Whether the run on a worker has left its exit status."""
        return (self.home(worker) / 'jaxreason-launch/job/exit').exists()

    def files(self, worker: int, out: str, **files: str) -> None:
        """A run folder on a worker."""
        folder = self.home(worker) / 'jaxreason-launch' / 'checkout' / out
        folder.mkdir(parents=True)
        for name, text in files.items():
            path = folder / name.replace('__', '/')
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    """A slice of two workers, active, nothing on its disks."""
    return Cloud(tmp_path)


@pytest.fixture
def ready(cloud: Cloud) -> Cloud:
    """The same after setup, its calls forgotten."""
    done = cloud('setup')
    assert done.returncode == 0, done.stderr
    for path in (cloud.root / 'calls').iterdir():
        path.unlink()
    return cloud


@pytest.fixture
def wait() -> Callable[[Callable[[], bool]], None]:
    """Waits until something is true, 10 s at most."""

    def until(is_true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not is_true():
            assert time.monotonic() < deadline, 'did not become true within 10 s'
            time.sleep(0.02)

    return until
