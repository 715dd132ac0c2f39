"""TensorFlow's checkpoint format, read without TensorFlow: `PREFIX.index` and `PREFIX.data-00000-of-00001`.

The index is a sorted string table as LevelDB writes it (`table_format.md` in LevelDB's documents),
uncompressed; its values are the protocol buffers of TensorFlow's `tensor_bundle.proto`. The data files hold
the tensors' bytes. Every block and every tensor that is read carries a CRC-32C, and is checked against it.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biobert_scale.compiled import njit
from biobert_scale.errors import UserError

_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57
_RESTORE = "restore the checkpoint's files from where they came from"
_BFLOAT16 = 14
_TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 6: "i1", 9: "<i8", _BFLOAT16: "<u2", 19: "<f2"}
"""`DataType` in TensorFlow's types.proto; bfloat16 by its bits."""
_FLOATS = (1, 2, _BFLOAT16, 19)


@dataclass(frozen=True, kw_only=True)
class Variable:
    """Where a tensor's bytes lie, as `BundleEntryProto` says."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool

    @property
    def floating(self) -> bool:
        """Whether it holds floating-point numbers; others are counters."""
        return self.dtype in _FLOATS


class Bundle:
    """One checkpoint: its variables by name.

    Args:
        prefix: the path without `.index`.

    Raises:
        UserError: the index is missing, damaged, or of another kind.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        path = prefix.with_name(prefix.name + ".index")
        if not path.is_file():
            remedy = "give the path without .index or .data-00000-of-00001"
            raise UserError("no TensorFlow checkpoint", where=path, remedy=remedy)
        try:
            entries = _table(path.read_bytes())
            header = _message(entries.pop(b""))
            self.shards, endianness = _integer(header, 1), _integer(header, 2)
            self.variables = {key.decode(): _variable(value) for key, value in entries.items()}
        except (ValueError, IndexError, KeyError, struct.error) as error:
            what = f"not the index of a TensorFlow checkpoint, or a damaged one ({error})"
            raise UserError(what, where=path, remedy=_RESTORE) from None
        if endianness:
            what = "a TensorFlow checkpoint from a big-endian machine"
            raise UserError(what, where=path, remedy="save it again on another machine")

    def read(self, name: str) -> np.ndarray:
        """A variable's values, in fp32 where they are floating-point numbers of whatever width.

        Raises:
            UserError: a data file is missing, too short, or damaged; or the variable is of a kind that BERT
                has none of.
        """
        variable = self.variables[name]
        if variable.sliced or variable.dtype not in _TYPES:
            kind = "saved in slices" if variable.sliced else f"of TensorFlow's type {variable.dtype}"
            remedy = "take a checkpoint of BERT's own code"
            raise UserError(f"the variable {name} is {kind}", where=self.prefix, remedy=remedy)
        path = self.prefix.with_name(f"{self.prefix.name}.data-{variable.shard:05d}-of-{self.shards:05d}")
        if not path.is_file():
            raise UserError("a data file of the checkpoint is missing", where=path, remedy=_RESTORE)
        dtype = np.dtype(_TYPES[variable.dtype])
        whole = dtype.itemsize * math.prod(variable.shape) == variable.size
        if not whole or path.stat().st_size < variable.offset + variable.size:
            what = f"the checkpoint is cut short at the variable {name}"
            raise UserError(what, where=path, remedy=_RESTORE)
        data = np.fromfile(path, np.uint8, count=variable.size, offset=variable.offset)
        if masked_crc32c(data) != variable.checksum:
            what = f"the variable {name} is damaged (its CRC-32C differs)"
            raise UserError(what, where=path, remedy=_RESTORE)
        values = data.view(dtype).reshape(variable.shape)
        if variable.dtype == _BFLOAT16:
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32) if variable.floating else values


