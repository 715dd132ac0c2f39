"""A measurement as it is kept: what its figures depend on, and its files."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from biobert_scale import __version__
from biobert_scale.config import Config
from biobert_scale.environment import processor_name
from biobert_scale.files import write_atomically, write_json
from biobert_scale.recipes import recipe_names


class Machine(TypedDict):
    """Nothing in it names the machine."""

    cpu: str
    cores: int | None
    system: str
    device: NotRequired[str]
    """What computed."""


class Conditions(TypedDict):
    """What every result begins with."""

    date: str
    machine: Machine
    versions: dict[str, str]
    command: str


def machine() -> Machine:
    """This machine's processor, cores and system."""
    system = " ".join((platform.system(), platform.release().partition("-")[0]))
    return {"cpu": processor_name(), "cores": os.cpu_count(), "system": system}


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Versions of the package, of Python and of installed distributions; `absent` for others."""
    found = {"biobert_scale": __version__, "python": platform.python_version()}
    for name in libraries:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def conditions(command: str, libraries: Iterable[str]) -> Conditions:
    """What a result begins with.

    Args:
        command: the table and its options.
    """
    return {
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": versions(libraries),
        "command": f"python -m benchmarks {command}",
    }


def device_name(cpu: str) -> str:
    """The GPU's name, or `cpu` where there is none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else cpu


def heading(title: str, result: Conditions, *notes: str) -> list[str]:
    """A page's first lines.

    Args:
        notes: what else the machine's line says.
    """
    on = result["machine"]
    machine = f"{on['cpu']}, {on['cores']} cores, {on['system']}"
    return [
        f"# {title}, {result['date']}",
        "",
        f"- Command: `{result['command']}`",
        f"- Machine: {'; '.join((machine, *notes))}",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in result['versions'].items())}",
    ]


def spread(values: list[float], digits: int = 1) -> str:
    """Median, with the least and the most."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def write_result(output: Path, stem: str, result: Any, page: str, figure: bytes | None = None) -> None:
    """Write `STEM.json`, `STEM.md` and, where there is a figure (PNG), `STEM.png`; the page last."""
    write_json(output / f"{stem}.json", result)
    if figure is not None:
        write_atomically(output / f"{stem}.png", figure)
    write_atomically(output / f"{stem}.md", page)


def recipe_argument(config: Config) -> str:
    """How a result's command names a recipe: a shipped one by its name, another by its file's, which is
    expected to be the same."""
    return config.name if config.name in recipe_names() else f"{config.name}.toml"
