"""Mirrors the articles of the PMC Cloud Service: inventory, selection, objects, packages.

Source: NLM's description of the bucket `pmc-oa-opendata`. docs/how-to/full-texts.md explains how.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from tqdm.contrib.logging import logging_redirect_tqdm

from biobert_scale.corpus.listing import check_address, parse_md5
from biobert_scale.corpus.part import damage, md5_path
from biobert_scale.corpus.raw import MIRROR_DIRECTORY
from biobert_scale.corpus.sources import record
from biobert_scale.corpus.sources.facts import (
    BASE_URL,
    CONNECTIONS,
    GROUP,
    MISSING,
    NO_XML,
    SAME,
    STATES,
    TAKEN,
)
from biobert_scale.corpus.sources.inventory import inventories
from biobert_scale.corpus.sources.objects import Bucket, Fetched
from biobert_scale.corpus.sources.package import Packages, list_path, member_name, package_path, packed
from biobert_scale.corpus.sources.plan import Plan, Wanted, make_plan
from biobert_scale.corpus.sources.progress import Progress, human
from biobert_scale.corpus.sources.record import Row
from biobert_scale.corpus.sources.selection import Metadata, Selection, read_metadata
from biobert_scale.corpus.transport import Later, NotThere
from biobert_scale.errors import RunFailed
from biobert_scale.files import write_atomically
from biobert_scale.lock import Lock

WITHDRAWN_LIST = f"{GROUP}.withdrawn.csv"
_WINDOW = 4
"""Articles under way or waiting for their turn, for each connection."""
_FAILURES_IN_A_ROW = 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CloudConfig:
    """What to fetch, and how patiently."""

    base_url: str = BASE_URL
    """The bucket's root."""
    connections: int = CONNECTIONS
    retries: int = 8
    timeout_seconds: float = 60.0
    """To connect, and between two pieces of a reply."""
    backoff_seconds: float = 1.0
    selection: Selection = field(default_factory=Selection)
    limit: int | None = None
    """No new articles once the mirror holds so many."""
    verify: bool = True
    """Read the packages that are there and compare them with their checksums."""
    package_bytes: int = 4_000_000_000
    """Of XML in a package; compressed it is about 1 GB."""

    def bucket(self, wait: Callable[[float], object] | None) -> Bucket:
        check_address(self.base_url)
        return Bucket(
            self.base_url,
            connections=self.connections,
            retries=self.retries,
            timeout_seconds=self.timeout_seconds,
            backoff_seconds=self.backoff_seconds,
            wait=wait,
        )


class Result(NamedTuple):
    """What became of one article: its line, and where it is packed, its bytes of the package."""

    row: Row
    member: bytes = b""
    is_new: bool = False
    """It is packed, and the mirror did not hold it."""


def download(output: Path, config: CloudConfig, *, wait: Callable[[float], object] | None = None) -> None:
    """Bring `output/pmc-cloud` to the state of the newest complete inventory.

    Articles are packed in the order of their numbers, so packages do not depend on what came first, nor on
    kills. What the mirror holds and the inventory names unchanged is not asked for. An article that fails
    does not stop the others.

    Args:
        output: directory of the mirror.
        config: what to fetch.
        wait: how to let the given seconds pass before another attempt (default: by the clock, until the run
            is stopped).

    Raises:
        UserError: a base URL that is no http(s) address, or another run is at work there.
        RunFailed: the server is out of reach or has no complete inventory, or articles failed (the first
            ones are logged on one line each).
    """
    directory = output / GROUP
    bucket = config.bucket(wait)
    with Lock(directory / MIRROR_DIRECTORY, "corpus download"):
        with closing(Packages(directory, package_bytes=config.package_bytes)) as packages:
            gone = _lost_packages(directory, packages.number, verify=config.verify)
            plan = make_plan(inventories(bucket), record.load(directory, gone), config.selection)
            _log.info("%s", plan.summary())
            for row in plan.withdrawals():
                packages.append(row)
            failures = _Transfer(bucket, config, plan).run(packages)
            packages.finish()
        _list_withdrawn(directory, gone)
    if failures:
        raise RunFailed(
            f"{failures} articles failed",
            where=directory,
            remedy="run the same command again: it resumes with what is not there",
        )


def _lost_packages(directory: Path, under_way: int, *, verify: bool) -> frozenset[int]:
    """The packages that are not there any more, or are damaged: their articles are fetched again."""
    finished = [number for number in record.numbers(directory) if number != under_way]
    paths = [package_path(directory, number) for number in finished]
    if verify:
        with ThreadPoolExecutor() as pool:
            for path, problem in zip(paths, pool.map(_damage, paths), strict=True):
                if problem:
                    _log.warning("%s: %s; its articles are fetched again", path, problem)
                    for each in (path, md5_path(path), list_path(path)):
                        each.unlink(missing_ok=True)
    return frozenset(number for number, path in zip(finished, paths, strict=True) if not path.exists())


def _damage(package: Path) -> str:
    """What is wrong with a package, empty if nothing, or if it is not there."""
    kept = md5_path(package)
    stated = parse_md5(kept.read_text(), package.name) if kept.exists() else None
    return damage(package, stated) if package.exists() else ""


