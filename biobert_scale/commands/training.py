"""The options of `train`."""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from biobert_scale.commands.common import parse, values_of
from biobert_scale.config import Config
from biobert_scale.config.history import current_name
from biobert_scale.display import show
from biobert_scale.environment import is_first_rank, is_restart
from biobert_scale.errors import UserError
from biobert_scale.object_address import SCHEME
from biobert_scale.ranges import check_number
from biobert_scale.recipes import load_config
from biobert_scale.training.checkpoint.identity import CONFIG, begun_with

logger = logging.getLogger(__name__)
_DEFAULT_RECIPE = "biobert-large"


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What the command line of `train` says."""

    tokens: Path | None = None
    """Finished token shards, a directory or s3://BUCKET/PREFIX (required but for a dry run, which then counts
    with the recipe's vocabulary)."""
    token_cache: Path = Path("~/.cache/biobert_scale/tokens")
    """Directory on a disk of this machine that tokens of object storage are copied to."""
    token_cache_gigabytes: float = 0.0
    """10^9 bytes that it may hold: files of other tokens that were not used for longest are removed; 0 for no
    limit."""
    output: Path | None = None
    """Run directory; a run that is already there resumes from its newest intact checkpoint (required but for
    a dry run, which reads its index of samples where there is one)."""
    samples: Path | None = None
    """Index of the samples; runs on the same tokens, lengths and seed can share one. Made where it is missing
    (default: OUTPUT/samples)."""
    profile: str = ""
    """Steps FIRST:LAST whose trace torch's profiler writes to OUTPUT/profile."""
    save_before_limit: float = 0.0
    """In a SLURM job: save and stop so many seconds before its time limit; 0 does not look at the limit."""
    resume: Literal["auto", "never", "must"] = "auto"
    """auto: resume from the newest intact checkpoint of OUTPUT, or begin where there is none. never: refuse
    where there is one. must: refuse where there is none."""
    continue_from: str = ""
    """RUN or RUN@STEP: a new run begins with another one's weights, moments and place in the data (default of
    STEP: its newest checkpoint). Settings are the other run's, unless --config is given."""
    config: str = _DEFAULT_RECIPE
    """Recipe: a name or the path of a TOML file."""
    dry_run: bool = False
    """Print what the run would be (parameters, batch, schedule, arithmetic, memory, disk); start no ranks and
    write nothing."""
    world_size: int = 0
    """Of a dry run: ranks; 0 for as many as the launcher started, one without a launcher."""
    device_tflops: float = 0.0
    """Of a dry run: 10^12 operations that a device really does in a second, for the days that the run takes;
    0 leaves them out."""
    settings: Annotated[Config, tyro.conf.arg(name="")]
    """The recipe's settings."""

    def __post_init__(self) -> None:
        check_number(self.save_before_limit, "[0, 1e8]", "--save-before-limit")
        check_number(self.token_cache_gigabytes, "[0, 1e9]", "--token-cache-gigabytes")
        check_number(self.world_size, "[0, 1e6]", "--world-size")
        check_number(self.device_tflops, "[0, 1e6]", "--device-tflops")


def train(arguments: list[str]) -> int:
    """Pre-train from token shards; also under accelerate launch, deepspeed, torchrun and srun.

    Any setting of the recipe can be changed by its dotted name.
    """
    options = _parse_options(arguments)
    if options.dry_run:
        if any(value.startswith(SCHEME) for value in values_of("--tokens", arguments)):
            what, remedy = "a dry run fetches nothing", "leave --tokens out, or give a directory"
            raise UserError(what, where="--tokens", remedy=remedy)
        return _dry_run(options)
    assert options.tokens is not None and options.output is not None
    from biobert_scale.training.checkpoint.retention import check_resume
    from biobert_scale.training.monitor.profile import parse_steps
    from biobert_scale.training.preemption import exit_code
    from biobert_scale.training.run import train as run_training
    from biobert_scale.training.time_limit import slurm_end_time

    resume = "auto" if options.resume == "never" and is_restart() else options.resume
    mirrored = bool(options.settings.training.checkpoint.mirror)  # which may have what `must` asks for
    check_resume(options.output, "auto" if resume == "must" and mirrored else resume)
    profile = parse_steps(options.profile) if options.profile else None
    limit = slurm_end_time() if options.save_before_limit else None
    deadline = limit - options.save_before_limit if limit is not None else None
    tokens = options.tokens
    if (address := values_of("--tokens", arguments)[-1]).startswith(SCHEME):
        from biobert_scale.tokens.cached import cached_tokens

        limit_bytes = round(options.token_cache_gigabytes * 1e9)
        tokens = cached_tokens(address, options.token_cache.expanduser(), limit_bytes=limit_bytes)
    return exit_code(
        finished=run_training(
            options.settings,
            tokens,
            options.output,
            samples=options.samples,
            profile=profile,
            deadline=deadline,
            continue_from=options.continue_from,
            resume=resume,
        )
    )


def _parse_options(arguments: list[str]) -> TrainOptions:
    """The options, whose settings default to those of the recipe that they name.

    Raises:
        UserError: an option that there is not, that is missing, or that has an impossible value.
    """
    arguments = list(map(_under_present_name, arguments))
    output, named, other = (
        values_of(option, arguments)[-1:] for option in ("--output", "--config", "--continue-from")
    )
    if output and "://" in output[0]:
        what = "a run directory is on a file system: a checkpoint is made by renaming it"
        remedy = f"give a directory, and --training.checkpoint.mirror {output[0]}"
        raise UserError(what, where=f"--output {output[0]}", remedy=remedy)
    begun = begun_with(Path(output[0])) if output else None
    if other and not named:
        from biobert_scale.training.checkpoint.continuation import find_origin

        recipe = begun or load_config(find_origin(other[0]) / CONFIG)
    else:
        recipe = load_config([_DEFAULT_RECIPE, *named][-1], resumes=begun)
    options = parse(
        TrainOptions,
        prog="biobert-scale train",
        arguments=arguments,
        default=TrainOptions(settings=recipe),
        description=inspect.getdoc(train),
    )
    if not options.dry_run:
        given = {"--tokens PATH": options.tokens, "--output PATH": options.output}
        if missing := [option for option, value in given.items() if value is None]:
            what = f"missing {', '.join(missing)}"
            raise UserError(what, where="command line", remedy="see `biobert-scale train --help`")
        if options.world_size or options.device_tflops:
            what = "--world-size and --device-tflops are a dry run's"
            remedy = "add --dry-run; a run has the ranks that its launcher starts"
            raise UserError(what, where="command line", remedy=remedy)
    return options


def _dry_run(options: TrainOptions) -> int:
    from biobert_scale.plan.dry_run import describe_run

    world_size, speaks = options.world_size, True
    if not world_size:
        from biobert_scale.training.ranks import this_process

        world_size, speaks = this_process().world_size, is_first_rank()
    table = describe_run(
        options.settings,
        world_size=world_size,
        tokens=options.tokens,
        samples=options.samples or (options.output / "samples" if options.output else None),
        device_tflops=options.device_tflops,
    )
    if speaks:
        show(table)
    return 0


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
