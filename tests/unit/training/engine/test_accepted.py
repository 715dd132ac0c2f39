"""DeepSpeed's files: what is accepted, and one line for everything else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.config import Config
from biobert_scale.errors import UserError
from biobert_scale.recipes import load_config
from biobert_scale.training.engine.settings import engine_config, find_file


def named(path: str | Path, dtype: str = "bf16") -> Config:
    config = load_config("biobert-large")
    training = replace(
        config.training,
        engine=replace(config.training.engine, deepspeed_config=str(path)),
        precision=replace(config.training.precision, dtype=dtype),  # type: ignore[arg-type]
    )
    return replace(config, training=training)


def changed(base: str, changes: dict[str, Any]) -> str:
    settings = json.loads(find_file(base).read_text())
    for dotted, value in changes.items():
        *outer, last = dotted.split(".")
        inner = settings
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return json.dumps(settings)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("base", ["zero0", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload"])
def test_every_packaged_file_is_accepted_as_it_is(base: str, dtype: str) -> None:
    if (base, dtype) != ("zero0", "fp16"):
        assert "auto" not in json.dumps(engine_config(named(base, dtype), world_size=16))


@pytest.mark.parametrize(
    ("base", "changes", "words"),
    [
        ("zero1", {"data_types.grad_accum_dtype": "fp32"}, "'data_types'"),
        ("zero1", {"bf16.bf16_master_weights_and_grads": True}, "'bf16.bf16_master_weights_and_grads'"),
        ("zero1", {"bf16.bf16_optimizer_states": True}, "'bf16.bf16_optimizer_states'"),
        ("zero1", {"fp16.fp16_master_weights_and_grads": True}, "'fp16.fp16_master_weights_and_grads'"),
        ("zero1", {"torch_autocast.enabled": True}, "'torch_autocast'"),
        ("zero1", {"checkpoint.load_universal": True}, "'checkpoint'"),
        ("zero1", {"zero_optimization.round_robin_gradients": True}, "round_robin_gradients"),
        ("zero1", {"zero_optimization.zenflow": {}}, "'zero_optimization.zenflow'"),
        ("zero3", {"zero_optimization.zero_quantized_weights": True}, "zero_quantized_weights"),
        ("zero3", {"zero_optimization.zero_hpz_partition_size": 2}, "zero_hpz_partition_size"),
        ("zero3_offload", {"zero_optimization.offload_optimizer.ratio": 0.5}, "offload_optimizer.ratio"),
        ("zero3_offload", {"zero_optimization.offload_optimizer.super_offload": True}, "super_offload"),
        ("zero3_offload", {"zero_optimization.offload_optimizer.device": "nvme"}, "'none' or 'cpu'"),
        ("zero3_offload", {"zero_force_ds_cpu_optimizer": True}, "write False"),
        ("zero1", {"zero_optimization.stage": "auto"}, "write 0 or 1 or 2 or 3"),
        ("zero1", {"zero_optimization.stage": True}, "write 0 or 1 or 2 or 3"),
        ("zero1", {"zero_optimization.stage": 4}, "write 0 or 1 or 2 or 3"),
        ("zero1", {"zero_optimization.stge": 1}, "did you mean 'stage'"),
        ("zero1", {"zero_optimization.overlap_com": True}, "did you mean 'overlap_comm'"),
        ("zero1", {"zero_optimization.overlap_comm": "yes"}, "write true or false"),
        ("zero1", {"zero_optimization.reduce_bucket_size": "auto"}, "write a whole number from 1 on"),
        ("zero1", {"zero_optimization.reduce_bucket_size": 0}, "write a whole number from 1 on"),
        ("zero1", {"zero_optimization.reduce_bucket_size": 2.5}, "write a whole number from 1 on"),
        ("zero1", {"zero_optimization.reduce_bucket_size": float("nan")}, "write a whole number from 1 on"),
        ("zero1", {"zero_optimization": 3}, "'zero_optimization' is 3, not an object"),
        ("zero1", {"zero_optimization": None}, "'zero_optimization' is None, not an object"),
        ("zero1", {"bf16": True}, "'bf16' is True, not an object"),
        ("zero2", {"zero_optimization.offload_param": {"device": "cpu"}}, "parameters need stage 3"),
        ("zero0", {"zero_optimization.offload_optimizer": {"device": "cpu"}}, "optimizer states 1 to 3"),
        ("zero1", {"zero_optimization.offload_optimizer": {"device": "cpu"}}, "zero_force_ds_cpu_optimizer"),
        ("zero1", {"fp16.enabled": True}, "training.precision.dtype"),
    ],
    ids=str,
)
@pytest.mark.fault(
    "a DeepSpeed file with a key that may make checkpoints incomplete, or is misspelt or malformed",
    "refused by name at the start",
)
def test_what_no_checkpoint_is_known_to_be_complete_under_is_refused_by_name(
    base: str, changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(changed(base, changes))
    with pytest.raises(UserError) as caught:
        engine_config(named(path), world_size=16)
    assert words in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(changed("zero1", {"zero_optimization.reduce_bucket_size": 5e8}))
    size = engine_config(named(path), world_size=16)["zero_optimization"]["reduce_bucket_size"]
    assert size == 500_000_000 and isinstance(size, int)


def test_fp16_s_fields_are_of_no_concern_to_another_precision(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(changed("zero1", {"fp16.loss_scale_window": "auto", "fp16.hysteresis": 7}))
    assert engine_config(named(path), world_size=16)["fp16"] == {"enabled": False}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[]", "no JSON object"),
        (b"7", "no JSON object"),
        (b"null", "no JSON object"),
        (b'"zero1"', "no JSON object"),
        (b"{}", "no section 'zero_optimization'"),
        (b"", "not valid JSON"),
        (b'{"zero_optimization": {"stage": 1},}', "not valid JSON"),
        ('{"bemerkung": "größer"}'.encode("latin-1"), "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
    ],
)
@pytest.mark.fault("a DeepSpeed file that is no JSON object or not UTF-8", "one line")
def test_a_file_that_is_no_object_is_one_line(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        engine_config(named(path), world_size=16)
    assert words in str(caught.value) and str(path) in str(caught.value)
