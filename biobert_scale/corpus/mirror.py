"""Mirrors the bulk files of NCBI and Europe PMC over HTTPS: in parallel, resumable, and checked.

A file is received into `.NAME.part`, checked (by its MD5 where the server states one, else by its length and
gzip trailer) and renamed. Beside a part stands the validator (ETag or Last-Modified) of the file it is a part
of: the part is continued only while that file is unchanged on the server.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from biobert_scale.corpus.listing import (
    MirrorConfig,
    RemoteFile,
    check_config,
    data_names,
    listed_names,
    parse_md5,
    select,
)
from biobert_scale.corpus.part import Part, damage, md5_path, open_part, part_path, size_of
from biobert_scale.corpus.transport import Later, NotThere, Server, Stopped, WrongRange, modified_of
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.files import write_atomically

_log = logging.getLogger(__name__)
_READ_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every file that is wanted, and what of it is there already."""

    output: Path
    files: list[RemoteFile]
    failures: list[RunFailed]
    """One for each listed file whose size the server did not give."""
    present: frozenset[str]
    """URLs of the files that are there, by size and time."""
    missing_bytes: int
    """Still to be fetched; of an unfinished file, what its part lacks."""
    free_bytes: int
    """Free space on the disk of `output`."""

    def local(self, file: RemoteFile) -> Path:
        return self.output / file.group / file.name

    def table(self) -> str:
        """The dry run's table: files and bytes of each group, how much of that is there, and the space on the
        disk."""
        rows = [("group", "files", "size", "there", "size there")]
        for group in dict.fromkeys(file.group for file in self.files):
            rows.append(self._row(group, [file for file in self.files if file.group == group]))
        rows.append(self._row("total", self.files))
        verdict = "" if self.missing_bytes <= self.free_bytes else ", which is too little"
        lines = [
            f"{label:<11}  {files:>5}  {size:>7}  {there:>5}  {size_there:>10}"
            for label, files, size, there, size_there in rows
        ]
        return "\n".join(
            [
                *lines,
                (
                    f"to fetch: {_human(self.missing_bytes)}; free on the disk:"
                    f" {_human(self.free_bytes)}{verdict}"
                ),
            ]
        )

    def _row(self, label: str, files: list[RemoteFile]) -> tuple[str, str, str, str, str]:
        there = [file for file in files if file.url in self.present]
        return (
            label,
            str(len(files)),
            _human(sum(file.size for file in files)),
            str(len(there)),
            _human(sum(file.size for file in there)),
        )


def _human(number: int) -> str:
    return f"{tqdm.format_sizeof(number)}B"


def plan_download(
    output: Path, config: MirrorConfig, *, wait: Callable[[float], object] | None = None
) -> Plan:
    """What `download` would do; writes nothing.

    Raises:
        UserError: a setting that cannot work, no such directory on the server, or nothing to fetch in it.
        RunFailed: the server is out of reach.
    """
    check_config(config)
    with Server(config, wait) as server:
        return _plan(server, output)


def download(output: Path, config: MirrorConfig, *, wait: Callable[[float], object] | None = None) -> Plan:
    """Mirror the groups of `config` to `output/GROUP/`.

    A file that is there with the server's size and time (see `is_current`) is not fetched again but checked,
    against its kept `.md5` or by its gzip trailer; a damaged one is fetched anew. A file that fails does not
    stop the others. Files that the server no longer has are reported, never deleted.

    Args:
        output: directory of the mirror.
        config: what to fetch.
        wait: how to let the given seconds pass before another attempt (default: by the clock, until the run
            is stopped).

    Returns:
        The plan as it was before anything was fetched.

    Raises:
        UserError: as `plan_download`.
        RunFailed: the server is out of reach, the disk is too small, or files failed (each is logged on one
            line at the end).
    """
    check_config(config)
    with Server(config, wait) as server:
        plan = _plan(server, output)
        if plan.missing_bytes > plan.free_bytes:
            what = f"{_human(plan.missing_bytes)} are to be fetched, {_human(plan.free_bytes)} are free"
            raise RunFailed(
                what, where=output, remedy="free some space, choose another --output, or fetch fewer files"
            )
        failures = plan.failures + _Transfer(server, plan).run()
    for failure in failures:
        _log.error("failed: %s", failure)
    if failures:
        what = f"{len(failures)} of {len(plan.files) + len(plan.failures)} files failed"
        raise RunFailed(
            what, where=output, remedy="run the same command again: it goes on from what is there"
        )
    return plan


def is_current(file: RemoteFile, target: Path) -> bool:
    """True where `target` has the server's size and is not older than the server's file.

    A finished download carries the server's Last-Modified as its own time, so a file that changed on the
    server is newer. A copy made with other tools counts as well when its size fits; its content is checked
    like that of all files that are there.
    """
    try:
        found = target.stat()
    except FileNotFoundError:
        return False
    return found.st_size == file.size and (file.modified is None or int(found.st_mtime) >= file.modified)


def _plan(server: Server, output: Path) -> Plan:
    config = server.config
    wanted: list[RemoteFile] = []
    for group in dict.fromkeys(config.groups):
        names = _listing(server, group)
        wanted += select(names, group, config)
        _tell_leftovers(output / group, names)
    if not wanted:
        raise UserError(
            "no file matches --include and --exclude",
            where=", ".join(config.groups),
            remedy="check the patterns",
        )
    _log.info("asking for the sizes of %d files", len(wanted))
    answers = server.in_parallel(lambda file: server.persist(lambda: server.describe(file), file.url), wanted)
    files = [answer for answer in answers if isinstance(answer, RemoteFile)]
    present = frozenset(file.url for file in files if is_current(file, output / file.group / file.name))
    lacking = (file for file in files if file.url not in present)
    return Plan(
        output=output,
        files=files,
        failures=[answer for answer in answers if isinstance(answer, RunFailed)],
        present=present,
        missing_bytes=sum(
            max(0, file.size - size_of(part_path(output / file.group / file.name))) for file in lacking
        ),
        free_bytes=shutil.disk_usage(
            next(path for path in (output.absolute(), *output.absolute().parents) if path.exists())
        ).free,
    )


