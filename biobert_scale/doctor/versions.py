"""Are the libraries those that the package was tested with?"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from biobert_scale.doctor.findings import Finding

LIBRARIES = ("torch", "deepspeed", "accelerate", "transformers")
_CHECKOUT = Path(__file__).resolve().parents[2]


def check_versions(checkout: Path = _CHECKOUT) -> list[Finding]:
    """Python and the libraries against the package's ranges (outside: FAIL) and `constraints.txt`'s pins
    (another: WARN).

    Args:
        checkout: where `pyproject.toml` and `constraints.txt` lie; an installed package has no such file, and
            only its own ranges count.
    """
    python, ranges, pins = _declared(checkout)
    found = platform.python_version()
    wrong = (f"{found}, outside {python}", f"use a Python {python}")
    return [
        Finding("version of python", "OK", found, same=found)
        if python.contains(found)
        else Finding("version of python", "FAIL", *wrong, same=found),
        *(_check_library(name, ranges.get(name, SpecifierSet()), pins.get(name)) for name in LIBRARIES),
    ]


def _check_library(name: str, allowed: SpecifierSet, pin: str | None) -> Finding:
    check = f"version of {name}"
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(check, "FAIL", "not installed", f"pip install '{name}{allowed}'")
    if not allowed.contains(found, prereleases=True):
        return Finding(
            check, "FAIL", f"{found}, outside {allowed}", f"pip install '{name}{allowed}'", same=found
        )
    if pin is not None and not SpecifierSet(f"=={pin}").contains(found, prereleases=True):
        return Finding(check, "WARN", f"{found}; tested with {pin}", f"pip install {name}=={pin}", same=found)
    return Finding(check, "OK", f"{found} (tested with {pin})" if pin else found, same=found)


def _declared(checkout: Path) -> tuple[SpecifierSet, dict[str, SpecifierSet], dict[str, str]]:
    """The range of Python, the libraries' ranges, and their pins."""
    if (project := checkout / "pyproject.toml").is_file():
        declared = tomllib.loads(project.read_text())["project"]
        python, requirements = declared["requires-python"], declared["dependencies"]
    else:
        python = importlib.metadata.metadata("biobert_scale")["Requires-Python"] or ""
        requirements = importlib.metadata.requires("biobert_scale") or []
    ranges = {one.name: one.specifier for one in map(Requirement, requirements) if one.marker is None}
    constraints = checkout / "constraints.txt"
    pins = (
        dict(re.findall(r"^([\w.-]+)==(\S+)$", constraints.read_text(), re.MULTILINE))
        if constraints.is_file()
        else {}
    )
    return SpecifierSet(python), ranges, pins
