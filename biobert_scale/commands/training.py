"""The options of `train`."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from biobert_scale.commands.common import parse
from biobert_scale.config import Config
from biobert_scale.config.history import current_name
from biobert_scale.environment import is_first_rank, is_restart
from biobert_scale.ranges import check_number
from biobert_scale.recipes import load_config
from biobert_scale.training.identity import begun_with

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Pre-train from token shards. Any setting of the recipe can be changed by its dotted name."""

    tokens: Path
    """Finished token shards."""
    output: Path
    """Run directory; a run that is already there goes on from its newest intact checkpoint."""
    samples: Path | None = None
    """Index of the samples; runs on the same tokens, lengths and seed can share one. Made where it is missing
    (default: OUTPUT/samples)."""
    profile: str = ""
    """Steps FIRST:LAST whose trace torch's profiler writes to OUTPUT/profile."""
    save_before_limit: float = 0.0
    """In a SLURM job: save and stop so many seconds before its time limit; 0 does not look at the limit."""
    resume: str = "auto"
    """auto: go on from the newest intact checkpoint of OUTPUT, or begin where there is none. never: refuse
    where there is one. must: refuse where there is none."""
    config: str = "biobert-large"
    """Recipe: a name or the path of a TOML file."""
    dry_run: bool = False
    """Print what the run would be and start nothing (see `train --dry-run --help`)."""
    settings: Annotated[Config, tyro.conf.arg(name="")]
    """The recipe's settings."""


@dataclass(frozen=True, kw_only=True)
class DryRunOptions:
    """Print what a run would be: parameters, batch, schedule, arithmetic, memory, disk. Starts no ranks and
    writes nothing."""

    tokens: Path | None = None
    """Finished token shards, for the vocabulary's size and the epochs; without them the recipe's vocabulary
    counts."""
    output: Path | None = None
    """Run directory; only its index of samples is read, where there is one."""
    samples: Path | None = None
    """Index of the samples (default: OUTPUT/samples)."""
    profile: str = ""
    """Taken from the command of a run, and left alone."""
    save_before_limit: float = 0.0
    """Taken from the command of a run, and left alone."""
    resume: str = "auto"
    """Taken from the command of a run, and left alone."""
    config: str = "biobert-large"
    """Recipe: a name or the path of a TOML file."""
    dry_run: bool = True
    world_size: int = 0
    """Ranks of the run; 0 for as many as the launcher started, one without a launcher."""
    device_tflops: float = 0.0
    """10^12 operations that a device really does in a second, for the days that the run takes; 0 leaves them
    out."""
    settings: Annotated[Config, tyro.conf.arg(name="")]
    """The recipe's settings."""


Options = TypeVar("Options", TrainOptions, DryRunOptions)


def train(arguments: list[str]) -> int:
    """Pre-train from token shards; also under accelerate launch, deepspeed, torchrun and srun.

    Parses its options over the chosen recipe, and returns the exit code.
    """
    arguments = list(map(_under_present_name, arguments))
    output = _value_of("--output", arguments)
    begun = begun_with(Path(output)) if output else None
    settings = load_config(_value_of("--config", arguments) or "biobert-large", resumes=begun)
    if "--dry-run" in arguments:
        return _dry_run(
            parse(
                _options_over(settings, DryRunOptions),
                prog="biobert-scale train --dry-run",
                arguments=arguments,
            )
        )
    options = parse(_options_over(settings, TrainOptions), prog="biobert-scale train", arguments=arguments)
    check_number(options.save_before_limit, "[0, 1e8]", "--save-before-limit")
    from biobert_scale.training.loop import train as run_training
    from biobert_scale.training.preemption import exit_code
    from biobert_scale.training.profile import parse_steps
    from biobert_scale.training.retention import check_resume
    from biobert_scale.training.time_limit import slurm_end_time

    check_resume(options.output, "auto" if options.resume == "never" and is_restart() else options.resume)
    profile = parse_steps(options.profile) if options.profile else None
    limit = slurm_end_time() if options.save_before_limit else None
    deadline = limit - options.save_before_limit if limit is not None else None
    return exit_code(
        finished=run_training(
            options.settings,
            options.tokens,
            options.output,
            samples=options.samples,
            profile=profile,
            deadline=deadline,
        )
    )


def _value_of(option: str, arguments: list[str]) -> str:
    """What a command line gives for an option, the last time that it does; empty where it does not."""
    value = ""
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        if argument == option:
            value = following
        elif argument.startswith(f"{option}="):
            value = argument.removeprefix(f"{option}=")
    return value


def _under_present_name(argument: str) -> str:
    """A setting's option under the name that the setting has now."""
    option, sign, value = argument.partition("=")
    *sections, last = option.removeprefix("--").replace("-", "_").split(".")
    no = "no_" * last.startswith("no_")
    old = ".".join([*sections, last.removeprefix("no_")])
    new = current_name(old)
    if not option.startswith("--") or new == old:
        return argument
    *sections, last = new.split(".")
    option = "--" + ".".join([*sections, no + last]).replace("_", "-")
    logger.warning("%s is now %s", argument.partition("=")[0], option)
    return option + sign + value


def _dry_run(options: DryRunOptions) -> int:
    check_number(options.world_size, "[0, 1e6]", "--world-size")
    check_number(options.device_tflops, "[0, 1e6]", "--device-tflops")
    from biobert_scale.training.dry_run import describe_run

    world_size, tells = options.world_size, True
    if not world_size:
        from biobert_scale.training import runtime

        world_size, tells = runtime.describe_ranks(), is_first_rank()
    samples = options.samples or (options.output / "samples" if options.output else None)
    table = describe_run(
        options.settings,
        world_size=world_size,
        tokens=options.tokens,
        samples=samples,
        device_tflops=options.device_tflops,
    )
    if tells:
        print(table)
    return 0


def _options_over(settings: Config, options: type[Options]) -> type[Options]:
    """Options whose settings default to a recipe's."""
    from dataclasses import field, make_dataclass

    made = make_dataclass(
        options.__name__,
        [("settings", Annotated[Config, tyro.conf.arg(name="")], field(default=settings, kw_only=True))],
        bases=(options,),
        frozen=True,
        kw_only=True,
    )
    made.__doc__ = options.__doc__
    return made
