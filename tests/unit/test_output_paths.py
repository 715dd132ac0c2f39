"""`--output` that is a file, lies below one, or goes up."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from biobert_scale.cli import main
from biobert_scale.errors import from_os_error
from biobert_scale.files import write_json
from tests.factories import write_tokens


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made")
    write_tokens(directory, documents=60)
    write_json(
        directory / "tiny.json",
        {
            "name": "tiny",
            "model": {
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 1,
                "intermediate_size": 16,
                "max_position_embeddings": 64,
            },
            "data": {"max_seq_length": 64},
            "training": {
                "global_batch_size": 4,
                "micro_batch_size": 4,
                "schedule": {"warmup_steps": 0, "total_steps": 1},
                "precision": {"dtype": "fp32"},
                "engine": {"name": "ddp"},
                "validation": {"sequences": 2},
            },
        },
    )
    return directory


@pytest.mark.parametrize(
    "command",
    [
        "corpus synthesize --abstracts 60 --full-texts 2 --output {place}",
        "tokens vocabulary --corpus {made}/corpus --size 300 --output {place}",
        "tokens build --corpus {made}/corpus --vocabulary {made}/vocabulary --output {place}",
        "tokens inspect {made}/tokens --output {place}",
        "train --config {made}/tiny.json --tokens {made}/tokens --output {place}",
        "train --config {made}/tiny.json --tokens {made}/tokens --output {made}/run --samples {place}",
        "launch site --output {place}",
        "plan --config demo --json {place}/plan.json",
    ],
)
@pytest.mark.parametrize("place", ["{file}", "{file}/below"])
@pytest.mark.fault("`--output` is a file or below one", "one line; the file stays")
def test_a_file_where_a_directory_is_needed_is_one_line(
    made: Path, tmp_path: Path, command: str, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    where = place.format(file=tmp_path / "file")
    assert main(command.format(made=made, place=where).split()) == 2
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("biobert-scale: ")]
    assert len(told) == 1 and str(tmp_path / "file") in told[0]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "number", [errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP]
)
def test_a_path_that_cannot_be_is_a_mistake_of_the_user(number: int) -> None:
    error = from_os_error(OSError(number, "said by the system", "out"))
    assert error is not None and error.exit_code == 2 and "out" in str(error)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
@pytest.mark.fault("the file system answers EIO, ESTALE or ETIMEDOUT", "one line, exit code 1")
def test_a_file_system_that_fails_is_no_mistake_of_the_user(number: int) -> None:
    error = from_os_error(OSError(number, "said by the system", "out"))
    assert error is not None and error.exit_code == 1 and "out" in str(error)


@pytest.mark.fault("`--output ..`", "everything is written inside the run")
def test_the_events_of_a_run_above_stay_inside_of_it(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside" / "run" / "inside").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "outside" / "run" / "inside")
    assert main(f"train --config {made}/tiny.json --tokens {made}/tokens --output ..".split()) == 0
    run = tmp_path / "outside" / "run"
    assert json.loads((run / "finished.json").read_text())["global_step"] == 1
    events = [path.relative_to(tmp_path) for path in tmp_path.rglob("events.out.*")]
    assert [path.parts[:-1] for path in events] == [("outside", "run", "run")]
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["run"]
