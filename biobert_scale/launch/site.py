"""The site file: everything that one cluster does in its own way."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import cattrs

from biobert_scale.errors import UserError
from biobert_scale.ranges import check_section
from biobert_scale.recipes.converter import first_problem, strict_converter

_PACKAGED = (
    Path(__file__).resolve().parent / "slurm",
    Path(__file__).resolve().parents[2] / "launch" / "slurm",
)
"""Where the templates are in an installed package, and in a checkout."""


@dataclass(frozen=True, kw_only=True)
class Devices:
    """The jobs that need accelerators."""

    partition: str = ""
    option: str = "--gres=gpu:{count}"
    """How a job asks for `{count}` devices on each node; empty where there are none to ask for."""
    cpus_per_device: int = 8
    memory_gib_per_device: int = 32
    sbatch: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_section(self, "devices", cpus_per_device="[1, 1e4]", memory_gib_per_device="[1, 1e6]")


@dataclass(frozen=True, kw_only=True)
class Processors:
    """The jobs without accelerators."""

    partition: str = ""
    cpus: int = 16
    memory_gib: int = 64
    sbatch: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_section(self, "processors", cpus="[1, 1e4]", memory_gib="[1, 1e6]")


@dataclass(frozen=True, kw_only=True)
class Site:
    """One cluster. What each field means is in `launch/slurm/site.toml`."""

    account: str = ""
    sbatch: tuple[str, ...] = ()
    srun: tuple[str, ...] = ()
    setup: str = ""
    python: str = ""
    image: str = ""
    container: tuple[str, ...] = ()
    master_port: int = 0
    doctor: bool = True
    doctor_options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    devices: Devices = field(default_factory=Devices)
    processors: Processors = field(default_factory=Processors)

    def __post_init__(self) -> None:
        check_section(self, "", master_port="0 or [1024, 65535]")


def template(name: str) -> str:
    """A file of `launch/slurm/` by its name."""
    directory = next(directory for directory in _PACKAGED if directory.is_dir())
    return (directory / name).read_text()


def load_site(path: Path) -> Site:
    """Read a site file.

    Raises:
        UserError: it is missing, not TOML, has an unknown key or a value that no job could use.
    """
    if not path.is_file():
        raise UserError(
            "no site file",
            where=path,
            remedy=f"write the commented example there: biobert-scale launch site --output {path}",
        )
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"not valid TOML ({error})", where=path, remedy="correct that line") from None
    try:
        site = strict_converter().structure(raw, Site)
    except cattrs.ClassValidationError as error:
        key, what, remedy = first_problem(error)
        raise UserError(what, where=f"{path}: {key}", remedy=remedy) from None
    _check(site, path)
    return site


def _check(site: Site, path: Path) -> None:
    def refuse(what: str, key: str, remedy: str) -> NoReturn:
        raise UserError(what, where=f"{path}: {key}", remedy=remedy)

    for name in site.environment:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            refuse(f"'{name}' is no name of a variable", "environment", "use letters, digits and _")
    if site.image and site.container:
        refuse("two containers", "image", "give the image, or the whole command in `container`")
    options = {
        "sbatch": site.sbatch,
        "srun": site.srun,
        "devices.sbatch": site.devices.sbatch,
        "processors.sbatch": site.processors.sbatch,
    }
    set_here = "leave it out: --name begins the jobs' names, and submit.sh sets what they wait for"
    for key, option in ((key, option) for key, given in options.items() for option in given):
        if not re.match(r"--?[A-Za-z]", option):
            refuse(f"'{option}' is no option", key, 'write each as "--name=value"')
        if re.match(r"--(dependency|job-name)\b|-[dJ]", option) and key != "srun":
            refuse(f"'{option}' would replace what the templates set", key, set_here)
    if site.devices.option and "{count}" not in site.devices.option:
        remedy = 'write "--gres=gpu:{count}", or "" where devices are not asked for'
        refuse("no {count} in it", "devices.option", remedy)
