"""What a checkpoint, a stage and a release write survives a failure of the power at every moment: the old
state is there or the new one, and no fsync could be left out."""

from __future__ import annotations

import filecmp
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.config import CorpusConfig, DataConfig
from biobert_scale.corpus.build import build_corpus
from biobert_scale.data.samples import build_samples
from biobert_scale.errors import UserError
from biobert_scale.files import BEGUN, MANIFEST, read_json, read_manifest, sha256_file, write_json
from biobert_scale.lock import LOCK
from biobert_scale.release.checksums import CHECKSUMS, verify_checksums
from biobert_scale.training.checkpoint.manifest import problem, read_record
from biobert_scale.training.checkpoint.retention import complete, is_finished, newest_intact, step_of
from tests.factories import TINY, abstract, article, prose, write_medline, write_package
from tests.launching import fork, train
from tests.power_failure.disk import Bytes, Entry, File, Log, Rebuilt, State
from tests.power_failure.program import OF_THE_RUN, OF_THE_SECOND_SAVE
from tests.power_failure.trace import record

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(shutil.which("strace") is None, reason="no strace: the traces need it"),
]
_RESUMED = 20
"""States from which the same work is done again, to the same end."""


@dataclass
class Scenario:
    """A program, what is there before it, and what must hold of every state."""

    prepare: Callable[[Path, Path], object]
    """Fills the root; the inputs are finished."""
    check: Callable[[Path, list[str]], None]
    """Fails where a state is neither the old nor the new one; is given the marks reached."""
    resume: Callable[[Path, Path], Path] | None = None
    """Runs the same work again on a state, to its end; returns the directory that must then be the
    undisturbed one."""
    passing: tuple[str, ...] = field(default=())
    """Parts of names of files that are of no use after a power failure."""


def check_file(root: Path, marks: list[str]) -> None:
    there, other = root / "there", root / "a" / "b" / "other"
    assert there.read_text() in (["new"] if marks else ["old", "new"])
    assert other.read_text() == "new" if marks else not other.exists() or other.read_text() == "new"


def check_run(root: Path, marks: list[str]) -> None:
    """The newest checkpoint that was said to be in place is there, or a newer one; none is broken."""
    run = root / "runs" / "run"
    check_lock(run)
    said = max((int(mark.removeprefix("step-")) for mark in marks if mark.startswith("step-")), default=0)
    assert not [problem(path) for path in complete(run) if problem(path)]
    newest = newest_intact(run)
    assert newest is not None or not said, "the last checkpoint is lost"
    assert newest is None or step_of(newest) >= said, f"{newest} is older than what was said to be saved"
    if is_finished(run):
        assert newest is not None and step_of(newest) == 3
    assert is_finished(run) or "finished" not in marks


def check_saved_again(root: Path, marks: list[str]) -> None:
    """The step is there, as it was saved first or second."""
    newest = newest_intact(root / "run")
    assert newest is not None and not [problem(path) for path in complete(root / "run") if problem(path)]
    assert step_of(newest) == 3
    second = read_record(newest).get("validation_mlm_loss") == OF_THE_SECOND_SAVE
    assert second or not marks


def check_lock(directory: Path) -> None:
    """A lock that is left names its holder: of one that does not, nobody knows whether it is at work."""
    if (directory / LOCK).exists():
        assert read_json(directory / LOCK)["pid"]


def check_stage(stage: Path, marks: list[str]) -> None:
    """Finished, and then all of its outputs are whole; or not finished, and then whose it is can be read."""
    check_lock(stage)
    if (stage / MANIFEST).exists():
        manifest = read_manifest(stage)
        for name, digest in manifest.outputs.items():
            assert sha256_file(stage / name) == digest, f"{name} is not whole"
        return
    assert not marks, "what was said to be finished is not"
    left = [path.name for path in stage.iterdir()] if stage.is_dir() else []
    if [name for name in left if not name.startswith((".lock", f".{BEGUN}."))]:
        assert "stage" in read_json(stage / BEGUN)


def check_corpus(root: Path, marks: list[str]) -> None:
    check_stage(root / "corpus", marks)
    if (root / "corpus" / MANIFEST).exists():
        return  # and what led to it is deleted
    work = root / "corpus" / ".work"
    for done in work.rglob("completions/*"):
        tasks = done.parents[1].name.partition("-")[0]
        written = work / "extracted" if tasks == "extract" else root / "corpus"
        assert len(list(written.glob("*.parquet"))) > int(done.name), "done, but not there"