def _listing(server: Server, group: str) -> set[str]:
    url = server.config.group_url(group)
    remedy = f"check --base-url and --paths {group}"
    if group in ("comm", "noncomm", "other"):
        remedy += (
            " (NLM removed these packages from its server in August 2026: use --groups pmc-cloud, or mirror a"
            " copy of them)"
        )
    try:
        names = listed_names(server.persist(lambda: server.text(url), url), url)
    except NotThere:
        raise UserError("the server has no such directory", where=url, remedy=remedy) from None
    if not data_names(names):
        raise UserError("the page lists no .xml.gz and no .tar.gz files", where=url, remedy=remedy)
    return names


def _tell_leftovers(directory: Path, names: set[str]) -> None:
    """Last year's baseline has other names than this year's, and holds citations that were withdrawn
    since."""
    here = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    if gone := data_names(here - names):
        message = (
            "%s: %d files are not on the server any more (the first: %s); move them away before a corpus is"
            " built"
        )
        _log.warning(message, directory, len(gone), gone[0])


class _Transfer:
    """Fetches what a plan lacks, and checks what is there."""

    def __init__(self, server: Server, plan: Plan) -> None:
        self.server, self.plan = server, plan
        self.lock = threading.Lock()
        self.reached = dict.fromkeys((file.url for file in plan.files), 0)
        self.fetched = 0

    def run(self) -> list[RunFailed]:
        for group in {file.group for file in self.plan.files}:
            (self.plan.output / group).mkdir(parents=True, exist_ok=True)
        total = sum(file.size for file in self.plan.files)
        with logging_redirect_tqdm(), tqdm(total=total, unit="B", unit_scale=True, disable=None) as self.bar:
            results = self.server.in_parallel(self._bring, self.plan.files)
        failures = [result for result in results if isinstance(result, RunFailed)]
        _log.info(
            "%d files fetched, %d were there, %d failed",
            self.fetched,
            len(results) - self.fetched - len(failures),
            len(failures),
        )
        return failures

    def _bring(self, file: RemoteFile) -> None:
        """Make one file present and sound."""
        target = self.plan.local(file)
        if not self._is_sound(file, target):
            with open_part(target) as part:
                if not self._is_sound(file, target):  # another run may just have finished it
                    self.server.persist(lambda: self._attempt(file, part), file.url)
                    self._tell_fetched(file)
        self._move_bar(file, file.size)

    def _move_bar(self, file: RemoteFile, position: int) -> None:
        with self.lock:
            self.bar.update(position - self.reached[file.url])
            self.reached[file.url] = position

    def _tell_fetched(self, file: RemoteFile) -> None:
        with self.lock:
            self.fetched += 1
            if self.bar.disable:
                _log.info("fetched %s/%s, %s", file.group, file.name, _human(file.size))

    def _is_sound(self, file: RemoteFile, target: Path) -> bool:
        """Whether the file is there, current, and undamaged; the kept `.md5` answers the last without the
        network."""
        if self.server.stop.is_set():
            raise Stopped
        if not is_current(file, target):
            return False
        kept = md5_path(target)
        if file.md5_url and not kept.exists():
            write_atomically(kept, self.server.persist(lambda: self._stated_md5(file)[0], file.url))
        if not self.server.config.verify:
            return True
        problem = damage(target, parse_md5(kept.read_text(), file.name) if file.md5_url else None)
        if problem:
            _log.warning("%s: %s; it is fetched again", target, problem)
        return not problem

    def _stated_md5(self, file: RemoteFile) -> tuple[str, str | None]:
        """The text of the `.md5` beside the file on the server, and the MD5 in it."""
        if file.md5_url is None:
            return "", None
        text = self.server.text(file.md5_url)
        md5 = parse_md5(text, file.name)
        if md5 is None:
            raise Later("the .md5 beside it does not state its MD5")
        return text, md5

    def _attempt(self, file: RemoteFile, part: Part) -> None:
        text, md5 = self._stated_md5(
            file
        )  # anew each time: the file and its MD5 may have been replaced since
        modified = self._receive(file, part)
        if problem := damage(part.path, md5):
            part.start_over("")
            raise Later(problem)
        if text:  # before the rename: the pair of an old file and a new MD5 only means fetching again
            write_atomically(md5_path(part.target), text)
        part.publish(modified)

    def _receive(self, file: RemoteFile, part: Part) -> int | None:
        """Receive what the part lacks; returns the Last-Modified of the file that it then holds."""
        if part.validator and (part.size, part.validator) == (file.size, file.validator):
            return file.modified  # an earlier run was stopped between the last byte and the rename
        headers = (
            {"Range": f"bytes={part.size}-", "If-Range": part.validator}
            if part.size and part.validator
            else {}
        )
        furthest = part.furthest
        try:
            with self.server.request("GET", file.url, headers) as response:
                length = part.accept(response)
                for piece in response.iter_raw():
                    if self.server.stop.is_set():
                        raise Stopped
                    part.write(piece)
                    self._move_bar(file, part.size)
                if length is not None and part.size != length:
                    raise Later(f"{part.size} bytes arrived of {length}")
                return modified_of(response)
        except WrongRange as trouble:
            part.start_over("")
            raise Later(str(trouble)) from None
        except Later as trouble:
            raise Later(
                str(trouble), retry_after=trouble.retry_after, progress=part.furthest > furthest
            ) from None
