from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from biobert_scale import __version__
from biobert_scale.cli import main
from biobert_scale.commands import COMMANDS
from tests.launching import Job, fork

ROOT = Path(__file__).parents[2]


def run(*arguments: str, cwd: Path | None = None) -> Job:
    job = fork(list(arguments), cwd=cwd)
    job.wait()
    return job


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from biobert_scale.cli import main; main(['--help']); print(*sys.modules, sep='\\n')"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    modules = set(output.splitlines())
    assert modules.isdisjoint({"torch", "numpy", "transformers", "datasets", "tyro", "cattrs", "matplotlib"})
    assert all(name in output for name in COMMANDS)


def test_the_version_names_commit_and_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    head = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    assert first.startswith(f"biobert-scale {__version__}") and head.stdout.strip() in first
    assert f"torch {version('torch')}" in others and f"Python {platform.python_version()}" in others


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])
def test_every_command_has_help(name: str) -> None:
    done = run(*name.split(), "--help")
    assert done.returncode == 0 and "usage" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no-such-command"], "no command"),
        (["corpus", "bild"], "corpus build"),
        (["corpus", "build", "--raw", "missing", "--output", "out"], "missing"),
        (["tokens", "vocabulary", "--corpus", "missing", "--output", "out"], "missing"),
        (["train", "--config", "nope", "--tokens", "t", "--output", "o"], "no such recipe"),
        (["train", "--config", "demo", "--tokens", "missing", "--output", "o"], "missing"),
        (
            [
                "train",
                "--config",
                "demo",
                "--tokens",
                "t",
                "--output",
                "o",
                "--training.global-batch-size",
                "7",
            ],
            "global_batch_size 7",
        ),
        (["export", "missing", "--tokens", "t", "--output", "o"], "no intact checkpoint"),
        (["demo", "--raw", "missing"], "--raw and --benchmarks"),
        (["report", "missing"], "missing"),
        (["checkpoint", "list", "missing"], "no checkpoint"),
        (["evaluate", "table", "missing"], "no such file or directory: missing"),
        (["bench", "train", "--config", "demo"], "bench train; run `biobert-scale tune`"),
        (["bench", "end-to-end"], "run `python -m benchmarks end-to-end`, in a checkout"),
        (["bench"], "run `python -m benchmarks TABLE`, in a checkout"),
        (["bench", "--help"], "run `python -m benchmarks TABLE`, in a checkout"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = run(*arguments, cwd=tmp_path)
    told = [line for line in done.stderr.splitlines() if line.startswith("biobert-scale:")]
    assert done.returncode == 2, done.stderr
    assert len(told) == 1 and says in told[0] and "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.fault("the reader of a command's output goes away", "ends quietly")
def test_a_reader_that_stops_reading_is_no_error() -> None:
    command = (
        f"{sys.executable} -m biobert_scale.cli evaluate finetune --help | true; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("141\n", "")


@pytest.mark.fault("a raw file cut in half", "named in one line; nothing looks finished")
def test_a_file_cut_in_half_is_named_and_nothing_looks_finished(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "raw").mkdir()
    whole = (
        b"<?xml version='1.0'?><PubmedArticleSet><PubmedArticle><MedlineCitation><PMID"
        b" Version='1'>1</PMID></MedlineCitation></PubmedArticle></PubmedArticleSet>"
    )
    with gzip.open(tmp_path / "raw" / "pubmed26n0001.xml.gz", "wb") as stream:
        stream.write(whole[: len(whole) // 2])
    done = run(
        "corpus",
        "build",
        "--raw",
        "raw",
        "--output",
        "corpus",
        cwd=tmp_path,
    )
    told = [line for line in done.stderr.splitlines() if line.startswith("biobert-scale:")]
    assert done.returncode == 2 and len(told) == 1 and "pubmed26n0001.xml.gz" in told[0], done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "corpus" / "manifest.json").exists()


def test_an_unknown_setting_on_the_command_line_is_refused(tmp_path: Path) -> None:
    done = run(
        "train",
        "--config",
        "demo",
        "--tokens",
        "t",
        "--output",
        "o",
        "--training.optimizer.lr",
        "1",
        cwd=tmp_path,
    )
    assert done.returncode == 2 and "--training.optimizer.lr" in done.stderr
