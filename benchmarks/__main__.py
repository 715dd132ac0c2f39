"""`python -m benchmarks TABLE [options]`, from a checkout of the repository."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from biobert_scale.cli import reporting_errors
from biobert_scale.commands import call, first_line
from biobert_scale.errors import UserError

TABLES = {
    "corpus": "corpus.table",
    "comparison": "corpus.comparison",
    "large-build": "corpus.large_build",
    "large-package": "corpus.large_package",
    "text-quality": "text_quality",
    "data": "data.table",
    "train-step": "train_step.table",
    "curves": "curves.table",
    "learning": "learning.table",
    "continuation": "continuation",
    "end-to-end": "end_to_end.table",
    "checkpoint": "checkpoint",
    "scaling": "scaling",
    "published-scaling": "published_scaling",
    "download": "download",
    "clients": "clients",
    "finetune": "finetune.table",
    "tag": "tag",
    "serve": "serve",
    "gpu": "gpu.suite",
    "mission": "gpu.mission",
}
"""Table -> the module here that holds its function, which has the table's name."""


def main(arguments: list[str] | None = None) -> int:
    """Make a table; returns the exit code: 0 done, 1 a failed run, 2 a user's mistake."""
    name, *options = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    # Processes that a table starts import this directory too, wherever they are started.
    root = str(Path(__file__).parents[1])
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", root)]
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *others])
    return reporting_errors(lambda: _make(name, options), program="benchmarks")


def _make(name: str, options: list[str]) -> int:
    if name not in TABLES:
        raise UserError(
            f"no table '{name}'", where="command line", remedy=f"the tables are: {', '.join(TABLES)}"
        )
    function = getattr(importlib.import_module(f"benchmarks.{TABLES[name]}"), name.replace("-", "_"))
    return call(function, prog=f"python -m benchmarks {name}", arguments=options)


def usage() -> str:
    """The list of tables."""
    width = max(map(len, TABLES))
    files = {
        name: Path(__file__).parent / f"{module.replace('.', '/')}.py" for name, module in TABLES.items()
    }
    lines = [f"  {name:<{width}}  {first_line(file, name.replace('-', '_'))}" for name, file in files.items()]
    return "\n".join(["usage: python -m benchmarks TABLE [--help] ...", "", *lines])


if __name__ == "__main__":
    sys.exit(main())
