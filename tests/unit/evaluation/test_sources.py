"""Which files a task is read from."""

from __future__ import annotations

from pathlib import Path

import pytest

from biobert_scale.errors import UserError
from biobert_scale.evaluation.sources import FoundTask, find_sources

HEAD = 'name = "{}"\nkind = "entities"\nmetric = "entity_f1"\n[types]\nGene = []\n'
SOURCE = '[[sources]]\nformat = "conll"\n'


def touch(directory: Path, *names: str) -> Path:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("noxa\tO\n")
    return directory


def own(directory: Path, files: str, name: str = "mine") -> str:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.toml").write_text(HEAD.format(name) + SOURCE + files)
    return str(directory / f"{name}.toml")


def names(found: FoundTask, root: Path) -> dict[str, list[str]]:
    return {split: [str(path.relative_to(root)) for path in paths] for split, paths in found.files.items()}


def test_own_files_are_beside_the_task_and_patterns_take_all(tmp_path: Path) -> None:
    touch(tmp_path, "train/b.tsv", "train/a.tsv", "dev.tsv.gz", "old/dev.tsv", "test.tsv")
    task = own(tmp_path, 'train = "train/*.tsv"\ndev = ["d.tsv", "dev.tsv"]\ntest = "test.tsv"\n')
    (found,) = find_sources(None, [task])
    assert names(found, tmp_path) == {
        "train": ["train/a.tsv", "train/b.tsv"],
        "dev": ["dev.tsv.gz"],
        "test": ["test.tsv"],
    }
    assert found.own == Path(task)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["train.tsv", "dev.tsv"], r"a split is missing: .*test\.tsv"),
        (["x.tsv"], r"no files of mine: .*put there train\.tsv, dev\.tsv, test\.tsv"),
    ],
)
def test_missing_files_are_named(files: list[str], says: str, tmp_path: Path) -> None:
    touch(tmp_path, *files)
    task = own(tmp_path, 'train = "train.tsv"\ndev = "dev.tsv"\ntest = "test.tsv"\n')
    with pytest.raises(UserError, match=says):
        find_sources(None, [task])


@pytest.mark.parametrize(
    ("benchmarks", "tasks", "says"),
    [
        (False, ["HoC"], "no directory to find the files of HoC in: --benchmarks"),
        (True, ["Hoc"], "no task 'Hoc'.*choose among BC2GM,"),
        (True, ["nowhere.toml"], "no such file: nowhere.toml"),
        (True, ["BC2GM"], "no files of BC2GM: .*in a directory BC2GM"),
    ],
)
def test_unknown_tasks_are_refused(benchmarks: bool, tasks: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        find_sources(tmp_path if benchmarks else None, tasks)


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    files = 'train = "a"\ndev = "a"\ntest = "a"\n'
    touch(tmp_path, "x/a", "y/a", "z/a")
    with pytest.raises(UserError, match="two tasks have one name"):
        find_sources(None, [own(tmp_path / "x", files), own(tmp_path / "y", files)])
    with pytest.raises(UserError, match="BC2GM is the package's own task"):
        find_sources(None, [own(tmp_path / "z", files, "BC2GM")])


def test_directories_decide_where_files_have_common_names(tmp_path: Path) -> None:
    splits = ("train.tsv", "dev.tsv", "test.tsv")
    for home in ("deep/bc2gm", "BC2GM/other", "JNLPBA"):
        touch(tmp_path / home, *splits)
    found = {each.task.name: each.files["train"][0].parent for each in find_sources(tmp_path)}
    assert found == {"BC2GM": tmp_path / "deep/bc2gm", "JNLPBA": tmp_path / "JNLPBA"}
    touch(tmp_path / "again/BC2GM", *splits)
    with pytest.raises(UserError, match="BC2GM is there 2 times"):
        find_sources(tmp_path)


def test_directories_may_be_links(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "train.tsv", "dev.tsv", "test.tsv")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "BC2GM").symlink_to(tmp_path / "elsewhere")
    (found,) = find_sources(tmp_path / "benchmarks")
    assert found.task.name == "BC2GM" and set(found.files) == {"train", "dev", "test"}


def test_another_form_of_the_same_files_may_need_fewer_but_no_other_form_hides_a_missing_split(
    tmp_path: Path,
) -> None:
    touch(tmp_path / "EBM-PICO", "dev.tsv", "test.tsv")
    (found,) = find_sources(tmp_path)
    assert set(found.files) == {"dev", "test"} and found.source.divide
    touch(tmp_path / "NCBI-disease", "train.tsv", "dev.tsv", "test.tsv")
    touch(tmp_path / "original", "NCBItrainset_corpus.txt", "NCBItestset_corpus.txt")
    with pytest.raises(UserError, match=r"a split is missing: .*NCBIdevelopset_corpus\.txt"):
        find_sources(tmp_path)
