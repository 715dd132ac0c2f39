"""Uploads a run's checkpoints to object storage, behind the training, and prunes them there.

A thread of rank 0, to whom the run directory, which all ranks share, shows every rank's file. It looks which
checkpoints are complete and uploads what the mirror lacks, the newest first. Nothing waits for it but the
run's end, and no failure of it ends a run: it is reported once, tried again with growing waits, and made up
for. See `mirrored` for what is in the mirror.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypedDict

from biobert_scale.config import CheckpointConfig
from biobert_scale.errors import UserError
from biobert_scale.files import MANIFEST, json_text, read_json, sha256_file, write_json
from biobert_scale.object_store import ObjectStore, StoreFailed
from biobert_scale.training.checkpoint.manifest import FileRecord, read_record, sealed
from biobert_scale.training.checkpoint.mirrored import MARKER, RECORDS, Copy, Found, key_of, look, run_of
from biobert_scale.training.checkpoint.retention import complete, may_go, step_of
from biobert_scale.training.monitor.guards import record_event

logger = logging.getLogger(__name__)

STATE = "mirror.json"
FINISHED_SECONDS, STOPPED_SECONDS = 600.0, 20.0
"""How long the end of a run waits for the upload: a launcher kills a stopped one soon."""
_LOOK_SECONDS = 2.0
_LONGEST_WAIT_SECONDS = 300.0
_RECORDS = ("metrics.jsonl", "events.jsonl", "trackers/*.json")
"""What a run has that its checkpoints and its start do not make again."""


class MirrorState(TypedDict):
    """What `mirror.json` of a run directory says."""

    address: str
    newest: int | None
    """The newest checkpoint that is whole in the mirror, by its step."""
    behind: list[int]
    """Those that are still to be uploaded."""
    trouble: str
    """Why; empty while it works."""
    since: str
    """When the trouble began."""


class _Local(NamedTuple):
    """A checkpoint of the run directory; its manifest's SHA-256, and its validation loss."""

    path: Path
    digest: str
    loss: float | None