def check_samples(root: Path, marks: list[str]) -> None:
    check_stage(root / "samples", marks)
    if marks:
        assert read_manifest(root / "samples").config["seed"] == 1


def check_release(root: Path, marks: list[str]) -> None:
    check_stage(root / "model", marks)
    if (root / "model" / CHECKSUMS).exists():
        verify_checksums(root / "model")
    if marks and marks[-1] == "licensed":
        assert "cc0-1.0" in (root / "model" / "README.md").read_text()
        assert (root / "model" / CHECKSUMS).exists()


def resume_run(root: Path, inputs: Path) -> Path:
    line = ["train", "--config", str(inputs / "recipe.json"), "--tokens", str(inputs / "tokens")]
    job = fork([*line, *OF_THE_RUN, "--output", str(root / "runs" / "run")])
    assert job.wait() == 0, job.stderr[-3000:]
    return root / "runs" / "run" / "checkpoints" / "step-00000003"


def resume_corpus(root: Path, inputs: Path) -> Path:
    build_corpus(inputs / "raw", root / "corpus", CorpusConfig(), workers=1)
    return root / "corpus"


def resume_samples(root: Path, inputs: Path) -> Path:
    build_samples(inputs / "tokens", root / "samples", DataConfig(max_seq_length=64), seed=1, overwrite=True)
    return root / "samples"


def resume_release(root: Path, inputs: Path) -> Path:
    line = ["export", str(inputs / "run"), "--tokens", str(inputs / "tokens")]
    job = fork([*line, "--output", str(root / "model"), "--license", "cc0-1.0"])
    assert job.wait() == 0, job.stderr[-3000:]
    return root / "model"


def nothing(root: Path, inputs: Path) -> None:
    pass


SCENARIOS = {
    "write_file": Scenario(lambda root, inputs: (root / "there").write_text("old"), check_file),
    "train": Scenario(nothing, check_run, resume_run, passing=("rank-", ".writer-")),
    "save_again": Scenario(
        lambda root, inputs: shutil.copytree(inputs / "run" / "checkpoints", root / "run" / "checkpoints"),
        check_saved_again,
    ),
    "corpus": Scenario(nothing, check_corpus, resume_corpus),
    "samples": Scenario(
        lambda root, inputs: build_samples(
            inputs / "tokens", root / "samples", DataConfig(max_seq_length=64), seed=2
        ),
        check_samples,
        resume_samples,
    ),
    "export": Scenario(nothing, check_release, resume_release),
}


