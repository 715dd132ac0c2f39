"""An empty account: a copy of the repository, the package installed from it, and small things to try the
documents' commands on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
from datasets import Dataset

from biobert_scale.corpus.synthetic import write_synthetic
from biobert_scale.files import sha256_file, write_json
from tests.docs.markdown import read_blocks
from tests.factories import TINY, article_text, prose, write_articles
from tests.launching import free_port

ROOT = Path(__file__).parents[2]
BUDGET = {"epochs": 1, "max_seq_length": 64, "dropout": 0.0}
RECIPE: dict[str, Any] = {
    **TINY,
    "synthetic": {"abstracts": 300, "full_texts": 10},
    "corpus": {"minimum_words": 5},
    "vocabulary": {"size": 600},
    "tokens": {"validation_fraction": 0.1},
    "training": {**TINY["training"], "schedule": {"warmup_steps": 2, "total_steps": 30}},
    "evaluation": {"tasks": ["NCBI-disease"], "seeds": [1], "entities": BUDGET, "documents": BUDGET},
}
HELPERS = {
    "biobert-scale": 'exec biobert-scale "$@" --recipe small/recipe.json',
    "python": 'exec env/bin/python "$@" --collect-only',
    "serve": (
        'python -m http.server --bind 127.0.0.1 --directory small/mirror "$1" > small/mirror.log 2>&1 &\ntrap'
        ' "kill $!" EXIT\n"${@:2}"'
    ),
}
"""`small/NAME`: the demo with the small recipe; the tests, only collected; a command beside a server with
NCBI's layout of directories."""
SECONDS = 900


@dataclass(frozen=True, kw_only=True)
class Account:
    """A directory like a fresh clone."""

    directory: Path
    variables: dict[str, str] = field(default_factory=dict)
    """What else is in its environment: where servers are."""

    def file(self, name: str) -> Path:
        return self.directory / name

    def environment(self) -> dict[str, str]:
        """What a login shell would have, the environment of the package on the PATH; nothing is imported from
        where a command is run."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        path = os.pathsep.join([str(self.directory / "env" / "bin"), os.environ["PATH"]])
        return {
            **kept,
            **self.variables,
            "PATH": path,
            "PYTHONSAFEPATH": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
        }

    def values(self) -> dict[str, Any]:
        """What the table of small sizes can name in braces."""
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return {
            "python": sys.executable,
            "packages": Path(pyarrow.__file__).parents[1],
            "scripts": Path(sys.executable).parent,
            "version": version,
            "port": free_port(),
        }

    def run(
        self,
        script: str,
        *,
        through: Callable[[list[str], dict[str, str]], subprocess.Popen[str]] | None = None,
    ) -> str:
        """Run a shell script to its good end; returns what it printed."""
        command = ["bash", "-euo", "pipefail", "-c", script]
        process = (through or self.here)(command, self.environment())
        try:
            printed, complaints = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert process.returncode == 0, (
            f"{script}\nended with {process.returncode}:\n{printed[-3000:]}\n{complaints[-3000:]}"
        )
        return printed

    def here(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.directory,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


def make_small(script: str, table: Sequence[tuple[str, str]], **values: Any) -> tuple[str, set[str]]:
    """A block's script with small sizes in the place of the document's, and the patterns that were found in
    it."""
    script, used = script.replace("\\\n", " "), set()
    for pattern, small in table:
        script, times = re.subn(
            pattern,
            lambda _, small=small: small.format(**values),  # type: ignore[misc]
            script,
            flags=re.MULTILINE,
        )
        used |= {pattern} if times else set()
    return script, used


def clone(directory: Path) -> Account:
    """A copy of what the repository tracks, without its history."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name)
    return Account(directory=directory)


def furnish(account: Account) -> None:
    """Small things under `small/`: a recipe, a mirror, made-up raw files and benchmarks, and the helpers of
    `HELPERS`."""
    small = account.file("small")
    small.mkdir()
    write_json(small / "recipe.json", RECIPE)
    account.file("article.txt").write_text(
        "Two patients had hepatitis. Both had taken isoniazid for a month.\n"
    )
    write_synthetic(small / "raw", abstracts=300, full_texts=10)
    (small / "mirror").mkdir()
    (small / "mirror" / "pubmed").symlink_to(small / "raw" / "pubmed")
    packages = small / "mirror" / "pmc" / "oa_bulk" / "oa_comm"
    packages.mkdir(parents=True)
    (packages / "xml").symlink_to(small / "raw" / "pmc")
    (small / "mirror" / "ftp" / "oa").mkdir(parents=True)
    write_articles(small / "mirror" / "ftp" / "oa" / "PMC1_PMC2.xml.gz", article_text(1), article_text(2))
    notes = [{"key": str(number), "text": prose(number), "body": prose(number)} for number in range(30)]
    account.file("notes.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes))
    Dataset.from_list(notes).to_parquet(account.file("notes.parquet"))
    Dataset.from_list(notes).save_to_disk(account.file("saved_dataset"))
    for name in ("ner", "hoc"):
        shutil.copytree(small / "raw" / name, account.file("benchmark-files") / name)
    (small / "sources.toml").write_text(  # of files that are there: nothing is fetched
        "".join(
            f'[[file]]\npath = "{path.relative_to(account.file("benchmark-files"))}"\n'
            f'url = "http://127.0.0.1:9"\nsha256 = "{sha256_file(path)}"\n'
            for path in sorted(account.file("benchmark-files").rglob("*.txt"))
        )
    )
    account.file("my-data").mkdir()
    task = next(
        block for block in read_blocks(ROOT / "docs/how-to/own-data.md", "") if block.language == "toml"
    )
    account.file("my-data/my.toml").write_text(task.text)
    for split in ("train", "dev", "test"):
        rows = f"-DOCSTART- {split}\n\nNoxa\tB-Protein\nhelped\tO\nferns\tB-Plant\n\n"
        account.file(f"my-data/{split}.tsv").write_text(rows)
    for name, text in HELPERS.items():
        (small / name).write_text(f"#!/bin/bash\n{text}\n")
        (small / name).chmod(0o755)
    (small / ".installed").touch()
