"""A disk as POSIX promises it, and all that a power failure may leave on it.

Of a file, the bytes that were there at its last fsync are safe; later ones may be there, missing, or cut.
Of a directory, the entries that were there at its last fsync are safe; each later creation, renaming or
removal may have reached the disk or not, whatever became of those before it. A renaming is one operation:
both names change, or neither. It is safe once the directory of the new name was synced.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(eq=False)
class File:
    content: bytearray = field(default_factory=bytearray)


@dataclass(eq=False)
class Directory:
    entries: dict[str, Node] = field(default_factory=dict)


Node = File | Directory
State = dict[str, bytes | None]
"""Path -> a file's bytes; None for a directory."""


@dataclass(frozen=True, eq=False)
class Bytes:
    """A file has new contents (as a whole: writing is recorded, reading back is not)."""

    node: File
    content: bytes


@dataclass(frozen=True, eq=False)
class Entry:
    """A directory's name means another node, or none; of a renaming, the old name goes as well."""

    directory: Directory
    name: str
    node: Node | None
    source: tuple[Directory, str] | None = None


@dataclass(frozen=True, eq=False)
class Sync:
    node: Node
    line: str
    """The line of code that asked for it."""


@dataclass(frozen=True)
class Mark:
    text: str


class Log:
    """The operations on a directory tree, in order. It begins with what is on the real disk, all safe."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree = Directory()
        self.operations: list[Bytes | Entry | Sync | Mark] = []
        for place, directories, names in os.walk(root):
            above = self.find(Path(place))
            assert isinstance(above, Directory)
            for name in directories:
                self._set(Entry(above, name, Directory()))
            for name in names:
                node = File(bytearray(Path(place, name).read_bytes()))
                self._set(Entry(above, name, node))
                self.operations.append(Bytes(node, bytes(node.content)))
                self.operations.append(Sync(node, ""))
            self.operations.append(Sync(above, ""))
        self.begins = len(self.operations)

    def holds(self, path: Path) -> bool:
        return Path(os.path.normpath(path)).is_relative_to(self.root)

    def find(self, path: Path) -> Node | None:
        """None outside of the tree, and where nothing has this name."""
        if not self.holds(path):
            return None
        node: Node | None = self.tree
        for name in Path(os.path.normpath(path)).relative_to(self.root).parts:
            node = node.entries.get(name) if isinstance(node, Directory) else None
        return node

    def _place(self, path: Path) -> tuple[Directory, str]:
        path = Path(os.path.normpath(path))
        above = self.find(path.parent)
        assert isinstance(above, Directory), path
        return above, path.name

    def _set(self, entry: Entry) -> None:
        if entry.source is not None:
            del entry.source[0].entries[entry.source[1]]
        if entry.node is None:
            del entry.directory.entries[entry.name]
        else:
            entry.directory.entries[entry.name] = entry.node
        self.operations.append(entry)

    def open(self, path: Path, *, create: bool, truncate: bool) -> Node | None:
        if self.holds(path) and self.find(path) is None and create:
            self._set(Entry(*self._place(path), File()))
        node = self.find(path)
        if truncate and isinstance(node, File) and node.content:
            self.truncate(node, 0)
        return node

    def write(self, node: File, offset: int, data: bytes) -> None:
        node.content.extend(b"\0" * (offset - len(node.content)))
        node.content[offset : offset + len(data)] = data
        if isinstance(last := self.operations[-1], Bytes) and last.node is node:
            self.operations.pop()  # one write in pieces
        self.operations.append(Bytes(node, bytes(node.content)))

    def truncate(self, node: Node | None, size: int) -> None:
        if isinstance(node, File):
            del node.content[size:]
            node.content.extend(b"\0" * (size - len(node.content)))
            self.operations.append(Bytes(node, bytes(node.content)))

    def make(self, path: Path) -> None:
        if self.holds(path):
            self._set(Entry(*self._place(path), Directory()))

    def remove(self, path: Path) -> None:
        if self.holds(path):
            self._set(Entry(*self._place(path), None))

    def link(self, source: Path, target: Path) -> None:
        if self.holds(target):
            self._set(Entry(*self._place(target), self.find(source)))

    def rename(self, source: Path, target: Path) -> None:
        assert self.holds(source) == self.holds(target), "a renaming into or out of the tree is not modelled"
        if self.holds(source):
            self._set(Entry(*self._place(target), self.find(source), self._place(source)))

    def sync(self, node: Node, line: str) -> None:
        self.operations.append(Sync(node, line))

    def mark(self, text: str) -> None:
        self.operations.append(Mark(text))

    def check_end(self) -> None:
        """The recorded tree is the real one: nothing was written behind the trace's back."""
        ours = flatten(self.tree)
        real: State = {}
        for place, directories, names in os.walk(self.root):
            real |= {str(Path(place, name).relative_to(self.root)): None for name in directories}
            real |= {
                str(Path(p).relative_to(self.root)): p.read_bytes() for p in (Path(place, n) for n in names)
            }
        assert ours.keys() == real.keys(), sorted(ours.keys() ^ real.keys())
        assert not (strange := [path for path in ours if ours[path] != real[path]]), strange

    def lines(self) -> list[str]:
        """The lines of code that synced something."""
        return sorted({step.line for step in self.operations if isinstance(step, Sync)} - {""})

    def states(self, *, without: str = "") -> Iterator[tuple[State, list[str]]]:
        """Every state that a power failure may leave, with the marks that were reached before it.

        After each operation: everything has landed; nothing that is not safe has; each one alone is missing,
        or cut, or has landed; where they are few all combinations, of many a sample.

        Args:
            without: a line of code whose syncs are taken out.
        """
        draw, seen = random.Random(0), set()
        disk = _Disk(self.tree)
        for number, operation in enumerate(self.operations):
            if isinstance(operation, Sync) and without and operation.line == without:
                continue
            disk.take(operation)
            if number < self.begins - 1:
                continue
            for state in disk.states(draw):
                digest = hash((frozenset(state.items()), len(disk.marks)))
                if digest not in seen:
                    seen.add(digest)
                    yield state, list(disk.marks)


