"""What a benchmark's figures depend on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from biobert_scale import __version__


def machine() -> dict[str, Any]:
    """Processor, cores and system; nothing that names the machine."""
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return {
        "cpu": named.group(1) if named else platform.machine(),
        "cores": os.cpu_count(),
        "system": " ".join((platform.system(), platform.release().partition("-")[0])),
    }


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Versions of the package, of Python and of installed distributions; `absent` for others."""
    found = {"biobert_scale": __version__, "python": platform.python_version()}
    for name in libraries:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found
