"""Holds the direction of the imports: raw XML -> ... -> report, and never back."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import biobert_scale

PACKAGE = Path(biobert_scale.__file__).parent
STAGES = (
    "corpus",
    "tokens",
    "data",
    "modeling",
    "training",
    "release",
    "evaluation",
    "tag",
    "serve",
    "report",
    "launch",
)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def stage_files(stage: str) -> list[Path]:
    files = list((PACKAGE / stage).rglob("*.py")) or [PACKAGE / f"{stage}.py"]
    assert all(file.is_file() for file in files)
    return files


def later_imports(path: Path, stage: str) -> list[str]:
    later = STAGES[STAGES.index(stage) + 1 :]
    return [
        name
        for name in imports(path)
        if name.startswith(
            tuple(f"biobert_scale.{other}" for other in (*later, "plan", "doctor", "demo", "commands"))
        )
    ]


def test_no_stage_imports_a_later_one() -> None:
    found = {
        str(path): names
        for stage in STAGES
        for path in stage_files(stage)
        if (names := later_imports(path, stage))
    }
    assert not found


def test_corpus_tokens_and_launch_never_import_torch() -> None:
    heavy = ("torch", "transformers", "accelerate", "deepspeed")
    found = {
        str(path): name
        for stage in ("corpus", "tokens", "launch")
        for path in stage_files(stage)
        for name in imports(path)
        if name.split(".")[0] in heavy
    }
    assert not found


def test_the_package_runs_without_the_benchmarks_beside_it() -> None:
    """A wheel has no `benchmarks`: the package neither imports it nor starts one of its modules."""
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in PACKAGE.rglob("*.py")
        if (names := uses_of_benchmarks(path))
    }
    assert not found


def uses_of_benchmarks(path: Path) -> list[str]:
    literals = (
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return [name for name in imports(path) if name.split(".")[0] == "benchmarks"] + [
        text for text in literals if re.fullmatch(r"benchmarks\.(?!toml)[\w.]+", text)
    ]


@pytest.mark.parametrize(
    "code",
    [
        "from benchmarks.result import machine",
        "def f():\n    import benchmarks.turns",
        'run(["python", "-m", "benchmarks.gpu.parts"])',
    ],
)
def test_a_use_of_the_benchmarks_is_seen(tmp_path: Path, code: str) -> None:
    (tmp_path / "module.py").write_text(code)
    assert uses_of_benchmarks(tmp_path / "module.py")


def test_the_wheel_has_every_package_and_no_benchmarks() -> None:
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["setuptools"]
    of_the_tree = {
        ".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("__init__.py")
    }
    assert {name for name in settings["packages"] if name not in settings["package-dir"]} >= of_the_tree
    assert all(name.split(".")[0] == "biobert_scale" for name in settings["packages"])


def test_the_reader_of_imports_sees_a_forbidden_one(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("def f():\n    from biobert_scale.training.trainer import train\n    import torch.nn\n")
    assert later_imports(module, "corpus") == ["biobert_scale.training.trainer.train"]
    assert "torch.nn" in list(imports(module))


def test_a_name_that_could_be_many_things_names_one_module() -> None:
    names = ("scores", "inspect", "checkpoint", "shards", "packing", "engine", "heads", "memory")
    found: dict[str, list[str]] = {name: [] for name in names}
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE).with_suffix("")
        name = module.parent.name if module.name == "__init__" else module.name
        if name in found:
            found[name].append(str(module))
    assert {name: modules for name, modules in found.items() if len(modules) != 1} == {}


def test_the_environment_is_read_in_its_own_places_only() -> None:
    allowed = {"environment.py", "training/ranks.py"}
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "os.environ" in path.read_text() or "os.getenv" in path.read_text()
    }
    assert found <= allowed


def kernels(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The compiled functions of a file, and their arguments."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and any(
            "njit" in ast.unparse(decorator) for decorator in node.decorator_list
        ):
            arguments = node.args
            yield (
                node.name,
                [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)],
            )


def test_no_kernel_takes_more_than_six_arguments() -> None:
    """Arguments of one type are exchanged unnoticed: what belongs together is a named tuple."""
    found = {
        f"{path.relative_to(PACKAGE)}: {name}": arguments
        for path in PACKAGE.rglob("*.py")
        for name, arguments in kernels(path)
    }
    assert "data/stream.py: _write_samples" in found
    assert {name: arguments for name, arguments in found.items() if len(arguments) > 6} == {}
