"""A checkpoint's tensors on disk: one safetensors file for each rank that wrote, read again by any number of
ranks.

A tensor's name says what it is: `exp_avg/bert.pooler.dense.weight@4096` are the elements from 4096 on of that
parameter's first moment, flattened, in fp32. Source of the format: https://huggingface.co/docs/safetensors
(eight bytes with the header's length, the header as JSON, then the tensors' bytes). It is written here, and
not by its library, so that training goes on meanwhile: writing and hashing a block at a time leave the
interpreter free.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from biobert_scale.errors import RunFailed, UserError
from biobert_scale.training.checkpoint.manifest import FileRecord
from biobert_scale.training.engine.fragments import KINDS, Fragment

_BLOCK_BYTES = 1 << 24
_ALIGNMENT = 8


def shard_name(rank: int, ranks: int) -> str:
    return f"state-{rank:05d}-of-{ranks:05d}.safetensors"


def tensor_name(kind: str, name: str, start: int) -> str:
    return f"{kind}/{name}@{start}"


def write_shard(path: Path, tensors: Mapping[str, Tensor]) -> FileRecord:
    """Write fp32 tensors of a host's memory to a safetensors file, to the disk itself.

    Raises:
        RunFailed: a tensor holds NaN or infinity.
    """
    header: dict[str, Any] = {}
    offset = 0
    for name, tensor in tensors.items():
        assert tensor.dtype == torch.float32 and tensor.is_contiguous() and tensor.device.type == "cpu", name
        place = [offset, offset + tensor.nbytes]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": place}
        offset = place[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    head = len(text).to_bytes(8, "little") + text
    digest = hashlib.sha256(head)
    with open(path, "wb") as stream:
        stream.write(head)
        for name, tensor in tensors.items():
            view = tensor.numpy().data.cast("B")
            for start in range(0, len(view), _BLOCK_BYTES):
                block = view[start : start + _BLOCK_BYTES]
                if not _finite(block):
                    raise _no_numbers(name, path)
                stream.write(block)
                digest.update(block)
        stream.flush()
        os.fsync(stream.fileno())
    return {"bytes": len(head) + offset, "sha256": digest.hexdigest()}


def _finite(block: memoryview) -> bool:
    values = np.frombuffer(block, np.float32)
    with np.errstate(all="ignore"):
        # NaN and infinity survive a sum, which is one fast pass; a sum of finite values may overflow.
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def _no_numbers(tensor: str, path: Path) -> RunFailed:
    kind, _, rest = tensor.partition("/")
    return RunFailed(
        f"{kind} of {rest.rpartition('@')[0]} holds NaN or infinity",
        where=path,
        remedy='the last checkpoint is kept; start again with training.guards.non_finite_loss = "roll_back",'
        " which passes over these samples, or start a new run with a lower learning rate",
    )


@dataclass(frozen=True, order=True)
class _Piece:
    """Where some elements of a tensor lie."""

    start: int
    numel: int
    file: int
    key: str


class Shards:
    """A checkpoint's tensors, read by parameter and range of elements, only when they are asked for."""

    def __init__(self, directory: Path, files: list[str]) -> None:
        """Open the files of `directory` and read their headers."""
        self.directory = directory
        self._stack = ExitStack()
        self._files = [self._stack.enter_context(safe_open(directory / name, "pt")) for name in files]
        self._pieces: dict[tuple[str, str], list[_Piece]] = {}
        for number, file in enumerate(self._files):
            for key in file.keys():  # noqa: SIM118
                kind, _, rest = key.partition("/")
                name, _, start = rest.rpartition("@")
                numel = file.get_slice(key).get_shape()[0]
                self._pieces.setdefault((kind, name), []).append(_Piece(int(start), numel, number, key))
        for pieces in self._pieces.values():
            pieces.sort()

    def names(self) -> list[str]:
        """The parameters."""
        return sorted({name for _, name in self._pieces})

    def numel(self, name: str) -> int:
        """Elements of a parameter."""
        last = self._pieces["weight", name][-1]
        return last.start + last.numel

    def read(self, kind: str, name: str, start: int, into: Tensor) -> None:
        """Fill `into` (numel,) with the elements of a parameter from `start` on, wherever they were written.

        Raises:
            UserError: some of them are in no file.
        """
        wanted, stop = start, start + into.numel()
        for piece in self._pieces.get((kind, name), []):
            low, high = max(wanted, piece.start), min(stop, piece.start + piece.numel)
            if low == wanted and low < high:
                into[low - start : high - start].copy_(
                    self._files[piece.file].get_slice(piece.key)[low - piece.start : high - piece.start]
                )
                wanted = high
        if wanted < stop:
            what = f"elements {wanted} to {stop} of {kind} of {name} are in no shard"
            remedy = "the checkpoint is of another model, or a file of it is missing"
            raise UserError(what, where=self.directory, remedy=remedy)

    def fill(self, fragment: Fragment) -> None:
        """Read weights and moments into what an optimizer updates."""
        for kind in KINDS:
            self.read(kind, fragment.name, fragment.start, fragment.tensors[kind])

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield each parameter's name and flattened fp32 weights, one after another."""
        for name in self.names():
            whole = torch.empty(self.numel(name))
            self.read("weight", name, 0, whole)
            yield name, whole

    def __enter__(self) -> Shards:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
