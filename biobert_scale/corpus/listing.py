"""Bulk files of NCBI and Europe PMC: their groups, the listings that name them, and the choice among them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

from biobert_scale.corpus.sources.facts import GROUP
from biobert_scale.errors import UserError

PATHS: Mapping[str, str] = {
    "baseline": "pubmed/baseline/",
    "updatefiles": "pubmed/updatefiles/",
    "comm": "pub/pmc/oa_bulk/oa_comm/xml/",
    "noncomm": "pub/pmc/oa_bulk/oa_noncomm/xml/",
    "other": "pub/pmc/oa_bulk/oa_other/xml/",
    "europe-pmc": "ftp/oa/",
}
"""Group -> its directory below the base URL. `comm`, `noncomm` and `other` are history: NLM removed them, and
copies of them are read. Source: the FTP documentation of PubMed, of PMC and of Europe PMC."""

NCBI = "https://ftp.ncbi.nlm.nih.gov"
BASE_URLS: Mapping[str, str] = {group: NCBI for group in PATHS} | {"europe-pmc": "https://europepmc.org"}
"""Group -> its server."""

_log = logging.getLogger(__name__)
_MD5_LINE = re.compile(
    r"MD5\s*\((?P<named>.*)\)\s*=\s*(?P<hex>[0-9a-f]{32})|(?P<first>[0-9a-f]{32})\s+\*?(?P<second>.+)",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class MirrorConfig:
    """What to fetch, from where, and how patiently."""

    groups: tuple[str, ...]
    base_url: str = ""
    """The server of all groups; empty: each group's own (`BASE_URLS`)."""
    connections: int
    """Requests at once."""
    retries: int
    """Further attempts after a failed one; the count begins anew whenever a file got further than before."""
    timeout_seconds: float
    """To connect, and between two pieces of a reply."""
    backoff_seconds: float = 1.0
    """Before the second attempt; doubled for every further one."""
    include: tuple[str, ...] = ()
    """Shell patterns; a file is taken whose name, or `group/name`, matches one of them. Empty: all files."""
    exclude: tuple[str, ...] = ()
    limit: int | None = None
    """Only the first so many data files of each group, after include and exclude."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Group -> directory below `base_url`, where it differs from `PATHS`."""
    verify: bool = True
    """Read the files that are already there and compare them with their checksums."""

    def group_url(self, group: str) -> str:
        base_url = self.base_url or BASE_URLS[group]
        return f"{base_url.rstrip('/')}/{self.paths.get(group, PATHS[group]).strip('/')}/"


def check_config(config: MirrorConfig) -> None:
    """Refuse settings that cannot work.

    Raises:
        UserError: a value out of its range, an unknown group, or a base URL that is no http(s) address.
    """
    for name, least in (
        ("connections", 1),
        ("retries", 0),
        ("limit", 1),
        ("timeout_seconds", 0.001),
        ("backoff_seconds", 0),
    ):
        value = getattr(config, name)
        if value is not None and value < least:
            raise UserError(f"{name} is {value}", where="command line", remedy=f"give at least {least}")
    if unknown := sorted({*config.groups, *config.paths} - set(PATHS)):
        known = ", ".join([*PATHS, GROUP])
        raise UserError(f"no group '{unknown[0]}'", where="command line", remedy=f"the groups are {known}")
    if config.base_url:
        check_address(config.base_url)


def check_address(base_url: str) -> None:
    """Refuse a base URL that is no http(s) address.

    Raises:
        UserError: with the option's name.
    """
    try:
        parts = urlsplit(base_url)
        sound = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not parts.query
        )
    except ValueError:
        sound = False
    if not sound:
        raise UserError(
            "no http or https address",
            where=f"--base-url {base_url}",
            remedy=f"give one such as {NCBI}",
        )


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file to mirror, as the server describes it."""

    group: str
    name: str
    url: str
    md5_url: str | None = None
    """The `.md5` beside it, where the listing names one."""
    size: int = 0
    """Bytes."""
    modified: int | None = None
    """Last-Modified, in seconds since 1970."""
    validator: str = ""
    """See `validator_of`."""


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]


def listed_names(html: str, url: str) -> set[str]:
    """The names of the files directly in the directory `url` whose HTML listing this is.

    Links that lead elsewhere (the parent, a subdirectory, another order of the table, another host) and
    hidden names are left out. The sizes that a listing shows are rounded (19M), so they are not read.
    """
    links = _Links()
    links.feed(html)
    absolute = (urljoin(url, target) for target in links.targets)
    names = {unquote(target.removeprefix(url)) for target in absolute if target.startswith(url)}
    return {name for name in names if name and not name.startswith(".") and not set(name) & set("/\\?#\0")}


def data_names(names: set[str]) -> list[str]:
    """The data files among the names (`.xml.gz`, `.tar.gz`), in order, numbers by value."""

    def order(name: str) -> list[tuple[str, int]]:
        return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]

    return sorted(
        (name for name in names if name.endswith((".xml.gz", ".tar.gz")) and not name.startswith(".")),
        key=order,
    )


def select(names: set[str], group: str, config: MirrorConfig) -> list[RemoteFile]:
    """The files to mirror of a group's listing: data files in order, each package followed by its
    `.filelist.csv`.

    PMC's daily packages (`...incr.DATE.tar.gz`) stand beside the baseline ones and are taken as well.
    """

    def matches(name: str, patterns: tuple[str, ...]) -> bool:
        return any(
            fnmatchcase(name, pattern) or fnmatchcase(f"{group}/{name}", pattern) for pattern in patterns
        )

    included = [name for name in data_names(names) if not config.include or matches(name, config.include)]
    chosen = [name for name in included if not matches(name, config.exclude)]
    files = []
    for name in chosen[: config.limit]:
        companion = name.removesuffix(".tar.gz") + ".filelist.csv"
        for taken in (name, companion) if companion in names else (name,):
            url = config.group_url(group) + quote(taken)
            files.append(
                RemoteFile(
                    group=group,
                    name=taken,
                    url=url,
                    md5_url=f"{url}.md5" if f"{taken}.md5" in names else None,
                )
            )
    return files


def parse_md5(text: str, name: str) -> str | None:
    """The MD5 (32 lower-case hexadecimal digits) that a `.md5` file states of the file `name`, None where it
    states none.

    Two forms are read: `MD5(pubmed25n0001.xml.gz)= 0123...`, which NCBI writes, and `0123...  name`, which
    md5sum writes.
    """
    for line in text.splitlines():
        if (found := _MD5_LINE.fullmatch(line.strip())) and Path(
            found["named"] or found["second"]
        ).name == name:
            return (found["hex"] or found["first"]).lower()
    return None
