"""One job at a time writes an output: by its name, and by what it waits for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from biobert_scale.errors import UserError
from biobert_scale.launch.render import STAGES, LaunchConfig, Places, render
from biobert_scale.launch.site import Site, load_site
from biobert_scale.recipes import load_config


def scripts(work: str, name: str = "biobert") -> dict[str, str]:
    places = Places(
        work=Path(work), raw=Path("/raw"), benchmarks=Path("/sets"), jobs=Path("/elsewhere") / name
    )
    launch = LaunchConfig(name=name)
    return render(STAGES, launch=launch, site=Site(), config=load_config("biobert-large"), places=places)


def job_names(scripts: dict[str, str]) -> list[str]:
    return [
        line.removeprefix("#SBATCH --job-name=")
        for script in scripts.values()
        for line in script.splitlines()
        if line.startswith("#SBATCH --job-name=")
    ]


def test_a_jobs_name_is_the_outputs() -> None:
    ours, others = job_names(scripts("/srv/a")), job_names(scripts("/srv/b"))
    assert len({*ours, *others}) == 2 * len(STAGES)
    assert job_names(scripts("/srv/a")) == ours
    assert [name.split("-")[:2] for name in ours] == [["biobert", stage] for stage in STAGES]


def test_every_job_waits_for_others_of_its_name_also_where_it_is_submitted_by_hand() -> None:
    for name, script in scripts("/srv/a").items():
        assert name == "submit.sh" or "\n#SBATCH --dependency=singleton\n" in script


def test_the_chain_keeps_both_conditions(tmp_path: Path) -> None:
    """An option of sbatch replaces the script's own line."""
    (tmp_path / "submit.sh").write_text(scripts("/srv/a")["submit.sh"])
    (tmp_path / "sbatch").write_text('#!/bin/bash\necho "$@" >> asked\necho "$(wc -l < asked);cluster"\n')
    (tmp_path / "sbatch").chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    subprocess.run(["bash", str(tmp_path / "submit.sh")], env={"PATH": path}, check=True)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "--parsable corpus.sbatch"
    assert asked[1] == "--parsable --dependency=afterok:1,singleton --kill-on-invalid-dep=yes tokens.sbatch"
    assert len(asked) == len(STAGES) and all("singleton" in line for line in asked[1:])


@pytest.mark.parametrize("option", ["--dependency=afterok:7", "-dafterok:7", "--job-name=mine", "-Jmine"])
def test_a_site_cannot_take_these_conditions_away(tmp_path: Path, option: str) -> None:
    for text, key in (
        (f'sbatch = ["{option}"]', "sbatch"),
        (f'[devices]\nsbatch = ["{option}"]', "devices.sbatch"),
    ):
        (tmp_path / "site.toml").write_text(text)
        with pytest.raises(UserError, match="would replace what the templates set") as refused:
            load_site(tmp_path / "site.toml")
        assert refused.value.where.endswith(key)
