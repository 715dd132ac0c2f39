"""Tasks as TOML files."""

from importlib import resources

import pytest

from biobert_scale.errors import UserError
from biobert_scale.evaluation.tasks.spec import known_tasks, read_task

HEAD = 'name = "mine"\nkind = "entities"\nmetric = "entity_f1"\n'
TYPES = '[types]\nGene = ["Gene", "Protein"]\n'
SOURCE = (
    '[[sources]]\nformat = "conll"\ntrain = "train.tsv"\ndev = ["devel.tsv", "dev.tsv"]\ntest = "test.tsv"\n'
)


def test_a_file_becomes_a_task(tmp_path):
    (tmp_path / "mine.toml").write_text(HEAD + TYPES + SOURCE)
    task = read_task(tmp_path / "mine.toml")
    assert task.known_types == {"Gene", "Protein"} and task.corpus_name == "mine"
    assert task.sources[0].train == ("train.tsv",) and task.sources[0].dev == ("devel.tsv", "dev.tsv")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = ", "not a TOML file"),
        (HEAD + "colour = 1\n" + TYPES + SOURCE, "unknown key colour"),
        (TYPES + SOURCE, "the key 'name' is missing"),
        (HEAD.replace('"mine"', "3") + TYPES + SOURCE, "expected str, not 3"),
        (HEAD.replace("mine", "../mine") + TYPES + SOURCE, "cannot be a directory's name"),
        (HEAD.replace("entity_f1", "pearson") + TYPES + SOURCE, "metric pearson is not one of entities"),
        (HEAD + SOURCE, r"entities need \[types\]"),
        (HEAD + TYPES + 'Rna = "protein"\n' + SOURCE, "one name belongs to two types"),
        (HEAD + TYPES + SOURCE.replace("test =", "dev2 ="), "unknown key dev2"),
        (HEAD + TYPES + '[[sources]]\nformat = "conll"\ntrain = "a"\n', "needs train, dev and test"),
        (HEAD + TYPES + SOURCE + "divide = {train = 0.5, dev = 0.1}\n", "sum 1"),
        (HEAD + TYPES + SOURCE.replace("conll", "csv"), "format csv is not one of entities"),
        (HEAD + TYPES + SOURCE + 'document = "("\n', r"document '\(' is no regular expression"),
        (HEAD + TYPES + SOURCE.replace("conll", "brat") + "columns = {tag = 1}\n", "brat has no columns"),
        (HEAD + TYPES + SOURCE.replace('"test.tsv"', '"/test.tsv"'), "must be below the directory"),
        (HEAD + TYPES + SOURCE.replace('"test.tsv"', '""'), "must be below the directory"),
        (HEAD.replace("entities", "relations").replace("entity", "micro") + SOURCE, "needs labels"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_its_name(tmp_path, text, says):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UserError, match=says) as error:
        read_task(tmp_path / "mine.toml")
    assert "mine.toml" in str(error.value)


def test_every_task_of_the_package_is_named_as_its_file():
    files = resources.files("biobert_scale.evaluation.tasks").iterdir()
    assert {f"{name}.toml" for name in known_tasks()} == {
        file.name for file in files if file.name.endswith(".toml")
    }


def test_blurb_has_its_thirteen_tasks_with_scores_and_counts():
    tasks = [task for task in known_tasks().values() if task.group]
    assert len(tasks) == 13 and len({task.group for task in tasks}) == 6
    assert all(task.scores and task.sources[0].counts for task in tasks)


def test_names_of_a_type_are_its_own_and_those_of_files_in_any_case(tmp_path):
    (tmp_path / "mine.toml").write_text(HEAD + '[types]\nGene = ["Protein"]\nPlant = []\n' + SOURCE)
    task = read_task(tmp_path / "mine.toml")
    assert [task.type_of(name) for name in ("gene", "PROTEIN", "Plant")] == ["Gene", "Gene", "Plant"]