class _Transfer:
    """Fetches the articles of a plan, many at once, in order."""

    def __init__(self, bucket: Bucket, config: CloudConfig, plan: Plan) -> None:
        self.bucket, self.config, self.plan = bucket, config, plan
        self.states: Counter[str] = Counter()
        self.new = 0
        """Articles packed that the mirror did not hold."""
        self.failures = self.failures_in_a_row = 0

    def run(self, packages: Packages) -> int:
        """Pack all; returns how many failed."""
        total = len(self.plan) if self.config.limit is None else None
        with logging_redirect_tqdm(), Progress(total) as progress, closing(self._results()) as results:
            for result in results:
                if isinstance(result, RunFailed):
                    self._note_failure(result)
                    continue
                self.failures_in_a_row = 0
                packages.append(result.row, result.member)
                self.states[result.row.state] += 1
                self.new += result.is_new
                progress.add(result.row.bytes, waits=self.bucket.waits)
        _log.info(
            "%s fetched in %d requests; %s; %d failed",
            human(progress.bytes),
            self.bucket.requests,
            ", ".join(f"{state} {count}" for state, count in sorted(self.states.items())) or "nothing to do",
            self.failures,
        )
        return self.failures

    def _note_failure(self, failure: RunFailed) -> None:
        self.failures += 1
        self.failures_in_a_row += 1
        if self.failures <= _FAILURES_IN_A_ROW:
            _log.warning("failed: %s", failure)
        if self.failures_in_a_row == _FAILURES_IN_A_ROW:
            raise RunFailed(
                f"{self.failures_in_a_row} articles in a row failed; the last: {failure.what}",
                where=failure.where,
                remedy="run the same command again later: it resumes with what is not there",
            )

    def _results(self) -> Generator[Result | RunFailed, None, None]:
        """Every article's result, in order; a window of them is under way."""
        window: deque[Future[Result | RunFailed]] = deque()
        pool = ThreadPoolExecutor(self.config.connections)
        try:
            for wanted in self.plan.wanted(lambda: self._room() == 0):
                window.append(pool.submit(self._article, wanted))
                while len(window) >= min(_WINDOW * self.config.connections, self._room() or sys.maxsize):
                    yield window.popleft().result()
            while window:
                yield window.popleft().result()
        finally:
            self.bucket.stop.set()
            pool.shutdown(cancel_futures=True)

    def _room(self) -> int:
        """New articles that the mirror may still take."""
        limit = self.config.limit
        return sys.maxsize if limit is None else max(limit - self.plan.held - self.new, 0)

    def _article(self, wanted: Wanted) -> Result | RunFailed:
        def attempt() -> Result:
            nonlocal wanted
            try:
                return self._attempt(wanted)
            except Later:
                wanted = replace(wanted, is_described=False)  # what is known of it may be outdated
                raise

        try:
            return self.bucket.persist(attempt, wanted.name)
        except NotThere:
            return Result(wanted.row(MISSING))
        except RunFailed as failure:
            return failure

    def _attempt(self, wanted: Wanted) -> Result:
        """Read an article's metadata, where they are not known, and then its XML, where that is wanted."""
        metadata, row = self._metadata(wanted)
        if wanted.holds(metadata):
            return Result(row._replace(state=SAME))
        refusal = self.config.selection.refusal(metadata.license, metadata.flags)
        if refusal or not metadata.key:
            return Result(row._replace(state=refusal or NO_XML))
        xml = self.bucket.get(metadata.key)
        if hashlib.md5(xml.content, usedforsecurity=False).hexdigest() != metadata.md5:
            raise Later("the MD5 of its XML is not the one that its metadata state")
        member = packed(member_name(wanted.pmcid, wanted.version), xml.content, xml.modified)
        return Result(row._replace(updated=xml.modified, bytes=len(xml.content)), member, not wanted.is_held)

    def _metadata(self, wanted: Wanted) -> tuple[Metadata, Row]:
        if wanted.is_described:
            return wanted.metadata(), wanted.row(TAKEN)
        found: Fetched = self.bucket.get(f"metadata/{wanted.name}.json")
        try:
            metadata = read_metadata(bytes(found.content))
        except ValueError as error:
            raise Later(f"its metadata are damaged ({error})") from None
        return metadata, wanted.row(TAKEN)._replace(
            etag=found.etag,
            modified=found.modified,
            pmid=metadata.pmid,
            license=metadata.license,
            flags=metadata.flags,
            md5=metadata.md5,
        )


def _list_withdrawn(directory: Path, gone: frozenset[int]) -> None:
    """Write which of the packed articles the service has no more, or not on the terms that were asked for."""
    known = record.load(directory, gone).known
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("AccessionID", "Version", "Reason", "AsOf"))
    held = [STATES.index(name) for name in (TAKEN, SAME, NO_XML)]  # without XML the old text is the last one
    rows = [index for index in (known.package > 0).nonzero()[0].tolist() if known.state[index] not in held]
    for index in rows:
        reason = STATES[known.state[index]]
        writer.writerow((f"PMC{known.pmcid[index]}", known.version[index], reason, known.as_of[index]))
    path = directory / WITHDRAWN_LIST
    if rows:
        write_atomically(path, text.getvalue())
    else:
        path.unlink(missing_ok=True)
