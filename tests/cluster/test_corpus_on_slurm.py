"""The corpus stage as array jobs of a real cluster: same bytes, and every way to fail is told and
survived."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from biobert_scale.config import CorpusConfig, OwnTextConfig, TokensConfig, VocabularyConfig
from biobert_scale.corpus.build import build_corpus
from biobert_scale.corpus.raw import find_raw_files
from biobert_scale.errors import UserError
from biobert_scale.files import Manifest, read_manifest
from biobert_scale.tokens.build import build_tokens
from biobert_scale.tokens.vocabulary import build_vocabulary
from tests.factories import abstract, article, prose, write_medline, write_package
from tests.slurm_cluster import Cluster, only_child

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
CONFIG = CorpusConfig(minimum_words=5, characters_per_shard=350_000)
OPTIONS = ("--minimum-words", "5", "--characters-per-shard", "350000")
LARGE = 6_000  # records that keep a task busy long enough to be caught in the middle


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files that are done at once and, as the second, one that takes a while."""
    raw = tmp_path_factory.mktemp("raw")
    for file, numbers in enumerate((range(1, 200), range(1000, 1000 + LARGE), range(150, 300)), 1):
        write_medline(
            raw / f"pubmed25n000{file}.xml.gz",
            *(abstract(number, prose(number), year=2000 + file) for number in numbers),
        )
    write_package(
        raw / "oa_comm_xml.x.tar.gz",
        {f"PMC/PMC{number}.xml": article(number, prose(number)) for number in range(100_000, 100_050)},
    )
    return raw


