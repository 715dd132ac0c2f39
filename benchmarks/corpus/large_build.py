"""A build of many gigabytes of XML in files of uneven sizes: time, memory and disk, undisturbed and killed in
every phase."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, TypedDict

import matplotlib
import psutil
from matplotlib.figure import Figure

from benchmarks.corpus.other_words import Original, original
from benchmarks.corpus.stage import serialised_records, write_members, write_records
from benchmarks.figure import LINE, OURS, PEERS, STYLE, as_png
from benchmarks.result import Conditions, conditions, heading, write_result
from biobert_scale.corpus.packages import package_members
from biobert_scale.corpus.raw import RawFile, find_raw_files
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.files import read_manifest
from biobert_scale.ranges import within

_MEDLINE_SHARE = 1 / 3
_MEDLINE_BYTES = 200e6
"""XML of a file of PubMed's baseline, about."""
_OTHER_PACKAGES = 24
_SIZES = "sizes.json"
_SECONDS_BETWEEN_SAMPLES = 0.5
_PHASES = {
    "reading": r"extracting \d+ files",
    "comparing": r"reading the columns",
    "writing": r"writing \d+ documents to \d+ shards",
}
"""What the log says when each begins."""


class Sample(TypedDict):
    """What a build occupies; bytes."""

    seconds: float
    memory: int
    """Of all of its processes; pages that they share count once."""
    largest: int
    """Of its largest process."""
    disk: int
    """Below its output."""


class Built(TypedDict):
    """A build that ended, or was killed."""

    seconds: float
    cpu_seconds: float
    """Of the whole machine."""
    phases: dict[str, float]
    """Seconds after which each began."""
    killed: str
    """The phase in which it was; empty where it ended by itself."""
    samples: list[Sample]


class LargeBuildResult(Conditions):
    """All of it."""

    raw_files: int
    raw_bytes: int
    """On disk."""
    xml_bytes: int
    largest_xml_bytes: int
    documents: int
    output_bytes: int
    undisturbed: Built
    killed: list[Built]
    """Until one ended; that one had the undisturbed build's bytes."""


@within(gigabytes="(0, 1e4]", largest_gigabytes="(0, 1e3]", workers="[1, 1024]")
def large_build(
    *,
    raw: Path,
    output: Path,
    scratch: Path,
    gigabytes: float = 15,
    largest_gigabytes: float = 3,
    workers: int = 2,
    killed_on: Literal["local", "slurm"] = "local",
) -> None:
    """Measure a build of many gigabytes of XML, undisturbed and killed in every phase.

    The killed build's bytes are compared with the other one's. Writes dated JSON, Markdown and a picture.

    Args:
        raw: directory of a sample: MEDLINE `*.xml.gz` files and PMC `*.tar.gz` packages, at any depth.
        output: directory of the results.
        scratch: directory for the enlarged sample and what is built of it. The sample stays there, and is
            not made again.
        gigabytes: XML, a third of it MEDLINE's.
        largest_gigabytes: of it in one package.
        workers: processes of the undisturbed build.
        killed_on: where the other build runs.
    """
    enlarged = scratch / "raw"
    if not (scratch / _SIZES).exists():
        _enlarge(raw, enlarged, gigabytes * 1e9, largest_gigabytes * 1e9, workers)
    sizes: list[int] = json.loads((scratch / _SIZES).read_text())
    first, second = scratch / "undisturbed", scratch / "killed"
    alone = ["--workers", str(workers)]
    undisturbed = _build(enlarged, first, alone)
    options = ["--executor", "slurm", "--tasks", str(workers)] if killed_on == "slurm" else alone
    killed = [_build(enlarged, second, options, kill_in=phase) for phase in (*_PHASES, "")]
    if _contents(first) != _contents(second):
        raise RunFailed(
            "the killed build's bytes differ", where=str(second), remedy=f"compare it with {first}"
        )
    manifest = read_manifest(first)
    result: LargeBuildResult = {
        **conditions(
            f"large-build --raw DIR --scratch DIR --gigabytes {gigabytes:g} --largest-gigabytes"
            f" {largest_gigabytes:g} --workers {workers} --killed-on {killed_on}",
            ("lxml", "pyarrow", "isal", "submitit"),
        ),
        "raw_files": len(sizes),
        "raw_bytes": _bytes_below(enlarged),
        "xml_bytes": sum(sizes),
        "largest_xml_bytes": max(sizes),
        "documents": manifest.counts["documents"],
        "output_bytes": _bytes_below(first),
        "undisturbed": undisturbed,
        "killed": killed,
    }
    stem = f"large-build-{result['date']}"
    page = large_build_page(result, figure=f"{stem}.png")
    write_result(output, stem, result, page, large_build_figure(undisturbed))
    print(page)


_originals: list[tuple[str, Original]] = []
"""Of the source whose files are made: inherited by the processes that make them."""