_FEW, _DRAWN = 5, 24


class _Disk:
    """What is safe, and what is on its way."""

    def __init__(self, root: Directory) -> None:
        self.root = root
        self.marks: list[str] = []
        self.entries: list[Entry] = []
        """All operations on directories so far, in order."""
        self.unsafe: list[Entry] = []
        self.now: dict[File, bytes] = {}
        self.safe: dict[File, bytes] = {}

    def take(self, operation: Bytes | Entry | Sync | Mark) -> None:
        match operation:
            case Mark(text):
                self.marks.append(text)
            case Bytes(node, content):
                self.now[node] = content
            case Entry():
                self.entries.append(operation)
                self.unsafe.append(operation)
            case Sync(node) if isinstance(node, File):
                self.safe[node] = self.now.get(node, b"")
            case Sync(node):
                self.unsafe = [entry for entry in self.unsafe if entry.directory is not node]

    def states(self, draw: random.Random) -> Iterator[State]:
        dirty = [node for node in self.now if self.now[node] != self.safe.get(node, b"")]
        pending: list[Entry | File] = [*self.unsafe, *dirty]
        choices = [frozenset(), frozenset(pending)]
        if len(pending) <= _FEW:
            choices += map(
                frozenset,
                itertools.chain.from_iterable(
                    itertools.combinations(pending, n) for n in range(len(pending))
                ),
            )
        else:
            choices += [frozenset([one]) for one in pending]
            choices += [frozenset(pending) - {one} for one in pending]
            choices += [frozenset(draw.sample(pending, draw.randrange(len(pending)))) for _ in range(_DRAWN)]
        for missing in choices:
            yield self._state(missing, None)
        for node in dirty:
            yield self._state(frozenset(), node)

    def _state(self, missing: frozenset[Entry | File], cut: File | None) -> State:
        entries: dict[Directory, dict[str, Node]] = {}
        for entry in self.entries:
            if entry in missing:
                continue
            place = entries.setdefault(entry.directory, {})
            if entry.source is not None:
                old = entries.setdefault(entry.source[0], {})
                if old.get(entry.source[1]) is entry.node:
                    del old[entry.source[1]]
            if entry.node is None:
                place.pop(entry.name, None)
            else:
                place[entry.name] = entry.node
        state: State = {}
        self._collect(self.root, "", entries, missing, cut, state)
        return state

    def _collect(
        self,
        directory: Directory,
        above: str,
        entries: dict[Directory, dict[str, Node]],
        missing: frozenset[Entry | File],
        cut: File | None,
        state: State,
    ) -> None:
        for name, node in entries.get(directory, {}).items():
            if isinstance(node, Directory):
                state[above + name] = None
                self._collect(node, f"{above}{name}/", entries, missing, cut, state)
            elif node in missing:
                state[above + name] = self.safe.get(node, b"")
            else:
                content = self.now.get(node, b"")
                # a cut file has what is safe, and half of what is new
                state[above + name] = (
                    content[: (len(self.safe.get(node, b"")) + len(content)) // 2] if node is cut else content
                )


def flatten(root: Directory) -> State:
    state: State = {}
    for name, node in root.entries.items():
        if isinstance(node, Directory):
            state[name] = None
            state |= {f"{name}/{path}": content for path, content in flatten(node).items()}
        else:
            state[name] = bytes(node.content)
    return state


class Rebuilt:
    """Lays states out as real directories; equal files share their bytes."""

    def __init__(self, place: Path) -> None:
        self.place, self.contents, self.count = place, place / "contents", 0
        self.contents.mkdir(parents=True)

    def lay(self, state: State) -> Path:
        self.count += 1
        root = self.place / f"state-{self.count}"
        root.mkdir()
        for path in sorted(state):
            content = state[path]
            if content is None:
                (root / path).mkdir(exist_ok=True)
                continue
            kept = self.contents / hashlib.sha256(content).hexdigest()
            if not kept.exists():
                kept.write_bytes(content)
            os.link(kept, root / path)
        return root

    def copy(self, state: State) -> Path:
        """A state that may be written to."""
        root = self.lay(state)
        copy = root.with_name(f"{root.name}-copy")
        shutil.copytree(root, copy)
        shutil.rmtree(root)
        return copy
