"""What computes a tagger's scores: PyTorch without padding, or ONNX Runtime on rows of nearly one length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from biobert_scale.errors import UserError
from biobert_scale.evaluation.ner import Window, pack_windows
from biobert_scale.modeling.inference import FrozenEncoder, Precision
from biobert_scale.modeling.linear import multiplies_natively
from biobert_scale.modeling.weights import encoder_of, fill, read_source
from biobert_scale.release.onnx import FILES, INPUTS, open_session

Backend = Literal["torch", "onnx"]


class TorchScores:
    """The encoder and the classifier of a model directory, on packed rows.

    Raises:
        UserError: no whole model there, or a precision that the device does not have.
    """

    def __init__(
        self, directory: Path, labels: int, device: torch.device, precision: Literal["auto", Precision]
    ) -> None:
        self.device, self.precision = device, _precision(precision, device)
        source = read_source(directory)
        encoder = encoder_of(source).eval()
        on_cpu = device.type == "cpu"
        self.encoder = FrozenEncoder(encoder, self.precision) if on_cpu else encoder.to(device)
        self.classifier = nn.Linear(source.config.hidden_size, labels)
        fill(self.classifier, source, "classifier.")
        self.classifier.to(device)

    def __call__(self, windows: Sequence[Window]) -> Tensor:
        """Logits at every scored word, (words, labels) fp32 on the device."""
        packed, first_pieces = pack_windows(windows, self.device)
        in_bf16 = self.device.type == "cuda" and self.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=in_bf16):
            hidden = self.encoder(packed, first_pieces)  # of the last layer these alone
            scores: Tensor = self.classifier(hidden if in_bf16 else hidden.float())
        return scores.float()


class OnnxScores:
    """The graphs that `biobert-scale export --onnx` wrote beside a model, on a CPU; rows are padded to the
    longest of a batch.

    Raises:
        UserError: there is none, or another device or precision is wanted.
    """

    def __init__(self, directory: Path, device: torch.device, precision: Literal["auto", Precision]) -> None:
        if device.type != "cpu" or precision == "bf16":
            what = f"the ONNX backend computes on a CPU, in {' or '.join(FILES)}"
            raise UserError(what, where="--backend", remedy="use --backend torch")
        self.session = open_session(directory / FILES["int8" if precision == "int8" else "fp32"])

    def __call__(self, windows: Sequence[Window]) -> Tensor:
        """Logits at every scored word, (words, labels) fp32."""
        longest = max(len(window.input_ids) for window in windows)
        rows = np.zeros((2, len(windows), longest), np.int64)
        for row, window in enumerate(windows):
            rows[0, row, : len(window.input_ids)] = window.input_ids
            rows[1, row, : len(window.input_ids)] = 1
        (logits,) = self.session.run(None, dict(zip(INPUTS, rows, strict=True)))
        places = [(row, piece) for row, window in enumerate(windows) for piece in window.first_pieces]
        return torch.from_numpy(logits[tuple(np.array(places, np.int64).reshape(-1, 2).T)])


def _precision(wanted: Literal["auto", Precision], device: torch.device) -> Precision:
    """What is meant; raises where the device does not have it."""
    if device.type == "cuda":
        in_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        missing = wanted == "int8" or (wanted == "bf16" and not in_bf16)
    else:
        in_bf16 = False
        missing = wanted == "bf16" and not multiplies_natively(torch.empty(0, dtype=torch.bfloat16))
    if missing:
        what = f"{device.type} does not compute in {wanted} here"
        raise UserError(what, where="--precision", remedy="use another, or auto")
    if wanted == "auto":
        return "bf16" if in_bf16 else "fp32"
    return wanted
