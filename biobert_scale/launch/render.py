"""Job scripts from the templates in `launch/slurm/`: `@name@` stands for a value, ready for bash."""

from __future__ import annotations

import hashlib
import re
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from biobert_scale.config import Config, gradient_accumulation_steps
from biobert_scale.errors import UserError
from biobert_scale.evaluation.tasks.spec import known_tasks
from biobert_scale.files import write_atomically, write_json
from biobert_scale.launch.site import Site, template
from biobert_scale.ranges import check_section

STAGES = ("corpus", "tokens", "pretrain", "export", "evaluate", "table")
"""The chain. Each is a template of that name and a job of its own."""
_LEAST_SECONDS = 60
"""SLURM sends the signal up to a minute too early."""
_TIME = re.compile(r"(?:\d+-)?\d+(?::\d+){0,2}")


@dataclass(frozen=True, kw_only=True)
class LaunchConfig:
    """The size and the limits of the jobs."""

    nodes: int = 2
    """Nodes of the pre-training job."""
    devices_per_node: int = 8
    """Accelerators on each of them; every one gets a rank."""
    time: str = "24:00:00"
    """Limit of the pre-training job, as hours:minutes:seconds or days-hours. Reaching it, the run saves and
    the job queues itself again."""
    signal_seconds: int = 300
    """How long before that limit pre-training is asked to save and stop."""
    corpus_time: str = "24:00:00"
    """Limit of the corpus job."""
    tokens_time: str = "24:00:00"
    """Limit of the vocabulary and token job."""
    evaluation_time: str = "04:00:00"
    """Limit of the export job, of each fine-tuning run, and of the table job."""
    array_tasks: int = 0
    """Corpus and tokens: build with so many array elements at once, which their jobs submit and wait for; 0
    builds on one node."""
    random_weights: bool = False
    """Also fine-tune the same shape from random weights, for comparison."""
    vocabulary: Path | None = None
    """Take this vocab.txt, or the one in this model directory, instead of training a vocabulary."""
    name: str = "biobert"
    """What the jobs' names begin with."""

    def __post_init__(self) -> None:
        check_section(
            self,
            "--",
            nodes="[1, 1e5]",
            devices_per_node="[1, 1024]",
            signal_seconds="[1, 65535]",
            array_tasks="[0, 1e6]",
        )


@dataclass(frozen=True, kw_only=True)
class Places:
    """Directories that every node sees, as absolute paths. `work` is arranged as `biobert-scale report` reads
    it."""

    work: Path
    raw: Path
    benchmarks: Path
    jobs: Path

    @property
    def run(self) -> Path:
        return self.work / "pretraining"


def render(
    stages: Iterable[str], *, launch: LaunchConfig, site: Site, config: Config, places: Places
) -> dict[str, str]:
    """The scripts of a launch by their file names, in the order of submission; `submit.sh` comes last.

    Raises:
        UserError: a size or a limit that cannot work, or a value that a script cannot hold.
    """
    chosen = [stage for stage in STAGES if stage in set(stages)]
    _check(chosen, launch, config, site)
    scripts = {
        f"{stage}.sbatch": _fill(template(f"{stage}.sbatch"), _values(stage, launch, site, config, places))
        for stage in chosen
    }
    return {**scripts, "submit.sh": _fill(template("submit.sh"), {"stages": " ".join(chosen)})}


def write_scripts(scripts: dict[str, str], config: Config, places: Places) -> list[Path]:
    """Write scripts, the resolved recipe that they name, and the directory of their logs; returns the
    scripts' paths."""
    places.work.mkdir(parents=True, exist_ok=True)
    (places.jobs / "logs").mkdir(parents=True, exist_ok=True)
    write_json(places.jobs / "recipe.json", _absolute(config))
    paths = []
    for name, text in scripts.items():
        write_atomically(places.jobs / name, text)
        paths.append(places.jobs / name)
    return paths


def limit_seconds(time: str, *, option: str) -> int:
    """SLURM's forms of a time limit: minutes, minutes:seconds, hours:minutes:seconds,
    days-hours[:minutes[:seconds]].

    Raises:
        UserError: none of them.
    """
    if not _TIME.fullmatch(time):
        raise UserError(
            f"'{time}' is no time limit", where=option, remedy="write hours:minutes:seconds, or days-hours"
        )
    days, dash, clock = time.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if not dash and len(parts) < 3:
        parts = [0, *parts]  # without days, one number is minutes, and two are minutes and seconds
    hours, minutes, seconds = (*parts, 0, 0)[:3]
    return ((24 * int(days or 0) + hours) * 60 + minutes) * 60 + seconds


