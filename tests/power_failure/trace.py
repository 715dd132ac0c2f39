"""What a program does to a directory, from its system calls: strace's lines become operations on a disk."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.launching import ROOT, environment
from tests.power_failure.disk import Directory, File, Log, Node

# fmt: off
_CALLS = (
    "open", "openat", "creat", "close", "dup", "dup2", "dup3", "fcntl", "lseek", "write", "pwrite64",
    "writev", "pwritev", "pwritev2", "ftruncate", "truncate", "rename", "renameat", "renameat2", "link",
    "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "fsync",
    "fdatasync", "sync_file_range", "sendfile", "copy_file_range", "chdir", "clone", "clone3", "fork",
    "vfork", "access",
)
# fmt: on
_LINE = re.compile(r"(\d+) +(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+)(?: .*)?$", re.DOTALL)
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
MARK = "/@/"
"""Where a traced program says something: the path of a file that it asks for and that cannot exist."""


@dataclass
class _Open:
    """An open file description, which duplicated descriptors share."""

    node: Node | None
    path: Path
    offset: int = 0
    append: bool = False


@dataclass
class _Process:
    cwd: Path
    files: dict[int, _Open] = field(default_factory=dict)


def record(arguments: list[str], root: Path, *, output: Path) -> Log:
    """Run a Python module and record what it does below `root`, which starts as it is now on the disk.

    Args:
        arguments: of the interpreter.
        output: a new file for strace's lines.
    """
    log = Log(root)
    line = ["strace", "-f", "-xx", "-s", "100000000", "-e", "signal=none", "-o", str(output)]
    line += ["--seccomp-bpf", "-e", f"trace={','.join(_CALLS)}", sys.executable, *arguments]
    done = subprocess.run(line, env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    _Reader(log).read(output)
    log.check_end()
    return log


class _Reader:
    def __init__(self, log: Log) -> None:
        self.log = log
        self.processes: dict[str, _Process] = {}
        self.note: dict[str, str] = {}

    def read(self, lines: Path) -> None:
        waiting: dict[str, str] = {}
        with open(lines, encoding="ascii") as stream:
            for line in stream:
                match = _LINE.match(line.rstrip("\n"))
                assert match is not None, line[:200]
                process, rest = match.groups()
                if rest.endswith("<unfinished ...>"):
                    waiting[process] = rest.removesuffix("<unfinished ...>").rstrip()
                    continue
                if rest.startswith("<... "):
                    rest = waiting.pop(process) + rest.partition(" resumed>")[2]
                call = _CALL.match(rest)
                if call is None or call[3].startswith("-"):
                    if call is not None and call[1] == "access":
                        self._said(process, self._strings(call[2]))
                    continue
                self._apply(process, call[1], call[2], int(call[3], 0))

    @staticmethod
    def _strings(text: str) -> list[bytes]:
        return [bytes.fromhex(found.replace("\\x", "")) for found in _STRING.findall(text)]

    def _said(self, process: str, strings: list[bytes]) -> None:
        text = strings[0].decode()
        if text.startswith(f"{MARK}mark/"):
            self.log.mark(text.removeprefix(f"{MARK}mark/"))
        elif text.startswith(f"{MARK}sync/"):
            self.note[process] = text.removeprefix(f"{MARK}sync/")

    def _apply(self, number: str, call: str, text: str, result: int) -> None:
        process = self.processes.setdefault(number, _Process(ROOT))
        log, files, strings = self.log, process.files, self._strings(text)
        plain = [part.strip() for part in _STRING.sub('""', text).split(",")]
        opened = files.get(int(plain[0])) if plain[0].isdigit() else None
        match call:
            case "clone" | "clone3" | "fork" | "vfork":
                shared = "CLONE_FILES" in text
                self.processes[str(result)] = process if shared else _Process(process.cwd, dict(files))
            case "chdir":
                process.cwd = process.cwd / strings[0].decode()
            case "open" | "openat" | "creat":
                path = self._paths(process, text, strings)[0]
                flags = set(re.findall(r"O_\w+", text)) | (
                    {"O_CREAT", "O_TRUNC"} if call == "creat" else set()
                )
                node = log.open(path, create="O_CREAT" in flags, truncate="O_TRUNC" in flags)
                files[result] = _Open(node, path, append="O_APPEND" in flags)
            case "close":
                files.pop(int(plain[0]), None)
            case "dup" | "dup2" | "dup3":
                if opened is not None:
                    files[result] = opened
            case "fcntl" if "F_DUPFD" in text and opened is not None:
                files[result] = opened
            case "lseek" if opened is not None:
                opened.offset = result
            case "write" | "writev" if opened is not None and isinstance(opened.node, File):
                if opened.append:
                    opened.offset = len(opened.node.content)
                log.write(opened.node, opened.offset, b"".join(strings)[:result])
                opened.offset += result
            case "pwrite64" | "pwritev" | "pwritev2" if opened is not None and isinstance(opened.node, File):
                log.write(opened.node, int(plain[-1], 0), b"".join(strings)[:result])
            case "sendfile" | "copy_file_range" if opened is not None and isinstance(opened.node, File):
                self._copied(process, call, plain, opened, result)
            case "ftruncate" if opened is not None and isinstance(opened.node, File):
                log.truncate(opened.node, int(plain[1], 0))
            case "truncate":
                log.truncate(log.find(self._paths(process, text, strings)[0]), int(plain[1], 0))
            case "fsync" | "fdatasync" if opened is not None and opened.node is not None:
                log.sync(opened.node, self.note.pop(number, "outside of Python"))
            case "rename" | "renameat" | "renameat2":
                log.rename(*self._paths(process, text, strings))
            case "link" | "linkat":
                log.link(*self._paths(process, text, strings))
            case "symlink" | "symlinkat":
                assert not log.holds(process.cwd / strings[-1].decode()), "symbolic links are not modelled"
            case "unlink" | "unlinkat" | "rmdir":
                log.remove(self._paths(process, text, strings)[0])
            case "mkdir" | "mkdirat":
                log.make(self._paths(process, text, strings)[0])

    def _paths(self, process: _Process, text: str, strings: list[bytes]) -> list[Path]:
        """The paths of a call, each below the directory that its descriptor names."""
        places = re.findall(r'(AT_FDCWD|\d+), ""', _STRING.sub('""', text))
        bases = [process.cwd if place == "AT_FDCWD" else process.files[int(place)].path for place in places]
        bases = bases or [process.cwd] * len(strings)
        return [base / path.decode() for base, path in zip(bases, strings, strict=True)]

    def _copied(self, process: _Process, call: str, plain: list[str], opened: _Open, count: int) -> None:
        source, target = opened, opened
        if call == "sendfile":
            source = process.files[int(plain[1])]
        else:
            target = process.files[int(plain[2])]
        held = isinstance(source.node, File)
        content = bytes(source.node.content) if held else source.path.read_bytes()  # type: ignore[union-attr]
        explicit = re.search(r"\[(\d+)\]", ",".join(plain))
        start = int(explicit[1]) if explicit else source.offset
        assert isinstance(target.node, File)
        self.log.write(target.node, target.offset, content[start : start + count])
        target.offset += count
        if not explicit:
            source.offset += count


def walk(directory: Directory, above: str = "") -> Iterator[tuple[str, Node]]:
    """Every entry below a directory, with its path."""
    for name, node in directory.entries.items():
        yield f"{above}{name}", node
        if isinstance(node, Directory):
            yield from walk(node, f"{above}{name}/")
