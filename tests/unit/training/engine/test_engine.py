"""What is said where memory is not enough."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from biobert_scale.recipes import load_config
from biobert_scale.training.engine import out_of_memory

DEVICE = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
HOST = RuntimeError(
    "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
)


@pytest.mark.parametrize(
    ("error", "engine", "micro_batch", "words", "absent"),
    [
        (DEVICE, {}, 2, ["the device's", "micro_batch_size (now 2)", "ZeRO stage", "zero1", "plan`"], []),
        (DEVICE, {"name": "ddp"}, 2, ["micro_batch_size", '"deepspeed"', "plan"], ["ZeRO stage ("]),
        (DEVICE, {"deepspeed_config": "zero3_offload"}, 1, ["plan"], ["raise", "lower"]),
        (HOST, {}, 1, ["the host's", "plan"], ["micro_batch_size"]),
        (MemoryError(), {}, 4, ["the host's", "micro_batch_size (now 4)"], []),
    ],
)  # fmt: skip
@pytest.mark.fault(
    "the device or the host is out of memory",
    "one line names micro-batch, ZeRO stage and `plan`",
)
def test_out_of_memory_says_what_to_change(
    error: Exception, engine: dict[str, Any], micro_batch: int, words: list[str], absent: list[str]
) -> None:
    config = load_config("biobert-large")
    training = replace(
        config.training, micro_batch_size=micro_batch, engine=replace(config.training.engine, **engine)
    )
    failure = out_of_memory(error, replace(config, training=training))
    assert failure is not None and failure.exit_code == 1 and "\n" not in str(failure)
    assert all(word in str(failure) for word in words)
    assert not any(word in str(failure) for word in absent)


def test_other_errors_are_left_as_they_are() -> None:
    assert out_of_memory(RuntimeError("Connection closed by peer"), load_config("biobert-large")) is None
