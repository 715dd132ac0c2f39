"""Runs the scripts in `examples/`, and what docs/reference/python.md says of the names that they import."""

from __future__ import annotations

import json
import random
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from biobert_scale import Tagger, finetune, pretrain
from biobert_scale.config import FinetuneConfig
from biobert_scale.errors import UserError
from biobert_scale.evaluation.prepare import prepare
from tests.factories import TINY_TOML, prose, write_entities, write_model, write_tokens

ROOT = Path(__file__).parents[2]
TEXT = "Mice with leaf palsy slept."


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared entities and a tiny model."""
    directory = tmp_path_factory.mktemp("examples")
    write_entities(directory / "in")
    prepare(directory / "in", directory / "prepared")
    write_model(directory / "model")
    return directory


@pytest.fixture(scope="module")
def run(work: Path) -> Path:
    budget = FinetuneConfig(learning_rate=1e-3, epochs=12, batch_size=8, max_seq_length=64, dropout=0.0)
    metrics = finetune(work / "prepared", "NCBI-disease", str(work / "model"), work / "run", budget)
    assert metrics["score"] > 90
    return work / "run"


def example(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")


def test_tag_text(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    example("tag_text.py", monkeypatch, run)
    out = capsys.readouterr().out
    assert out.startswith("types: Disease\n") and re.search(
        r"  \d+-\d+ Disease 'grey fever' \(\d\.\d\d\)", out
    )


def test_finetune_on_own_data(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example(
        "finetune_on_own_data.py",
        monkeypatch,
        work / "prepared",
        "NCBI-disease",
        work / "model",
        work / "seeds",
        1,
    )
    assert re.match(r"test: \d+\.\d\d \(from ", capsys.readouterr().out)
    assert len(list((work / "seeds").glob("seed-*/metrics.json"))) == 3


def test_pretrain_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.toml").write_text(TINY_TOML)
    tokens = write_tokens(tmp_path / "tokens", documents=60)
    for _ in range(2):
        example(
            "pretrain_small.py",
            monkeypatch,
            tmp_path / "tiny.toml",
            tokens,
            tmp_path / "run",
            "training.precision.dtype=fp32",
            "training.schedule.total-steps=3",
            "training.schedule.warmup-steps=1",
        )
        assert re.search(r"^finished: loss \d", capsys.readouterr().out, re.M)
    with pytest.raises(UserError, match="changes no setting"):
        pretrain(tmp_path / "tiny.toml", tokens, tmp_path / "other", ["training.no-such=1"])


@pytest.mark.slow
def test_continued_pretraining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """From own text to the table; started again it trains nothing, also where only the records are left."""
    write_entities(tmp_path / "originals")
    model = write_model(tmp_path / "general")
    words, draw = sorted(set(f"{prose(1)} {TEXT}".replace(".", "").lower().split())), random.Random(1)
    texts = [". ".join(f"The {' '.join(draw.choices(words, k=9))}" for _ in range(8)) for _ in range(300)]
    notes = [json.dumps({"text": f"{text}."}) for text in texts]
    (tmp_path / "notes.jsonl").write_text("\n".join(notes) + "\n")
    recipe = tmp_path / "own.toml"
    recipe.write_text('base = "continued-small"\nname = "own"\n[tokens]\nvalidation_fraction = 0.1\n')
    line = [
        "--model",
        model,
        "--benchmarks",
        tmp_path / "originals",
        "--own",
        f"notes={tmp_path}/notes.jsonl",
    ]
    line += [
        "--recipe",
        recipe,
        "--steps",
        "2",
        "--tasks",
        "NCBI-disease",
        "--seeds",
        "1",
        "--rates",
        "1e-4",
        "1e-3",
    ]
    line += ["--epochs", "1", "--work", tmp_path / "work", "--records", tmp_path / "records"]
    small = {"data.max_seq_length": 32, "training.global_batch_size": 4, "training.micro_batch_size": 4}
    small |= {"training.frozen_encoder_steps": 1, "training.schedule.warmup_steps": 1}
    line += [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
    example("continued-pretraining/run.py", monkeypatch, *line)
    assert "general-2-steps" in capfd.readouterr().out
    records = sorted(
        path.relative_to(tmp_path / "records") for path in tmp_path.glob("records/**/metrics.json")
    )
    assert len(records) == 6 + len([path for path in records if "baselines" in path.parts])
    shutil.rmtree(tmp_path / "work" / "scores")
    example("continued-pretraining/run.py", monkeypatch, *line)
    assert "evaluate finetune" not in capfd.readouterr().out


def test_a_tagger_is_called_again_and_mistakes_are_one_line(run: Path) -> None:
    tagger = Tagger(run)
    assert tagger.types == ["Disease"] and tagger([]) == []
    first, second = tagger([TEXT, ""]), tagger([TEXT, ""])
    assert first == second and first[1] == []
    assert [TEXT[entity.start : entity.end] for entity in first[0]] == [entity.text for entity in first[0]]
    for wrong in (lambda: Tagger(), lambda: tagger(TEXT), lambda: Tagger("nowhere")):
        with pytest.raises(UserError):
            wrong()


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, biobert_scale; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
