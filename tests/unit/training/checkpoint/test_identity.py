"""Initial weights are the same run's by what they hold, not by how their path is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.config import Config
from biobert_scale.errors import UserError
from biobert_scale.files import canonical_json
from biobert_scale.modeling.weights import weights_fingerprint
from biobert_scale.recipes import load_config
from biobert_scale.training.checkpoint.identity import refuse_changes, run_fingerprint


def starting_from(path: str) -> Config:
    config = load_config("demo")
    return replace(config, training=replace(config.training, initial_weights=path))


def saved_config(config: Config) -> dict[str, Any]:
    """As a checkpoint holds it."""
    return json.loads(canonical_json(config))


def directory(path: Path, content: bytes) -> Path:
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("before", "now"), [("./w/model", "w/model"), ("w/model", "w/../w/model"), ("w/model/", "w/link")]
)
@pytest.mark.fault("a resume with the initial weights' path written in another way", "the same run")
def test_a_path_written_in_another_way_is_the_same_run(
    before: str, now: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (directory(tmp_path / "w" / "model", b"one").parent / "link").symlink_to("model")
    saved = saved_config(starting_from(before))
    refuse_changes(saved, starting_from(now), where=tmp_path)  # an older checkpoint, without a fingerprint
    weights = (weights_fingerprint(Path(before)), weights_fingerprint(Path(now)))
    refuse_changes(saved, starting_from(now), where=tmp_path, weights=weights)


@pytest.mark.fault(
    "a resume with other initial weights in the same place",
    "refused; moved ones are the same run",
)
def test_weights_that_have_moved_are_the_same_run_and_others_in_their_place_are_not(tmp_path: Path) -> None:
    here, there = directory(tmp_path / "a", b"one"), directory(tmp_path / "b", b"one")
    other = directory(tmp_path / "c", b"two")
    prints = {path: weights_fingerprint(path) for path in (here, there, other)}
    saved = saved_config(starting_from(str(here)))
    refuse_changes(saved, starting_from(str(there)), where=tmp_path, weights=(prints[here], prints[there]))
    for path in (here, other):  # also where the path is the same, and its content another
        with pytest.raises(UserError, match=r"initial_weights was '.*' and is now '.*'"):
            refuse_changes(
                saved, starting_from(str(path)), where=tmp_path, weights=(prints[here], prints[other])
            )
    assert run_fingerprint(
        starting_from(str(here)), "samples", initial_weights=prints[here]
    ) == run_fingerprint(starting_from(str(there)), "samples", initial_weights=prints[there])
    assert run_fingerprint(starting_from("x"), "samples") != run_fingerprint(starting_from("y"), "samples")


@pytest.mark.parametrize(("before", "now"), [("", "w/model"), ("w/model", "")])
def test_random_weights_and_others_are_two_runs(before: str, now: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training\.initial_weights"):
        refuse_changes(saved_config(starting_from(before)), starting_from(now), where=tmp_path)


def test_a_tensorflow_checkpoint_is_its_index_and_its_data(tmp_path: Path) -> None:
    for name in ("bert.ckpt.index", "bert.ckpt.data-00000-of-00001"):
        (tmp_path / name).write_bytes(name.encode())
    before = weights_fingerprint(tmp_path / "bert.ckpt")
    assert before == weights_fingerprint(tmp_path)
    (tmp_path / "bert.ckpt.data-00000-of-00001").write_bytes(b"others")
    assert before != weights_fingerprint(tmp_path)
    with pytest.raises(UserError, match="no such directory or checkpoint"):
        weights_fingerprint(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("before", "now", "what"),
    [
        ({}, {"pmc": 2.0}, r"data\.sources was \{\} and is now \{'pmc': 2\.0\}"),
        ({"pmc": 2.0}, {}, r"data\.sources was \{'pmc': 2\.0\} and is now \{\}"),
        ({"pmc": 2.0}, {"notes": 2.0}, r"data\.sources was .*'pmc'.* and is now .*'notes'"),
        ({"pmc": 2.0}, {"pmc": 3.0}, r"data\.sources\.pmc was 2\.0 and is now 3\.0"),
    ],
)
@pytest.mark.fault("a resume with other weights of the sources", "refused")
def test_other_weights_of_the_sources_are_another_run(
    before: dict[str, float], now: dict[str, float], what: str, tmp_path: Path
) -> None:
    begun, resumed = (
        replace(config, data=replace(config.data, sources=sources))
        for config in [load_config("demo")]
        for sources in (before, now)
    )
    refuse_changes(saved_config(begun), begun, where=tmp_path)
    with pytest.raises(UserError, match=what):
        refuse_changes(saved_config(begun), resumed, where=tmp_path)
    assert run_fingerprint(begun, "samples") != run_fingerprint(resumed, "samples")


def test_a_checkpoint_of_before_weights_has_none(tmp_path: Path) -> None:
    config = load_config("demo")
    saved = saved_config(config)
    del saved["data"]["sources"]
    refuse_changes(saved, config, where=tmp_path)
    weighted = replace(config, data=replace(config.data, sources={"pmc": 2.0}))
    with pytest.raises(UserError, match=r"data\.sources was \{\}"):
        refuse_changes(saved, weighted, where=tmp_path)
    assert "sources" not in config.fingerprinted()["data"]
