"""Array jobs, with made-up commands in the place of SLURM's: which tasks run, and what their errors
become. SLURM itself is in `cluster/test_corpus_on_slurm.py`."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from biobert_scale.config import SlurmConfig
from biobert_scale.corpus.task_runner import run_tasks
from biobert_scale.errors import RunFailed, UserError
from tests.tasks import die_once, leave_a_mark, raise_what_no_pickle_holds, refuse

CONFIG = SlurmConfig(
    poll_seconds=0.1, max_array=2, setup="export LOADED=yes", sbatch=("qos=low", "exclusive")
)
SBATCH = """#!/bin/bash
cd {queue}
grep '^#SBATCH' "$1" >> options
echo >> jobs
id=$(wc -l < jobs)
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
log=$(sed -n "s/^#SBATCH --output=//p" "$1")
log=${{log//%[Aj]/$id}}
touch running
(
    export SLURM_JOB_ID=$id
    for element in $(seq 0 ${{last:-0}}); do
        [ "$last" ] && export SLURM_ARRAY_JOB_ID=$id SLURM_ARRAY_TASK_ID=$element
        bash "$1" > "${{log//%a/$element}}" 2>&1
    done
    rm running
) > /dev/null 2>&1 &
echo "Submitted batch job $id"
"""


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the cluster's commands leave behind; an array's elements run one after another."""
    queue = tmp_path / "queue"
    queue.mkdir()
    commands = {
        "sbatch": SBATCH.format(queue=queue),
        "squeue": f"#!/bin/bash\n[ -e {queue}/running ] && echo 'RUNNING: None'\nexit 0\n",
        "scancel": f"#!/bin/bash\necho $* >> {queue}/cancelled\n",
        "srun": "#!/bin/bash\n",
    }
    for name, text in commands.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    return queue


def jobs(queue: Path) -> int:
    return len((queue / "jobs").read_text().splitlines())


def test_every_task_runs_once_with_the_options_of_the_cluster(queue: Path, tmp_path: Path) -> None:
    for _ in range(2):
        run_tasks(partial(leave_a_mark, tmp_path), tasks=3, work=tmp_path / "work", slurm=CONFIG)
    assert [(tmp_path / f"mark-{rank}").read_text() for rank in range(3)] == ["x"] * 3
    options = (queue / "options").read_text().replace("#SBATCH --", "").splitlines()
    wanted = {"qos=low", "exclusive", "requeue", "time=02:00:00", "mem-per-cpu=4G", "array=0-1%2"}
    assert jobs(queue) == 1 and wanted <= {*options} and "partition" not in str(options)


@pytest.mark.fault("SIGKILL of an array task", "submitted again, it alone", lost="one task's work")
def test_a_killed_task_is_submitted_again(queue: Path, tmp_path: Path) -> None:
    run_tasks(partial(die_once, tmp_path), tasks=3, work=tmp_path / "work", slurm=CONFIG)
    assert jobs(queue) == 2 and [(tmp_path / f"mark-{rank}").read_text() for rank in range(3)] == ["x"] * 3


def test_a_mistake_in_the_input_arrives_as_it_was_raised(queue: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as failure:
        run_tasks(partial(refuse, tmp_path), tasks=3, work=tmp_path / "work", slurm=CONFIG)
    assert str(failure.value) == f"not what it says: {tmp_path / 'a.xml.gz'}; fetch it again"
    assert failure.value.exit_code == 2 and "--name=biobert-work-" in (queue / "cancelled").read_text()


def test_an_error_that_no_pickle_holds_is_in_the_line(queue: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RunFailed, match=r"2 of 2 tasks .* task 0 said: .*TwoParts: page 3 is torn"
    ) as failure:
        run_tasks(raise_what_no_pickle_holds, tasks=2, work=tmp_path / "work", slurm=CONFIG)
    assert jobs(queue) == 2 and "page 3 is torn" in Path(failure.value.where).read_text()


def test_a_job_that_is_refused_is_one_line(
    queue: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    refusal = (
        "#!/bin/bash\necho 'sbatch: error: first' >&2\necho 'sbatch: error: no such queue' >&2\nexit 1\n"
    )
    (tmp_path / "bin" / "sbatch").write_text(refusal)
    with pytest.raises(UserError, match=r"^no such queue: .*--partition"):
        run_tasks(partial(leave_a_mark, tmp_path), tasks=3, work=tmp_path / "work", slurm=CONFIG)
    assert "no such queue" not in capfd.readouterr().err
