"""How each command block of the documents is checked: where it is run, what it leaves, and which small sizes
are put in the place of the document's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.docs.grammar import Rotten
from tests.docs.markdown import Block

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
    (r"^biobert-scale demo --output", "biobert-scale demo --recipe small/recipe.json --output"),
    (r"--download", "--download --sources small/sources.toml"),
    (r"--raw DIR --benchmarks DIR", "--raw small/raw --benchmarks small/raw --recipe small/recipe.json"),
    (r"corpus synthesize", "corpus synthesize --abstracts 300 --full-texts 10"),
    (r"--size (28996|3500)", "--size 600"),
    (
        r"^biobert-scale tokens build(?!.*--validation-fraction)",
        "biobert-scale tokens build --validation-fraction 0.1",
    ),
    (r" --base-url https://mirror.example", ""),
    (r"\bbert-large-cased\b", "model"),
    (r"models/model", "model"),
    (r"(?<=--training-characters )24400000", "100000"),
    (r"--workers 16", "--workers 2"),
    (r"chemicals diseases", "tagger scores/NCBI-disease/pretrained-seed2"),
    (r"articles/", "small/raw/pmc"),
    (r"pubmed25n0001.xml.gz", "raw/baseline/*.xml.gz"),
    # The servers, of which the account's environment knows.
    (r"^export HF_TOKEN=\.\.\.|^export AWS_\w+=.*", "true"),
    # A server, which ends with the block.
    (
        r"^curl http://127\.0\.0\.1:8000/api$",
        "biobert-scale serve tagger --port {port} > small/address &\ntrap 'kill $!; wait' EXIT\n"
        "until grep http small/address; do sleep 0.2; done\ncurl http://127.0.0.1:8000/api",
    ),
    (r"^curl ", "curl --fail --silent --show-error "),
    (r"127\.0\.0\.1:8000", "127.0.0.1:{port}"),
    # The model and its budget; what only calculates keeps the large one.
    (r"--config (biobert-large|demo)\b(?!.* --(dry-run|devices) )", "--config small/recipe.json"),
    (r"launch slurm (?!.*--config)", "launch slurm --config small/recipe.json "),
    (r"^biobert-scale train --tokens", "biobert-scale train --config small/recipe.json --tokens"),
    (r"pubmed 0.5 pmc 2", "pubmed 0.5"),
    (r"--data.sources pmc 2", "--data.sources pubmed 2"),
    (r"run@100000", "run@30"),
    (r"total-steps 200000", "total-steps 40"),
    (r"for step in 1000 2000 3000", "for step in 30"),
    (r"step-0000\$step", "step-000000$step"),
    (r"--task BC5CDR-chem BC5CDR-disease NCBI-disease HoC", "--task NCBI-disease"),
    (r"--seed 1 2 3 4 5 --grid.learning-rate 1e-5 3e-5 5e-5( --grid.batch-size 16 32)?", "--seed 1"),
    (
        r"evaluate blurb",
        "evaluate blurb --tasks NCBI-disease --seeds 1 --max-seq-length 64 --grid.epochs 1"
        " --grid.learning-rate 5e-5 --grid.batch-size 16",
    ),
    (r" --learning-rate 1e-3 --epochs 3 --max-seq-length 32", ""),
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
    place: Place
    leaves: tuple[str, ...] = ()
    """Files that are there afterwards."""
    reason: str = ""
    """Why it is not run."""


INSTALL = """python3 -m venv env
env/bin/pip install -c constraints.txt .
. env/bin/activate
biobert-scale --version"""
Place = Literal["here", "python", "cluster", "nodes", "parsed", "no command"]
"""On this machine; by Python; on the cluster's head; on each of its nodes; only parsed; not even that."""
TABLE: dict[str, tuple[tuple[str, Place, str], ...]] = {
    "README.md": (("biobert-scale tag tagger", "here", "entities.html"),),
    "docs/tutorials/tag-text.md": (
        ("biobert-scale demo", "here", "tagger/README.md"),
        ("cat > article.txt", "here", ""),
        ('{"id"', "no command", "an answer"),
        ("biobert-scale tag tagger --input runs", "here", "entities.html"),
        ("biobert-scale tag tagger --input 'runs", "here", "entities.pubtator"),
        ("from biobert_scale import", "python", ""),
    ),
    "docs/tutorials/fine-tune.md": (
        ("biobert-scale demo", "here", "runs/demo/export/config.json"),
        ("mkdir", "here", "my-data/dev.txt"),
        ("cat >", "here", "my-data/task.toml"),
        ("biobert-scale evaluate prepare", "here", "my-data/prepared/counts.html"),
        ("biobert-scale evaluate finetune", "here", "my-data/table/table.json"),
        ("biobert-scale evaluate errors", "here", "my-data/errors.html"),
        ("biobert-scale export", "here", "my-data/tagger/config.json"),
    ),
    "docs/tutorials/pre-train.md": (
        ("biobert-scale corpus synthesize", "here", "trial/raw/pubmed"),
        ("biobert-scale evaluate prepare", "here", "trial/prepared/NCBI-disease"),
        ("biobert-scale corpus build", "here", "trial/tokens/manifest.json"),
        ("biobert-scale train", "here", "trial/run/finished.json"),
        ("biobert-scale export", "here", "trial/model/README.md"),
        ("from transformers import", "python", ""),
        (
            "biobert-scale evaluate finetune",
            "here",
            "trial/scores/NCBI-disease/random-seed1 trial/table/table.json",
        ),
    ),
    "docs/how-to/install.md": (
        ("make demo", "here", "runs/demo/report.html"),
        ("biobert-scale demo --raw", "here", "runs/real/report.html"),
    ),
    "docs/how-to/pretrain.md": (
        (
            "biobert-scale corpus download",
            "here",
            "pictures run/finished.json scores/NCBI-disease/pretrained-seed3 table/table.json entities.jsonl",
        ),
        ("from transformers import", "python", ""),
        ("biobert-scale train", "here", "run/finished.json"),
    ),
    "launch/README.md": (
        ("biobert-scale launch site", "cluster", "site.toml"),
        ("biobert-scale corpus synthesize", "cluster", "trial/evaluation/table.txt"),
        ("squeue --me", "cluster", ""),
        ("biobert-scale corpus download", "cluster", "work/tokens/manifest.json"),
        ("biobert-scale train --config biobert-large --tokens work/tokens --dry-run", "cluster", ""),
        ("biobert-scale launch slurm", "cluster", "work/pretraining/finished.json work/evaluation/table.txt"),
        ("tail -n 20 work", "cluster", ""),
        ("biobert-scale train --config biobert-large --tokens tokens", "here", "run/finished.json"),
        ("accelerate launch --config_file launch/accelerate/cpu-2.yaml", "here", "run/finished.json"),
        (
            "accelerate launch --config_file launch/accelerate/two-nodes-of-8.yaml",
            "nodes",
            "run/finished.json",
        ),
        ("torchrun --nnodes 2", "nodes", "run/finished.json"),
        ("deepspeed --hostfile launch/deepspeed/hostfile --no_ssh", "nodes", "run/finished.json"),
        (
            "deepspeed --hostfile launch/deepspeed/hostfile --module",
            "parsed",
            "pdsh would log in on other machines",
        ),
        ("until [ -e run/finished.json", "here", "run/finished.json"),
    ),
    "docs/how-to/doctor.md": (
        ("biobert-scale doctor", "here", ""),
        ("accelerate launch", "here", ""),
    ),
    "docs/how-to/evaluation.md": (
        ("biobert-scale evaluate prepare", "here", "scores/baselines errors.html"),
        ("biobert-scale evaluate blurb", "here", "blurb/blurb.md"),
        ("for step in", "here", "models/30/config.json table/table.json"),
    ),
    "docs/how-to/own-data.md": (
        ('name = "my-task"', "no command", "the file that the account has"),
        ("biobert-scale evaluate prepare", "here", "prepared/my-task/test.gold.jsonl"),
        ("biobert-scale evaluate finetune", "here", "errors.html tagger/config.json"),
        ('name = "my-relations"', "no command", "another task's file"),
    ),
    "docs/how-to/release.md": (
        ("pre-training run", "no command", "a picture of the way"),
        ("biobert-scale export run --tokens tokens --corpus corpus --output", "here", "model/SHA256SUMS"),
        ("biobert-scale export run --tokens tokens --corpus corpus --evaluation", "here", "model/README.md"),
        ("biobert-scale evaluate finetune", "here", "tagger/README.md"),
        ("from transformers import", "python", ""),
        ("export HF_TOKEN", "here", "model/README.md"),
        (
            "biobert-scale export run --tokens tokens --output milestones",
            "here",
            "milestones/step-30/README.md",
        ),
        ("biobert-scale tag tagger", "here", "entities.jsonl"),
        ("biobert-scale tag chemicals diseases --input articles/ --format", "here", "entities.html"),
        ("biobert-scale tag chemicals diseases --input articles/ --output", "here", "tagged/manifest.json"),
        (
            "biobert-scale export scores/NCBI-disease/pretrained-seed1 --output onnx",
            "here",
            "onnx/model_int8.onnx",
        ),
        ("zcat", "here", "entities.txt"),
        ('{"id"', "no command", "an answer"),
    ),
    "docs/how-to/serve.md": (
        ("env/bin/pip install", "parsed", "serves until it is stopped; the next block asks such a server"),
        ("curl", "here", "entities.json"),
    ),
    "docs/how-to/checkpoints.md": (
        ("biobert-scale checkpoint list", "here", "weights/config.json"),
        ("export TORCH_ELASTIC", "here", ""),
        ("export TORCH_DISABLE", "here", "run/finished.json"),
        ("export AWS", "here", "run/finished.json"),
        ("biobert-scale train --continue-from", "here", "longer/finished.json"),
        ("biobert-scale status run", "here", ""),
    ),
    "docs/how-to/corpus.md": (
        ("biobert-scale corpus download", "here", "pictures corpus/manifest.json"),
        (
            "biobert-scale corpus build --raw raw --output corpus",
            "parsed",
            "a cluster; tests/cluster runs the stage on one",
        ),
        ("biobert-scale corpus build --own", "here", "notes-corpus both-corpus own-corpus"),
        ("[corpus.own.notes]", "no command", "a part of a recipe"),
        ("4 not read", "no command", "an answer"),
    ),
    "docs/how-to/full-texts.md": (
        (
            "biobert-scale corpus download --output raw --groups pmc",
            "parsed",
            "a bucket; tests/unit/corpus/sources has one",
        ),
        ("pmc-cloud, inventory", "no command", "an answer"),
        ("biobert-scale corpus download --output raw --groups europe", "here", "raw/europe-pmc"),
        ("biobert-scale corpus download --output raw --groups comm", "here", "raw/comm"),
        ("inventory (8", "no command", "a picture of the way"),
    ),
    "docs/how-to/initial-weights.md": (
        (
            "biobert-scale train --config biobert-large --tokens tokens --output run  ",
            "here",
            "run/finished.json",
        ),
        (
            "biobert-scale train --config biobert-large --tokens tokens --output run --training.initial",
            "parsed",
            "Google's file; tests/unit/modeling makes one",
        ),
        ("embeddings of", "no command", "an answer"),
    ),
    "docs/explanation/scale.md": (
        ("biobert-scale plan", "here", "recipe.json large-batch.json failing.json"),
    ),
    "docs/how-to/planning.md": (
        ("biobert-scale plan --config biobert-large --devices", "here", "plan.json"),
        ("biobert-scale plan --config biobert-large --global-batch-size", "here", "scale.json"),
    ),
    "docs/how-to/tokens.md": (
        (
            "biobert-scale tokens vocabulary --corpus corpus --output vocabulary --size 28996  ",
            "here",
            "bert-vocabulary/vocab.txt",
        ),
        ("biobert-scale tokens vocabulary --corpus corpus --output compared", "here", "compared/report.json"),
        ("biobert-scale tokens build", "here", "pictures"),
        ("tokens/", "no command", "a list of files"),
        ("from datasets import", "python", ""),
        ("from pathlib import", "python", ""),
        ("biobert-scale train --config biobert-large --tokens s3", "here", "run/finished.json"),
        ("[data]", "no command", "a part of a recipe"),
        ("[data.sources]", "no command", "a part of a recipe"),
        ("biobert-scale train --tokens", "here", "run/finished.json"),
    ),
    "docs/reference/python.md": (("from biobert_scale import", "python", ""),),
    "docs/explanation/index.md": (("raw XML", "no command", "a picture of the stages"),),
    "docs/explanation/architecture.md": (("raw XML", "no command", "a picture of the stages"),),
}
"""Of each document the blocks by how they begin: where each is run, and which files it leaves; of a block
that is not run why not."""

RULES = tuple(
    Rule(
        document=document,
        begins=begins,
        place=place,
        leaves=() if place in ("parsed", "no command") else tuple(rest.split()),
        reason=rest if place in ("parsed", "no command") else "",
    )
    for document, rows in TABLE.items()
    for begins, place, rest in rows
)
DOCUMENTS = tuple(TABLE)
"""The pages whose blocks are run; a block that no rule knows fails."""


def rule_for(block: Block) -> Rule:
    """The one rule that knows a block; to install is one block, the same in every document."""
    if block.text == INSTALL:
        return Rule(document=block.document, begins=INSTALL, place="here", leaves=("env/bin/biobert-scale",))
    known = [rule for rule in RULES if rule.document == block.document and block.text.startswith(rule.begins)]
    if len(known) != 1:
        raise Rotten(
            f"{len(known)} rules know the block at {block.document}:{block.line}"
            f" ({block.text.splitlines()[0]!r}): add one that says how it is run"
        )
    return known[0]
