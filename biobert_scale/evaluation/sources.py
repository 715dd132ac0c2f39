"""The files of tasks: found below a directory by what the tasks' own files say of them."""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath

from biobert_scale.errors import UserError
from biobert_scale.evaluation.tasks.spec import SPLITS, Source, Split, Task, known_tasks, read_task
from biobert_scale.files import files_below

Homes = dict[Path, list[Path]]
"""Files by the directory from which a name or pattern leads to them."""


@dataclass(frozen=True, kw_only=True)
class FoundTask:
    """A task whose files are there."""

    task: Task
    source: Source
    """The form that they are in."""
    files: dict[Split, list[Path]]
    """Files, or directories of `datasets`; where the source divides one, of fewer splits."""
    own: Path | None
    """The task's TOML file, where it is not the package's."""


def find_sources(benchmarks: Path | None, tasks: Sequence[str] = ()) -> list[FoundTask]:
    """The files of every task, in each task's first form that is there.

    Args:
        benchmarks: the directory tree to search. Without it, each task must be a file, and its data have the
            names that it gives, below its own directory.
        tasks: names of the package's tasks, and paths of TOML files. Empty: the package's tasks, as far as
            files of them are there.

    Raises:
        UserError: no such directory or task, nothing of a task that was asked for, a split missing, or a
            task's files in two directories.
    """
    if benchmarks is not None and not benchmarks.is_dir():
        remedy = "name the directory that holds the benchmarks' original files"
        raise UserError("no such directory", where=benchmarks, remedy=remedy)
    search = None if benchmarks is None else _searched(benchmarks)
    found = []
    for name in dict.fromkeys(tasks or known_tasks()):
        task, own = _task(name)
        if search is None and own is None:
            remedy = "add --benchmarks with the directory that holds them"
            raise UserError(
                f"no directory to find the files of {name} in", where="--benchmarks", remedy=remedy
            )
        root = own.parent if benchmarks is None and own else benchmarks
        assert root is not None
        one = _find(task, root, search or partial(_below, root))
        if one is not None:
            found.append(replace(one, own=own))
        elif tasks:
            remedy = f"put there {' or '.join(map(_wanted, task.sources))}"
            raise UserError(f"no files of {task.name}", where=root, remedy=remedy)
    if not found:
        known = ", ".join(known_tasks())
        remedy = f"put there the files of any of: {known} (docs/how-to/evaluation.md has their names)"
        raise UserError("no benchmark that is known here", where=benchmarks or "", remedy=remedy)
    if len({one.task.name for one in found}) < len(found):
        raise UserError("two tasks have one name", where="--task", remedy="give each its own")
    return found


def _task(name: str) -> tuple[Task, Path | None]:
    """A task, and its file where it is not the package's."""
    known = known_tasks()
    if name in known:
        return known[name], None
    path = Path(name)
    if path.suffix != ".toml":
        remedy = f"choose among {', '.join(known)}, or name a TOML file"
        raise UserError(f"no task '{name}'", where="--task", remedy=remedy)
    if not path.is_file():
        raise UserError("no such file", where=path, remedy="name a task's TOML file")
    task = read_task(path)
    if task.name in known:
        remedy = "choose another name: published scores are compared by it"
        raise UserError(f"{task.name} is the package's own task", where=path, remedy=remedy)
    return task, path


def _searched(root: Path) -> Callable[[str], Homes]:
    """Finds files at any depth."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in files_below(root):
        by_name[path.name].append(path)

    def matches(pattern: str) -> Homes:
        *folders, last = PurePosixPath(pattern).parts
        names = [last] if "*" not in last else [name for name in by_name if fnmatchcase(name, last)]
        homes: Homes = defaultdict(list)
        for path in (path for name in names for path in by_name.get(name, [])):
            above = path.relative_to(root).parts[:-1]
            if len(above) >= len(folders) and all(
                map(fnmatchcase, above[len(above) - len(folders) :], folders)
            ):
                homes[path.parents[len(folders)]].append(path)
        return homes

    return matches


def _below(root: Path, pattern: str) -> Homes:
    """Finds files by their path from one directory."""
    paths = sorted(path for path in root.glob(pattern) if not path.is_dir())
    return {root: paths} if paths else {}


def _find(task: Task, root: Path, matches: Callable[[str], Homes]) -> FoundTask | None:
    incomplete: dict[Path, str] = {}
    found = None
    for source in task.sources:
        wanted = [split for split in SPLITS if getattr(source, split)]
        homes = _homes(source, root, matches)
        whole = [home for home, files in homes.items() if len(files) == len(wanted)]
        if len(whole) > 1:
            places = ", ".join(map(str, sorted(whole)))
            raise UserError(
                f"{task.name} is there {len(whole)} times", where=places, remedy="keep one of them"
            )
        if whole:
            found = FoundTask(task=task, source=source, files=homes[whole[0]], own=None)
            incomplete.pop(whole[0], None)
            break
        for home, files in homes.items():
            missing = next(split for split in wanted if split not in files)
            incomplete.setdefault(home, getattr(source, missing)[0])
    # Another form elsewhere is no remedy for an original of which a split is missing.
    for home, name in incomplete.items():
        remedy = "put all files of the task there: train, dev and test"
        if task.name not in known_tasks():
            remedy += ", or correct its name in the task's file"
        raise UserError("a split is missing", where=home / name, remedy=remedy)
    return found


def _homes(
    source: Source, root: Path, matches: Callable[[str], Homes]
) -> dict[Path, dict[Split, list[Path]]]:
    """The directories with files of any split."""
    homes: dict[Path, dict[Split, list[Path]]] = defaultdict(dict)
    for split in SPLITS:
        for name in getattr(source, split):
            of_datasets = source.format == "datasets" and not name.endswith(".parquet")
            for pattern in [f"{name}/state.json"] if of_datasets else [name, f"{name}.gz"]:
                for home, files in matches(pattern).items():
                    homes[home].setdefault(split, [file.parent for file in files] if of_datasets else files)
    return {home: files for home, files in homes.items() if _fits(source, root, home, files)}


def _fits(source: Source, root: Path, home: Path, files: dict[Split, list[Path]]) -> bool:
    place = "/".join(["", root.resolve().name, *home.relative_to(root).parts]).casefold()
    if source.directory and not fnmatchcase(place, f"*/{source.directory.casefold()}"):
        return False
    if source.not_directory and fnmatchcase(place, f"*/{source.not_directory.casefold()}"):
        return False
    return not source.first_line or ("train" in files and _first_line(files["train"][0]) in source.first_line)


def _first_line(path: Path) -> str:
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
        return stream.readline(200).decode(errors="replace").rstrip("\r\n")


def _wanted(source: Source) -> str:
    names = [getattr(source, split)[0] for split in SPLITS if getattr(source, split)]
    return ", ".join(names) + (f" in a directory {source.directory}" if source.directory else "")
