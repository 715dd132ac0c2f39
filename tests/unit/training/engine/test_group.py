"""Accelerate's own variables against the recipe."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import accelerate
import pytest

from biobert_scale.errors import UserError
from biobert_scale.training.engine.group import _OBSERVERS, forget_launcher_settings

LAUNCHED = {
    "ACCELERATE_MIXED_PRECISION": "no",
    "ACCELERATE_DYNAMO_BACKEND": "NO",
    "ACCELERATE_DYNAMO_MODE": "default",
    "ACCELERATE_DYNAMO_USE_FULLGRAPH": "False",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_DEEPSPEED_ZERO3_INIT": "false",
    "ACCELERATE_CONFIG_DS_FIELDS": "deepspeed_multinode_launcher,zero3_init_flag,zero_stage",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1",
    "ACCELERATE_CPU_AFFINITY": "0",
}
"""What `accelerate launch` sets by itself."""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ACCELERATE_"):
            monkeypatch.delenv(name)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def left() -> set[str]:
    return {name for name in os.environ if name.startswith("ACCELERATE_")}


def test_what_the_launcher_sets_by_itself_goes_without_a_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_all(monkeypatch, LAUNCHED)
    forget_launcher_settings(os.environ, on_gpu=True)
    assert left() == {"ACCELERATE_CPU_AFFINITY"} and not caplog.records


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACCELERATE_MIXED_PRECISION", "bf16"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4"),
        ("ACCELERATE_GRADIENT_CLIPPING", "1.0"),
        ("ACCELERATE_USE_FSDP", "true"),
        ("ACCELERATE_USE_MEGATRON_LM", "true"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", "true"),
        ("ACCELERATE_FP8_BACKEND", "TE"),
        ("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3"),
        ("ACCELERATE_DEEPSPEED_CONFIG_FILE", "mine.json"),
        ("ACCELERATE_USE_SAGEMAKER", "true"),
        ("ACCELERATE_OF_A_LATER_VERSION", "yes"),
    ],
)
@pytest.mark.fault("an `ACCELERATE_*` variable that would override the recipe", "ignored, named in the log")
def test_what_would_override_the_recipe_is_ignored_by_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, value: str
) -> None:
    set_all(monkeypatch, {**LAUNCHED, name: value})
    with caplog.at_level(logging.WARNING):
        forget_launcher_settings(os.environ, on_gpu=False)
    assert left() == {"ACCELERATE_CPU_AFFINITY"}
    assert [record.getMessage() for record in caplog.records] == [
        f"the recipe decides; ignored: {name}={value}"
    ]


@pytest.mark.parametrize(
    ("name", "value", "on_gpu", "refused"),
    [
        ("ACCELERATE_USE_CPU", "true", True, True),
        ("ACCELERATE_USE_CPU", "1", True, True),
        ("ACCELERATE_USE_CPU", "false", True, False),
        ("ACCELERATE_USE_CPU", "true", False, False),  # needed by its launcher; the device is the CPU anyway
        ("ACCELERATE_TORCH_DEVICE", "cuda:1", True, True),
        ("ACCELERATE_TORCH_DEVICE", "cpu", False, True),
    ],
)
@pytest.mark.fault(
    "`ACCELERATE_USE_CPU` or `ACCELERATE_TORCH_DEVICE` against the launcher's device",
    "refused by name",
)
def test_another_device_than_the_launchers_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, on_gpu: bool, refused: bool
) -> None:
    set_all(monkeypatch, {name: value})
    if refused:
        with pytest.raises(UserError, match=f"{name} is {value}.*CUDA_VISIBLE_DEVICES"):
            forget_launcher_settings(os.environ, on_gpu=on_gpu)
    else:
        forget_launcher_settings(os.environ, on_gpu=on_gpu)
        assert not left()


def test_what_is_kept_is_what_accelerate_reads_for_nothing_but_looking() -> None:
    """A name that it does not read any more is kept for nothing."""
    source = "".join(path.read_text() for path in Path(accelerate.__file__).parent.rglob("*.py"))
    assert set(re.findall(r"ACCELERATE_[A-Z0-9_]+", source)) >= _OBSERVERS
