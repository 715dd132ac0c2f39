"""The options of `launch ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from biobert_scale.display import show
from biobert_scale.errors import UserError
from biobert_scale.launch.render import STAGES, LaunchConfig, Places, render, write_scripts
from biobert_scale.launch.site import load_site, template
from biobert_scale.launch.submit import check_scripts, submit
from biobert_scale.recipes import change_settings, load_config
from biobert_scale.training.checkpoint.identity import begun_with

Stage = Literal["all", "corpus", "tokens", "pretrain", "export", "evaluate", "table"]


def launch_site(*, output: Path = Path("site.toml")) -> None:
    """Write the commented example of the file that describes a cluster.

    Account, partitions, environment and whatever else is the cluster's own.

    Args:
        output: the file; nothing that is there is replaced.
    """
    if output.exists():
        raise UserError("is there already", where=output, remedy="edit it, or choose another --output")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(template("site.toml"))
    show(f"written: {output}")


def launch_slurm(
    *,
    site: Path = Path("site.toml"),
    config: str = "biobert-large",
    work: Path = Path("runs/slurm"),
    raw: Path | None = None,
    benchmarks: Path | None = None,
    stages: tuple[Stage, ...] = ("pretrain",),
    launch: Annotated[LaunchConfig, tyro.conf.arg(name="")] = LaunchConfig(),
    settings: tuple[str, ...] = (),
    output: Path | None = None,
    quiet: bool = False,
    submit_: Annotated[bool, tyro.conf.arg(name="submit")] = False,
) -> None:
    """Render, check and submit SLURM jobs: one stage, or the whole chain.

    Shows them, checks them with `sbatch --test-only`, and submits them on --submit. The chain is corpus,
    tokens, pretrain, export, evaluate (an array over task x seed) and table; each job waits for the good end
    of the one before it. Everything is read from and written to WORK: benchmarks, corpus, vocabulary, tokens,
    pretraining, export, evaluation.

    Args:
        site: the cluster's own settings (`biobert-scale launch site` writes an example).
        config: recipe: a name or the path of a TOML file.
        work: directory on a file system that every node sees.
        raw: raw XML files (default: WORK/raw).
        benchmarks: the benchmarks' original files (default: WORK/raw).
        stages: the jobs to render, or all.
        launch: sizes and limits.
        settings: changes to the recipe, as training.micro-batch-size=4.
        output: directory of the scripts, their logs and the resolved recipe (default: WORK/jobs).
        quiet: do not print the scripts.
        submit_: submit the jobs.
    """
    where = work.resolve()
    begun = begun_with(where / "pretraining")
    recipe = change_settings(load_config(config, resumes=begun), settings, where="--settings")
    places = Places(
        work=where,
        raw=(raw or work / "raw").resolve(),
        benchmarks=(benchmarks or work / "raw").resolve(),
        jobs=(output or work / "jobs").resolve(),
    )
    scripts = render(
        STAGES if "all" in stages else stages,
        launch=launch,
        site=load_site(site),
        config=recipe,
        places=places,
    )
    paths = write_scripts(scripts, recipe, places)
    show(
        *(str(path) if quiet else f"#### {path}\n{path.read_text()}" for path in paths), *check_scripts(paths)
    )
    if submit_:
        show(*(f"submitted: {line}" for line in submit(places.jobs)))