class Mirror:
    """A run's mirror, on the main process."""

    def __init__(self, run: Path, config: CheckpointConfig) -> None:
        """`config.mirror` is its address; `start` it once somebody will `close` it."""
        self.directory, self.config = run, config
        self.store = ObjectStore(config.mirror)
        self.uploading: Path | None = None
        """Must not be deleted now."""
        self.state: MirrorState = {
            "address": self.store.address,
            "newest": None,
            "behind": [],
            "trouble": "",
            "since": "",
        }
        self._found = Found({}, {}, {})
        """What was there when it was last looked at."""
        self._sent: set[tuple[str, str]] = set()
        """Objects of a checkpoint that is not whole yet, by its manifest's SHA-256 and their names."""
        self._broken: set[str] = set()
        """Local checkpoints that are not what their manifests say, by those' SHA-256."""
        self._end, self._over = threading.Event(), False
        self._thread = threading.Thread(target=self._work, daemon=True, name="mirror")

    def start(self) -> None:
        """Begin to upload."""
        self._thread.start()

    def close(self, *, patience: float) -> None:
        """Upload what is left, and say what is missing after `patience` seconds."""
        self._end.set()
        if self._thread.ident is None:  # the run failed before it began
            return
        if self._thread.is_alive() and self.state["behind"]:
            logger.info("waiting for the mirror, at most %.0f s", patience)
        self._thread.join(patience)
        if self._thread.is_alive():
            self._over = True
            steps = self._missing(self._found, self._local())
            missing = ", ".join(f"step-{step:08d}" for step in steps) or "nothing new"
            what = "the mirror %s lacks: %s (%s); the next start uploads it"
            logger.warning(what, self.store.address, missing, self.state["trouble"] or "too slow")

    def _work(self) -> None:
        failures, seen = 0, None
        while not self._over:
            ending = self._end.is_set()
            try:
                now = _looks(self.directory)
                if failures or now != seen:
                    self._catch_up()
                failures, seen = 0, now
                if ending and now == _looks(self.directory):
                    return
                wait = _LOOK_SECONDS
            except Exception as error:  # whatever it is, it must neither end the run nor pass in silence
                failures += 1
                self._report_trouble(error)
                wait = min(2.0**failures, _LONGEST_WAIT_SECONDS)
            if ending:
                time.sleep(min(wait, _LOOK_SECONDS))
            else:
                self._end.wait(wait)

    def _catch_up(self) -> None:
        """Upload what is missing, the newest first, and prune after each."""
        sent = set[str]()
        while not self._over:
            found, local = look(self.store), self._local()
            self._found = found
            missing = self._missing(found, local)
            self._note(newest=max(found.whole, default=None), behind=missing)
            if not missing:
                self._prune(found, local)
                self._report_recovery()
                return
            own = local[missing[-1]]
            if own.digest in sent:
                what, remedy = "what was sent is not there", "look at the store, and at who else writes there"
                raise StoreFailed(what, where=self.store.address, remedy=remedy)
            self.uploading = own.path
            try:
                self._upload(own.path, found)
                sent.add(own.digest)
            except FileNotFoundError:
                if own.path in complete(self.directory):
                    raise  # else it was deleted as it was chosen
            finally:
                self.uploading = None

    def _local(self) -> dict[int, _Local]:
        """The run's intact checkpoints, as far as their manifests show."""
        found = {}
        for path in complete(self.directory):
            with suppress(FileNotFoundError, UserError):  # just being deleted, or damaged
                digest, record = sha256_file(path / MANIFEST), read_record(path)
                if digest not in self._broken:
                    found[step_of(path)] = _Local(path, digest, record.get("validation_mlm_loss"))
        return found

    def _missing(self, found: Found, local: dict[int, _Local]) -> list[int]:
        """The steps that the rules keep and the mirror lacks, or has of another save."""
        losses = _losses(found) | {step: own.loss for step, own in local.items()}
        there = {step: copy["files"][MANIFEST]["sha256"] for step, copy in found.whole.items()}
        lacking = [step for step, own in local.items() if there.get(step) != own.digest]
        return sorted(step for step in lacking if not may_go(step, losses, self.config))

    def _upload(self, checkpoint: Path, found: Found) -> None:
        """Upload a checkpoint, its marker last. One that is not what its manifest says is reported.

        Raises:
            StoreFailed: the store does not take it, or has something else then.
            UserError: the mirror is another run's.
        """
        step, run, record = step_of(checkpoint), run_of(checkpoint), read_record(checkpoint)
        if others := [other for other, copy in found.whole.items() if copy["run"] != run]:
            what, remedy = f"the mirror has another run's step-{others[0]:08d}", "give another address"
            raise UserError(what, where=self.store.address, remedy=remedy)
        logger.info("uploading %s to %s", checkpoint.name, self.store.address)
        manifest = checkpoint / MANIFEST
        own: FileRecord = {"bytes": manifest.stat().st_size, "sha256": sha256_file(manifest)}
        files: dict[str, FileRecord] = {**record["files"], MANIFEST: own}
        marker = key_of(step, MARKER)
        if marker in found.keys.get(step, ()):  # of another save of this step
            self.store.delete([marker])
        for name, expected in files.items():
            if (own["sha256"], name) in self._sent:
                continue
            if sha256_file(checkpoint / name) != expected["sha256"]:
                self._broken.add(own["sha256"])
                text = f"{checkpoint.name} is not uploaded: {name} is corrupted (its SHA-256 differs)"
                logger.warning("%s", text)
                record_event(self.directory, "mirror", step, 0, text)
                return
            self.store.put(key_of(step, name), checkpoint / name)
            self._sent.add((own["sha256"], name))
        for pattern in _RECORDS:
            for path in sorted(self.directory.glob(pattern)):
                name, content = f"{RECORDS}/{path.relative_to(self.directory)}", path.read_bytes()
                files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                self.store.put(key_of(step, name), content)
        self._sent.clear()
        sizes = self.store.sizes(key_of(step, ""))
        for name, expected in files.items():
            if (size := sizes.get(key_of(step, name))) != expected["bytes"]:
                what, remedy = f"it has {size} bytes, {expected['bytes']} were sent", "look at the store"
                raise StoreFailed(what, where=f"{self.store.address}/{key_of(step, name)}", remedy=remedy)
        loss = record["validation_mlm_loss"]
        copy: Copy = {"format": 1, "run": run, "validation_mlm_loss": loss, "files": files}
        self.store.put(marker, json_text(sealed(copy)).encode())

    def _prune(self, found: Found, local: dict[int, _Local]) -> None:
        """Delete what the rules do not keep, and what uploads left that nobody will finish; markers first."""
        if not found.whole:
            return
        losses = _losses(found)
        for step, keys in found.keys.items():
            unfinished = step not in found.whole and step not in found.broken and step not in local
            if step < max(losses) and (unfinished or may_go(step, losses, self.config)):
                self.store.delete([key for key in keys if key == key_of(step, MARKER)])
                self.store.delete(keys)

    def _report_trouble(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if begins := not self.state["trouble"]:
            logger.warning("the mirror is behind; training continues: %s", text)
            self.state["since"] = datetime.now(UTC).isoformat(timespec="seconds")
        self.state["trouble"] = error.what if isinstance(error, UserError) else text
        with suppress(OSError):  # the run directory fails, which the run itself notices
            local = self._local()
            if begins:
                record_event(self.directory, "mirror behind", max(local, default=0), 0, text)
            self._note(behind=self._missing(self._found, local))

    def _report_recovery(self) -> None:
        if self.state["trouble"]:
            step = self.state["newest"] or 0
            logger.info("the mirror has caught up: step-%08d", step)
            record_event(self.directory, "mirror caught up", step, 0, f"step-{step:08d} is whole there")
            self._note(trouble="", since="")

    def _note(self, **changes: object) -> None:
        self.state.update(changes)  # type: ignore[typeddict-item]
        if not self._over:
            write_json(self.directory / STATE, self.state, durable=False)


def read_mirror_state(run: Path) -> MirrorState | None:
    """What a run's mirror last said of itself; None where it has none."""
    with suppress(UserError):
        found: MirrorState = read_json(run / STATE)
        return found
    return None


def _looks(run: Path) -> list[tuple[str, int, int]]:
    """The complete checkpoints as they are now; one that is saved again is another."""
    seen = []
    for path in complete(run):
        with suppress(FileNotFoundError):  # just being deleted
            stat = (path / MANIFEST).stat()
            seen.append((path.name, stat.st_mtime_ns, stat.st_ino))
    return seen


def _losses(found: Found) -> dict[int, float | None]:
    return {step: copy["validation_mlm_loss"] for step, copy in found.whole.items()}
