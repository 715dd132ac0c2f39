"""The command blocks of the documents, each of them run with small sizes put in. A block that no rule knows
fails."""

from __future__ import annotations

import ast
import logging
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from biobert_scale.commands import COMMANDS
from biobert_scale.evaluation.tasks.spec import read_task
from tests.docs.account import ROOT, Account, clone, furnish, make_small
from tests.docs.grammar import Rotten, check_command, foreign_options, options_of
from tests.docs.markdown import Block, code_spans, commands, headings, links, read_blocks
from tests.factories import write_tokens
from tests.slurm_cluster import Cluster

logger = logging.getLogger(__name__)
PAGES = tuple(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "[a-z]*/README.md", "benchmarks/*/README.md")
    for path in sorted(ROOT.glob(pattern))
)
"""Every page that is written by hand."""
DOCUMENTS = (
    "README.md",
    "launch/README.md",
    "docs/how-to/doctor.md",
    "docs/how-to/evaluation.md",
    "docs/how-to/own-data.md",
    "docs/how-to/release.md",
)
"""Those whose blocks are run."""

PROGRAMS = """for name in accelerate deepspeed tensorboard torchrun; do
    sed "1s|.*|#!$PWD/env/bin/python|" {scripts}/$name > env/bin/$name
    chmod +x env/bin/$name
done"""
SMALL = (
    # The account: the package is installed from the clone; what it needs, with its programs, is taken from
    # here.
    (
        r"^python3 -m venv env$",
        (
            "{python} -m venv env\nenv/bin/pip uninstall --yes setuptools\necho {packages} >"
            " env/lib/python{version}/site-packages/here.pth"
        ),
    ),
    (
        r"pip install -c constraints.txt \.$",
        "pip install --no-index --no-deps --no-build-isolation -c constraints.txt .\n" + PROGRAMS,
    ),
    (r"^make ", "make BIN=small INSTALLED=small/.installed "),
    # The material.
    (
        r"^biobert-scale corpus download",
        "small/serve {port} biobert-scale corpus download --base-url http://127.0.0.1:{port}",
    ),
    (r"--raw DIR --benchmarks DIR", "--raw small/raw --benchmarks small/raw --recipe small/recipe.json"),
    (r"corpus synthesize", "corpus synthesize --abstracts 300 --full-texts 10"),
    (r"--size 28996", "--size 600"),
    (r"^biobert-scale tokens build", "biobert-scale tokens build --validation-fraction 0.1"),
    # The model and its budget; what only calculates keeps the large one.
    (r"--config (biobert-large|demo)\b(?!.* --(dry-run|devices) )", "--config small/recipe.json"),
    (r"launch slurm (?!.*--config)", "launch slurm --config small/recipe.json "),
    (r"evaluate finetune", "evaluate finetune --epochs 1 --max-seq-length 64"),
    # The machine.
    (r"--nodes 4 --devices-per-node 4", "--nodes 2 --devices-per-node 2"),
    (r"--devices-per-node 8", "--devices-per-node 1"),
    (r"node-8\.yaml", "node-8.yaml --num_processes 2"),
    (r"two-nodes-of-8\.yaml", "two-nodes-of-8.yaml --num_processes 2"),
    (r"accelerate launch(?!.*--main_process_port)", "accelerate launch --main_process_port 0"),
    (r"--num_gpus 8", "--num_gpus 2 --master_port {port}"),
    (r"--standalone --nproc-per-node 8", "--standalone --nproc-per-node 2"),
    (
        r"--nnodes 2 --node-rank 0 --nproc-per-node 8",
        "--nnodes 2 --node-rank $SLURM_NODEID --nproc-per-node 1",
    ),
    (r"(?<=--machine_rank )0|(?<=--node_rank )0", "$SLURM_NODEID"),
    (r"tensorboard --logdir", "tensorboard --inspect --logdir"),  # tells what it finds there, and ends
    (r"sleep 60", "sleep 1"),
)
"""What is put in for what, line by line, in this order."""

