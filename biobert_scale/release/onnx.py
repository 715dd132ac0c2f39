"""A fine-tuned tagger as ONNX, in fp32 and in int8, for runtimes without PyTorch."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertForTokenClassification

from biobert_scale.errors import UserError
from biobert_scale.release.quiet import quietly

FILES = {"fp32": "model.onnx", "int8": "model_int8.onnx"}
"""By precision."""
OPSET = 18
"""The first that has all of the graph's operators; of 2022, so that older runtimes open it."""
INPUTS = ("input_ids", "attention_mask")
_EXAMPLE = (2, 7)
_TOLERANCE = 1e-3
"""Of logits, between PyTorch and ONNX Runtime."""


def write_onnx(model: BertForTokenClassification, directory: Path) -> list[Path]:
    """Write `model.onnx` and `model_int8.onnx`; returns them.

    Inputs are `input_ids` and `attention_mask`, (sequences, tokens) int64, 1 where there is a token; the
    output is `logits`, (sequences, tokens, labels) fp32. In int8 are the weights of all matrix products, by
    output channel, and their inputs, by their range as they come (dynamic quantisation); the classifier stays
    in fp32. The graph is checked by ONNX' checker, and its logits are compared with the model's.

    Raises:
        UserError: onnx, onnxscript or onnxruntime is not installed.
    """
    onnx, _ = require("onnx"), require("onnxscript")
    quantization = require("onnxruntime.quantization")
    fp32, int8 = (directory / name for name in FILES.values())
    wrapped = _Logits(model).eval()
    input_ids = torch.randint(model.config.vocab_size, _EXAMPLE, generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(input_ids)
    mask[1, -2:] = 0
    sequences = torch.export.Dim("sequences", min=1, max=1 << 16)
    tokens = torch.export.Dim("tokens", min=2, max=model.config.max_position_embeddings)
    shape = {0: sequences, 1: tokens}
    with quietly(), _without_warnings():
        torch.onnx.export(
            wrapped,
            (input_ids, mask),
            fp32,
            input_names=INPUTS,
            output_names=("logits",),
            dynamic_shapes=(shape, shape),
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
        graph = onnx.load(fp32)
        onnx.checker.check_model(graph, full_check=True)
        products = [node.name for node in graph.graph.node if node.op_type in ("MatMul", "Gemm")]
        quantization.quantize_dynamic(
            fp32,
            int8,
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
            nodes_to_exclude=products[-1:],  # the classifier
        )
    with torch.no_grad():
        expected: Tensor = wrapped(input_ids, mask)
    for path, tolerance in ((fp32, _TOLERANCE), (int8, float("inf"))):
        (given,) = open_session(path).run(
            None, {"input_ids": input_ids.numpy(), "attention_mask": mask.numpy()}
        )
        difference = ((torch.from_numpy(given) - expected).abs() * mask[..., None]).max()
        assert torch.isfinite(difference) and difference <= tolerance, (path, difference)
    return [fp32, int8]


class _Logits(nn.Module):
    """The model with positional inputs and one output."""

    def __init__(self, model: BertForTokenClassification) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def open_session(path: Path) -> Any:
    """ONNX Runtime on a CPU, with as many threads as PyTorch has.

    Raises:
        UserError: the file is missing or damaged, or onnxruntime is not installed.
    """
    onnxruntime = require("onnxruntime")
    if not path.is_file():
        remedy = "export the fine-tuning run with --onnx"
        raise UserError("no ONNX model", where=path, remedy=remedy)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would burn the waiting time
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own have no class in common
        what = f"ONNX Runtime cannot open it ({str(error).splitlines()[0]})"
        raise UserError(what, where=path, remedy="export the model again with --onnx") from None


def require(name: str) -> Any:
    """Import a library of the extra `onnx`.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        remedy = "pip install 'biobert_scale[onnx]'"
        raise UserError(f"{name} is not installed", where="ONNX", remedy=remedy) from None


@contextmanager
def _without_warnings() -> Iterator[None]:
    """The exporter and the quantiser advise on models of other kinds."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)
