"""A model's weights as safetensors, in fp32, in fp16, or both side by side as transformers' variants."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedModel

from biobert_scale.errors import UserError
from biobert_scale.release.quiet import quietly

Dtype = Literal["fp32", "fp16", "both"]


def save_weights(model: PreTrainedModel, output: Path, dtype: Dtype) -> None:
    """Write `config.json` and `model.safetensors`.

    Args:
        model: in fp32.
        dtype: of `model.safetensors`. With `both` that is fp32, and `model.fp16.safetensors` is beside
            it, which `from_pretrained(..., variant="fp16", dtype=torch.float16)` opens.

    Raises:
        UserError: a weight is too large for fp16.
    """
    with quietly():
        if dtype != "fp32":
            half = _in_fp16(model)
            half.save_pretrained(output, variant="fp16" if dtype == "both" else None)
        if dtype != "fp16":  # last: its config.json names the type of `model.safetensors`
            model.save_pretrained(output)
    for path in output.glob("*.safetensors"):  # safetensors makes files that nobody else can read
        path.chmod((output / "config.json").stat().st_mode)


def _in_fp16(model: PreTrainedModel) -> PreTrainedModel:
    half: PreTrainedModel = copy.deepcopy(model).half()  # type: ignore[no-untyped-call]  # tied weights stay tied
    for name, weights in half.named_parameters():
        if not torch.isfinite(weights).all():
            what = f"{name} has weights beyond fp16's range (65,504)"
            raise UserError(what, where="--dtype", remedy="export with --dtype fp32")
    return half
