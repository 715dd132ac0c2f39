"""An installation that cannot be written to, and no home: a container."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from biobert_scale.files import write_json
from tests.factories import TINY, write_tokens
from tests.launching import ROOT, environment


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package without anything compiled; mounted read-only by `run`."""
    directory = tmp_path_factory.mktemp("installation")
    for name in ("biobert_scale", "ds_configs", "launch"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "--bind", "-o", "ro", str(directory), str(directory)],
        capture_output=True,
    )
    if tried.returncode:
        pytest.skip("no right to mount")
    return directory


def run(installation: Path, *command: str, temporary: Path) -> subprocess.CompletedProcess[str]:
    script = f'mount --bind -o ro {installation} {installation} && exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-m", *command],
        env={
            **{name: value for name, value in environment().items() if "CACHE" not in name},
            "PYTHONPATH": str(installation),
            "HOME": os.devnull,
            "TMPDIR": str(temporary),
        },
        cwd=temporary,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.fault(
    "a read-only installation, HOME unusable",
    "every command works; compiled code is cached in a directory of its own",
)
def test_every_command_works_without_a_place_for_compiled_code(installation: Path, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "made", documents=200)
    write_json(tmp_path / "recipe.json", TINY)
    chosen = ("--config", str(tmp_path / "recipe.json"), "--tokens", str(tokens))
    temporary = Path(tempfile.mkdtemp())  # short: sockets are made in it
    writes = {
        "train": ("biobert_scale.train", *chosen, "--output", str(tmp_path / "run")),
        "doctor": ("biobert_scale.doctor", *chosen),
        "synthesize": ("biobert_scale", "corpus", "synthesize", "--output", str(tmp_path / "raw")),
        "corpus": (
            *("biobert_scale", "corpus", "build", "--raw", str(tmp_path / "raw" / "pubmed")),
            *("--output", str(tmp_path / "corpus"), "--workers", "2"),
        ),
    }
    for name, command in writes.items():
        done = run(installation, *command, temporary=temporary)
        said = done.stdout + done.stderr
        assert "Traceback" not in said and "locator" not in said, said[-3000:]
        assert done.returncode == 0 or (name == "doctor" and "FAIL" in done.stdout), said[-3000:]
    assert (tmp_path / "run" / "finished.json").exists()
    own = temporary / f"biobert-scale-numba-{os.getuid()}"
    assert list(own.rglob("*.nbc")) and own.stat().st_mode & 0o777 == 0o700
