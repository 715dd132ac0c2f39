"""Memory that was freed in pieces goes back to the system."""

from __future__ import annotations

import ctypes
import platform
import re
import time
from pathlib import Path

import pytest

from biobert_scale.resident import FreedMemory

_BLOCK, _BLOCKS = 60_000, 3_000


def resident_bytes() -> int:
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what was freed in pieces")
def test_holes_between_what_is_used_are_given_back() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    blocks = [libc.malloc(_BLOCK) for _ in range(_BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, _BLOCK)
    for block in blocks[::2]:
        libc.free(block)
    full = resident_bytes()
    FreedMemory(seconds=1000).give_back()
    assert full - resident_bytes() < _BLOCK * _BLOCKS // 10
    freed = FreedMemory(seconds=0.01)
    time.sleep(0.02)
    freed.give_back()
    given = full - resident_bytes()
    for block in blocks[1::2]:
        libc.free(block)
    assert given > _BLOCK * _BLOCKS // 2 * 0.8
