"""A tagger that was trained on one corpus and is scored on another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.cli import main
from biobert_scale.config import FinetuneConfig
from biobert_scale.errors import UserError
from biobert_scale.evaluation.cross_corpus import plan_transfer
from biobert_scale.evaluation.finetune import finetune
from biobert_scale.evaluation.predict import predict
from biobert_scale.evaluation.prepare import prepare
from biobert_scale.evaluation.prepared import task_of
from biobert_scale.report.errors import write_errors
from tests.factories import FRAMES, NAMES, write_model

SOURCE = """[[sources]]
format = "jsonl"
train = "train.jsonl"
dev = "dev.jsonl"
test = "test.jsonl"
"""
TASKS = {
    "signs": {"Sign": "Sign", "Plant": "Plant"},
    "wide": {"Sign": "Symptom", "Plant": "plant", "Rock": "Rock"},
    "names": {"Sign": "Name", "Plant": "Name"},
}
"""What each task calls the mentions; `wide` has some more, whose name is that of a frame's first word."""


def write_task(directory: Path, task: str) -> Path:
    called = TASKS[task]
    for split in ("train", "dev", "test"):
        rows = []
        for number in range(32):
            name, kind = NAMES[number % 8], ("Sign", "Plant")[number % 2]
            text = FRAMES[number // 8].format(name)
            start = text.index(name)
            entities = [{"start": start, "end": start + len(name), "label": called[kind]}]
            if "Rock" in called and start > 0:
                entities.append({"start": 0, "end": text.index(" "), "label": "Rock"})
            rows.append({"id": f"{split}-{number}", "text": text, "entities": entities})
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    types = "".join(f"{kind} = []\n" for kind in dict.fromkeys(map(str.capitalize, called.values())))
    keys = f'name = "{task}"\nkind = "entities"\nmetric = "entity_f1"\n[types]\n{types}'
    (directory / "task.toml").write_text(keys + SOURCE)
    return directory / "task.toml"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared tasks, and a tagger that has learned `signs` by heart."""
    directory = tmp_path_factory.mktemp("cross")
    files = [str(write_task(directory / task, task)) for task in TASKS]
    prepare(None, directory / "prepared", tasks=files)
    budget = FinetuneConfig(learning_rate=2e-3, epochs=10, batch_size=8, max_seq_length=64, dropout=0.0)
    model = write_model(directory / "model")
    found = finetune(directory / "prepared", "signs", model, directory / "run", budget, seed=1)
    assert found["score"] == 100.0
    return directory


def cross(home: Path, output: Path, *types: str, task: str = "wide") -> Any:
    return predict(home / "run", home / "prepared", output, task=task, types=types)


def test_types_of_another_name_are_mapped_and_those_without_one_left_out_of_the_gold(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--prepared", home / "prepared", "--output", tmp_path / "out", "--task", "wide"]
    command = ["evaluate", "predict", home / "run", *arguments, "--types", "sign=symptom"]
    assert main(list(map(str, command))) == 0
    shown = capsys.readouterr().out
    found = cross(home, tmp_path / "out", "Sign=Symptom")
    rocks = found["unscored_mentions"]["Rock"]
    assert found["score"] == 100.0 and found["task"] == "wide" and rocks > 0
    assert f"that the model does not have, not scored: Rock {rocks}" in shown
    assert {kind: counts["tp"] for kind, counts in found["by_type"].items()} == {"Plant": 16, "Symptom": 16}
    assert found["protocol"] == "trained on signs (Plant=Plant, Sign=Symptom)"
    assert found["overlap"]["mentions"] == {"in_train": 32, "total": 64}
    page = write_errors(tmp_path / "out", home / "prepared", tmp_path / "errors.html").read_text()
    assert "trained on signs" in page and "Rock" not in page


def test_predictions_of_a_type_can_be_left_out(home: Path, tmp_path: Path) -> None:
    found = cross(home, tmp_path / "out", "Sign=")
    assert found["score"] == 100.0 and list(found["by_type"]) == ["Plant"]
    assert found["unscored_mentions"].keys() == {"Rock", "Symptom"}


def test_a_wrong_mapping_is_all_wrong(home: Path, tmp_path: Path) -> None:
    found = cross(home, tmp_path / "out", "Sign=Plant", "Plant=Symptom")
    assert found["score"] == 0.0 and found["matches"]["exact"]["f1"] == 100.0


def test_several_types_become_the_one_of_a_task(home: Path, tmp_path: Path) -> None:
    found = cross(home, tmp_path / "out", "Sign=Name", "Plant=Name", task="names")
    assert found["score"] == 100.0 and "unscored_mentions" not in found
    assert (tmp_path / "out" / "predictions.tsv").read_text().count(" B B\n") == 32
    assert found["by_familiarity"]["seen"]["recall"] == 100.0, "of names in the tagger's own training set"


@pytest.mark.parametrize(
    ("types", "says"),
    [
        ([], "wide has no type Sign.*add Sign=TYPE with one of Symptom, Plant, Rock, or Sign="),
        (["Sign"], "'Sign' is no MODEL_TYPE=TASK_TYPE"),
        (["Sign=Leaf"], "'Sign=Leaf' is no .*types of the model: Sign, Plant; of wide: Symptom, Plant, Rock"),
        (["Leaf=Rock"], "'Leaf=Rock' is no"),
        (["Sign=", "Plant="], "no type is left to score"),
    ],
)
def test_what_does_not_fit_is_refused(types: list[str], says: str, home: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        cross(home, tmp_path / "out", *types)
    assert not (tmp_path / "out").exists()


def test_types_need_another_task_and_the_training_data_beside_it(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the types are the run's own"):
        cross(home, tmp_path / "out", "Sign=Plant", task="")
    rows = (home / "signs" / "train.jsonl").read_text().split("\n")
    (home / "signs" / "train.jsonl").write_text("\n".join(rows[1:]))
    prepare(None, tmp_path / "other", tasks=[str(home / task / "task.toml") for task in TASKS])
    with pytest.raises(UserError, match="signs is not what the run was trained on"):
        predict(home / "run", tmp_path / "other", tmp_path / "out", task="wide", types=["Sign=Symptom"])


def test_types_that_become_one_do_not_join_their_mentions(home: Path) -> None:
    source, task = (task_of(home / "prepared", name) for name in ("signs", "names"))
    transfer = plan_transfer(source, task, ["Sign=Name", "Plant=Name"])
    found = transfer.tags(["B-Sign", "I-Sign", "I-Plant", "I-Plant", "O", "I-Sign", "B-Plant"])
    assert found == ["B", "I", "B", "I", "O", "I", "B"]