FILLED_IN = {
    "site.toml": (
        ("cpus_per_device = 8", "cpus_per_device = 1"),
        ("memory_gib_per_device = 32", "memory_gib_per_device = 1"),
        ("cpus = 16", "cpus = 2"),
        ("memory_gib = 64", "memory_gib = 4"),
    ),
    "launch/deepspeed/hostfile": (("slots=8", "slots=1"),),
}
"""Files that the reader fills in."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How the block that begins so is checked."""

    document: str
    begins: str
    place: Literal["here", "python", "cluster", "nodes", "parsed", "no command"]
    """On this machine; by Python; on the cluster's head; on each of its nodes; only parsed; not even that."""
    leaves: tuple[str, ...] = ()
    """Files that are there afterwards."""
    reason: str = ""
    """Why it is not run."""


RULES = (
    Rule(
        document="README.md",
        begins="raw XML -> documents",
        place="no command",
        reason="a picture of the stages",
    ),
    Rule(document="README.md", begins="make demo", place="here", leaves=("runs/demo/report.html",)),
    Rule(
        document="README.md",
        begins="biobert-scale demo --raw",
        place="here",
        leaves=("runs/real/report.html",),
    ),
    Rule(
        document="README.md",
        begins="biobert-scale corpus download",
        place="here",
        leaves=(
            "pictures",
            "run/finished.json",
            "scores/NCBI-disease/pretrained-seed3/metrics.json",
            "table/table.json",
            "entities.jsonl",
        ),
    ),
    Rule(document="README.md", begins="from transformers import", place="python"),
    Rule(document="README.md", begins="biobert-scale train", place="here", leaves=("run/finished.json",)),
    Rule(
        document="launch/README.md", begins="python3 -m venv", place="here", leaves=("env/bin/biobert-scale",)
    ),
    Rule(
        document="launch/README.md",
        begins="biobert-scale launch site",
        place="cluster",
        leaves=("site.toml",),
    ),
    Rule(
        document="launch/README.md",
        begins="biobert-scale corpus synthesize",
        place="cluster",
        leaves=("trial/evaluation/table.txt",),
    ),
    Rule(document="launch/README.md", begins="squeue --me", place="cluster"),
    Rule(
        document="launch/README.md",
        begins="biobert-scale corpus download",
        place="cluster",
        leaves=("work/tokens/manifest.json",),
    ),
    Rule(
        document="launch/README.md",
        begins="biobert-scale train --config biobert-large --tokens work/tokens --dry-run",
        place="cluster",
    ),
    Rule(
        document="launch/README.md",
        begins="biobert-scale launch slurm",
        place="cluster",
        leaves=("work/pretraining/finished.json", "work/evaluation/table.txt"),
    ),
    Rule(document="launch/README.md", begins="tail -n 20 work", place="cluster"),
    Rule(
        document="launch/README.md",
        begins="biobert-scale train --config biobert-large --tokens tokens",
        place="here",
        leaves=("run/finished.json",),
    ),
    Rule(
        document="launch/README.md",
        begins="accelerate launch --config_file launch/accelerate/cpu-2.yaml",
        place="here",
        leaves=("run/finished.json",),
    ),
    Rule(
        document="launch/README.md",
        begins="accelerate launch --config_file launch/accelerate/two-nodes-of-8.yaml",
        place="nodes",
        leaves=("run/finished.json",),
    ),
    Rule(
        document="launch/README.md",
        begins="torchrun --nnodes 2",
        place="nodes",
        leaves=("run/finished.json",),
    ),
    Rule(
        document="launch/README.md",
        begins="deepspeed --hostfile launch/deepspeed/hostfile --no_ssh",
        place="nodes",
        leaves=("run/finished.json",),
    ),
    Rule(
        document="launch/README.md",
        begins="deepspeed --hostfile launch/deepspeed/hostfile --module",
        place="parsed",
        reason="pdsh would log in on other machines",
    ),
    Rule(
        document="launch/README.md",
        begins="until [ -e run/finished.json",
        place="here",
        leaves=("run/finished.json",),
    ),
    Rule(document="docs/how-to/doctor.md", begins="biobert-scale doctor", place="here"),
    Rule(document="docs/how-to/doctor.md", begins="accelerate launch", place="here"),
    Rule(
        document="docs/how-to/evaluation.md",
        begins="biobert-scale evaluate prepare",
        place="parsed",
        reason="downloads, and forty runs a task; README's and release.md's blocks are run",
    ),
    Rule(
        document="docs/how-to/evaluation.md",
        begins="biobert-scale evaluate blurb",
        place="parsed",
        reason="up to ten runs a task, of six settings each",
    ),
    Rule(
        document="docs/how-to/evaluation.md",
        begins="for step in",
        place="parsed",
        reason="needs those checkpoints",
    ),
    Rule(
        document="docs/how-to/own-data.md",
        begins='name = "my-task"',
        place="no command",
        reason="the file that the account has",
    ),
    Rule(
        document="docs/how-to/own-data.md",
        begins="biobert-scale evaluate prepare",
        place="here",
        leaves=("prepared/my-task/test.gold.jsonl",),
    ),
    Rule(
        document="docs/how-to/own-data.md",
        begins="biobert-scale evaluate finetune",
        place="parsed",
        reason="five runs a rate; README's and release.md's blocks are run",
    ),
    Rule(
        document="docs/how-to/own-data.md",
        begins='name = "my-relations"',
        place="no command",
        reason="another task's file",
    ),
    Rule(
        document="docs/how-to/release.md",
        begins="pre-training run",
        place="no command",
        reason="a picture of the way",
    ),
    Rule(
        document="docs/how-to/release.md",
        begins="biobert-scale export run --tokens tokens --corpus corpus --output",
        place="here",
        leaves=("model/SHA256SUMS",),
    ),
    Rule(
        document="docs/how-to/release.md",
        begins="biobert-scale export run --tokens tokens --corpus corpus --evaluation",
        place="here",
        leaves=("model/README.md",),
    ),
    Rule(
        document="docs/how-to/release.md",
        begins="biobert-scale evaluate finetune",
        place="here",
        leaves=("tagger/README.md",),
    ),
    Rule(document="docs/how-to/release.md", begins="from transformers import", place="python"),
    Rule(
        document="docs/how-to/release.md",
        begins="export HF_TOKEN",
        place="parsed",
        reason="needs a hub's token",
    ),
    Rule(
        document="docs/how-to/release.md",
        begins="biobert-scale export run --tokens tokens --output milestones",
        place="parsed",
        reason="needs a hub's token",
    ),
    Rule(
        document="docs/how-to/release.md",
        begins="biobert-scale tag tagger",
        place="here",
        leaves=("entities.jsonl",),
    ),
    Rule(
        document="docs/how-to/release.md",
        begins="biobert-scale tag chemicals",
        place="parsed",
        reason="two models and a directory of articles",
    ),
    Rule(
        document="docs/how-to/release.md",
        begins="zcat",
        place="parsed",
        reason="two models and a baseline file",
    ),
    Rule(document="docs/how-to/release.md", begins='{"id"', place="no command", reason="an answer"),
)
BLOCKS = [block for document in DOCUMENTS for block in read_blocks(ROOT / document, document)]
OTHER_OPTIONS = {"--test-only", "--batch", "--signal", "--requeue", "--logdir", "--check", "--multi_gpu"}
"""Of SLURM, TensorBoard, sha256sum and accelerate, which the text names."""


