"""A model's weights as safetensors, in fp32, in fp16, or both side by side as transformers' variants."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from biobert_scale.errors import UserError

Dtype = Literal["fp32", "fp16", "both"]


def save_weights(model: PreTrainedModel, output: Path, dtype: Dtype) -> None:
    """Write `config.json` and `model.safetensors`.

    Args:
        model: in fp32.
        dtype: of `model.safetensors`. With `both` that is fp32, and `model.fp16.safetensors` stands beside it, which
            `from_pretrained(..., variant="fp16", dtype=torch.float16)` opens.

    Raises:
        UserError: a weight is too large for fp16.
    """
    with quietly():
        if dtype != "fp32":
            half = _in_fp16(model, output)
            half.save_pretrained(output, variant="fp16" if dtype == "both" else None)
        if dtype != "fp16":  # last: its config.json names the type of `model.safetensors`
            model.save_pretrained(output)
    for path in output.glob("*.safetensors"):  # safetensors makes files that nobody else can read
        path.chmod((output / "config.json").stat().st_mode)


def _in_fp16(model: PreTrainedModel, output: Path) -> PreTrainedModel:
    half = copy.deepcopy(model).half()  # tied weights stay tied
    for name, weights in half.named_parameters():
        if not torch.isfinite(weights).all():
            raise UserError(f"{name} has weights beyond fp16's range (65,504)", where=output, remedy="export with --dtype fp32")
    return half


@contextmanager
def quietly() -> Iterator[None]:
    """Without transformers' bars, which it draws into log files as well, and its notes on heads that a class leaves unused."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
