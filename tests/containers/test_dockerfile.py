"""The Dockerfile's own steps on a fresh Debian, in a chroot, and the demo in what they make: as an ordinary
user, on a read-only file system."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from biobert_scale import __version__
from biobert_scale.files import write_json
from tests.docs.account import RECIPE

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DEFINITION = (ROOT / "launch" / "apptainer" / "biobert-scale.def").read_text()
BASE, IMAGE = "localhost/biobert-scale-test-base", "localhost/biobert-scale-test"
CERTIFICATES = "/etc/ssl/certs"
PACKAGES = "python3,python3-venv,ca-certificates"
INSIDE = """set -eu
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t tmpfs tmpfs "$1/tmp"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount --bind "$2" "$1/work"
shift 2
exec "$@"
"""
"""Mounts, in a name space of its own: the image read-only, with `/tmp` and `/work` to write to."""


def copied(text: str) -> set[str]:
    """What the build takes from the repository."""
    lines = [
        line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ") and "--from" not in line
    ]
    return {name for line in lines for name in line}


def test_what_is_copied_is_there_and_sent_to_the_build() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for name in copied(DOCKERFILE):
        assert (ROOT / name).exists() and name.partition("/")[0] in sent
    files = DEFINITION.partition("%files\n")[2].partition("\n\n")[0]
    assert {line.split()[0] for line in files.splitlines()} == copied(DOCKERFILE)


def test_both_recipes_have_one_base_and_the_release_s_version() -> None:
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(.+)$", DOCKERFILE, re.M)
    assert f"\nFrom: {base}\n" in DEFINITION and f"VERSION={__version__}\n" in DEFINITION


def test_the_images_end_with_an_ordinary_user() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.M)[1:]
    names = [stage.splitlines()[0].rpartition(" ")[2] for stage in stages]
    runtime = stages[names.index("runtime")]
    assert "USER 1000:1000" in runtime and "ENTRYPOINT" in runtime
    for name in ("cpu", "cuda"):
        stage = stages[names.index(name)]
        assert stage.startswith("runtime AS ") and "USER" not in stage and "RUN" not in stage


def missing() -> str:
    """Why the images cannot be built here, or nothing."""
    if os.geteuid():
        return "chroot needs root"
    programs = [name for name in ("buildah", "debootstrap", "unshare") if shutil.which(name) is None]
    if programs:
        return f"no {', '.join(programs)} on this machine"
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True
    )
    return "mounts are not allowed here" if tried.returncode else ""


def run(*command: str | Path) -> str:
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env=environment,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout.strip()


def volumes(directory: Path) -> list[str]:
    """What pip is told here is told inside: its settings, the paths that they name, the certificates."""
    settings = run(sys.executable, "-m", "pip", "config", "list").splitlines()
    lines = [re.fullmatch(r"(?:global|:env:|install)\.([\w-]+)='(.*)'", line) for line in settings]
    known = {found[1]: found[2] for found in lines if found}
    (directory / "pip.conf").write_text(
        "\n".join(
            ["[global]", *(f"{key} = {value.replace(chr(92) + 'n', ' ')}" for key, value in known.items())]
        )
    )
    places = {path for value in known.values() for path in re.findall(r"(?:file://)?(/[\w./-]+)", value)}
    mounted = {str(Path(path).parent if path.endswith("/simple") else path) for path in places}
    there = [path for path in (*sorted(mounted), CERTIFICATES) if Path(path).exists()]
    return [f"--volume={path}:{path}:ro" for path in there] + [
        f"--volume={directory}/pip.conf:/etc/pip.conf:ro"
    ]


@pytest.mark.slow
@pytest.mark.timeout(5400)
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_the_image_makes_the_demo_on_a_read_only_file_system(tmp_path: Path) -> None:
    """There is no registry to pull the base image from: Debian's own Python is in its place. Nor need there
    be an index of CPU builds: pip's settings may lead to one, and without it torch is the CUDA build."""
    run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", tmp_path / "base")
    (tmp_path / "base" / "etc" / "hosts").write_text("127.0.0.1 localhost\n")  # a runtime would
    scratch = run("buildah", "from", "scratch")
    run("buildah", "add", "--quiet", scratch, tmp_path / "base", "/")
    run("buildah", "commit", "--quiet", "--rm", scratch, BASE)
    shutil.rmtree(tmp_path / "base")
    arguments = {"PYTHON_IMAGE": BASE, "VERSION": __version__, "TORCH_INDEX": "file:///none"}
    options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    run("buildah", "bud", "--target=cpu", *options, *volumes(tmp_path), f"--tag={IMAGE}", ".")
    work = tmp_path / "work"
    work.mkdir()
    write_json(work / "recipe.json", RECIPE)
    os.chown(work, 1000, 1000)
    container = run("buildah", "from", IMAGE)
    try:
        root = run("buildah", "mount", container)
        script = (
            "cd /work; export PATH=/opt/biobert/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp;"
            " if touch /opt/x; then exit 9; fi; id -u;"
            " biobert-scale --version; biobert-scale demo --recipe recipe.json --output demo"
        )
        inside = ["chroot", "--userspec=1000:1000", root, "/bin/sh", "-euc", script]
        printed = run("unshare", "--mount", "bash", "-c", INSIDE, "bash", root, work, *inside)
    finally:
        run("buildah", "rm", container)
        run("buildah", "rmi", IMAGE, BASE)
    assert printed.startswith(f"1000\nbiobert-scale {__version__}\n")
    assert (work / "demo" / "report.html").stat().st_uid == 1000
