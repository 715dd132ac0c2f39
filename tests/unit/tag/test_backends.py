"""Every backend and precision gives the labels that transformers' own model gives."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from transformers import BertForTokenClassification

from biobert_scale.cli import main
from biobert_scale.errors import UserError
from biobert_scale.evaluation.ner import Window
from biobert_scale.release.onnx import OPSET, write_onnx
from biobert_scale.tag.backends import Backend
from biobert_scale.tag.document import TextDocument
from biobert_scale.tag.tagger import EntityTagger
from tests.factories import FRAMES, NAMES, write_tagger

CPU = torch.device("cpu")
LARGEST = {"fp32": 1e-4, "bf16": 0.5, "int8": 0.5}
"""Difference of a logit; they deviate by some 8."""
DOCUMENTS = [
    TextDocument(id=str(number), title=" ".join(frame.format(name) for frame in FRAMES[: 1 + number % 4]))
    for number, name in enumerate(itertools.islice(itertools.cycle(NAMES), 24))
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tagger(tmp_path_factory.mktemp("tagger"))


def reference(model: Path, windows: list[Window]) -> torch.Tensor:
    """Logits at the scored words, one window after another, without padding."""
    whole = BertForTokenClassification.from_pretrained(model).eval()
    with torch.inference_mode():
        return torch.cat(
            [whole(torch.tensor([w.input_ids])).logits[0, torch.tensor(w.first_pieces)] for w in windows]
        )


def check(model: Path, backend: Backend, precision: str) -> None:
    tagger = EntityTagger(model, CPU, backend=backend, precision=precision)  # type: ignore[arg-type]
    windows = tagger.prepare(DOCUMENTS).windows
    expected = reference(model, windows)
    with torch.inference_mode():
        given = tagger.scores(windows)
    assert given.dtype == torch.float32 and (given - expected).abs().max() < LARGEST[precision]
    differ = (given.argmax(-1) != expected.argmax(-1)).float().mean()
    assert differ <= (0 if precision == "fp32" else 0.05)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_pytorch_gives_the_logits_of_transformers(model: Path, precision: str) -> None:
    check(model, "torch", precision)


def test_what_a_backend_does_not_have_is_refused(model: Path) -> None:
    with pytest.raises(UserError, match=r"no ONNX model.*--onnx"):
        EntityTagger(model, CPU, backend="onnx")
    with pytest.raises(UserError, match="fp32 or int8"):
        EntityTagger(model, CPU, backend="onnx", precision="bf16")


@pytest.mark.slow
def test_onnx_gives_the_logits_of_transformers(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx  # of the extra

    for path in write_onnx(BertForTokenClassification.from_pretrained(model), model):
        graph = onnx.load(path)
        onnx.checker.check_model(graph, full_check=True)
        assert next(each.version for each in graph.opset_import if not each.domain) == OPSET
    check(model, "onnx", "fp32")
    check(model, "onnx", "int8")
    (tmp_path / "in.txt").write_text("\n".join(document.title for document in DOCUMENTS))
    found = []
    for backend in ("torch", "onnx"):
        capsys.readouterr()
        assert main(["tag", str(model), "--input", str(tmp_path / "in.txt"), "--backend", backend]) == 0
        lines = map(json.loads, capsys.readouterr().out.splitlines())
        found.append([[(e["start"], e["end"]) for e in line["entities"]] for line in lines])
    assert found[0] == found[1] and any(found[0])
