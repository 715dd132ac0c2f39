"""A stage: reads directories, writes one, and is done once.

with Stage(output, "tokens", inputs=describe_inputs([corpus]), config=config) as stage:
    if stage.finished is not None:
        return stage.finished
    ...
    return stage.finish(counts=counts, outputs=paths)
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from biobert_scale.errors import UserError
from biobert_scale.files import (
    BEGUN,
    MANIFEST,
    Manifest,
    finish_stage,
    read_json,
    read_manifest,
    stage_key,
    sync,
    write_json,
)
from biobert_scale.lock import LOCK, Lock


class Stage:
    """A stage's output directory, held for this process alone between entry and exit.

    On entry the directory exists and holds nothing but what an interrupted run of the same work left there,
    for the stage to continue from. Finished work is only read: it needs no lock, and no right to write.

    Args:
        output: the directory.
        name: the stage's.
        inputs: see `describe_inputs`; recorded in the manifest.
        config: everything else that the output follows from; recorded in the manifest.
        key: the fingerprint of the work, where it does not follow from the stage's inputs and configuration.
        begun_key: what an interrupted run must share with this one for its parts to be of use (default: the
            key).
        overwrite: replace another stage's or another configuration's output.
        reads: what the stage reads; an output that holds any of it is not overwritten.
        wait: wait for another process that is making the output, instead of refusing.

    Raises:
        UserError: on entry, the directory holds another stage's or another configuration's output, finished
            or begun, or something else; or another process is at work in it.
    """

    finished: Manifest | None = None
    """What the same work has left, where it is finished: nothing is to be done."""

    def __init__(
        self,
        output: Path,
        name: str,
        *,
        inputs: list[dict[str, Any]],
        config: Any,
        key: str = "",
        begun_key: str = "",
        overwrite: bool = False,
        reads: Iterable[Path] = (),
        wait: bool = False,
    ) -> None:
        self.output, self.name, self.inputs, self.config = output, name, inputs, config
        self.key = key or stage_key(name, inputs, config)
        self._begun_key = begun_key or self.key
        self._overwrite, self._reads = overwrite, tuple(reads)
        self._lock = Lock(output, name, wait=wait)
        self._held = ExitStack()

    def __enter__(self) -> Stage:
        if self._is_done():
            return self
        self._refuse_foreign(MANIFEST, BEGUN, LOCK)
        self._held.enter_context(self._lock)
        try:
            if not self._is_done():  # by the process that was waited for
                self._begin()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def check(self) -> Manifest | None:
        """What the same work has left, where it is finished. Changes nothing; raises as entry does."""
        if not self._is_done():
            self._refuse_foreign(MANIFEST, BEGUN, LOCK)
            self._is_replaced()
        return self.finished

    def adopt(self, directory: Path, *, last: Sequence[str]) -> None:
        """Move in the files of a finished directory of the same work.

        Args:
            last: files that say something of the others, in this order: each comes when all before it are
                safe.
        """
        if self.finished is None:
            self._clear()  # what an interrupted run left
            for name in [*{path.name for path in directory.iterdir()}.difference(last), *last]:
                if name in last:
                    sync(self.output)
                shutil.move(directory / name, self.output / name)
            sync(self.output)
            (self.output / BEGUN).unlink(missing_ok=True)

    def finish(
        self,
        *,
        counts: Mapping[str, Any],
        rejects: Mapping[str, int] | None = None,
        outputs: Iterable[Path] = (),
        libraries: Iterable[str] = (),
    ) -> Manifest:
        """Write the manifest, last and atomically, and return it; see `finish_stage`."""
        self.finished = finish_stage(
            self.output,
            stage=self.name,
            key=self.key,
            inputs=self.inputs,
            config=self.config,
            counts=counts,
            rejects=rejects,
            outputs=outputs,
            libraries=libraries,
        )
        return self.finished

    def discard(self) -> None:
        """Delete what was written: nothing of it is of use to the next run."""
        self._clear()
        (self.output / BEGUN).unlink(missing_ok=True)
        self._held.close()
        with suppress(OSError):  # a rival has just come
            self.output.rmdir()

    def _clear(self) -> None:
        """Delete all but the note of who has begun; whenever the power fails, nothing that is left is taken
        for whole, or for another work's."""
        manifest, begun = self.output / MANIFEST, self.output / BEGUN
        if manifest.exists():
            write_json(begun, {"stage": self.name, "key": ""})
            manifest.unlink()
            sync(self.output)
        for path in set(self._contents()).difference([begun]):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        sync(self.output)

    def _is_done(self) -> bool:
        if (self.output / MANIFEST).exists() and (found := read_manifest(self.output)).key == self.key:
            self.finished = found
        return self.finished is not None

    def _begin(self) -> None:
        """Make the directory this work's, with the lock held."""
        if self._is_replaced():
            self._clear()
        self._refuse_foreign(MANIFEST, BEGUN)
        write_json(self.output / BEGUN, {"stage": self.name, "key": self._begun_key})

    def _is_replaced(self) -> bool:
        """Whether other work in the directory is to be overwritten; raises where it may not be."""
        manifest, begun = self.output / MANIFEST, self.output / BEGUN
        # The same command again after an interruption continues, also with overwrite.
        if self._overwrite and (manifest.exists() or begun.exists()) and not self._has_begun():
            self._refuse_own_inputs()
            return True
        if manifest.exists() or (begun.exists() and not self._has_begun() and self._contents() != [begun]):
            state, path = ("finished", manifest) if manifest.exists() else ("begun", begun)
            raise UserError(
                f"holds the {state} output of '{read_json(path).get('stage')}' from other inputs or settings",
                where=self.output,
                remedy="choose another --output, or pass --overwrite to replace it",
            )
        return False

    def _has_begun(self) -> bool:
        """Whether an interrupted run of the same work left its parts."""
        manifest, begun = self.output / MANIFEST, self.output / BEGUN
        return not manifest.exists() and begun.exists() and read_json(begun).get("key") == self._begun_key

    def _contents(self) -> list[Path]:
        """All files but those that a process which is just beginning may write."""
        passing = (LOCK, f".{BEGUN}.")
        found = self.output.iterdir() if self.output.is_dir() else ()
        return [path for path in found if not path.name.startswith(passing)]

    def _refuse_foreign(self, *signs: str) -> None:
        """Write nothing, not even a lock, into a directory that has no sign of a stage."""
        if self._contents() and not any((self.output / sign).exists() for sign in signs):
            what = "the output directory is not empty and is no stage's output"
            raise UserError(what, where=self.output, remedy="choose another --output")

    def _refuse_own_inputs(self) -> None:
        for source in self._reads:
            if source.resolve().is_relative_to(self.output.resolve()):
                what = "to overwrite the output would delete what is read"
                raise UserError(what, where=source, remedy="choose another --output")
