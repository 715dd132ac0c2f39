"""Notices of libraries that say nothing about a run, each switched off by its logger's name or its first
words, here and nowhere else."""

from __future__ import annotations

import logging
import warnings

_CHATTY = ("accelerate", "DeepSpeed", "datasets", "torch.distributed", "numba", "filelock", "httpx2")
"""Loggers whose warnings are shown and nothing below."""
_WARNINGS = (
    (r"`torch\.distributed\.\w+` is deprecated", FutureWarning),  # which DeepSpeed calls
    (r"OMP_NUM_THREADS/MKL_NUM_THREADS unset", UserWarning),  # accelerate chooses as many as there are cores
)


def switch_off() -> None:
    """For this process, which calls it before it imports torch or DeepSpeed."""
    for library in _CHATTY:
        logging.getLogger(library).setLevel(logging.WARNING)
    # What the device is, `train` and `doctor` say. DeepSpeed's own handler writes on the standard output.
    logging.getLogger("DeepSpeed").addFilter(_not_about_cpus)
    for beginning, kind in _WARNINGS:
        warnings.filterwarnings("ignore", beginning, kind)


def _not_about_cpus(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Setting accelerator to CPU")
