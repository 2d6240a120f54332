"""Writes checkpoints of a training run beside the training, and restores the newest that is whole.

A checkpoint is made under a temporary name: Orbax writes the arrays in the background, then the manifest is written and the
folder takes its name (`models.manifest` says what is in it). Whatever moment a process ends in, a folder named by a step is
whole, and the step before it is still there. Only what has been saved is ever removed, oldest first, the best never.
"""

import dataclasses
import json
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from jaxreason.core.errors import JaxreasonError, RunError, WeightsError
from jaxreason.core.files import write_whole
from jaxreason.models.manifest import (
    ARRAYS,
    BEST,
    DATA,
    MANIFEST,
    PARAMS,
    SCRATCH,
    STEPS,
    best_step,
    newest_step,
    steps_of,
    verify_step,
    write_manifest,
)
from jaxreason.train.state import TrainState

_OTHERS = 'training'  # item of Orbax that holds what is not a parameter


class Restored(NamedTuple):
    """What a checkpoint gives back."""

    step: int
    state: TrainState
    data: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one run; use it as a context, so that what was begun is finished.

    An error of the background writer is raised by the next call.
    """

    def __init__(self, run: Path, keep: int, files: Mapping[str, str], say: Callable[[str], None] = print):
        """Clears away what a killed process left half-written.

        Args:
            run: folder of the run, which this process alone writes.
            keep: newest checkpoints to keep, at least 1.
            files: what each checkpoint holds besides arrays: relative names and contents.
            say: told of checkpoints that were passed over.
        """
        self._folder = run / STEPS
        self._run = run
        self._keep = keep
        self._files = dict(files)
        self._say = say
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._failed_step = 0
        items = {name: ocp.PyTreeCheckpointHandler(use_compression=False) for name in (PARAMS, _OTHERS)}
        self._orbax = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler(**items))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for left in self._folder.glob(f'.*{SCRATCH}'):
                shutil.rmtree(left)
        except OSError as error:
            raise RunError(f'{self._folder}: cannot write there ({error.strerror}); choose another --out.') from error

    def save(self, step: int, state: TrainState, data: Mapping[str, Any], is_best: bool = False) -> None:
        """Begins to save; the state may be given away at once.

        Args:
            step: steps taken.
            state: to save.
            data: state of the stream of batches.
            is_best: from now on this is the one to load.

        Raises:
            RunError: this or an earlier checkpoint cannot be written; the one before it is intact.
        """
        self.wait()
        part = self._folder / f'.{step}.part{SCRATCH}'
        try:
            part.mkdir()
            for name, text in {**self._files, DATA: json.dumps(dict(data), sort_keys=True) + '\n'}.items():
                (part / name).parent.mkdir(exist_ok=True)
                (part / name).write_text(text, encoding='utf-8')
            params, others = _split(_held(state))
            items = {PARAMS: ocp.args.PyTreeSave(params), _OTHERS: ocp.args.PyTreeSave(others)}
            self._orbax.save((part / ARRAYS).resolve(), args=ocp.args.Composite(**items))
        except (OSError, ValueError) as error:
            self._failure = error
            self._fail(step)
        self._thread = threading.Thread(target=self._finish, args=(step, part, is_best), name=f'checkpoint {step}')
        self._thread.start()

    def _finish(self, step: int, part: Path, is_best: bool) -> None:
        """Waits for Orbax, then makes the checkpoint visible; in the background."""
        try:
            self._orbax.wait_until_finished()
            write_manifest(part, step)
            target = self._folder / str(step)
            if target.exists():  # passed over as damaged when the run went on; nobody's data is thrown away
                aside = next(a for n in range(1000) if not (a := self._folder / f'{step}.damaged{n or ""}').exists())
                target.rename(aside)
            part.rename(target)
            if is_best:
                self.name_best(step)
            self._prune(step)
        except Exception as error:  # raised again by whoever calls next
            self._failed_step = step
            self._failure = error  # last: from here on it is seen

    def name_best(self, step: int) -> None:
        """Says that from now on a checkpoint, which is there, is the one to load.

        Raises:
            RunError: that cannot be written.
        """
        write_whole(self._run / BEST, json.dumps({'step': step}) + '\n')

    def _prune(self, step: int) -> None:
        """Removes what is older than the newest to keep, counted from the one just written: whatever else is called by a
        number is neither counted nor removed."""
        steps = [(n, path) for n, path in steps_of(self._run, lambda _: None) if n <= step and (path / MANIFEST).is_file()]
        best = best_step(self._run)
        for number, path in steps[self._keep :]:
            if number == best:
                continue
            gone = self._folder / f'.{number}.old{SCRATCH}'  # first without its name: half removed it would look damaged
            path.rename(gone)
            shutil.rmtree(gone)

    def wait(self) -> None:
        """Waits until what was begun is on disk; errors as of `save`."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            self._fail(self._failed_step)

    def check(self) -> None:
        """Raises the error of a checkpoint that has failed meanwhile; waits for nothing."""
        if self._failure is not None:
            self.wait()

    def _fail(self, step: int) -> None:
        error, self._failure = self._failure, None
        shutil.rmtree(self._folder / f'.{step}.part{SCRATCH}', ignore_errors=True)
        problem = (error.strerror if isinstance(error, OSError) and error.strerror else None) or ' '.join(str(error).split())
        raise RunError(
            f'{self._folder / str(step)}: the checkpoint cannot be written ({problem[:200]}); '
            'earlier ones are intact: free space and run the same command again.'
        ) from error

    def restore(
        self, template: TrainState, check_data: Callable[[Mapping[str, Any]], None] = lambda _: None
    ) -> Restored | None:
        """Restores the newest whole checkpoint.

        Args:
            template: a state like the one to restore, which says where its arrays lie.
            check_data: told the state of the data; raises if it is not one.

        Returns:
            What was restored, or None where nothing was ever saved.

        Raises:
            RunError: there are checkpoints, but none that can be used: starting anew would be a silent loss.
        """
        path = newest_step(self._run, self._say)
        if path is None:
            if any((candidate / ARRAYS).exists() for _, candidate in steps_of(self._run, lambda _: None)):
                raise RunError(f'{self._folder}: no checkpoint in it is whole; move the folder away to start anew.')
            return None
        params, others = _split(template)
        how = {name: _restoring(tree) for name, tree in ((PARAMS, params), (_OTHERS, others))}
        try:
            found = self._orbax.restore((path / ARRAYS).resolve(), args=ocp.args.Composite(**how))
            data = json.loads((path / DATA).read_text(encoding='utf-8'))
            check_data(data)
            state = _joined(template, found[PARAMS], found[_OTHERS])
        except (OSError, ValueError, KeyError, WeightsError) as error:
            if isinstance(error, JaxreasonError):
                raise
            problem = ' '.join(str(error).split())[:200]
            raise RunError(f'{path}: does not belong to this run ({problem}); use another --out.') from error
        return Restored(int(path.name), state, data)

    def best(self, state: TrainState) -> Any:
        """The parameters to be used, placed as those of `state` are: those of the best checkpoint, or of `state` itself.

        Raises:
            RunError: the best cannot be read.
        """
        self.wait()
        step = best_step(self._run)
        if step is None or step == int(state.step):
            return state.params
        path = self._folder / str(step)
        try:
            verify_step(path)
            found = self._orbax.restore(
                (path / ARRAYS).resolve(), args=ocp.args.Composite(**{PARAMS: _restoring(state.params)})
            )
        except (OSError, ValueError, KeyError, WeightsError) as error:
            raise RunError(f'{path}: cannot be read ({" ".join(str(error).split())[:200]}); restore it.') from error
        return found[PARAMS]

    def close(self) -> None:
        """Finishes what was begun; errors as of `save`."""
        try:
            self.wait()
        finally:
            self._orbax.close()

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.close()
            return
        if self._thread is not None:  # an error is under way already, it says more
            self._thread.join()
        self._orbax.close()


def _held(state: TrainState) -> TrainState:
    """The state in memory that no later step takes: Orbax reads CPU arrays in place, and a step gives their memory away."""
    if jax.default_backend() != 'cpu':
        return state
    return jax.block_until_ready(_copy(state))


@jax.jit
def _copy(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _split(state: TrainState) -> tuple[Any, dict[str, Any]]:
    """Parameters, and the rest under flat names, so that no library's containers are in the file."""
    rest = dataclasses.replace(state, params=None)
    return state.params, {_name(path): leaf for path, leaf in jax.tree.leaves_with_path(rest)}


def _joined(template: TrainState, params: Any, others: Mapping[str, Any]) -> TrainState:
    rest = jax.tree.map_with_path(lambda path, _: others[_name(path)], dataclasses.replace(template, params=None))
    return dataclasses.replace(rest, params=params)


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator='.')


def _restoring(tree: Any) -> Any:
    how = jax.tree.map(lambda x: ocp.ArrayRestoreArgs(sharding=x.sharding, global_shape=x.shape, dtype=x.dtype), tree)
    return ocp.args.PyTreeRestore(item=tree, restore_args=how)