def _table(content: bytes) -> dict[bytes, bytes]:
    """All keys and values of a sorted string table."""
    footer = content[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("it does not end as one")
    position = 0
    handle = []  # offset and size of the block of meta data, then of the index of blocks
    for _ in range(4):
        number, position = _varint(footer, position)
        handle.append(number)
    entries: dict[bytes, bytes] = {}
    for where in _block(content, handle[2], handle[3]).values():
        offset, position = _varint(where, 0)
        size, _ = _varint(where, position)
        entries.update(_block(content, offset, size))
    return entries


def _block(content: bytes, offset: int, size: int) -> dict[bytes, bytes]:
    """The entries of one block; each key leaves out what it shares with the key before it."""
    block, trailer = content[offset : offset + size], content[offset + size : offset + size + 5]
    checked = np.frombuffer(bytearray(block + trailer[:1]), np.uint8)
    if len(trailer) < 5 or masked_crc32c(checked) != struct.unpack("<I", trailer[1:])[0]:
        raise ValueError("the CRC-32C of a block differs")
    if trailer[0] != 0:
        raise ValueError(f"a block is compressed, kind {trailer[0]}")
    # The positions of whole keys are at the end; only a search needs them.
    end = size - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    entries, key, position = {}, b"", 0
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        entries[key] = block[position : position + length]
        position += length
    return entries


def _variable(value: bytes) -> Variable:
    fields = _message(value)
    dimensions = _message(_last(fields, 2)).get(2, [])
    return Variable(
        dtype=_integer(fields, 1),
        shape=tuple(_integer(_message(size), 1) for size in dimensions if isinstance(size, bytes)),
        shard=_integer(fields, 3),
        offset=_integer(fields, 4),
        size=_integer(fields, 5),
        checksum=struct.unpack("<I", _last(fields, 6))[0],
        sliced=7 in fields,
    )


def _message(data: bytes) -> dict[int, list[int | bytes]]:
    """The fields of a protocol buffer by their numbers, as far as bundles use them."""
    fields: dict[int, list[int | bytes]] = {}
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        value: int | bytes
        match tag & 7:
            case 0:
                value, position = _varint(data, position)
            case 2 | 5:
                length, position = _varint(data, position) if tag & 7 == 2 else (4, position)
                value, position = data[position : position + length], position + length
            case other:
                raise ValueError(f"a field of wire type {other}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _integer(fields: dict[int, list[int | bytes]], number: int) -> int:
    value = fields.get(number, [0])[-1]
    if not isinstance(value, int):
        raise ValueError(f"field {number} is no integer")
    return value


def _last(fields: dict[int, list[int | bytes]], number: int) -> bytes:
    value = fields.get(number, [b""])[-1]
    if not isinstance(value, bytes):
        raise ValueError(f"field {number} is an integer")
    return value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """An integer of seven bits a byte, lowest first, and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def masked_crc32c(data: np.ndarray) -> int:
    """CRC-32C (Castagnoli) of (bytes,) uint8, turned and shifted as LevelDB stores it."""
    crc = int(_crc32c(data, _TABLES))
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _tables() -> np.ndarray:
    """(8, 256) uint32: what a byte becomes when 0 to 7 other bytes follow it."""
    row = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        row = (row >> np.uint32(1)) ^ np.where(row & 1, np.uint32(0x82F63B78), np.uint32(0))
    rows = [row]
    for _ in range(7):
        rows.append((rows[-1] >> np.uint32(8)) ^ row[rows[-1] & 0xFF])
    return np.stack(rows)


_TABLES = _tables()


@njit(nogil=True)
def _crc32c(data: np.ndarray, tables: np.ndarray) -> int:
    crc = np.uint32(0xFFFFFFFF)
    whole = len(data) // 8 * 8
    for at in range(0, whole, 8):
        # Eight bytes at once, each by the table of how many follow it; the first four meet the remainder so
        # far.
        upper = np.uint32(data[at + 2]) << np.uint32(16) | np.uint32(data[at + 3]) << np.uint32(24)
        low = crc ^ (np.uint32(data[at]) | np.uint32(data[at + 1]) << np.uint32(8) | upper)
        crc = tables[7, low & 0xFF] ^ tables[6, (low >> 8) & 0xFF]
        crc ^= tables[5, (low >> 16) & 0xFF] ^ tables[4, low >> 24]
        crc ^= tables[3, data[at + 4]] ^ tables[2, data[at + 5]]
        crc ^= tables[1, data[at + 6]] ^ tables[0, data[at + 7]]
    for at in range(whole, len(data)):
        crc = tables[0, (crc ^ data[at]) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    return crc ^ np.uint32(0xFFFFFFFF)  # type: ignore[return-value] # a machine integer once compiled