def _check(stages: list[str], launch: LaunchConfig, config: Config, site: Site) -> None:
    if "pretrain" in stages:
        gradient_accumulation_steps(config.training, launch.nodes * launch.devices_per_node)
    for field in ("time", "corpus_time", "tokens_time", "evaluation_time"):
        option = f"--{field.replace('_', '-')}"
        if limit_seconds(getattr(launch, field), option=option) < 1:
            raise UserError("no time at all", where=option, remedy="give a limit above zero")
    if limit_seconds(launch.time, option="--time") <= launch.signal_seconds + _LEAST_SECONDS:
        signal = f"the signal, {launch.signal_seconds} s and up to a minute earlier"
        what = f"a limit of {launch.time} leaves no time to train before {signal}"
        raise UserError(what, where="--time", remedy="raise the limit, or lower --signal-seconds")
    if launch.array_tasks and (site.container or site.image):
        what = "array elements that a job submits from inside a container"
        remedy = "leave it out: one node builds the corpus, or install the package outside"
        raise UserError(what, where="--array-tasks", remedy=remedy)
    if not re.fullmatch(r"[\w.-]+", launch.name):
        what = f"'{launch.name}' is no job name"
        raise UserError(what, where="--name", remedy="use letters, digits, dots, - and _")


def _values(stage: str, launch: LaunchConfig, site: Site, config: Config, places: Places) -> dict[str, Any]:
    """What stands for each name in a stage's template."""
    on_devices = stage in ("pretrain", "evaluate")
    count = {"pretrain": launch.devices_per_node, "evaluate": 1}.get(stage, 0)
    container = _apptainer(site, places, count=count) if site.image else site.container
    python = shlex.join([*container, site.python or ("python" if site.image else sys.executable)])
    limit = {"corpus": launch.corpus_time, "tokens": launch.tokens_time, "pretrain": launch.time}.get(
        stage, launch.evaluation_time
    )
    values = {
        # SLURM starts one job of a name at a time: the name is the output's.
        "job": f"{launch.name}-{stage}-{hashlib.sha256(str(places.work).encode()).hexdigest()[:8]}",
        "time": limit,
        "logs": _directive(str(places.jobs / "logs").replace("%", "%%")),
        "options": _options(site, count=count),
        "cpus": site.devices.cpus_per_device if on_devices else site.processors.cpus,
        "memory_gib": (
            count * site.devices.memory_gib_per_device if on_devices else site.processors.memory_gib
        ),
        "setup": site.setup.strip(),
        "environment": "\n".join(
            f"export {name}={shlex.quote(value)}" for name, value in site.environment.items()
        ),
        "work": shlex.quote(str(places.work)),
        "python": python,
        "records": shlex.quote(str(places.run / "jobs" if stage == "pretrain" else places.jobs / "records")),
        "run": shlex.quote(str(places.run)),
        "recipe": shlex.quote(str(places.jobs / "recipe.json")),
        "parallel": _parallel(launch, site, limit),
    }
    if stage == "corpus":
        values |= {
            "raw": shlex.quote(str(places.raw)),
            "benchmarks": shlex.quote(str(places.benchmarks)),
            "settings": _changed(config.corpus),
        }
    elif stage == "tokens":
        taken = ["--vocabulary", str(launch.vocabulary.resolve())] if launch.vocabulary else []
        values |= {
            "vocabulary": " ".join([_changed(config.vocabulary), shlex.join(taken)]).strip(),
            "settings": _changed(config.tokens),
        }
    elif stage == "pretrain":
        values |= _pretraining(launch, site, values)
    elif stage == "evaluate":
        values |= _evaluation(launch, config)
    return {**values, "common": _fill(template("common.sh"), values).rstrip()}


def _apptainer(site: Site, places: Places, *, count: int) -> list[str]:
    """What runs a command in the site's image, with the launch's directories and, where there are devices,
    their driver."""
    driver = ["--nv"] if count and site.devices.option else []
    given = sorted({places.work, places.raw, places.benchmarks, places.jobs})
    outermost = [path for path in given if not any(other in path.parents for other in given)]
    return ["apptainer", "exec", *driver, *(f"--bind={path}" for path in outermost), site.image]