def _enlarge(raw: Path, enlarged: Path, total: float, largest: float, workers: int) -> None:
    """Write packages whose sizes are as uneven as those of a log-normal distribution, and files of MEDLINE's
    of one size, as NLM makes them. Each holds documents and copies from everywhere in the sample."""
    draw = random.Random(1)
    rest = total * (1 - _MEDLINE_SHARE) - largest
    uneven = [draw.lognormvariate(0, 1.2) for _ in range(_OTHER_PACKAGES)]
    packages = [largest, *(min(rest * size / sum(uneven), largest) for size in uneven)]
    medline = total * _MEDLINE_SHARE
    files = max(round(medline / _MEDLINE_BYTES), 1)
    sizes = _write_source(raw, enlarged, "medline", [medline / files] * files, workers)
    sizes += _write_source(raw, enlarged, "pmc", packages, workers)
    enlarged.with_name(_SIZES).write_text(json.dumps(sizes))


def write_large_package(raw: Path, directory: Path, size: float) -> None:
    """Write one package of so many bytes of XML below a directory."""
    _write_source(raw, directory, "pmc", [size], 1)


def _write_source(raw: Path, enlarged: Path, source: str, wanted: list[float], workers: int) -> list[int]:
    """Write files of the wanted sizes; returns the bytes of XML in each."""
    found = [file for file in find_raw_files(raw) if file.source == source]
    _originals[:] = [pair for file in found for pair in _documents(file)]
    if not _originals:
        raise UserError(f"nothing of {source} to enlarge", where=raw, remedy="name a directory that holds it")
    one = sum(document.size for _, document in _originals)
    drawn = list(itertools.product(range(-int(-1.05 * sum(wanted) // one)), range(len(_originals))))
    random.Random(1).shuffle(drawn)
    waiting, contents = iter(drawn), []
    for size in wanted:
        left, content = size, list[tuple[int, int]]()
        while left > 0:
            content.append(next(waiting))
            left -= _originals[content[-1][1]][1].size
        contents.append(content)
    directory = enlarged / source
    directory.mkdir(parents=True)
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        return list(pool.map(partial(_write_file, directory), range(len(contents)), contents))


def _documents(file: RawFile) -> Iterator[tuple[str, Original]]:
    if file.source == "medline":
        yield from (("", original(record)) for record in serialised_records(file.path))
    else:
        yield from ((member.name, original(member.stream.read())) for member in package_members(file.path))


def _write_file(directory: Path, number: int, content: list[tuple[int, int]]) -> int:
    """Write copies of documents; returns the bytes of their XML."""
    documents = ((*_originals[which], copy) for copy, which in content)
    written = 0

    def copies() -> Iterator[tuple[str, bytes]]:
        nonlocal written
        for name, document, copy in documents:
            xml = document.copy(copy)
            written += len(xml)
            yield name.replace("PMC", f"PMC{copy}00" if copy else "PMC"), xml

    if directory.name == "medline":
        write_records(directory / f"pubmed26n{number:04d}.xml.gz", (xml for _, xml in copies()))
    else:
        write_members(directory / f"oa_comm_xml.PMC{number:03d}xxxxxx.baseline.tar.gz", copies())
    return written


def _build(raw: Path, output: Path, options: list[str], *, kill_in: str = "") -> Built:
    """Run `corpus build` to its end, or kill it and its tasks in the middle of a phase."""
    line = [sys.executable, "-m", "biobert_scale", "corpus", "build", "--raw", str(raw)]
    log_file = output.with_suffix(".log")
    begun, used = time.monotonic(), _cpu_seconds()
    phases, samples, killed = dict[str, float](), list[Sample](), ""
    with open(log_file, "wb") as stream:
        process = subprocess.Popen([*line, "--output", str(output), *options], stderr=stream, stdout=stream)
        while process.poll() is None:
            said, seconds = log_file.read_text(errors="replace"), time.monotonic() - begun
            for phase in (phase for phase in _PHASES.keys() - phases if re.search(_PHASES[phase], said)):
                phases[phase] = seconds
            running = _processes_of(output)
            samples.append(_sample(seconds, running, output))
            if kill_in and _in_the_middle(kill_in, said, output):
                killed = kill_in
                for one in running:
                    with suppress(psutil.NoSuchProcess):
                        one.kill()
                process.wait()
            time.sleep(_SECONDS_BETWEEN_SAMPLES)
    if process.returncode and not killed:
        raise RunFailed(
            f"a build ended with code {process.returncode}", where=str(log_file), remedy="see there"
        )
    return Built(
        seconds=time.monotonic() - begun,
        cpu_seconds=_cpu_seconds() - used,
        phases=phases,
        killed=killed,
        samples=samples,
    )


def _in_the_middle(phase: str, said: str, output: Path) -> bool:
    """Whether two fifths of the phase's tasks are done; of the comparison, whether it compares signatures."""
    if phase == "comparing":
        return bool(re.search(r"comparing [\d,]+ signatures", said))
    pattern, results = {
        "reading": (r"extracting (\d+) files", ".work/extracted/*.json"),
        "writing": (r"writing \d+ documents to (\d+) shards", "part-*.parquet"),
    }[phase]
    tasks = re.search(pattern, said)
    return tasks is not None and len(list(output.glob(results))) >= 0.4 * int(tasks[1])


def _processes_of(output: Path) -> list[psutil.Process]:
    """Those whose command line names the output, on nodes of the cluster too, and all that they started."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(str(output) in word for word in process.cmdline()):
                found |= {one.pid: one for one in (process, *process.children(recursive=True))}
    return list(found.values())


def _sample(seconds: float, processes: list[psutil.Process], output: Path) -> Sample:
    sizes = [0]
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
            sizes.append(process.memory_full_info().pss)
    return Sample(seconds=seconds, memory=sum(sizes), largest=max(sizes), disk=_bytes_below(output))


def _bytes_below(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _cpu_seconds() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.system)


def _contents(output: Path) -> dict[str, str]:
    """Hashes of the files of a finished build, the manifest's among them."""
    found = {}
    for path in sorted(output.glob("[!.]*")):
        with open(path, "rb") as stream:
            found[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def large_build_page(result: LargeBuildResult, *, figure: str) -> str:
    """Render what `large_build` measured.

    Args:
        figure: the picture's file name.
    """
    undisturbed = result["undisturbed"]
    rows = [("undisturbed", undisturbed)]
    rows += [
        (f"killed while {built['killed']}" if built["killed"] else "to its end", built)
        for built in result["killed"]
    ]
    gigabytes = result["xml_bytes"] / 1e9
    lines = [
        *heading("A large build", result),
        f"- {gigabytes:.1f} GB of XML in {result['raw_files']} files, {result['raw_bytes'] / 1e9:.1f} GB"
        f" compressed; the largest package has {result['largest_xml_bytes'] / 1e9:.1f} GB of XML",
        "- Documents: a real sample in other words, no two alike (`benchmarks/corpus/other_words.py`)",
        "- CPU seconds are the whole machine's; memory is that of all processes, shared pages counted once",
        f"- {result['documents']:,} documents, {result['output_bytes'] / 1e9:.2f} GB",
        "- The killed build's files have the undisturbed one's bytes",
        "",
        "| build | seconds | CPU seconds | MB of XML a CPU second | peak memory, GB | largest process, GB"
        " | most disk, GB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, built in rows:
        memory, largest, disk = (max(occupied) for occupied in _occupied(built))
        rate = "" if built is not undisturbed else f"{gigabytes * 1000 / built['cpu_seconds']:.1f}"
        lines.append(
            f"| {name} | {built['seconds']:.0f} | {built['cpu_seconds']:.0f} | {rate}"
            f" | {memory:.2f} | {largest:.2f} | {disk:.2f} |"
        )
    lines += ["", "| phase of the undisturbed build | begins after, s | takes, s |", "|---|---:|---:|"]
    begins = [0.0, *undisturbed["phases"].values(), undisturbed["seconds"]]
    for name, (start, end) in zip(
        ("looking through, hashing", *undisturbed["phases"]), pairwise(begins), strict=True
    ):
        lines.append(f"| {name} | {start:.0f} | {end - start:.0f} |")
    return "\n".join([*lines, "", f"![Memory and disk over time]({figure})", ""])


def _occupied(built: Built) -> tuple[list[float], list[float], list[float]]:
    """Memory of all processes, of the largest one, and disk: GB over time."""
    samples = built["samples"]
    return (
        [sample["memory"] / 1e9 for sample in samples],
        [sample["largest"] / 1e9 for sample in samples],
        [sample["disk"] / 1e9 for sample in samples],
    )


def large_build_figure(built: Built) -> bytes:
    """Memory and disk of a build over time, as a PNG."""
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 4.4), dpi=150, layout="constrained")
        above, below = canvas.subplots(2, 1, sharex=True)
        seconds = [sample["seconds"] for sample in built["samples"]]
        memory, largest, disk = _occupied(built)
        above.plot(seconds, memory, color=OURS, label="all processes")
        above.plot(seconds, largest, color=PEERS, label="largest process")
        above.legend(loc="upper left")
        below.plot(seconds, disk, color=OURS)
        for axes in (above, below):
            axes.set_ylim(bottom=0)
            for start in built["phases"].values():
                axes.axvline(start, color=LINE, lw=0.8)
        named = dict[float, str]()
        for phase, start in built["phases"].items():
            near = next((place for place in named if start - place < 0.05 * built["seconds"]), start)
            named[near] = ", ".join(filter(None, (named.get(near), phase)))
        for start, names in named.items():
            above.text(start, above.get_ylim()[1], f" {names}", fontsize=6, rotation=20, va="bottom")
        above.set_ylabel("memory, GB")
        below.set_ylabel("disk, GB")
        below.set_xlabel("seconds")
        return as_png(canvas)
