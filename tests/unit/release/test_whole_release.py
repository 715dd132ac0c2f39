"""An export is there as a whole or not at all, from whatever layout the base model has."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, pipeline

from biobert_scale.cli import main
from biobert_scale.config import FinetuneConfig
from biobert_scale.errors import UserError
from biobert_scale.evaluation.finetune import finetune
from biobert_scale.files import MANIFEST, read_json, write_json
from biobert_scale.release import finetuned
from biobert_scale.release.checksums import verify_checksums
from biobert_scale.release.finetuned import export_finetuned
from tests.factories import write_model, write_prepared

BUDGET = FinetuneConfig(
    learning_rate=1e-3, epochs=1, batch_size=32, max_seq_length=64, dropout=0.0, weight_decay=0.0
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def run(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("finetuned")
    finetune(prepared, "NCBI-disease", write_model(directory / "start"), directory / "run", BUDGET, seed=1)
    return directory / "run"


def in_layout(layout: str, directory: Path) -> Path:
    """A base model in the files that older ones have."""
    model = write_model(directory)
    vocabulary = AutoTokenizer.from_pretrained(model).get_vocab()
    entries = sorted(vocabulary, key=vocabulary.__getitem__)
    if "uncased" in layout:
        entries = [piece if piece[0] == "[" else piece.lower() for piece in entries]
        entries = [
            piece if piece not in entries[:place] else f"{piece}x{place}"
            for place, piece in enumerate(entries)
        ]
    if layout != "tokenizer.json alone":
        (model / "tokenizer.json").unlink()
        (model / "vocab.txt").write_text("".join(f"{piece}\n" for piece in entries))
    (model / "tokenizer_config.json").unlink()
    config = read_json(model / "config.json")
    if "bert_config.json" in layout:
        write_json(model / "bert_config.json", config)
    if "no type" in layout:
        write_json(
            model / "config.json",
            {key: config[key] for key in config if key not in ("model_type", "architectures")},
        )
    return model


@pytest.mark.parametrize(
    "layout", ["vocab.txt, uncased", "vocab.txt and bert_config.json, no type", "tokenizer.json alone"]
)
def test_older_models_layouts_are_fine_tuned_and_exported(
    layout: str, prepared: Path, tmp_path: Path
) -> None:
    model = in_layout(layout, tmp_path / "model")
    finetune(prepared, "NCBI-disease", model, tmp_path / "run", BUDGET, seed=1)
    export_finetuned(tmp_path / "run", tmp_path / "out")
    verify_checksums(tmp_path / "out")
    settings = read_json(tmp_path / "out" / "tokenizer_config.json")
    assert settings["model_max_length"] == 64 and settings["do_lower_case"] == ("uncased" in layout)
    ner: Any = pipeline("ner", model=str(tmp_path / "out"), aggregation_strategy="first")  # type: ignore[call-overload]
    normalized = ner.tokenizer.backend_tokenizer.normalizer.normalize_str("Leaf")
    assert normalized == ("leaf" if "uncased" in layout else "Leaf")


def test_a_run_of_an_earlier_version_without_settings_is_exported(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    manifest = read_json(copy / MANIFEST)
    (copy / "model" / "tokenizer_config.json").unlink()
    del manifest["outputs"]["model/tokenizer_config.json"]
    write_json(copy / MANIFEST, manifest)
    assert main(["export", str(copy), "--output", str(tmp_path / "out")]) == 0
    assert read_json(tmp_path / "out" / "tokenizer_config.json")["do_lower_case"] is False


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("step", ["save_weights", "copy_tokenizer", "limit_tokenizer", "publish_card"])
@pytest.mark.fault(
    "the disk is full during an export, in `{step}`",
    "the old release or nothing; the same command succeeds later",
)
def test_a_failed_export_leaves_what_was_there_or_nothing(
    step: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_finetuned(run, tmp_path / "out")
    before = contents(tmp_path)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(finetuned, step, fail)
    with pytest.raises(OSError, match="No space"):
        export_finetuned(run, tmp_path / "out", dtype="fp16", overwrite=True)
    with pytest.raises(OSError, match="No space"):
        export_finetuned(run, tmp_path / "new")
    assert contents(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ["out"]
    monkeypatch.undo()
    export_finetuned(run, tmp_path / "out", dtype="fp16", overwrite=True)
    export_finetuned(run, tmp_path / "new")
    verify_checksums(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        path.name for path in (tmp_path / "new").iterdir()
    }


@pytest.mark.slow
@pytest.mark.fault(
    "SIGKILL of an export, in `{step}`", "the old release or nothing; the same command succeeds later"
)
@pytest.mark.parametrize("step", ["save_weights", "publish_card"])
def test_a_killed_export_leaves_what_was_there_or_nothing(step: str, run: Path, tmp_path: Path) -> None:
    export_finetuned(run, tmp_path / "out")
    before = contents(tmp_path / "out")
    for name, overwrite in (("out", True), ("new", False)):
        child = os.fork()
        if not child:
            try:
                setattr(finetuned, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
                export_finetuned(run, tmp_path / name, dtype="fp16", overwrite=overwrite)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert contents(tmp_path / "out") == before
    with pytest.raises(UserError):
        verify_checksums(tmp_path / "new")
    export_finetuned(run, tmp_path / "out", dtype="fp16", overwrite=True)
    export_finetuned(run, tmp_path / "new", dtype="fp16")
    verify_checksums(tmp_path / "out")
    verify_checksums(tmp_path / "new")


@pytest.mark.fault("an export into a directory that holds something else", "refused before any work")
def test_an_output_of_something_else_is_refused_before_any_work(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    monkeypatch.setattr(finetuned, "save_weights", None)
    with pytest.raises(UserError, match="not empty"):
        export_finetuned(run, tmp_path / "mine")
    monkeypatch.undo()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    export_finetuned(run, Path("."))
    verify_checksums(tmp_path / "empty")


def test_the_card_s_snippet_reads_text_beyond_the_last_position(run: Path, tmp_path: Path) -> None:
    export_finetuned(run, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    snippet = (
        card.split("```python\n")[1].split("```")[0].replace("PATH_OR_REPOSITORY", str(tmp_path / "out"))
    )
    scope: dict[str, Any] = {}
    exec(snippet, scope)
    tagger = scope["tagger"]
    tagger.model.classifier.weight.data.zero_()
    tagger.model.classifier.bias.data = tagger.model.classifier.bias.data.new_tensor([0.0, 1.0, 0.0])
    text = "Mice slept. " * 100
    assert tagger(text)[-1]["end"] == len(text.rstrip())
