"""Compares extracted parts, alone in a process, and watches its memory."""

from __future__ import annotations

import logging
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from benchmarks.child import answer
from benchmarks.corpus.made_up_parts import Literature, part_tasks
from benchmarks.turns import cpu_seconds
from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.comparison import compare
from biobert_scale.resident import peak_resident_bytes

_SECONDS_BETWEEN_SAMPLES = 0.5
_STATUS = Path("/proc/self/status")
_RESIDENT = re.compile(r"^Rss(Anon|File|Shmem):\s+(\d+) kB$", re.MULTILINE)


class Sample(TypedDict):
    """Resident memory of the process (Linux), in bytes."""

    seconds: float
    """Since the comparison began."""
    own: int
    mapped: int
    """Pages of files that are mapped. Other pages of the file cache are the system's."""


class Compared(TypedDict):
    """What a comparison took."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    """Resident, libraries and mapped files included."""
    samples: list[Sample]
    steps: list[tuple[float, str]]
    """The log: seconds since the beginning, and what began."""
    counts: dict[str, Any]
    rejects: dict[str, int]
    masks: str
    """A hash of all decisions."""


class _Steps(logging.Handler):
    def __init__(self, begun: float) -> None:
        super().__init__()
        self.begun, self.steps = begun, list[tuple[float, str]]()

    def emit(self, record: logging.LogRecord) -> None:
        self.steps.append((time.perf_counter() - self.begun, record.getMessage()))


def run(*, records: int, work: str, threads: int) -> Compared:
    """Compare the parts that `write_parts` has written for this number of records."""
    tasks = part_tasks(Literature(records=records), Path(work))
    begun, cpu = time.perf_counter(), cpu_seconds()
    steps, log = _Steps(begun), logging.getLogger("biobert_scale.corpus.comparison")
    log.addHandler(steps)
    log.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory(dir=work) as scratch, _watched(begun) as samples:
        found = compare(tasks, Path(scratch), Path(work), CorpusConfig(), threads=threads)
    return Compared(
        seconds=time.perf_counter() - begun,
        cpu_seconds=cpu_seconds() - cpu,
        peak_bytes=peak_resident_bytes(),
        samples=samples,
        steps=steps.steps,
        counts=found.counts,
        rejects=found.rejects,
        masks=found.masks,
    )


@contextmanager
def _watched(begun: float) -> Iterator[list[Sample]]:
    samples: list[Sample] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            found = {name: 1024 * int(size) for name, size in _RESIDENT.findall(_STATUS.read_text())}
            mapped = found["File"] + found["Shmem"]
            samples.append(Sample(seconds=time.perf_counter() - begun, own=found["Anon"], mapped=mapped))
            done.wait(_SECONDS_BETWEEN_SAMPLES)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield samples
    finally:
        done.set()
        watcher.join()


if __name__ == "__main__":
    answer(run)