def rule_for(block: Block) -> Rule:
    """The one rule that knows a block."""
    known = [rule for rule in RULES if rule.document == block.document and block.text.startswith(rule.begins)]
    if len(known) != 1:
        raise Rotten(
            f"{len(known)} rules know the block at {block.document}:{block.line}"
            f" ({block.text.splitlines()[0]!r}): add one that says how it is run"
        )
    return known[0]


def check(block: Block) -> int:
    """Everything about a block that shows without running it; returns how many commands it has."""
    place = rule_for(block).place
    if place == "python":
        ast.parse(block.text)
    elif place != "no command":
        read = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True)
        if read.returncode:
            raise Rotten(read.stderr)
        for words in commands(block.text):
            check_command(words)
        return len(commands(block.text))
    return 0


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.document}:{block.line}")
def test_every_command_of_a_block_could_be_begun(block: Block) -> None:
    assert (check(block) > 0) == (rule_for(block).place not in ("python", "no command"))


def test_every_rule_and_every_small_size_is_of_use() -> None:
    known = [rule_for(block) for block in BLOCKS]
    assert sorted(map(repr, known)) == sorted(map(repr, RULES))
    assert all(rule.reason for rule in RULES if rule.place in ("parsed", "no command"))
    values = dict.fromkeys(("python", "packages", "scripts", "version", "port"), "")
    used = set().union(
        *(
            make_small(block.text, SMALL, **values)[1]
            for block, rule in zip(BLOCKS, known, strict=True)
            if not rule.reason
        )
    )
    assert used == {pattern for pattern, _ in SMALL}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("biobert-scale train --config biobert-large --tokens tokens --no-such-option 1", "no-such-option"),
        ("biobert-scale train --config no-such-recipe --tokens tokens --output run", "no-such-recipe"),
        ("biobert-scale train --config demo --tokens tokens", "output"),
        ("biobert-scale launch slurm --settings training.no-such-setting=1", "no-such-setting"),
        ("biobert-scale corpus bild --raw raw", "no command"),
        (
            (
                "accelerate launch --config_file launch/accelerate/gone.yaml -m biobert_scale.train --config"
                " demo --tokens t --output r"
            ),
            "gone.yaml",
        ),
        (
            "accelerate launch --config_file launch/accelerate/one.yaml -m biobert_scale.trane --config demo",
            "biobert_scale.trane",
        ),
        (
            "deepspeed --num_gpu_s 8 --module biobert_scale.train --config demo --tokens t --output r",
            "num_gpu_s",
        ),
        (
            (
                "torchrun --standalone --nproc-per-node 8 -m biobert_scale.train --config demo --tokns t"
                " --output r"
            ),
            "tokns",
        ),
        ("make dmeo", "dmeo"),
        ("biobert_scale train", "program"),
        ("until [ -e run/finished.json ]; do", "unexpected end"),
    ],
)
def test_rot_is_noticed(text: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    block = Block(document="README.md", line=1, language="bash", text=text)
    monkeypatch.setattr(f"{__name__}.RULES", (Rule(document="README.md", begins=text, place="here"),))
    with pytest.raises(Rotten, match=re.escape(says)):
        check(block)


def test_a_block_that_no_rule_knows_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        "Text.\n\n```bash\nbiobert-scale --version\n```\n\n    torchrun --version\n\n1. Text:\n"
    )
    blocks = read_blocks(tmp_path / "README.md", "README.md")
    assert [(block.line, block.language) for block in blocks] == [(4, "bash"), (7, "indented")]
    for block in blocks:
        with pytest.raises(Rotten, match="0 rules"):
            check(block)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: str) -> None:
    gone = []
    for file, heading in links(ROOT / page):
        target = (ROOT / page).parent / file if file else ROOT / page
        if not target.exists() or (heading and heading not in headings(target)):
            gone.append(f"{file}#{heading}")
    assert not gone


