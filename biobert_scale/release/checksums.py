"""`SHA256SUMS`: one line for every file of a release, as `sha256sum --check` reads it."""

from __future__ import annotations

from pathlib import Path

from biobert_scale.errors import UserError
from biobert_scale.files import sha256_file, write_atomically

CHECKSUMS = "SHA256SUMS"


def released_files(directory: Path) -> list[Path]:
    """The files of a release in the order of their names, without the checksums' own."""
    return sorted(
        path
        for path in directory.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.name != CHECKSUMS
    )


def write_checksums(directory: Path) -> None:
    """Write the checksums of every file that is in a directory now."""
    lines = [f"{sha256_file(path)}  {path.name}\n" for path in released_files(directory)]
    write_atomically(directory / CHECKSUMS, "".join(lines))


def verify_checksums(directory: Path) -> dict[str, str]:
    """Compare every file of a release with its checksum.

    Returns:
        The files' SHA-256 by name.

    Raises:
        UserError: a file is damaged, missing, or not listed; or there are no checksums.
    """
    path = directory / CHECKSUMS
    if not path.is_file():
        raise UserError("no checksums", where=path, remedy="run `biobert-scale export` to its end")
    lines = (line.partition("  ") for line in path.read_text(encoding="utf-8").splitlines())
    listed = {name: digest for digest, _, name in lines}
    there = {file.name: file for file in released_files(directory)}
    again = "export it again with --overwrite"
    if strange := sorted(listed.keys() ^ there.keys()):
        state = "is missing" if strange[0] in listed else "is not listed"
        raise UserError(f"a file of the release {state}", where=directory / strange[0], remedy=again)
    for name, file in there.items():
        if sha256_file(file) != listed[name]:
            raise UserError("the file is damaged: its SHA-256 differs", where=file, remedy=again)
    return listed
