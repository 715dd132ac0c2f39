"""What the file list beside a PMC package says of its articles: PMID, licence, last update.

Source: the description of the PMC Open Access Subset's bulk packages, each of which has a `.filelist.csv`.
"""

from __future__ import annotations

import codecs
import csv
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from biobert_scale.errors import UserError

_PACKAGE_NAME = re.compile(r"oa_(comm|noncomm|other)_")
_COMMERCIAL = frozenset({"CC0", "CC BY", "CC BY-SA", "CC BY-ND"})
_REMEDY = "download it again, or move it out of the directory: then the package is read without it"


@dataclass(frozen=True, kw_only=True)
class ListedArticle:
    """What a package's file list says of one article."""

    pmid: str = ""
    license: str = ""
    retracted: bool = False
    updated: int = 0
    """Time of the last update as the number YYYYMMDDHHMMSS; 0 where the list names none. In a list with the
    column `AsOf`, the time at which this state was the last one."""


@dataclass(frozen=True, kw_only=True)
class FileList:
    """The articles of a package's file list, by path and by PMCID."""

    by_path: dict[str, ListedArticle]
    by_pmcid: dict[str, ListedArticle]

    def find(self, member: str) -> ListedArticle | None:
        """The article of a member: by its path, else (packed anew elsewhere) by the PMCID in its name."""
        path = PurePosixPath(member)
        return self.by_path.get(str(path)) or self.by_pmcid.get(path.stem)


def is_package_name(name: str) -> bool:
    """Whether a file is named like NCBI's packages: `oa_comm_xml...`."""
    return _PACKAGE_NAME.match(name) is not None


def read_file_list(path: Path) -> FileList:
    """Read a package's `.filelist.csv`.

    It is UTF-8, with or without a byte order mark, or UTF-16 with one. Other bytes are read like those in a
    member's name, so that both agree; the remaining columns in use are ASCII.

    Raises:
        UserError: the file is no such list.
    """
    with open(path, "rb") as beginning:
        wide = beginning.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    encoding = "utf-16" if wide else "utf-8-sig"
    with open(path, encoding=encoding, errors="surrogateescape", newline="") as stream:
        try:
            rows = csv.DictReader(stream, skipinitialspace=True)
            columns = rows.fieldnames or []
            updated = next((column for column in columns if column.startswith("LastUpdated")), "LastUpdated")
            if "Article File" not in columns:
                raise UserError("no column 'Article File' in the file list", where=path, remedy=_REMEDY)
            found = [(row["Article File"], row.get("AccessionID"), _listed(row, updated)) for row in rows]
        except (csv.Error, UnicodeError) as error:
            raise UserError(f"the file list is damaged ({error})", where=path, remedy=_REMEDY) from None
    return FileList(
        by_path={str(PurePosixPath(file)): article for file, _, article in found if file},
        by_pmcid={pmcid: article for _, pmcid, article in found if pmcid},
    )


def is_withdrawn_list(name: str) -> bool:
    """Whether a file is named like a list of withdrawn articles."""
    return name.endswith(".withdrawn.csv")


def read_withdrawn_list(path: Path) -> list[tuple[str, int]]:
    """The PMCIDs that a list of withdrawn articles names, each with the time at which it was not there any
    more, as the number YYYYMMDDHHMMSS.

    Raises:
        UserError: the file is no such list.
    """
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        try:
            return [(row["AccessionID"], int(row["AsOf"])) for row in csv.DictReader(stream)]
        except (csv.Error, KeyError, TypeError, ValueError) as error:
            raise UserError(f"the list is damaged ({error})", where=path, remedy=_REMEDY) from None


def package_date(package: str) -> int:
    """The date in a name such as `oa_comm_xml.incr.2025-07-01.tar.gz` as YYYYMMDD000000; else 0."""
    found = re.search(r"\.(\d{4})-(\d{2})-(\d{2})\.", package)
    return int("".join(found.groups())) * 1_000_000 if found else 0


def _listed(row: dict[str, str | None], updated: str) -> ListedArticle:
    pmid = (row.get("PMID") or "").strip()
    digits = re.sub(r"[^0-9]", "", row.get("AsOf") or row.get(updated) or "")[:14]
    return ListedArticle(
        pmid=pmid if pmid.isascii() and pmid.isdigit() and pmid.strip("0") else "",
        license=(row.get("License") or "").strip(),
        retracted=(row.get("Retracted") or "").strip().lower() == "yes",
        updated=int(digits.ljust(14, "0")) if digits else 0,
    )


def license_group(package: str, license_name: str) -> str:
    """NCBI's licence group of an article: by the package's name (`oa_comm_xml...`), else by its licence, else
    empty.

    Source: the PMC Open Access Subset's description of its three groups.
    """
    if named := _PACKAGE_NAME.match(package):
        return named.group(1)
    if license_name.upper() in _COMMERCIAL:
        return "comm"
    if license_name.upper().startswith("CC BY-NC"):
        return "noncomm"
    return "other" if license_name else ""
