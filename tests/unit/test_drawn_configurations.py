"""A thousand configurations, wrong in one field each: one line and exit code 2, or a run described."""

from __future__ import annotations

import contextlib
import io
import os
import random
import subprocess
import sys
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.cli import main
from biobert_scale.config import Config
from biobert_scale.files import write_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
ROOT = Path(__file__).parents[2]
TINY: dict[str, Any] = {
    "name": "tiny",
    "model": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 64,
    },
    "data": {"max_seq_length": 64},
    "training": {
        "global_batch_size": 4,
        "micro_batch_size": 4,
        "schedule": {"warmup_steps": 0, "total_steps": 1},
        "precision": {"dtype": "fp32"},
    },
}
STRANGE: tuple[Any, ...] = (
    *(-1, 0, 1, 3, 7, 10**6, 10**9, 10**18, 10**30, -(10**18), 2**31, 2**63),
    *(-1.0, -0.0, 0.5, 1.0, 1.5, 1e-300, 1e300, float("nan"), float("inf"), -float("inf")),
    *(
        "",
        "text",
        "zero9",
        "../..",
        "None",
        "nan",
        "é\x00",
        [],
        [1],
        ["a", "b", "c"],
        {},
        {"a": 1},
        True,
        False,
        None,
    ),
)


def all_fields(section: type, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    hints = typing.get_type_hints(section)
    for field in fields(section):
        if is_dataclass(hints[field.name]):
            yield from all_fields(hints[field.name], (*path, field.name))
        yield (*path, field.name)


FIELDS = sorted(all_fields(Config))


def draw(chance: random.Random) -> tuple[str, dict[str, Any]]:
    """A field's dotted name, and a recipe with a strange value there; or with a key that does not exist."""
    path = chance.choice(FIELDS)
    if chance.random() < 0.05:
        path = (*path[:-1], path[-1] + "s")
    raw: dict[str, Any] = {}
    write(raw, TINY)
    inner = raw
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner[path[-1]] = chance.choice(STRANGE)
    return ".".join(path), raw


def write(target: dict[str, Any], source: dict[str, Any]) -> None:
    for name, value in source.items():
        if isinstance(value, dict):
            write(target.setdefault(name, {}), value)
        else:
            target[name] = value


@pytest.mark.fault(
    "1,000 drawn configurations, wrong in one field each",
    "one line and exit code 2, or a run that trains",
)
def test_a_thousand_in_one_process(tmp_path: Path) -> None:
    chance, refused = random.Random(1), 0
    for number in range(1000):
        key, raw = draw(chance)
        recipe = tmp_path / f"{number}.json"
        write_json(recipe, raw)
        out, told = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
            code = main(["train", "--config", str(recipe), "--dry-run", "--world-size", "1"])
        lines = [line for line in told.getvalue().splitlines() if line.startswith("biobert-scale: ")]
        assert code in (0, 2), (key, raw, told.getvalue())
        assert len(lines) == (code == 2) and "Traceback" not in told.getvalue(), (key, raw, told.getvalue())
        assert code or "parameters" in out.getvalue(), (key, raw)
        refused += code == 2
    assert 500 < refused < 1000


def test_fifty_real_commands(tmp_path: Path) -> None:
    chance = random.Random(2)
    for number in range(50):
        key, raw = draw(chance)
        recipe = tmp_path / f"{number}.json"
        write_json(recipe, raw)
        done = subprocess.run(
            [sys.executable, "-m", "biobert_scale", "train", "--config", str(recipe), "--dry-run"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        lines = [line for line in done.stderr.splitlines() if line.startswith("biobert-scale: ")]
        assert done.returncode in (0, 2) and "Traceback" not in done.stderr, (key, raw, done.stderr[-2000:])
        assert len(lines) == (done.returncode == 2), (key, raw, done.stderr[-2000:])
