"""The command blocks of the documents, each of them run with small sizes put in. A block that no rule knows
fails."""

from __future__ import annotations

import ast
import logging
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from biobert_scale.commands import COMMANDS
from biobert_scale.evaluation.tasks.spec import read_task
from tests import hub_server, s3_server
from tests.docs.account import ROOT, Account, clone, furnish, make_small
from tests.docs.grammar import Rotten, check_command, foreign_options, options_of
from tests.docs.markdown import Block, code_spans, commands, file_patterns, headings, links, read_blocks
from tests.docs.rules import DOCUMENTS, FILLED_IN, INSTALL, RULES, SMALL, Rule, rule_for
from tests.factories import write_tagger, write_tokens
from tests.slurm_cluster import Cluster

logger = logging.getLogger(__name__)
PAGES = tuple(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "[a-z]*/README.md", "benchmarks/*/README.md")
    for path in sorted(ROOT.glob(pattern))
)
"""Every page that is written by hand."""
BLOCKS = [block for document in DOCUMENTS for block in read_blocks(ROOT / document, document)]
OTHER_OPTIONS = set(
    "--test-only --batch --signal --requeue --logdir --check --multi_gpu --local-dir"
    " --extra-index-url --own.NAME.no-private --training.phases.0.steps --scratch --killed-on".split()
)
"""Of SLURM, TensorBoard, sha256sum, accelerate, hf and pip, which the text names; two that depend on others;
and two of benchmarks."""


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
    assert sorted(repr(rule) for rule in known if rule.begins != INSTALL) == sorted(map(repr, RULES))
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
    monkeypatch.setattr("tests.docs.rules.RULES", (Rule(document="README.md", begins=text, place="here"),))
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
    """An account in which the package was installed, as the documents say."""
    account = clone(tmp_path_factory.mktemp("account"))
    blocks = [block for block in BLOCKS if block.text.startswith("python3 -m venv")]
    assert len(blocks) == 6 and {block.text for block in blocks} == {INSTALL}
    assert not follow(blocks[0], account)
    return account


@pytest.fixture
def servers(installed: Account) -> Iterator[dict[str, str]]:
    """A hub, and object storage with the bucket that the documents name; the environment that leads there."""
    with hub_server.serving() as hub, s3_server.serving() as (bucket, proxy):
        bucket.backend.create_bucket("my-bucket", "us-east-1")
        yield {
            **proxy.account,
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": hub_server.TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
        }


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
        if block.document == document and rule_for(block).place in places and block.text != INSTALL
    ]
    assert blocks, f"{document} has no command to run at {places}"
    return blocks


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_first_day(account: Account) -> None:
    """The tutorials, one after another in one directory, and the README's commands on what they have made."""
    for tutorial in ("tag-text", "fine-tune", "pre-train"):
        for block in chapter(f"docs/tutorials/{tutorial}.md", "here", "python"):
            assert not follow(block, account)
    for name, made in (("prepared", "my-data"), ("tokens", "trial"), ("model", "trial")):
        account.file(name).symlink_to(account.file(made) / name)
    for block in chapter("README.md", "here"):
        assert not follow(block, account)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_how_to_pages_from_top_to_bottom(account: Account, servers: dict[str, str]) -> None:
    """One after another in one directory: each page has what those before it have made."""
    account.variables.update(servers)
    *steps, other_run = chapter("docs/how-to/pretrain.md", "here", "python")
    for block in steps:
        assert not follow(block, account)
    upload(account.file("tokens"), "my-bucket")
    for page in ("release", "evaluation", "planning", "tokens", "checkpoints", "initial-weights", "corpus"):
        for block in chapter(f"docs/how-to/{page}.md", "here", "python"):
            assert not follow(block, account)
    scale = chapter("docs/explanation/scale.md", "here")
    for block in (*chapter("docs/reference/python.md", "python"), other_run, *scale):
        assert not follow(block, account)
    for name, patterns in file_patterns(ROOT / "docs/reference/output-files.md").items():
        runs = "*/*-seed1" if name == "scores" else ""
        for directory in account.file(name).glob(runs) if runs else [account.file(name)]:
            if patterns:
                check_files_of(directory, patterns)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_installing_own_data_and_full_texts(account: Account) -> None:
    for block in chapter("docs/how-to/install.md", "here"):
        assert not follow(block, account)
    account.file("model").symlink_to(account.file("runs/demo/export"))
    for page in ("own-data", "full-texts"):
        for block in chapter(f"docs/how-to/{page}.md", "here"):
            assert not follow(block, account)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_serving(account: Account, tmp_path: Path) -> None:
    account.file("tagger").symlink_to(write_tagger(tmp_path))
    for block in chapter("docs/how-to/serve.md", "here"):
        assert not follow(block, account)


def check_files_of(directory: Path, patterns: dict[str, bool]) -> None:
    """What is in a directory is described, and what is described is there."""
    there = [str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()]
    for name in there:
        assert name == "manifest.json" or any(re.fullmatch(one, name) for one in patterns), (
            f"{directory}: {name}"
        )
    missing = [
        one
        for one, always in patterns.items()
        if always and not any(re.fullmatch(one, name) for name in there)
    ]
    assert not missing, f"{directory}: {missing}"


def upload(directory: Path, bucket: str) -> None:
    """Put a directory's files into a bucket of moto, below its name."""
    for path in directory.rglob("*"):
        if path.is_file():
            key = str(path.relative_to(directory.parent))
            s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket, key, path.read_bytes())


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