@pytest.mark.parametrize("page", [page for page in PAGES if page not in DOCUMENTS])
def test_every_command_of_a_page_whose_blocks_are_not_run_could_be_begun(page: str) -> None:
    for block in read_blocks(ROOT / page, page):
        if block.language == "bash" and not page.startswith("benchmarks/"):
            for words in commands(block.text):
                check_command(words)


def test_what_is_to_be_changed_for_an_addition_is_there() -> None:
    """The files of docs/explanation/architecture.md: of the package, of the repository, or of the directory
    of the test that is named before."""
    table = (
        (ROOT / "docs" / "explanation" / "architecture.md").read_text().partition("## Where to add what")[2]
    )
    rows = [line for line in table.partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    gone = []
    for row in rows:
        tests = re.findall(r"`(tests/\S+\.py)`", row)
        assert tests or "tests/" in row, f"no test: {row}"
        places = [ROOT, ROOT / "biobert_scale", *((ROOT / test).parent for test in tests)]
        gone += [
            name
            for name in re.findall(r"`([\w/.-]+\.(?:py|md))`", row)
            if name != "test_NAME.py" and not any((place / name).exists() for place in places)
        ]
    assert not gone


def test_tasks_in_the_documents_can_be_read(tmp_path: Path) -> None:
    blocks = [
        block for block in read_blocks(ROOT / "docs/how-to/own-data.md", "") if block.language == "toml"
    ]
    assert len(blocks) == 2
    for block in blocks:
        (tmp_path / "task.toml").write_text(block.text)
        read_task(tmp_path / "task.toml")


def test_options_that_the_text_names_exist() -> None:
    known = set().union(OTHER_OPTIONS, foreign_options(), *map(options_of, COMMANDS))
    named = {
        option
        for document in DOCUMENTS
        for span in code_spans(ROOT / document)
        for option in re.findall(r"(?<!\S)--[a-z][\w.-]*", span)
    }
    assert len(named) > 10 and named <= known, named - known


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Account:
    """An account in which the first block of launch/README.md has been run."""
    account = clone(tmp_path_factory.mktemp("account"))
    (block,) = [
        block
        for block in BLOCKS
        if block.document == "launch/README.md" and block.text.startswith("python3 -m venv")
    ]
    assert not follow(block, account)
    return account


@pytest.fixture
def account(installed: Account, tmp_path: Path) -> Account:
    fresh = clone(tmp_path / "account")
    fresh.file("env").symlink_to(installed.file("env"))
    furnish(fresh)
    return fresh


def follow(block: Block, account: Account, cluster: Cluster | None = None) -> list[str]:
    """Do what a block says, with small sizes; returns which of the files that it should leave are missing."""
    rule = rule_for(block)
    logger.info("%s:%d, %s", block.document, block.line, rule.place)
    script, _ = make_small(block.text, SMALL, **account.values())
    if "--output run" in script:
        shutil.rmtree(account.file("run"), ignore_errors=True)
    if rule.place == "here":  # also in a block of several, each command begins a run of its own
        script = re.sub(r"^(?=.* --output run( |$))", "rm -rf run; ", script, flags=re.MULTILINE)
    if rule.place == "python":
        account.file("block.py").write_text(block.text)
        script = "python block.py"
    if rule.place == "nodes":
        account.file("block.sh").write_text(f"set -euo pipefail\n{script}\n")
        script = (
            "sbatch --parsable --nodes=2 --ntasks-per-node=1 --cpus-per-task=1 --mem=3G --output=nodes.log"
            ' --wrap "srun --kill-on-bad-exit=1 bash block.sh"'
        )
    printed = account.run(script, through=None if cluster is None else cluster.inside(account.directory))
    if cluster is not None:
        wait_for_jobs(cluster, account)
    missing = [name for name in rule.leaves if not account.file(name).exists()]
    if missing:
        logger.error("%s\nleft no %s:\n%s", script, missing, printed[-3000:])
    for pattern, small in FILLED_IN.get("site.toml", ()) if "launch site" in block.text else ():
        fill_in(account.file("site.toml"), pattern, small)
    return missing


def fill_in(path: Path, pattern: str, small: str) -> None:
    text = path.read_text()
    assert pattern in text, f"{path.name} has no line with {pattern}"
    path.write_text(text.replace(pattern, small))


def wait_for_jobs(cluster: Cluster, account: Account, seconds: float = 900) -> None:
    """Wait until the queue is empty; all its jobs must have come to a good end."""
    deadline = time.monotonic() + seconds
    while states := set(cluster.run("squeue", "--noheader", "--states=all", "--format=%T").split()) - {
        "COMPLETED"
    }:
        logs = "".join(
            path.read_text()
            for path in (*account.directory.glob("*/jobs/logs/*.log"), *account.directory.glob("nodes.log"))
        )
        assert states <= {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}, f"{states}\n{logs[-6000:]}"
        assert time.monotonic() < deadline, f"{states}\n{logs[-6000:]}"
        time.sleep(0.5)


def chapter(document: str, *places: str) -> list[Block]:
    """A document's commands that are run at these places; there must be some. `follow` judges each."""
    blocks = [
        block
        for block in BLOCKS
        if block.document == document
        and rule_for(block).place in places
        and not block.text.startswith("python3 -m venv")
    ]
    assert blocks, f"{document} has no command to run at {places}"
    return blocks


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_readme_and_the_release_from_top_to_bottom(account: Account) -> None:
    *steps, other_run = chapter("README.md", "here", "python")
    for block in (*steps, *chapter("docs/how-to/release.md", "here", "python"), other_run):
        assert not follow(block, account)
    for block in chapter("docs/how-to/own-data.md", "here"):
        shutil.rmtree(account.file("prepared"))
        assert not follow(block, account)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_launching_on_one_machine(account: Account, tmp_path: Path) -> None:
    account.file("tokens").symlink_to(write_tokens(tmp_path / "made-up", documents=200))
    for block in (*chapter("launch/README.md", "here"), *chapter("docs/how-to/doctor.md", "here")):
        assert not follow(block, account)


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_launching_on_a_cluster(account: Account, cluster: Cluster, tmp_path: Path) -> None:
    account.file("tokens").symlink_to(write_tokens(tmp_path / "made-up", documents=200))
    fill_in(account.file("launch/deepspeed/hostfile"), *FILLED_IN["launch/deepspeed/hostfile"][0])
    for block in chapter("launch/README.md", "cluster", "nodes"):
        assert not follow(block, account, cluster)