@pytest.fixture(scope="module")
def expected(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return build_corpus(raw, tmp_path_factory.mktemp("expected") / "corpus", CONFIG)


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """The exit code, and the lines that tell what went wrong."""
    _, said = process.communicate(timeout=200)
    assert "Traceback" not in said, said
    return process.returncode, [line for line in said.splitlines() if line.startswith("biobert-scale:")]


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def hold_the_large_file(cluster: Cluster, work: Path, process: subprocess.Popen[str]) -> str:
    """Pause the second file's task while it writes; returns the name of its array element."""
    wait_until(lambda: list(work.glob("extracted/.pubmed25n0002.*.part")), process)
    running = cluster.run("squeue", "--noheader", "--array", "--states=running", "--format=%i").split()
    (element,) = [job for job in running if job.endswith("_1")]
    cluster.run("scancel", "--full", "--signal=STOP", element)
    assert not list(work.glob("extract-*/completions/00001"))
    return element


def completed(work: Path) -> dict[str, int]:
    """The extracting tasks that are done, and when their markers were written."""
    return {marker.name: marker.stat().st_mtime_ns for marker in work.glob("extract-*/completions/0000?")}


@pytest.mark.slow
def test_bytes_are_those_of_a_local_build(
    cluster: Cluster, raw: Path, tmp_path: Path, expected: Manifest
) -> None:
    before = len(cluster.elements())
    assert ended(cluster.build(raw, tmp_path / "out", *OPTIONS)) == (0, [])
    assert read_manifest(tmp_path / "out") == expected and len(expected.outputs) == 2
    assert cluster.elements()[before:] == [4, 2]
    assert not cluster.run("squeue", "--noheader") and not (tmp_path / "out" / ".work").exists()
    # What is finished stays finished, whoever asks.
    assert build_corpus(raw, tmp_path / "out", CONFIG) == expected


@pytest.mark.slow
def test_own_text_is_read_by_the_nodes(cluster: Cluster, tmp_path: Path) -> None:
    notes = tmp_path / "notes.jsonl"
    notes.write_text("".join(json.dumps({"text": prose(number)}) + "\n" for number in range(200)))
    config = replace(CONFIG, own={"notes": OwnTextConfig(skip=("language",))})
    expected = build_corpus(None, tmp_path / "local", config, own=[("notes", notes)])
    options = ("--own", f"notes={notes}", "--own.notes.skip", "language", "--output", str(tmp_path / "out"))
    assert ended(cluster.stage("corpus", *options, *OPTIONS)) == (0, [])
    assert read_manifest(tmp_path / "out") == expected and expected.counts["documents_notes"] == 200


@pytest.mark.slow
@pytest.mark.fault(
    "SIGKILL of an array task in the middle of a file",
    "named with its log; the same command repeats that task only, same bytes",
    lost="one task's work",
)
def test_a_killed_task_is_told_and_the_same_command_finishes(
    cluster: Cluster, raw: Path, tmp_path: Path, expected: Manifest
) -> None:
    work = tmp_path / "out" / ".work"
    process = cluster.build(raw, tmp_path / "out", *OPTIONS, "--retries", "0")
    element = hold_the_large_file(cluster, work, process)
    wait_until(lambda: len(completed(work)) == 3, process)
    stamps = completed(work)
    cluster.run("scancel", "--full", "--signal=KILL", element)
    code, told = ended(process)
    assert (
        code == 1
        and len(told) == 1
        and "1 of 4 tasks" in told[0]
        and "task 1 said" in told[0]
        and "same command" in told[0]
    )
    log = next(part for part in told[0].split() if part.endswith(".out;"))
    assert Path(log.removesuffix(";")).exists() and not (tmp_path / "out" / "manifest.json").exists()
    before = len(cluster.elements())
    process = cluster.build(raw, tmp_path / "out", *OPTIONS, "--retries", "0")
    wait_until(lambda: len(completed(work)) == 4, process)
    assert completed(work).items() >= stamps.items()
    assert ended(process) == (0, [])
    assert cluster.elements()[before:] == [1, 2]
    assert read_manifest(tmp_path / "out") == expected


@pytest.mark.slow
@pytest.mark.fault(
    "`scancel` of an array task",
    "submitted again; same bytes as a local build",
    lost="one task's work",
)
def test_a_cancelled_task_is_submitted_again(
    cluster: Cluster, raw: Path, tmp_path: Path, expected: Manifest
) -> None:
    before = len(cluster.elements())
    process = cluster.build(raw, tmp_path / "out", *OPTIONS)
    cluster.run("scancel", hold_the_large_file(cluster, tmp_path / "out" / ".work", process))
    assert ended(process) == (0, [])
    assert cluster.elements()[before:] == [4, 1, 2]
    assert read_manifest(tmp_path / "out") == expected


@pytest.mark.slow
@pytest.mark.fault(
    "Ctrl-C to the command that waits for array tasks",
    "nothing is left in the queue; a local build finishes it, same bytes",
    lost="the tasks at hand",
)
def test_an_interrupted_command_leaves_nothing_in_the_queue(
    cluster: Cluster, raw: Path, tmp_path: Path, expected: Manifest
) -> None:
    process = cluster.build(raw, tmp_path / "out", *OPTIONS)
    hold_the_large_file(cluster, tmp_path / "out" / ".work", process)
    os.kill(only_child(process), signal.SIGINT)
    code, told = ended(process)
    assert code == 130 and told == [
        "biobert-scale: interrupted; the same command continues from what is finished"
    ]
    assert not cluster.run("squeue", "--noheader", "--states=running,pending")
    # The other executor goes on from there.
    assert build_corpus(raw, tmp_path / "out", CONFIG, workers=2) == expected


@pytest.mark.slow
@pytest.mark.fault(
    "SIGKILL of the command that waits for array tasks",
    "the same command waits for the tasks that run; same bytes",
)
def test_a_command_that_lost_its_connection_waits_for_its_own_tasks(
    cluster: Cluster, raw: Path, tmp_path: Path, expected: Manifest
) -> None:
    before = len(cluster.elements())
    process = cluster.build(raw, tmp_path / "out", *OPTIONS)
    element = hold_the_large_file(cluster, tmp_path / "out" / ".work", process)
    os.kill(only_child(process), signal.SIGKILL)
    process.communicate()
    process = cluster.build(raw, tmp_path / "out", *OPTIONS)
    assert process.stderr and any(
        "waiting for the tasks of an earlier call" in line for line in process.stderr
    )
    cluster.run("scancel", "--full", "--signal=CONT", element)
    assert ended(process) == (0, [])
    assert cluster.elements()[before:] == [4, 2]
    assert read_manifest(tmp_path / "out") == expected


@pytest.mark.slow
@pytest.mark.fault(
    "a raw file cut, read by an array task",
    "the line of a local build; nothing finished is left",
)
def test_a_damaged_file_is_told_in_the_same_line(cluster: Cluster, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_medline(raw / "pubmed25n0001.xml.gz", abstract(1, prose(1)))
    damaged = write_medline(
        raw / "pubmed25n0002.xml.gz", *(abstract(number, prose(number)) for number in range(2000))
    )
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    with pytest.raises(UserError) as failure:
        build_corpus(raw, tmp_path / "local", CONFIG)
    before = len(cluster.elements())
    assert ended(cluster.build(raw, tmp_path / "out", *OPTIONS)) == (2, [f"biobert-scale: {failure.value}"])
    assert cluster.elements()[before:] == [2]
    assert (
        not list((tmp_path / "out").glob("*.parquet")) and not (tmp_path / "out" / "manifest.json").exists()
    )


@pytest.mark.parametrize(
    ("option", "says"),
    [(("--partition", "none-such"), "Invalid partition"), (("--time", "48:00:00"), "PartitionTimeLimit")],
)
def test_a_job_that_slurm_does_not_take_is_one_line(
    cluster: Cluster, raw: Path, tmp_path: Path, option: tuple[str, str], says: str
) -> None:
    code, told = ended(cluster.build(raw, tmp_path / "out", *OPTIONS, *option))
    assert code == 2 and len(told) == 1 and says in told[0] and "--time" in told[0]
    assert not cluster.run("squeue", "--noheader", "--states=running,pending")


@pytest.mark.fault("the job's environment cannot be loaded", "one line with the log's last words")
def test_a_broken_environment_is_told_with_the_log(cluster: Cluster, raw: Path, tmp_path: Path) -> None:
    code, told = ended(
        cluster.build(
            raw,
            tmp_path / "out",
            *OPTIONS,
            "--setup",
            "module-that-is-not-there load python",
            "--retries",
            "0",
        )
    )
    assert (
        code == 1
        and len(told) == 1
        and "4 of 4 tasks" in told[0]
        and "module-that-is-not-there: command not found" in told[0]
    )


@pytest.mark.slow
@pytest.mark.fault(
    "one of five tasks raises",
    "named with its log; the others' work stays",
    lost="one task's work",
)
def test_an_unknown_error_is_told_with_its_log_and_elements_run_several_tasks(
    cluster: Cluster, tmp_path: Path
) -> None:
    code = f"""
from functools import partial
from pathlib import Path
from biobert_scale.config import SlurmConfig
from biobert_scale.corpus.task_runner import run_tasks
from biobert_scale.errors import RunFailed
from tests.tasks import divide
config = SlurmConfig(partition="main", memory_gib=1, max_array=2, poll_seconds=0.5)
try:
    run_tasks(partial(divide, Path({str(tmp_path)!r})), tasks=5, work=Path({str(tmp_path / "work")!r}), slurm=config)
except RunFailed as error:
    print(error)
"""  # noqa: E501
    before = len(cluster.elements())
    told = cluster.run(sys.executable, "-c", code)
    assert (
        told.startswith("1 of 5 tasks ended without a result; the last that task 4 said: ZeroDivisionError")
        and told.count("\n") == 1
    )
    assert cluster.elements()[before:] == [2, 1]
    assert [(tmp_path / f"mark-{rank}").read_text() for rank in range(5)] == ["x", "x", "x", "x", "xx"]


@pytest.mark.slow
def test_token_shards_are_those_of_a_local_build(cluster: Cluster, raw: Path, tmp_path: Path) -> None:
    corpus, vocabulary = tmp_path / "corpus", tmp_path / "vocabulary"
    build_corpus(raw, corpus, CONFIG)
    build_vocabulary(corpus, vocabulary, VocabularyConfig(size=200))
    local = build_tokens(corpus, vocabulary, tmp_path / "local", TokensConfig(), workers=2)
    assert ended(
        cluster.stage(
            "tokens",
            "--corpus",
            str(corpus),
            "--vocabulary",
            str(vocabulary),
            "--output",
            str(tmp_path / "out"),
        )
    ) == (
        0,
        [],
    )
    assert read_manifest(tmp_path / "out") == local and not (tmp_path / "out" / ".work").exists()


@pytest.mark.slow  # until SLURM misses the node
def test_the_tasks_of_a_node_that_crashes_are_still_done(
    cluster: Cluster, raw: Path, tmp_path: Path, expected: Manifest
) -> None:
    process = cluster.build(raw, tmp_path / "out", *OPTIONS, "--retries", "0")
    element = hold_the_large_file(cluster, tmp_path / "out" / ".work", process)
    (node,) = cluster.run("squeue", "--noheader", f"--jobs={element}", "--format=%N").split()
    cluster.run("kill", "-KILL", (cluster.directory / f"{node}.pid").read_text().strip())
    assert ended(process) == (0, [])
    assert read_manifest(tmp_path / "out") == expected


@pytest.mark.slow  # reads 170 MB of XML twice and a half
def test_real_files_give_the_bytes_of_a_local_build_after_a_kill(
    cluster: Cluster, real_data: Path, tmp_path: Path
) -> None:
    local = build_corpus(real_data, tmp_path / "local", CorpusConfig())
    assert local.counts["records"] == 3606
    work = tmp_path / "out" / ".work"
    process = cluster.build(real_data, tmp_path / "out", "--retries", "0")
    wait_until(lambda: list(work.glob("extracted/.oa_comm_xml.PMC005xxxxxx.*.part")), process)
    elements = cluster.run("squeue", "--noheader", "--array", "--states=running", "--format=%i").split()
    task = next(index for index, file in enumerate(find_raw_files(real_data)) if "PMC005" in file.path.name)
    (element,) = [job for job in elements if job.endswith(f"_{task}")]
    cluster.run("scancel", "--full", "--signal=KILL", element)
    code, told = ended(process)
    assert code == 1 and len(told) == 1 and "ended without a result" in told[0]
    assert ended(cluster.build(real_data, tmp_path / "out")) == (0, [])
    assert read_manifest(tmp_path / "out") == local