def _pretraining(launch: LaunchConfig, site: Site, values: dict[str, Any]) -> dict[str, Any]:
    options = {"doctor_options": "".join(f" {shlex.quote(option)}" for option in site.doctor_options)}
    doctor = _fill(template("doctor.sh"), values | options).rstrip() if site.doctor else ""
    return {
        "nodes": launch.nodes,
        "devices_per_node": launch.devices_per_node,
        "signal_seconds": launch.signal_seconds,
        "master_port": site.master_port or "$((10000 + (SLURM_JOB_ID + ${SLURM_RESTART_COUNT:-0}) % 20000))",
        "srun": "".join(f" {shlex.quote(option)}" for option in site.srun),
        "doctor": doctor,
    }


def _evaluation(launch: LaunchConfig, config: Config) -> dict[str, Any]:
    evaluation = config.evaluation
    kinds = ("pretrained", "random") if launch.random_weights else ("pretrained",)
    protocol = f"--protocol {evaluation.protocol}" if evaluation.protocol else ""
    grid = _changed(evaluation.grid, "grid.")
    return {
        "tasks": shlex.join(evaluation.tasks),
        "entity_tasks": " ".join(name for name in evaluation.tasks if _is_of_entities(name)),
        "seeds": " ".join(map(str, evaluation.seeds)),
        "kinds": " ".join(kinds),
        "last": len(evaluation.tasks) * len(evaluation.seeds) * len(kinds) - 1,
        "documents": " ".join(filter(None, (_changed(evaluation.documents), grid))),
        "entities": " ".join(filter(None, (_changed(evaluation.entities), protocol, grid))),
    }


def _is_of_entities(task: str) -> bool:
    """Whether one of the package's tasks is; no other is."""
    return task in (known := known_tasks()) and known[task].kind == "entities"


def _options(site: Site, *, count: int) -> str:
    """The site's `#SBATCH` lines of a job that needs `count` devices on each node."""
    pool = site.devices if count else site.processors
    lines = [f"--account={site.account}"] if site.account else []
    lines += [f"--partition={pool.partition}"] if pool.partition else []
    lines += [site.devices.option.format(count=count)] if count and site.devices.option else []
    return "\n".join(f"#SBATCH {_directive(line)}" for line in (*lines, *site.sbatch, *pool.sbatch))


def _directive(value: str) -> str:
    """A value for a `#SBATCH` line.

    Raises:
        UserError: it has what no such line can hold.
    """
    if re.search(r"[\n\"'\\#]", value):
        raise UserError(
            f"{value!r} has a character that no #SBATCH line can hold",
            where="the site file, or the path",
            remedy="leave quotes, #, backslashes and line breaks out",
        )
    return f'"{value}"' if " " in value else value


def _parallel(launch: LaunchConfig, site: Site, limit: str) -> str:
    """How the corpus and the tokens are built in parallel: on the job's own node, or as arrays that it
    submits."""
    if not launch.array_tasks:
        return '--workers "$SLURM_CPUS_PER_TASK"'
    more = [f"account={site.account}"] if site.account else []
    more += [option.lstrip("-") for option in (*site.sbatch, *site.processors.sbatch)]
    options = ["--executor", "slurm", "--tasks", str(launch.array_tasks), "--time", limit]
    options += ["--partition", site.processors.partition] if site.processors.partition else []
    options += ["--setup", site.setup.strip()] if site.setup.strip() else []
    return shlex.join(options + (["--sbatch", *more] if more else []))


def _changed(settings: Any, prefix: str = "") -> str:
    """A stage's settings as its command's options, those that are not the default."""
    default, words = type(settings)(), []
    for field in fields(settings):
        value, option = getattr(settings, field.name), prefix + field.name.replace("_", "-")
        if value == getattr(default, field.name):
            continue
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", *map(str, value if isinstance(value, tuple) else [value])]
    return shlex.join(words)


def _absolute(config: Config) -> Config:
    """A recipe whose files are found from any directory."""
    training = config.training
    weights, engine = training.initial_weights, training.engine.deepspeed_config
    if weights and Path(weights).parent.is_dir():
        training = replace(training, initial_weights=str(Path(weights).resolve()))
    if engine.endswith(".json"):
        training = replace(
            training, engine=replace(training.engine, deepspeed_config=str(Path(engine).resolve()))
        )
    return replace(config, training=training)


def _fill(text: str, values: dict[str, Any]) -> str:
    """Put the values in; a line that holds nothing but an empty value is left out."""
    text = "\n".join(
        line
        for line in text.split("\n")
        if not (re.fullmatch(r"@[a-z_]+@", line) and values[line[1:-1]] == "")
    )
    return re.sub(r"@([a-z_]+)@", lambda name: str(values[name[1]]), text)