@pytest.fixture(scope="module")
def inputs(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the programs read: raw files, token shards, a finished run."""
    place = tmp_path_factory.mktemp("inputs")
    (place / "tokens").symlink_to(tokens)
    write_medline(place / "raw" / "pubmed26n0001.xml.gz", *(abstract(n, prose(n)) for n in range(1, 30)))
    members = {f"PMC00{n}xxxxxx/PMC{n}.xml": article(n, f"{prose(n)} " * 20) for n in range(1, 4)}
    write_package(place / "raw" / "oa_comm_xml.PMC000xxxxxx.baseline.tar.gz", members)
    train(tokens, place / "run", "--training.engine.name", "ddp", processes=1, steps=3)
    write_json(place / "recipe.json", TINY)
    return place


class Judge:
    """Remembers what it thought of a state."""

    def __init__(self, scenario: Scenario, log: Log, rebuilt: Rebuilt) -> None:
        self.scenario, self.rebuilt = scenario, rebuilt
        self.known: dict[Any, str] = {}
        self.whole: dict[str, set[bytes | None]] = {}
        before = next(log.states())[0]
        for path, content in renamed(log):
            self.whole.setdefault(path, {before[path]} if path in before else set()).add(content)

    def trouble(self, state: State, marks: list[str]) -> str:
        """What is wrong with a state; empty where nothing is."""
        key = hash((frozenset(state.items()), len(marks)))
        if key not in self.known:
            self.known[key] = self._look(state, marks)
        return self.known[key]

    def _look(self, state: State, marks: list[str]) -> str:
        for path, content in state.items():
            passes = any(part in path for part in (".part/", *self.scenario.passing))
            if path in self.whole and content not in self.whole[path] and not passes:
                return f"{path} has its name, and is not whole"
        root = self.rebuilt.lay(state)
        try:
            self.scenario.check(root, marks)
        except (AssertionError, UserError, OSError) as error:
            return f"{error}" or type(error).__name__
        finally:
            shutil.rmtree(root)
        return ""


def renamed(log: Log) -> list[tuple[str, bytes]]:
    """The files that got their names by renaming, and what they held then; none that grew afterwards."""
    found: list[tuple[str, bytes]] = []
    contents: dict[Any, bytes] = {}
    names: dict[Any, Any] = {}
    grown: set[Any] = set()
    for step in log.operations:
        match step:
            case Entry(directory, name, node) if node is not None:
                names[node] = (directory, name)
                if isinstance(node, File) and step.source is not None:
                    found.append((_path(directory, name, names), contents.get(node, b"")))
            case Bytes(node, content):
                contents[node] = content
                if node in names:
                    directory, name = names[node]
                    grown.add(_path(directory, name, names))
    return [(path, content) for path, content in found if path not in grown]


def _path(directory: Any, name: str, names: dict[Any, Any]) -> str:
    parts = [name]
    while directory in names:
        directory, above = names[directory]
        parts.append(above)
    return "/".join(reversed(parts))


def same(ours: Path, theirs: Path) -> bool:
    """Whether two directories hold the same files, but for what names times and places."""
    files = {p.relative_to(ours) for p in ours.rglob("*") if p.is_file() and not p.name.startswith(".")}
    others = {p.relative_to(theirs) for p in theirs.rglob("*") if p.is_file() and not p.name.startswith(".")}
    return files == others and all(filecmp.cmp(ours / name, theirs / name, shallow=False) for name in files)


@dataclass
class Found:
    """What is known of a program: each state with its marks, and for each line that syncs the first trouble
    of a state without it, empty where there is none."""

    judge: Judge
    operations: int
    states: list[tuple[State, list[str]]]
    without: dict[str, str]


@pytest.fixture(scope="module")
def look(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Found]:
    """Run a program and read every state that a power failure may leave; it fails where one is broken."""

    @cache
    def look_at(name: str) -> Found:
        scenario, place = SCENARIOS[name], tmp_path_factory.mktemp(name)
        root = place / "root"
        root.mkdir()
        scenario.prepare(root, inputs)
        arguments = ["-m", "tests.power_failure.program", name, str(root), str(inputs)]
        log = record(arguments, root, output=place / "trace")
        judge = Judge(scenario, log, Rebuilt(place / "states"))
        states = list(log.states())
        assert not {trouble for state, marks in states if (trouble := judge.trouble(state, marks))}
        without = {}
        for line in log.lines():
            found = (judge.trouble(state, marks) for state, marks in log.states(without=line))
            without[line] = next(filter(None, found), "")
        return Found(judge, len(log.operations) - log.begins, states, without)

    return look_at


@pytest.mark.fault(
    "the power fails at any moment of: {name}",
    "the old state or the new one is there, and the same work done again has the same end",
    lost="what was not said to be done",
)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_power_failure_leaves_the_old_or_the_new(
    name: str, inputs: Path, look: Callable[[str], Found], record_property: Callable[[str, object], None]
) -> None:
    found, resume, resumed = look(name), SCENARIOS[name].resume, 0
    if resume is not None:
        undisturbed = resume(found.judge.rebuilt.copy(found.states[-1][0]), inputs)
        for state, _ in random.Random(0).sample(found.states, _RESUMED):
            assert same(resume(found.judge.rebuilt.copy(state), inputs), undisturbed)
            resumed += 1
    figures = {"operations": found.operations, "states": len(found.states), "resumed": resumed}
    record_property("power_failure", {"program": name, **figures, "without": found.without})


def test_no_sync_could_be_left_out(look: Callable[[str], Found]) -> None:
    needed: dict[str, list[str]] = {}
    for name in SCENARIOS:
        for line, trouble in look(name).without.items():
            needed.setdefault(line, []).extend([name] * bool(trouble))
    assert len(needed) > 8
    assert not [line for line, programs in needed.items() if not programs]
