"""Rendering SLURM jobs: every option and every line of the site file arrives, and what cannot work is refused
in one line."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.cli import main
from biobert_scale.config import GridConfig
from biobert_scale.errors import UserError
from biobert_scale.launch.render import (
    STAGES,
    LaunchConfig,
    Places,
    _evaluation,
    limit_seconds,
    render,
    write_scripts,
)
from biobert_scale.launch.site import Devices, Processors, Site, load_site, template
from biobert_scale.launch.submit import check_scripts
from biobert_scale.recipes import change_settings, load_config

PLACES = Places(
    work=Path("/shared/my work"),
    raw=Path("/shared/raw"),
    benchmarks=Path("/shared/sets"),
    jobs=Path("/shared/my work/jobs"),
)
SITE = Site(
    account="lab7",
    sbatch=("--qos=long",),
    srun=("--cpu-bind=none",),
    setup="module load cuda/12\nsource activate 'it'",
    python="/opt/env/bin/python",
    environment={"NCCL_SOCKET_IFNAME": "ib0", "NOTE": "two words"},
    devices=Devices(
        partition="gpus",
        option="--gpus-per-node={count}",
        cpus_per_device=6,
        memory_gib_per_device=40,
        sbatch=("--exclusive",),
    ),
    processors=Processors(partition="cpus", cpus=12, memory_gib=90, sbatch=("--constraint=big mem",)),
)


def scripts(
    stages: tuple[str, ...] = STAGES, *, site: Site = SITE, recipe: str = "biobert-large", **launch: Any
) -> dict[str, str]:
    return render(stages, launch=LaunchConfig(**launch), site=site, config=load_config(recipe), places=PLACES)


def directives(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]


def refused(function: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("nodes", "devices"), [(2, 8), (4, 4), (1, 8)])
def test_one_template_serves_every_shape_of_a_cluster(nodes: int, devices: int) -> None:
    script = scripts(("pretrain",), nodes=nodes, devices_per_node=devices)["pretrain.sbatch"]
    assert {
        f"--nodes={nodes}",
        f"--ntasks-per-node={devices}",
        f"--gpus-per-node={devices}",
        f"--mem={40 * devices}G",
        "--cpus-per-task=6",
    } <= set(directives(script))
    assert "--kill-on-bad-exit=1 --cpus-per-task=6 --cpu-bind=none)" in script


def test_every_option_of_the_launch_arrives() -> None:
    done = scripts(
        nodes=1,
        devices_per_node=4,
        time="1-12",
        signal_seconds=400,
        corpus_time="10:00:00",
        tokens_time="11:00:00",
        evaluation_time="01:30:00",
        array_tasks=50,
        random_weights=True,
        vocabulary=Path("/models/bert"),
        name="mine",
        recipe="demo",
    )
    assert {"--time=1-12", "--signal=B:USR1@400"} <= set(directives(done["pretrain.sbatch"]))
    assert "\n#SBATCH --job-name=mine-pretrain-" in done["pretrain.sbatch"]
    assert "--time=10:00:00" in directives(done["corpus.sbatch"]) and "--time=11:00:00" in directives(
        done["tokens.sbatch"]
    )
    assert all(
        "--time=01:30:00" in directives(done[f"{stage}.sbatch"]) for stage in ("export", "evaluate", "table")
    )
    assert (
        "--executor slurm --tasks 50 --time 10:00:00 --partition cpus" in done["corpus.sbatch"]
        and "--sbatch account=lab7 qos=long 'constraint=big mem'" in done["corpus.sbatch"]
    )
    assert "--workers" not in done["tokens.sbatch"] and "--vocabulary /models/bert" in done["tokens.sbatch"]
    # Two tasks, two seeds, two kinds of weights.
    assert (
        "--array=0-7" in directives(done["evaluate.sbatch"])
        and "tasks=(NCBI-disease HoC) seeds=(1 2) kinds=(pretrained random)" in done["evaluate.sbatch"]
    )


def test_the_sites_own_lines_are_in_every_job() -> None:
    for name, script in scripts().items():
        if name == "submit.sh":
            continue
        on_devices = name in ("pretrain.sbatch", "evaluate.sbatch")
        assert {
            "--account=lab7",
            "--qos=long",
            f"--partition={'gpus' if on_devices else 'cpus'}",
            "--requeue",
            "--open-mode=append",
        } <= set(directives(script))
        assert ("--exclusive" in script, '"--constraint=big mem"' in script) == (on_devices, not on_devices)
        assert "\nmodule load cuda/12\nsource activate 'it'\nset -u\n" in script
        assert (
            "export NCCL_SOCKET_IFNAME=ib0\nexport NOTE='two words'" in script
            and "/opt/env/bin/python -m biobert_scale" in script
        )
        assert (
            f'--output="/shared/my work/jobs/logs/{name.removesuffix(".sbatch")}-'
            in script.replace('logs"', "logs")
            and "cd '/shared/my work'" in script
        )


def test_a_container_a_port_and_the_doctor() -> None:
    site = replace(
        SITE,
        container=("apptainer", "exec", "--nv", "my image.sif"),
        master_port=29400,
        doctor_options=("--minimum-bandwidth-gbs", "5"),
    )
    script = scripts(("pretrain",), site=site)["pretrain.sbatch"]
    assert (
        "apptainer exec --nv 'my image.sif' /opt/env/bin/python -m biobert_scale.train" in script
        and "MASTER_PORT=29400\n" in script
    )
    (doctor,) = re.findall(r'"\$\{ranks\[@\]\}" apptainer .* -m biobert_scale.doctor (.*) \|\| \{\n', script)
    known = shlex.split(doctor.replace("$", ""))
    assert known[:6] == [
        "--config",
        "/shared/my work/jobs/recipe.json",
        "--tokens",
        "tokens",
        "--output",
        "run",
    ] and known[-2:] == ["--minimum-bandwidth-gbs", "5"]
    assert "doctor" not in scripts(("pretrain",), site=replace(SITE, doctor=False))["pretrain.sbatch"]


def test_an_image_has_python_and_sees_the_directories() -> None:
    done = scripts(site=replace(SITE, image="/images/my image.sif", python=""))
    work = "'--bind=/shared/my work' --bind=/shared/raw --bind=/shared/sets '/images/my image.sif' python"
    assert f"apptainer exec --nv {work} -m biobert_scale.train" in done["pretrain.sbatch"]
    assert f"biobert=(apptainer exec {work} -m biobert_scale.cli)" in done["corpus.sbatch"]
    within = replace(PLACES, raw=PLACES.work / "raw", benchmarks=PLACES.work / "raw")
    site = replace(SITE, image="a.sif", devices=replace(SITE.devices, option=""))
    (script,) = (
        text
        for name, text in render(
            ("evaluate",), launch=LaunchConfig(), site=site, config=load_config("demo"), places=within
        ).items()
        if name == "evaluate.sbatch"
    )
    assert "(apptainer exec '--bind=/shared/my work' a.sif /opt/env/bin/python -m" in script


def test_the_recipe_decides_what_is_built_and_scored(tmp_path: Path) -> None:
    done = scripts(recipe="demo", nodes=1, devices_per_node=4)
    assert (
        "--characters-per-shard 2000000" in done["corpus.sbatch"]
        and "--size 3500" in done["tokens.sbatch"]
        and "--validation-fraction 0.03" in done["tokens.sbatch"]
    )
    assert (
        "budget=(--learning-rate 0.001 --epochs 15 --max-seq-length 32 --hallmark-unit sentence-union)"
        in done["evaluate.sbatch"]
    )
    places = Places(work=tmp_path, raw=tmp_path, benchmarks=tmp_path, jobs=tmp_path / "jobs")
    searching = load_config("demo")
    searching = replace(
        searching,
        evaluation=replace(
            searching.evaluation, protocol="biobert", grid=GridConfig(learning_rate=(1e-5, 3e-5), epochs=(5,))
        ),
    )
    rendered = _evaluation(LaunchConfig(nodes=1, devices_per_node=1), searching)
    assert (
        rendered["entities"].endswith("--protocol biobert --grid.learning-rate 1e-05 3e-05 --grid.epochs 5")
        and "biobert" not in rendered["documents"]
    )
    config = change_settings(
        load_config("demo"),
        ["training.optimizer.learning-rate=2e-3", "training.precision.dtype=fp32"],
        where="--settings",
    )
    write_scripts(done, config, places)
    assert (
        load_config(tmp_path / "jobs" / "recipe.json") == config
        and config.training.optimizer.learning_rate == 2e-3
    )


def test_the_task_s_file_decides_which_budget_an_element_has(tmp_path: Path) -> None:
    searching = load_config("demo")
    tasks = ("HoC", "GAD", "BC2GM", "own-entities", "own-labels")
    searching = replace(searching, evaluation=replace(searching.evaluation, tasks=tasks, seeds=(1,)))
    values = _evaluation(LaunchConfig(nodes=1, devices_per_node=1), searching)
    values |= {"entities": "--of entities", "documents": "--of documents"}
    for name, kind in (("own-entities", "entities"), ("own-labels", "classification")):
        home = tmp_path / "benchmarks" / name
        home.mkdir(parents=True)
        (home / "task.toml").write_text(f'name = "{name}"\nkind = "{kind}"\n', encoding="utf-8")
    script = template("evaluate.sbatch")
    for name, value in values.items():
        script = script.replace(f"@{name}@", str(value))
    choice = script[script.index("tasks=(") : script.index("\nfi\n")] + '\nfi\necho "$task ${budget[*]}"'
    chosen = [
        subprocess.run(
            ["bash", "-euc", choice],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "SLURM_ARRAY_TASK_ID": str(number)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for number in range(len(tasks))
    ]
    assert [line.replace(" --of", "") for line in chosen] == [
        "HoC documents",
        "GAD documents",
        "BC2GM entities",
        "own-entities entities",
        "own-labels documents",
    ]


def test_submitting_is_a_chain_in_order() -> None:
    assert "for stage in corpus tokens pretrain export evaluate table; do" in scripts()["submit.sh"]
    assert list(scripts(("table", "pretrain"))) == ["pretrain.sbatch", "table.sbatch", "submit.sh"]


@pytest.mark.parametrize(
    ("launch", "says"),
    [
        ({"nodes": 0}, "--nodes"),
        ({"devices_per_node": 0}, "--devices-per-node"),
        ({"nodes": 3}, "does not divide into 24 ranks"),
        ({"time": "soon"}, "'soon' is no time limit: --time"),
        ({"corpus_time": "1:2:3:4"}, "--corpus-time"),
        ({"tokens_time": "0"}, "--tokens-time"),
        ({"time": "00:05:00"}, "leaves no time to train"),
        ({"signal_seconds": 0}, "--signal-seconds"),
        ({"array_tasks": -1}, "--array-tasks"),
        ({"name": "two words"}, "--name"),
    ],
)
def test_a_launch_that_cannot_work_is_refused(launch: dict[str, Any], says: str) -> None:
    assert says in refused(scripts, **launch)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('acount = "x"', "acount"),
        ("account = 7", "account"),
        ("account = ", "not valid TOML"),
        ('sbatch = ["qos=low"]', "sbatch"),
        ('[environment]\n"A B" = "1"', "environment"),
        ('[devices]\noption = "--gres=gpu:8"', "devices.option"),
        ("[devices]\ncpus_per_device = 0", "devices.cpus_per_device"),
        ("[processors]\nmemory_gib = 0", "processors.memory_gib"),
        ("master_port = 80", "master_port"),
        ('image = "a.sif"\ncontainer = ["docker"]', "two containers"),
    ],
)
def test_a_mistake_in_the_site_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    said = refused(load_site, path)
    assert says in said and str(path) in said


def test_a_missing_site_file_says_how_to_get_one(tmp_path: Path) -> None:
    assert "biobert-scale launch site --output" in refused(load_site, tmp_path / "site.toml")


def test_the_example_of_a_site_is_all_defaults(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(template("site.toml"))
    assert load_site(path) == Site()


def test_arrays_from_inside_a_container_are_refused() -> None:
    for site in (replace(SITE, container=("apptainer",)), replace(SITE, image="a.sif")):
        assert "--array-tasks" in refused(scripts, site=site, array_tasks=4)


def test_what_no_directive_can_hold_is_refused() -> None:
    assert "no #SBATCH line can hold" in refused(scripts, site=replace(SITE, account='a"b'))


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("90", 5400),
        ("90:30", 5430),
        ("02:00:00", 7200),
        ("1-0", 86400),
        ("1-12:30", 131400),
        ("2-00:00:05", 172805),
    ],
)
def test_every_form_of_a_time_limit(time: str, seconds: int) -> None:
    assert limit_seconds(time, option="--time") == seconds


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("training.optimizer.lr=1", "changes no setting"),
        ("training", "changes no setting"),
        ("training.micro-batch-size=two", "training.micro_batch_size"),
        ("training=1", "training"),
    ],
)
def test_a_change_of_no_setting_is_refused(change: str, says: str) -> None:
    assert says in refused(change_settings, load_config("demo"), [change], where="--settings")


def test_a_script_that_bash_cannot_read_is_refused(tmp_path: Path) -> None:
    places = Places(work=tmp_path, raw=tmp_path, benchmarks=tmp_path, jobs=tmp_path / "jobs")
    paths = write_scripts(
        scripts(("table",), site=replace(SITE, setup="if true; then")), load_config("demo"), places
    )
    assert "bash cannot read it" in refused(check_scripts, paths)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck")
@pytest.mark.parametrize(
    "site",
    [Site(), replace(SITE, setup="module load cuda/12"), Site(doctor=False)],
    ids=["plain", "full", "without the doctor"],
)
def test_the_rendered_scripts_are_clean_bash(tmp_path: Path, site: Site) -> None:
    for name, script in scripts(site=site).items():
        (tmp_path / name).write_text(script)
    checked = subprocess.run(["shellcheck", *tmp_path.iterdir()], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_the_command_writes_shows_and_checks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "PATH",
        (
            "/usr/bin:/bin"
            if shutil.which("sbatch", path="/usr/bin:/bin") is None
            else str(_bash_alone(tmp_path))
        ),
    )
    site = str(tmp_path / "site.toml")
    assert main(["launch", "site", "--output", site]) == 0 and main(["launch", "site", "--output", site]) == 2
    assert (
        main(
            [
                "launch",
                "slurm",
                "--site",
                site,
                "--work",
                str(tmp_path / "work"),
                "--nodes",
                "4",
                "--devices-per-node",
                "4",
                "--stages",
                "all",
            ]
        )
        == 0
    )
    shown = capsys.readouterr().out
    assert (
        shown.count("#!/bin/bash") == 7
        and "--nodes=4" in shown
        and "not tried on SLURM: no sbatch on the PATH" in shown
    )
    assert sorted(path.name for path in (tmp_path / "work" / "jobs").glob("*.*")) == sorted(
        [*(f"{stage}.sbatch" for stage in STAGES), "recipe.json", "submit.sh"]
    )
    assert main(["launch", "slurm", "--site", site, "--work", str(tmp_path / "work"), "--submit"]) == 2
    assert "--submit" in capsys.readouterr().err


def readme_commands(start: str) -> list[list[str]]:
    """The commands of launch/README.md's bash blocks that begin with some words."""
    text = (Path(__file__).parents[3] / "launch" / "README.md").read_text()
    lines = "".join(re.findall(r"```bash\n(.*?)```", text, re.S)).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip().startswith(start)]


def test_the_readmes_launches_render(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(_bash_alone(tmp_path)))
    commands = readme_commands("biobert-scale launch")
    assert len(commands) >= 6
    for command in commands:
        assert main([word for word in command[1:] if word != "--submit"]) == 0, command


def test_the_readmes_launchers_take_their_files_and_options() -> None:
    from accelerate.commands.launch import launch_command_parser

    files, parser = [], launch_command_parser()
    for command in readme_commands("accelerate launch"):
        known = parser.parse_args(command[2:])
        files.append(known.config_file)
        assert known.module and known.training_script == "biobert_scale.train", command
    root = Path(__file__).parents[3]
    assert {root / name for name in files} == set((root / "launch" / "accelerate").glob("*.yaml"))


def _bash_alone(directory: Path) -> Path:
    (directory / "bin").mkdir()
    (directory / "bin" / "bash").symlink_to("/bin/bash")
    return directory / "bin"
